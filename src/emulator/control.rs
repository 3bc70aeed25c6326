//! `/__emulator/`: what the Rust methods do, for tests in any language.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    google_errors, key,
    settings::{Faults, TokenBehavior},
    state::{Shared, lock},
};

/// The largest setting, in bytes.
const LIMIT: usize = 1024 * 1024;

/// What goes wrong is a status and a sentence.
type Answer = Result<Value, (StatusCode, String)>;

pub(crate) async fn serve(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    match answer(&shared, request).await {
        Ok(body) => google_errors::json(StatusCode::OK, &body),
        Err((status, error)) => google_errors::json(status, &json!({ "error": error })),
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let name = path.strip_prefix("/__emulator/").unwrap_or_default();
    match (request.method(), name) {
        (&Method::GET, "requests") => show(&shared.requests()),
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
        (&Method::GET, "service_account_key") => {
            let token_uri = format!("{}/token", shared.control_url());
            // The first call makes the key, which would block the other connections.
            tokio::task::spawn_blocking(move || key::service_account(&token_uri))
                .await
                .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
        }
        (&Method::GET, "authorized_user") => {
            Ok(shared.user.file(&format!("{}/token", shared.control_url())))
        }
        (
            method,
            "requests"
            | "stats"
            | "revoke"
            | "token"
            | "faults"
            | "service_account_key"
            | "authorized_user",
        ) => {
            let error = format!("{path} does not take {method}");
            Err((StatusCode::METHOD_NOT_ALLOWED, error))
        }
        _ => {
            let error = format!(
                "no {path} here; there is requests, stats, revoke, token, faults, \
                 service_account_key and authorized_user, under /__emulator/"
            );
            Err((StatusCode::NOT_FOUND, error))
        }
    }
}

fn bad_request(error: String) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, error)
}

fn show(value: &impl Serialize) -> Answer {
    serde_json::to_value(value)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, (StatusCode, String)> {
    let body = Limited::new(request.into_body(), LIMIT).collect().await;
    let body: Bytes = body.map_err(|error| bad_request(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| bad_request(error.to_string()))
}
