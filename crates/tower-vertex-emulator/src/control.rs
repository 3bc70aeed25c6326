//! The control API `/__emulator/`: the Rust methods, for tests in any language.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    chat::ChatBehavior,
    credentials::{Addresses, CredentialKind},
    google_errors,
    refusals::Refusals,
    settings::Faults,
    state::{Shared, lock},
    token_settings::TokenBehavior,
};
use crate::cross_origin::{Host, Initiator, authorities, initiator};

/// The largest body of a setting, in bytes.
const LIMIT: usize = 1024 * 1024;

/// The names under `/__emulator/`, without the credential files.
const NAMES: [&str; 9] =
    ["requests", "stats", "revoke", "token", "faults", "chat", "certificate", "models", "refusals"];
/// The credential files, and the subject token that two of them need.
const FILES: [&str; 7] = [
    "service_account_key",
    "authorized_user",
    "external_account",
    "external_account_impersonated",
    "external_account_authorized_user",
    "impersonated_service_account",
    "subject_token",
];

/// The result of a request; an error is a status and a sentence.
type Answer = Result<Value, (StatusCode, String)>;

pub(crate) async fn serve(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    match answer(&shared, request).await {
        // The text is returned without JSON, so that it can be written to a file.
        Ok(Value::String(text)) => {
            google_errors::with_type(StatusCode::OK, "text/plain; charset=utf-8", text)
        }
        Ok(body) => google_errors::json(StatusCode::OK, &body),
        Err((status, error)) => google_errors::json(status, &json!({ "error": error })),
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Answer {
    refuse_pages(shared, &request)?;
    let path = request.uri().path().to_owned();
    let name = path.strip_prefix("/__emulator/").unwrap_or_default();
    match (request.method(), name) {
        (&Method::GET, "requests") => show(&shared.requests()),
        (&Method::GET, "models") => show(&shared.models.all()),
        (&Method::GET, "stats") => show(&shared.stats()),
        (&Method::DELETE, "stats") => {
            shared.reset_stats();
            show(&shared.stats())
        }
        (&Method::POST, "revoke") => Ok(json!({ "revoked": lock(&shared.tokens).revoke() })),
        (&Method::GET, "token") => show(lock(&shared.tokens).behavior()),
        (&Method::PUT, "token") => {
            let behavior: TokenBehavior = read(request).await?;
            behavior.check().map_err(bad_request)?;
            let mut tokens = lock(&shared.tokens);
            tokens.set_behavior(behavior);
            show(tokens.behavior())
        }
        (&Method::GET, "faults") => show(&shared.faults()),
        (&Method::PUT, "faults") => {
            let faults: Faults = read(request).await?;
            faults.check().map_err(bad_request)?;
            shared.set_faults(faults);
            show(&shared.faults())
        }
        (&Method::DELETE, "faults") => {
            shared.set_faults(Faults::default());
            show(&shared.faults())
        }
        (&Method::GET, "chat") => show_chat(shared),
        (&Method::PUT, "chat") => {
            let behavior: ChatBehavior = read(request).await?;
            shared.chat.set_behavior(behavior);
            show_chat(shared)
        }
        (&Method::DELETE, "chat") => {
            shared.chat.set_behavior(ChatBehavior::default());
            shared.chat.reset_counts();
            show_chat(shared)
        }
        (&Method::GET, "refusals") => show(&shared.refusals()),
        (&Method::PUT, "refusals") => {
            shared.set_refusals(read(request).await?);
            show(&shared.refusals())
        }
        (&Method::DELETE, "refusals") => {
            shared.set_refusals(Refusals::default());
            show(&shared.refusals())
        }
        (&Method::GET, name) if FILES.contains(&name) => {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let (shared, name) = (shared.clone(), name.to_owned());
            // The first request for the key parses it, which would block other connections.
            tokio::task::spawn_blocking(move || file(&shared, &name, &query))
                .await
                .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?
        }
        (&Method::GET, "certificate") => {
            let without = "this emulator has no certificate, because it serves without TLS";
            let certificate = shared.certificate.clone();
            certificate.map(Value::String).ok_or((StatusCode::NOT_FOUND, without.to_owned()))
        }
        (method, name) if NAMES.contains(&name) || FILES.contains(&name) => {
            let error = format!("{path} does not take {method}");
            Err((StatusCode::METHOD_NOT_ALLOWED, error))
        }
        _ => {
            let (names, files) = (NAMES.join(", "), FILES.join(", "));
            let error = format!("no {path} here; there is {names}, {files}, under /__emulator/");
            Err((StatusCode::NOT_FOUND, error))
        }
    }
}

/// Refuses requests from web pages: only tests may use the control API, not a page in a browser on
/// the same machine.
fn refuse_pages<B>(shared: &Shared, request: &Request<B>) -> Result<(), (StatusCode, String)> {
    let (uri, headers) = (request.uri(), request.headers());
    let is_own = |name| Host::parse(name).is_some_and(|host| host.is_loopback());
    let foreign = shared.control_addr.ip().is_loopback() && !authorities(uri, headers).all(is_own);
    if foreign || initiator(uri, headers) != Initiator::Own {
        let error = "control is not for web pages: use 127.0.0.1 or localhost, without `Origin`";
        return Err((StatusCode::FORBIDDEN, error.to_owned()));
    }
    Ok(())
}

/// A credential file, or the subject token. The query may have `file`, the path of the subject token,
/// and `at=google`, for the addresses in a file of Google.
fn file(shared: &Shared, name: &str, query: &str) -> Answer {
    let kind = match name {
        "service_account_key" => CredentialKind::ServiceAccount,
        "authorized_user" => CredentialKind::AuthorizedUser,
        "impersonated_service_account" => CredentialKind::ImpersonatedServiceAccount,
        "external_account" => CredentialKind::ExternalAccount,
        "external_account_impersonated" => CredentialKind::ExternalAccountImpersonated,
        "external_account_authorized_user" => CredentialKind::ExternalAccountAuthorizedUser,
        _ => return Ok(shared.credentials.subject_token.as_str().into()),
    };
    let (own, mut at, mut subject_token_file) = (shared.control_url(), None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (name.as_ref(), value.as_ref()) {
            ("file", path) if !path.is_empty() => subject_token_file = Some(PathBuf::from(path)),
            ("at", "google") => at = Some(Addresses::Google),
            ("at", _) => return Err(bad_request("`at` must be `google`".into())),
            _ => {}
        }
    }
    let needs_file = matches!(
        kind,
        CredentialKind::ExternalAccount | CredentialKind::ExternalAccountImpersonated
    );
    if needs_file && subject_token_file.is_none() {
        return Err(bad_request("name the file of the subject token: ?file=PATH".into()));
    }
    let at = at.unwrap_or(Addresses::Own(&own));
    Ok(shared.credentials.file(kind, at, &subject_token_file.unwrap_or_default()))
}

fn bad_request(error: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, error)
}

fn show(value: &impl Serialize) -> Answer {
    serde_json::to_value(value)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// The settings of the chat responses, and the counts of thought signatures.
fn show_chat(shared: &Shared) -> Answer {
    let mut behavior = show(&shared.chat.behavior())?;
    behavior["signatures"] = show(&shared.chat.counts())?;
    Ok(behavior)
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, (StatusCode, String)> {
    let body = Limited::new(request.into_body(), LIMIT).collect().await;
    let body: Bytes = body.map_err(|error| bad_request(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| bad_request(error.to_string()))
}
