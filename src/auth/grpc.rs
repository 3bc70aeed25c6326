//! gRPC calls that end with UNAUTHENTICATED before their first message.
//!
//! The status of such a call is in the headers of its response, which has no body: the form
//! "Trailers-Only" of gRPC over HTTP/2. Google's front ends send it for a token that they reject. If
//! the status comes in trailers, the caller may have messages already, and the call is not sent
//! again.
//!
//! Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body::Body;

const GRPC: &[u8] = b"application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The code of UNAUTHENTICATED in `grpc-status`.
const UNAUTHENTICATED: &[u8] = b"16";

/// Whether the service rejected the token, and sent nothing but that.
#[inline]
pub(super) fn rejects_the_token<R: Body>(response: &Response<R>) -> bool {
    match response.status() {
        StatusCode::UNAUTHORIZED => true,
        StatusCode::OK => is_grpc(response.headers()) && is_unauthenticated(response),
        _ => false,
    }
}

/// Whether it is `application/grpc`, with a suffix such as `+proto` or without. The status of
/// `application/grpc-web` is in the body.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return false };
    kind.as_bytes().split_at_checked(GRPC.len()).is_some_and(|(kind, rest)| {
        kind.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
    })
}

#[cold]
fn is_unauthenticated<R: Body>(response: &Response<R>) -> bool {
    let status = response.headers().get(GRPC_STATUS);
    status.is_some_and(|status| status.as_bytes() == UNAUTHENTICATED)
        && response.body().is_end_stream()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_401_or_the_grpc_status_of_an_empty_response_rejects_a_token() {
        for (status, kind, grpc_status, body, rejects) in [
            (401, "text/html", "", "no", true),
            (401, "application/grpc", "", "", true),
            (200, "application/grpc", "16", "", true),
            (200, "application/grpc+proto", "16", "", true),
            (200, "Application/gRPC; charset=utf-8", "16", "", true),
            (200, "application/grpc", "16", "message", false),
            (200, "application/grpc", "", "", false),
            (200, "application/grpc", "0", "", false),
            (200, "application/grpc", "7", "", false),
            (200, "application/grpc", "160", "", false),
            (200, "application/grpc", " 16", "", false),
            (200, "application/grpc-web", "16", "", false),
            (200, "application/grpc-web+proto", "16", "", false),
            (200, "application/grpcs", "16", "", false),
            (200, "application/json", "16", "", false),
            (200, "", "16", "", false),
            (403, "application/grpc", "16", "", false),
            (503, "application/grpc", "16", "", false),
        ] {
            let mut response = Response::new(body.to_owned());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in [(header::CONTENT_TYPE, kind), (GRPC_STATUS, grpc_status)] {
                if !value.is_empty() {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
            }
            assert_eq!(rejects_the_token(&response), rejects, "{response:?}");
        }
    }
}
