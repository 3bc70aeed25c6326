//! The metadata server of a virtual machine.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::{
    credentials::MACHINE,
    endpoints::PROJECT_NUMBER,
    google_errors::{html, with_type},
    grant::{Answer, Stop, issue, ok, receive},
    key::PROJECT,
    scopes::{CLOUD_PLATFORM, Scopes},
    state::Shared,
    token_settings::Origin,
};

const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

pub(crate) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let mut response = answer(&shared, request).await;
    response.headers_mut().insert(FLAVOR, HeaderValue::from_static("Google"));
    response
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Answer {
    if request.method() != Method::GET {
        return html(StatusCode::NOT_FOUND);
    }
    if !has_flavor(request.headers()) {
        return with_type(
            StatusCode::FORBIDDEN,
            "text/html; charset=UTF-8",
            "Missing Metadata-Flavor:Google header.".into(),
        );
    }
    let path = request.uri().path().replace("%40", "@");
    let path = path.strip_prefix("/computeMetadata/v1/").unwrap_or(&path);
    let account = path.strip_prefix("instance/service-accounts/");
    let account = account
        .and_then(|rest| rest.strip_prefix("default").or_else(|| rest.strip_prefix(MACHINE)));
    match (path, account) {
        ("/", _) => text("computeMetadata/\n"),
        ("project/project-id", _) => text(PROJECT),
        ("project/numeric-project-id", _) => text(PROJECT_NUMBER),
        ("universe/universe-domain", _) => text("googleapis.com"),
        (_, Some("/email")) => text(MACHINE),
        (_, Some("/scopes")) => text(&format!("{CLOUD_PLATFORM}\n")),
        // Libraries look up their account here with `?recursive=true`.
        (_, Some("" | "/")) => {
            ok(&json!({ "aliases": ["default"], "email": MACHINE, "scopes": [CLOUD_PLATFORM] }))
        }
        // The token has the only scope of the machine, regardless of `?scopes=`.
        (_, Some("/token")) => match receive(shared, request).await {
            Ok(_) => ok(&issue(shared, MACHINE.into(), Scopes::cloud_platform(), Origin::Other)),
            Err(Stop::Told(StatusCode::TOO_MANY_REQUESTS)) => with_type(
                StatusCode::TOO_MANY_REQUESTS,
                "text/plain; charset=utf-8",
                "Too many requests.\n".into(),
            ),
            Err(stop) => stop.into(),
        },
        _ => html(StatusCode::NOT_FOUND),
    }
}

fn has_flavor(headers: &HeaderMap) -> bool {
    headers.get(FLAVOR).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"google"))
}

fn text(body: &str) -> Answer {
    with_type(StatusCode::OK, "application/text", body.to_owned())
}
