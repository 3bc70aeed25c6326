//! Converts decisions to Envoy's messages.

use std::collections::BTreeSet;

use bytes::Bytes;
use envoy_types::pb::{
    envoy::{
        config::core::v3::{
            HeaderValue as EnvoyHeader, HeaderValueOption, header_value_option::HeaderAppendAction,
        },
        service::auth::v3::{
            CheckResponse, DeniedHttpResponse, OkHttpResponse, check_response::HttpResponse,
        },
        r#type::v3::HttpStatus,
    },
    google::rpc,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use tonic::Code;

use super::ext_authz::Passed;
use crate::proxy::handler::REQUEST_ID;

/// Envoy has removed these headers already, or sets them itself. It refuses to remove `host`.
const ENVOYS: [&str; 8] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that must be removed even if Envoy does not show all headers. Such an Envoy forwards the
/// headers that it does not show, except these.
const UNSEEN: [&str; 26] = [
    "api-key",
    "cf-access-jwt-assertion",
    "cookie",
    "forwarded",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "origin",
    "proxy-authorization",
    "referer",
    "x-amzn-oidc-data",
    "x-api-key",
    "x-auth-request-access-token",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-goog-api-key",
    "x-goog-iap-jwt-assertion",
    "x-goog-quota-user",
    "x-goog-user-project",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-real-ip",
    "x-serverless-authorization",
];

/// Overwrites a header that is present. The value is text, because Envoy 1.40 ignores `raw_value`
/// here.
fn set(name: &str, value: &[u8]) -> HeaderValueOption {
    let value = String::from_utf8_lossy(value).into_owned();
    overwrite(EnvoyHeader { key: name.to_owned(), value, raw_value: Vec::new() })
}

/// The same for `ext_proc`, where Envoy reads only `raw_value`.
pub(super) fn set_raw(name: &str, value: &[u8]) -> HeaderValueOption {
    let raw_value = value.to_vec();
    overwrite(EnvoyHeader { key: name.to_owned(), value: String::new(), raw_value })
}

#[allow(deprecated)] // All fields have to be named.
fn overwrite(header: EnvoyHeader) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(header),
        append: None,
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        keep_empty_value: true,
    }
}

/// Headers of the client that must not be forwarded. Envoy's own headers can be removed only by its
/// configuration.
fn removed(passed: &Passed) -> Vec<String> {
    let seen = passed.removed.iter().map(HeaderName::as_str);
    let names: BTreeSet<&str> = seen.chain(UNSEEN).collect();
    let is_envoys = |name: &str| ENVOYS.contains(&name) || name.starts_with("x-envoy-");
    let names = names.into_iter().filter(|name| !is_envoys(name));
    names.filter(|name| !passed.set.contains_key(*name)).map(str::to_owned).collect()
}

pub(super) fn pass(passed: &Passed) -> CheckResponse {
    let uri = &passed.uri;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut headers = vec![set(":path", path.as_bytes()), set(":authority", host.as_bytes())];
    for name in passed.set.keys() {
        let mut action = HeaderAppendAction::OverwriteIfExistsOrAdd;
        for value in passed.set.get_all(name) {
            headers.push(HeaderValueOption {
                append_action: action.into(),
                ..set(name.as_str(), value.as_bytes())
            });
            action = HeaderAppendAction::AppendIfExistsOrAdd;
        }
    }
    let mut told = HeaderMap::new();
    passed.cors.put_on(&mut told);
    let response_headers_to_add = told.iter().map(|(name, value)| HeaderValueOption {
        append_action: if name == header::VARY {
            HeaderAppendAction::AppendIfExistsOrAdd.into()
        } else {
            HeaderAppendAction::OverwriteIfExistsOrAdd.into()
        },
        ..set(name.as_str(), value.as_bytes())
    });
    let ok = OkHttpResponse {
        headers,
        headers_to_remove: removed(passed),
        response_headers_to_add: response_headers_to_add.collect(),
        ..Default::default()
    };
    response(Code::Ok, HttpResponse::OkResponse(ok))
}

pub(super) fn answer(answer: &Response<Bytes>, id: &HeaderValue) -> CheckResponse {
    let mut headers: Vec<_> =
        answer.headers().iter().map(|(name, value)| set(name.as_str(), value.as_bytes())).collect();
    // Envoy computes the length itself.
    headers.retain(|header| {
        header.header.as_ref().is_some_and(|header| header.key != header::CONTENT_LENGTH.as_str())
    });
    headers.push(set(REQUEST_ID.as_str(), id.as_bytes()));
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: answer.status().as_u16().into() }),
        headers,
        body: String::from_utf8_lossy(answer.body()).into_owned(),
    };
    response(Code::PermissionDenied, HttpResponse::DeniedResponse(denied))
}

fn response(code: Code, http: HttpResponse) -> CheckResponse {
    CheckResponse {
        status: Some(rpc::Status { code: code.into(), ..Default::default() }),
        http_response: Some(http),
        ..Default::default()
    }
}
