//! Names of operations on a model, from OpenTelemetry's conventions for GenAI.

use http::Method;

/// The operation of a request; `None` if the request is not for a model.
pub(crate) fn operation(method: &Method, path: &str) -> Option<&'static str> {
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
    let id = usual(path).strip_prefix("/responses/")?;
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
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(operation(&method, path), expected, "{method} {path}");
        }
    }
}
