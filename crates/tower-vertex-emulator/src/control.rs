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
    credentials, google_errors,
    settings::Faults,
    state::{Shared, lock},
    token_settings::TokenBehavior,
};
use crate::cross_origin::{Host, Initiator, authorities, initiator};

/// The largest body of a setting, in bytes.
const LIMIT: usize = 1024 * 1024;

/// The names under `/__emulator/`, without the credential files.
const NAMES: [&str; 7] = ["requests", "stats", "revoke", "token", "faults", "chat", "models"];
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
        (&Method::GET, name) if FILES.contains(&name) => {
            let query = request.uri().query().unwrap_or_default();
            let subject_token_file = form_urlencoded::parse(query.as_bytes())
                .find(|(name, value)| name == "file" && !value.is_empty())
                .map(|(_, value)| PathBuf::from(value.as_ref()));
            let (shared, name) = (shared.clone(), name.to_owned());
            // The first request for the key parses it, which would block other connections.
            tokio::task::spawn_blocking(move || file(&shared, &name, subject_token_file))
                .await
                .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?
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

fn file(shared: &Shared, name: &str, subject_token_file: Option<PathBuf>) -> Answer {
    let base = shared.control_url();
    let known = &shared.credentials;
    Ok(match name {
        "service_account_key" => credentials::service_account(&base),
        "authorized_user" => known.authorized_user(&base),
        "external_account_authorized_user" => known.external_account_authorized_user(&base),
        "impersonated_service_account" => known.impersonated_service_account(&base),
        "subject_token" => known.subject_token.as_str().into(),
        _ => {
            let missing = "name the file of the subject token: ?file=PATH";
            let file = subject_token_file.ok_or_else(|| bad_request(missing.into()))?;
            if name == "external_account" {
                credentials::external_account(&base, &file)
            } else {
                credentials::external_account_impersonated(&base, &file)
            }
        }
    })
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
