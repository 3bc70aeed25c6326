//! The API: it checks the credential, the host and the method, and then returns the response.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::{
    admission::{Refusal, admit, host, redact},
    body::{MeteredBody, ReadError},
    chat::{self, ChatRequest},
    completions::Completion,
    embeddings::embeddings,
    endpoints,
    google_errors::{self, GoogleError},
    path::{Call, Target},
    responses::Answer,
    said,
    settings::ErrorShape,
    sse::{EventStream, Script},
    state::{Entry, Live, RequestRecord, Shared, lock},
    usage::Cost,
};

/// The largest body that `openapi` accepts, in bytes.
const LIMIT: u64 = 20_971_520;
const OVER_LIMIT: &str = "Request payload size exceeds the limit: 20971520 bytes.";

/// A complete or a streamed response body.
pub(crate) type Body = Either<Full<Bytes>, EventStream>;

/// The response to one request.
enum Reply {
    Whole(Response<Full<Bytes>>),
    Stream(Script),
}

/// Serves one request to the API and records it.
pub(crate) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (parts, incoming) = request.into_parts();
    let live = Arc::new(Live::default());
    let held_back = parts.headers.contains_key(header::EXPECT);
    let mut body = MeteredBody::new(incoming, live.clone(), held_back);

    let (bearer, reply) = match admit(&shared, &parts) {
        Err(Refusal { bearer, error }) => {
            (bearer.map(|bearer| *bearer), Reply::Whole(error.into_response()))
        }
        Ok((target, bearer)) => {
            let reply = answer(&shared, &target, &parts, &mut body).await;
            (Some(bearer), reply.unwrap_or_else(|error| Reply::Whole(error.into_response())))
        }
    };

    let status = match &reply {
        Reply::Whole(response) => response.status(),
        Reply::Stream(_) => StatusCode::OK,
    };
    let path = parts.uri.path();
    tracing::debug!(method = %parts.method, path, status = status.as_u16(), "responded");
    shared.record(Entry {
        record: RequestRecord {
            method: parts.method.to_string(),
            host: host(&parts.uri, &parts.headers).map(str::to_owned),
            path: path.to_owned(),
            query: parts.uri.query().map(redact),
            status: status.as_u16(),
            token_generation: bearer.as_ref().map(|bearer| bearer.generation),
            principal: bearer.map(|bearer| bearer.principal.into_owned()),
            body_length: None,
            body_sha256: None,
            header_names: parts.headers.iter().map(|(name, _)| name.to_string()).collect(),
            http_version: format!("{:?}", parts.version),
            chunks_sent: 0,
        },
        live: live.clone(),
    });
    body.drain();

    // The stream is created before the delay, so that a client that disconnects meanwhile counts as
    // one that left a stream.
    let behavior = shared.stream_behavior();
    let response = match reply {
        Reply::Whole(response) => response.map(Either::Left),
        Reply::Stream(script) => {
            let stream = EventStream::new(script, &behavior, shared.clone(), live);
            let mut response = Response::new(Either::Right(stream));
            let events = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, events);
            response
        }
    };
    if response.status().is_success() && !behavior.first_byte_delay.is_zero() {
        tokio::time::sleep(behavior.first_byte_delay).await;
    }
    response
}

/// The wrapping of errors of the methods themselves.
pub(crate) fn shape(target: &Target<'_>) -> ErrorShape {
    if target.is_openapi() { ErrorShape::Array } else { ErrorShape::Object }
}

async fn answer(
    shared: &Shared,
    target: &Target<'_>,
    head: &Parts,
    body: &mut MeteredBody,
) -> Result<Reply, GoogleError> {
    match target.call {
        Call::ListEndpoints => {
            let query = head.uri.query().unwrap_or_default();
            return endpoints::list(&lock(&shared.endpoints), target.location, query).map(ok);
        }
        Call::GetEndpoint => {
            let missing = || GoogleError::not_found("The Endpoint does not exist.");
            return endpoints::get(&lock(&shared.endpoints), target.location, target.endpoint)
                .map(ok)
                .ok_or_else(missing);
        }
        _ => {}
    }
    answer_openai(shared, target, &head.headers, body)
        .await
        .map_err(|error| error.with_shape(shape(target)))
}

