//! The API: it checks the credential, the host and the method, and then returns the response.

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::Either;
use hyper::body::Incoming;
use serde_json::{Map, Value};

use super::{
    admission::{Refusal, admit, host, redact},
    anthropic,
    body::{MeteredBody, ReadError},
    chat::{self, ChatRequest, ResponsesModels},
    completions::Completion,
    embeddings::embeddings,
    encoding::{self, ApiBody},
    endpoints, gemini,
    google_errors::{self, GoogleError},
    models::{Catalogue, Kind, Model, NOT_ON_OPENAPI, Surface},
    path::{Call, Target},
    provider, publisher_models, refusals,
    reply::Reply,
    responses::{self, Storage},
    settings::ErrorShape,
    sse::EventStream,
    state::{Entry, Live, RequestRecord, Shared, lock},
    tokens::Bearer,
    usage::Cost,
};

/// The largest body that `openapi` and a publisher's model accept, in bytes.
const LIMIT: u64 = 20_971_520;
const OVER_LIMIT: &str = "Request payload size exceeds the limit: 20971520 bytes.";

/// A request to the API that was admitted. Its body has not been read.
pub(crate) struct ApiRequest<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) target: &'a Target<'a>,
    pub(crate) head: &'a Parts,
    /// The owner of the token.
    pub(crate) bearer: &'a Bearer,
    pub(crate) body: &'a mut MeteredBody,
    pub(crate) live: &'a Live,
}

impl ApiRequest<'_> {
    /// Reads the body as a JSON object.
    pub(crate) async fn json(&mut self) -> Result<Map<String, Value>, GoogleError> {
        read_json(self.target, self.body).await
    }
}

/// Serves one request to the API and records it.
pub(crate) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Response<ApiBody> {
    let arrived = Instant::now();
    let (parts, incoming) = request.into_parts();
    let live = Arc::new(Live::default());
    let held_back = parts.headers.contains_key(header::EXPECT);
    let mut body = MeteredBody::new(incoming, live.clone(), held_back);

    let (bearer, reply) = match admit(&shared, &parts) {
        Err(Refusal { bearer, error }) => (bearer.map(|bearer| *bearer), Err(error)),
        Ok((target, bearer)) => {
            let (shared, target, head, body, live) = (&*shared, &target, &parts, &mut body, &*live);
            let request = ApiRequest { shared, target, head, bearer: &bearer, body, live };
            let reply = answer(request).await;
            (Some(bearer), reply)
        }
    };
    let status = reply.as_ref().map_or_else(GoogleError::status, Reply::status);
    let reply = reply.unwrap_or_else(|error| {
        let is_grpc = is_grpc(&parts.headers);
        Reply::Whole(if is_grpc { error.into_grpc() } else { error.into_response() })
    });
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
            ignored: live.ignored.get().cloned().unwrap_or_default(),
        },
        live: live.clone(),
    });
    body.drain();

    // The stream is created before the delay, so that a client that disconnects meanwhile counts as
    // one that left a stream.
    let behavior = shared.stream_behavior();
    let response = match reply {
        Reply::Whole(response) => response.map(Either::Left),
        Reply::Stream { script, content_type } => {
            let stream = EventStream::new(script, &behavior, shared.clone(), live);
            let mut response = Response::new(Either::Right(stream));
            let content_type = HeaderValue::from_static(content_type);
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            response
        }
    };
    if response.status().is_success() && !behavior.first_byte_delay.is_zero() {
        tokio::time::sleep(behavior.first_byte_delay).await;
    }
    encoding::frame(response, &parts.headers, arrived.elapsed())
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|content_type| content_type.starts_with(b"application/grpc"))
}

/// The wrapping of errors of the methods themselves. The front end writes the messages of a stream
/// as an array, and its errors as well.
pub(crate) fn shape(target: &Target<'_>) -> ErrorShape {
    match target.call {
        Call::Model { method, .. } | Call::Endpoint(method) => {
            let is_array = method.is_streamed() && !target.alt_sse;
            if is_array { ErrorShape::Array } else { ErrorShape::Object }
        }
        _ if target.is_openapi() => ErrorShape::Array,
        _ => ErrorShape::Object,
    }
}

async fn answer(request: ApiRequest<'_>) -> Result<Reply, GoogleError> {
    let ApiRequest { shared, target, head, .. } = request;
    let shaped = |error: GoogleError| error.with_shape(shape(target));
    endpoints::check(shared, target).map_err(shaped)?;
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
        Call::Model { publisher: "anthropic", method, .. }
            if method.surface() == Surface::RawPredict =>
        {
            anthropic::answer(request).await
        }
        Call::Model { .. } | Call::Endpoint(_) => gemini::answer(request).await,
        Call::Provider { .. } => provider::answer(request).await,
        Call::ListModels { .. } | Call::GetModel { .. } => publisher_models::answer(request).await,
        _ => {
            let ApiRequest { body, live, .. } = request;
            answer_openai(shared, target, &head.headers, body, live).await
        }
    }
    .map_err(shaped)
}

