//! The bodies of responses that are not streams.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

/// A JSON response with Google's content type.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    with_type(status, "application/json; charset=UTF-8", body.to_string())
}

/// The page of the front end for requests that do not reach the service: an unknown path, verb or
/// host.
pub(crate) fn html(status: StatusCode) -> Response<Full<Bytes>> {
    let code = status.as_u16();
    let reason = status.canonical_reason().unwrap_or("Error");
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n\
         <meta name=viewport content=\"width=device-width\">\n\
         <title>Error {code} ({reason})!!1</title>\n\
         <style>\nbody {{ font-family: sans-serif; margin: 12% auto; max-width: 32em; }}\n\
         small {{ color: #666; }}\n</style>\n\
         <h1>{code} {reason}</h1>\n\
         <p>The emulator's front end answered this one: no method of the API has this host, \
         path and verb, so no token was looked at and no JSON will follow.\n\
         <p><small>A client that parses every error as JSON fails here, as it would in \
         production. Check the host against the location, then the version, the project and \
         the endpoint in the path.</small>\n<!--"
    );
    // The real page has this length, which is enough to overflow a log line or a small buffer.
    while page.len() < 1557 {
        page.push('.');
    }
    page.push_str("-->\n");
    with_type(status, "text/html; charset=UTF-8", page)
}

pub(crate) fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    #[test]
    fn the_page_is_as_long_as_the_real_one() {
        for status in [StatusCode::NOT_FOUND, StatusCode::BAD_GATEWAY] {
            assert_eq!(html(status).body().size_hint().exact(), Some(1561));
        }
    }
}
