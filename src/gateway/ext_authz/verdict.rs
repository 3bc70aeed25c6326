//! The verdict on a request in Envoy's words.

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
use http::{HeaderMap, HeaderValue, Response, header};
use tonic::Code;

use super::check::Passed;
use crate::{
    gateway::app::{QUOTA_PROJECT, REQUEST_ID},
    route::REMOVED,
};

/// Envoy has removed these already, or makes them anew, and refuses to have `host` removed.
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

/// Overwritten if it is there. Text: Envoy 1.40 does not look at `raw_value` here.
fn set(name: &str, value: &[u8]) -> HeaderValueOption {
    let value = String::from_utf8_lossy(value).into_owned();
    overwrite(EnvoyHeader { key: name.to_owned(), value, raw_value: Vec::new() })
}

/// The same for `ext_proc`, where it looks at nothing else.
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

/// Envoy may not show all headers here, so what must not travel is removed whether it was seen or not.
fn removed(passed: &Passed) -> Vec<String> {
    let names = REMOVED.iter().cloned().chain([QUOTA_PROJECT]);
    let names = names.filter(|name| !ENVOYS.contains(&name.as_str()));
    let names = names.filter(|name| !passed.set.contains_key(name));
    names.map(|name| name.to_string()).collect()
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
    // Envoy counts the bytes itself.
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
