//! Names of operations on a model, from OpenTelemetry's conventions for GenAI.

use http::Method;
use tower_vertex::route::{ModelPath, PathTarget};

/// The prefix of clients' paths.
const PREFIX: &str = "/v1";

/// The operation of a request; `None` if the request is not for a model.
pub(crate) fn operation(method: &Method, path: &str) -> Option<&'static str> {
    if let Some(path) = ModelPath::parse(path, PREFIX) {
        return of_model(method, path.target());
    }
    let path = usual(path);
    let is_invoked = path.starts_with("/invoke/");
    let is = |method_: &str| path == method_ || (is_invoked && path.ends_with(method_));
    match *method {
        Method::POST if is("/chat/completions") || is("/responses") => Some("chat"),
        Method::POST if is("/completions") => Some("text_completion"),
        Method::POST if is("/embeddings") => Some("embeddings"),
        _ => stored(method, path).map(|_| "fetch_response"),
    }
}

/// The operation of a path of Vertex AI's own, of the Gemini API or of Anthropic's. Counting tokens is
/// none.
fn of_model(method: &Method, target: PathTarget<'_>) -> Option<&'static str> {
    if let PathTarget::Responses { sub, .. } = target
        && method != Method::POST
    {
        return stored_below(method, sub).map(|_| "fetch_response");
    }
    let (model, name) = match target {
        _ if method != Method::POST => return None,
        PathTarget::Messages => return Some("chat"),
        PathTarget::Responses { sub: "responses", .. } => return Some("chat"),
        PathTarget::Model { model, method, .. } => (Some(model), method),
        PathTarget::Endpoint { method, .. } => (None, method),
        _ => return None,
    };
    match (name, model) {
        ("generateContent" | "streamGenerateContent", _) => Some("generate_content"),
        ("embedContent" | "batchEmbedContents", _) => Some("embeddings"),
        ("predict", Some(model)) if model.contains("embedding") => Some("embeddings"),
        // Models of images, of video and of speech.
        ("predict", Some(_)) => Some("generate_content"),
        ("rawPredict", Some("count-tokens")) => None,
        ("rawPredict" | "streamRawPredict", Some(_)) => Some("chat"),
        _ => None,
    }
}

/// The path without a prefix that some clients add (`/v1` or the full path of an endpoint), and
/// without a trailing slash.
fn usual(path: &str) -> &str {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (start, rest) = path.split_once("/endpoints/").unwrap_or_default();
    if start.contains("/projects/") {
        return rest.find('/').map_or("", |end| &rest[end..]);
    }
    path.strip_prefix("/v1").unwrap_or(path)
}

/// The id of the stored response that the request fetches.
pub(crate) fn stored<'a>(method: &Method, path: &'a str) -> Option<&'a str> {
    match ModelPath::parse(path, PREFIX).map(|path| path.target()) {
        Some(PathTarget::Responses { sub, .. }) => stored_below(method, sub),
        Some(_) => None,
        None => stored_below(method, usual(path).strip_prefix('/')?),
    }
}

/// The id of the stored response in a path without its beginning.
fn stored_below<'a>(method: &Method, sub: &'a str) -> Option<&'a str> {
    let id = sub.strip_prefix("responses/")?;
    (method == Method::GET && !id.is_empty() && !id.contains('/')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_has_the_name_of_the_conventions() {
        for (method, path, expected) in [
            ("POST", "/v1/chat/completions", Some("chat")),
            ("POST", "/chat/completions", Some("chat")),
            ("POST", "/v1/chat/completions/", Some("chat")),
            (
                "POST",
                "/v1/projects/p/locations/global/endpoints/openapi/chat/completions",
                Some("chat"),
            ),
            ("POST", "/v1/projects/p/locations/global/endpoints/7/embeddings/", Some("embeddings")),
            ("POST", "/v1/projects/p/locations/global/endpoints/openapi", None),
            (
                "GET",
                "/v1beta1/projects/p/locations/global/endpoints/openapi/responses/resp_1",
                Some("fetch_response"),
            ),
            ("GET", "/v1/chat/completions", None),
            ("POST", "/v1/completions", Some("text_completion")),
            ("POST", "/v1/embeddings", Some("embeddings")),
            ("POST", "/v1/responses", Some("chat")),
            ("GET", "/v1/responses/resp_1", Some("fetch_response")),
            ("DELETE", "/v1/responses/resp_1", None),
            ("GET", "/v1/responses/", None),
            ("GET", "/v1/responses/resp_1/input_items", None),
            ("POST", "/v1/invoke/v1/chat/completions", Some("chat")),
            ("POST", "/v1/invoke/predict", None),
            ("GET", "/v1/models", None),
            ("POST", "/v1beta/models/gemini-2.5-flash:generateContent", Some("generate_content")),
            ("POST", "/v1/models/m:streamGenerateContent", Some("generate_content")),
            ("GET", "/v1beta/models/m:generateContent", None),
            ("POST", "/v1beta/models/m:countTokens", None),
            ("POST", "/v1beta1/publishers/google/models/m:embedContent", Some("embeddings")),
            (
                "POST",
                "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict",
                Some("embeddings"),
            ),
            ("POST", "/v1/publishers/google/models/imagen-4:predict", Some("generate_content")),
            ("POST", "/v1/projects/p/locations/l/endpoints/7:predict", None),
            (
                "POST",
                "/v1/projects/p/locations/l/endpoints/7:generateContent",
                Some("generate_content"),
            ),
            ("POST", "/v1/messages", Some("chat")),
            ("POST", "/v1/messages/count_tokens", None),
            ("GET", "/v1/messages", None),
            ("POST", "/v1/publishers/anthropic/models/claude-opus-4:rawPredict", Some("chat")),
            ("POST", "/v1/publishers/anthropic/models/c@default:streamRawPredict", Some("chat")),
            ("POST", "/v1/publishers/anthropic/models/count-tokens:rawPredict", None),
            ("POST", "/v1/projects/p/locations/l/publishers/openai/v1/responses", Some("chat")),
            (
                "GET",
                "/v1/projects/p/locations/l/publishers/openai/v1/responses/resp_1",
                Some("fetch_response"),
            ),
            ("DELETE", "/v1/publishers/openai/v1/responses/resp_1", None),
            ("POST", "/v1/publishers/openai/v1/responses/compact", None),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(operation(&method, path), expected, "{method} {path}");
        }
    }
}