async fn answer_openai(
    shared: &Shared,
    target: &Target<'_>,
    headers: &HeaderMap,
    body: &mut MeteredBody,
) -> Result<Reply, GoogleError> {
    let no_response = |id: &str| GoogleError::not_found(format!("Response `{id}` was not found."));
    match target.call {
        Call::GetResponse(id) => {
            return shared.response(id).map(ok).ok_or_else(|| no_response(id));
        }
        Call::DeleteResponse(id) if shared.forget_response(id) => {
            return Ok(ok(json!({ "id": id, "object": "response", "deleted": true })));
        }
        Call::DeleteResponse(id) => return Err(no_response(id)),
        _ => {}
    }
    let asked = read_json(target, body).await?;
    let model = asked.get("model").and_then(Value::as_str).unwrap_or_default();
    if target.is_openapi() {
        check_model(shared.models.as_deref(), target, model)?;
    }
    let streamed = match asked.get("stream") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(streamed)) => *streamed,
        Some(_) => return Err(invalid("`stream` must be true or false")),
    };
    let chunks = shared.stream_behavior().chunks;
    let cost = Cost::asked(model, &asked, headers);
    Ok(match target.call {
        Call::Chat => {
            let messages = asked.get("messages").and_then(Value::as_array);
            let messages = messages.filter(|messages| !messages.is_empty());
            let messages = messages.ok_or_else(|| invalid("`messages` must not be empty"))?;
            let is_google = target.is_openapi() && model.starts_with("google/");
            let state = &shared.chat;
            let request = ChatRequest { state, model, is_google, messages, asked: &asked, cost };
            let chat = chat::respond(&request)
                .map_err(|refusal| GoogleError::invalid_argument(refusal.into_message()))?;
            if streamed { Reply::Stream(chat.stream(chunks)) } else { ok(chat.whole()) }
        }
        Call::Completions => {
            let completion = Completion::of(model, &asked, &cost).map_err(|why| invalid(&why))?;
            if streamed { Reply::Stream(completion.stream(chunks)) } else { ok(completion.whole()) }
        }
        Call::CreateResponse => {
            let said = match asked.get("input") {
                Some(Value::Array(items))
                    if items.iter().any(|item| item.get("role").is_some()) =>
                {
                    said::by_user(items)
                }
                Some(input) => said::text_of(input),
                None => Err("`input` is required".to_owned()),
            };
            let answer = Answer::new(model, &said.map_err(|why| invalid(&why))?, &cost);
            let response = answer.response(&asked, true);
            if asked.get("store") != Some(&Value::Bool(false)) {
                shared.keep_response(&answer.response_id(), response.clone());
            }
            if streamed {
                Reply::Stream(answer.response_stream(asked, chunks))
            } else {
                ok(response)
            }
        }
        Call::Embeddings => {
            let encoding = shared.chat.behavior().embeddings;
            ok(embeddings(model, &asked, encoding).map_err(GoogleError::invalid_argument)?)
        }
        // These calls return earlier, before the body is read.
        Call::GetResponse(_)
        | Call::DeleteResponse(_)
        | Call::ListEndpoints
        | Call::GetEndpoint => Reply::Whole(google_errors::html(StatusCode::NOT_FOUND)),
    })
}

fn ok(body: Value) -> Reply {
    Reply::Whole(google_errors::json(StatusCode::OK, &body))
}

fn invalid(what: &str) -> GoogleError {
    GoogleError::invalid_argument(format!("Request contains an invalid argument: {what}."))
}

async fn read_json(
    target: &Target<'_>,
    body: &mut MeteredBody,
) -> Result<Map<String, Value>, GoogleError> {
    // Only `openapi` has its limit here. The owner of a deployed endpoint sets the limit of the
    // endpoint.
    let limit = if target.is_openapi() { LIMIT } else { 4 * LIMIT };
    let bytes = body.read(limit).await.map_err(|error| match error {
        ReadError::TooLarge if target.is_openapi() => GoogleError::invalid_argument(OVER_LIMIT),
        ReadError::TooLarge => invalid("the body is too large"),
        ReadError::Broken => invalid("the body ended early"),
    })?;
    let parsed = serde_json::from_slice(&bytes);
    drop(bytes);
    match parsed {
        Ok(Value::Object(asked)) => Ok(asked),
        Ok(_) => Err(invalid_json("Expected an object.".into())),
        Err(error) => {
            // The message contains the position but no text, because it must not carry pieces of
            // the body.
            let (line, column) = (error.line(), error.column());
            Err(invalid_json(format!("Parsing terminated at line {line}, column {column}.")))
        }
    }
}

fn invalid_json(why: String) -> GoogleError {
    GoogleError::invalid_argument(format!("Invalid JSON payload received. {why}"))
}

/// Checks a model's name as `openapi` does.
fn check_model(
    served: Option<&[String]>,
    target: &Target<'_>,
    model: &str,
) -> Result<(), GoogleError> {
    let (publisher, name) = model.split_once('/').unwrap_or_default();
    if publisher.is_empty() || name.is_empty() {
        return Err(GoogleError::invalid_argument(format!(
            "Malformed publisher model (`model`: '{model}') for the 'openapi' request endpoint \
             ID; expected '<publisher>/<model>'."
        )));
    }
    let known = ["gemini-", "text-embedding-", "text-multilingual-embedding-", "gemma"];
    let serves = match served {
        Some(served) => served.iter().any(|served| served == model),
        None => publisher != "google" || known.iter().any(|prefix| name.starts_with(prefix)),
    };
    if !serves {
        let Target { project, location, .. } = target;
        return Err(GoogleError::not_found(format!(
            "Publisher Model `projects/{project}/locations/{location}/publishers/\
             {publisher}/models/{name}` was not found or your project does not have access to it. Please ensure you \
             are using a valid model version. For more information, see: \
             https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions"
        )));
    }
    Ok(())
}
