//! The calls of the API that a Claude model serves.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    super::{
        api::{ApiRequest, ok},
        google_errors::GoogleError,
        model_method::ModelMethod,
        models::Surface,
        path::{Call, decoded},
        reply::Reply,
    },
    COUNT_TOKENS, Context, PUBLISHER, count_tokens, find, message, respond,
};

/// The content type of recorded streams.
const EVENTS: &str = "text/event-stream; charset=utf-8";

/// Returns the response, or Google's error.
pub(crate) async fn answer(mut request: ApiRequest<'_>) -> Result<Reply, GoogleError> {
    let Call::Model { model, method, .. } = request.target.call else {
        return Err(GoogleError::not_emulated(request.target.method()));
    };
    let name = decoded(model);
    // The model is checked before the body is read, because the front end routes by the path.
    if name != COUNT_TOKENS {
        let found = find(&request.shared.models, &name);
        match found.map(|model| model.surfaces.contains(&Surface::RawPredict)) {
            Some(true) => {}
            Some(false) => return Err(GoogleError::not_served_by(Surface::RawPredict)),
            None => return Err(GoogleError::unknown_model(request.target, PUBLISHER, &name)),
        }
    }
    let asked = request.json().await?;
    let ApiRequest { shared, target, head, .. } = request;
    let context = Context {
        chat: &shared.chat,
        cache: &shared.prompt_cache,
        models: &shared.models,
        headers: &head.headers,
        project: target.project,
        now: shared.now().seconds(),
    };
    if name == COUNT_TOKENS {
        return Ok(match count_tokens(context.models, context.headers, &asked) {
            Ok(count) => ok(count),
            Err(why) => invalid(&why),
        });
    }
    Ok(match respond(&context, &name, &asked) {
        Ok(reply) if is_streamed(method, &asked) => {
            let script = reply.stream(shared.stream_behavior().chunks);
            Reply::Stream { script, content_type: EVENTS }
        }
        Ok(reply) => ok(reply.whole()),
        Err(why) => invalid(&why),
    })
}

/// Whether the response is a stream. Clients let the method and `stream` agree, and no source
/// shows what the service does with others. A whole message is assumed: `rawPredict` never streams
/// (diegosouzapw/OmniRoute pull request 8909), and the body reaches the model's server unchanged.
fn is_streamed(method: ModelMethod, asked: &Map<String, Value>) -> bool {
    method.is_streamed() && asked.get("stream") == Some(&Value::Bool(true))
}

fn invalid(message: &str) -> Reply {
    Reply::json(StatusCode::BAD_REQUEST, &error(StatusCode::BAD_REQUEST, message))
}

/// An error in Anthropic's form.
pub(crate) fn error(status: StatusCode, message: &str) -> Value {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({
        "type": "error",
        "error": { "type": kind, "message": message },
        "request_id": message::id("req"),
    })
}