async fn answer_openai(
    shared: &Shared,
    target: &Target<'_>,
    headers: &HeaderMap,
    body: &mut MeteredBody,
    live: &Live,
) -> Result<Reply, GoogleError> {
    match target.call {
        Call::GetResponse(id) => return responses::get(shared, id),
        Call::DeleteResponse(id) => return responses::delete(shared, id),
        _ => {}
    }
    let asked = read_json(target, body).await?;
    let name = asked.get("model").and_then(Value::as_str).unwrap_or_default();
    let model = match target.surface() {
        Some(surface) => {
            let serves_any = surface == Surface::Responses
                && shared.chat.behavior().responses == ResponsesModels::Any;
            let served = |model: &Model| match serves_any {
                true => model.kind == Kind::Chat,
                false => model.surfaces.contains(&surface),
            };
            check_model(&shared.models, target, surface, name, served)?.clone()
        }
        // A deployed endpoint serves one model, and ignores the name in the request.
        None => Model::new("", name),
    };
    let streamed = is_streamed(&asked)?;
    let chunks = shared.stream_behavior().chunks;
    let cost = Cost::asked(&model, &asked, headers);
    Ok(match target.call {
        Call::Chat => {
            let messages = asked.get("messages").and_then(Value::as_array);
            let messages = messages.filter(|messages| !messages.is_empty());
            let messages = messages.ok_or_else(|| invalid("`messages` must not be empty"))?;
            if target.is_openapi() {
                // The list is set once, because a request is read once.
                let _ = live.ignored.set(refusals::ignored(&model, &asked));
                refusals::check(&shared.refusals(), &model, messages, &asked)?;
            }
            let (state, model, asked) = (&shared.chat, &model, &asked);
            let request = ChatRequest { state, name, model, messages, asked, cost };
            let chat = chat::respond(&request)
                .map_err(|refusal| GoogleError::invalid_argument(refusal.into_message()))?;
            if streamed { Reply::events(chat.stream(chunks)) } else { ok(chat.whole()) }
        }
        Call::Completions => {
            let completion = Completion::of(name, &asked, &cost).map_err(|why| invalid(&why))?;
            if streamed { Reply::events(completion.stream(chunks)) } else { ok(completion.whole()) }
        }
        Call::CreateResponse => {
            let storage = match shared.chat.behavior().responses {
                ResponsesModels::Xai => Storage::Refused,
                ResponsesModels::Any => Storage::Kept,
            };
            let name = name.to_owned();
            responses::create(shared, &name, asked, &cost, storage)?
        }
        Call::Embeddings => {
            let encoding = shared.chat.behavior().embeddings;
            ok(embeddings(name, &asked, encoding).map_err(GoogleError::invalid_argument)?)
        }
        // These calls return earlier.
        Call::GetResponse(_)
        | Call::DeleteResponse(_)
        | Call::ListEndpoints
        | Call::GetEndpoint
        | Call::Model { .. }
        | Call::Endpoint(_)
        | Call::Provider { .. }
        | Call::ListModels { .. }
        | Call::GetModel { .. }
        | Call::Other(_) => Reply::Whole(google_errors::html(StatusCode::NOT_FOUND)),
    })
}

/// Whether the request wants a stream.
pub(crate) fn is_streamed(asked: &Map<String, Value>) -> Result<bool, GoogleError> {
    match asked.get("stream") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(streamed)) => Ok(*streamed),
        Some(_) => Err(invalid("`stream` must be true or false")),
    }
}

pub(crate) fn ok(body: Value) -> Reply {
    Reply::Whole(google_errors::json(StatusCode::OK, &body))
}

pub(crate) fn invalid(what: &str) -> GoogleError {
    GoogleError::invalid_argument(format!("Request contains an invalid argument: {what}."))
}

async fn read_json(
    target: &Target<'_>,
    body: &mut MeteredBody,
) -> Result<Map<String, Value>, GoogleError> {
    // Only `openapi` and the publishers' models have their limit here. The owner of a deployed
    // endpoint sets the limit of the endpoint.
    let is_limited = target.is_openapi() || target.endpoint.is_empty();
    let limit = if is_limited { LIMIT } else { 4 * LIMIT };
    let bytes = body.read(limit).await.map_err(|error| match error {
        ReadError::TooLarge if is_limited => GoogleError::invalid_argument(OVER_LIMIT),
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
fn check_model<'a>(
    catalogue: &'a Catalogue,
    target: &Target<'_>,
    surface: Surface,
    model: &str,
    is_served: impl Fn(&Model) -> bool,
) -> Result<&'a Model, GoogleError> {
    let (publisher, name) = model.split_once('/').unwrap_or_default();
    if publisher.is_empty() || name.is_empty() {
        return Err(GoogleError::invalid_argument(format!(
            "Malformed publisher model (`model`: '{model}') for the 'openapi' request endpoint \
             ID; expected '<publisher>/<model>'."
        )));
    }
    match catalogue.find(publisher, name) {
        Some(model) if is_served(model) => Ok(model),
        // The error for the models of these publishers is recorded. The emulator assumes that a
        // model of the wrong kind gets the same one.
        found if found.is_some() || NOT_ON_OPENAPI.contains(&publisher) => {
            Err(GoogleError::not_served_by(surface))
        }
        _ => Err(GoogleError::unknown_model(target, publisher, name)),
    }
}
