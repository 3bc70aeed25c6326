//! Google's OAuth token endpoint, for assertions of a service account and refresh tokens of a user.

use std::sync::Arc;

use http::{Method, Request, StatusCode, header, request::Parts, uri::Authority};
use hyper::body::Incoming;
use serde_json::json;

use super::{
    credentials::Login,
    google_errors::{html, json as json_response},
    grant::{Answer, Fields, Refusal, issue, ok, receive, refuse},
    key,
    state::{Shared, lock},
    token_settings::UserGrantFault,
    tokens::Scope,
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Serves `/token` at `oauth2.googleapis.com`, and `/o/oauth2/token` at `accounts.google.com`,
/// which `gcp_auth` uses.
pub(crate) async fn token(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return html(StatusCode::NOT_FOUND);
    }
    let (parts, body) = match receive(&shared, request).await {
        Ok(received) => received,
        Err(stop) => return stop.into(),
    };
    let fields = Fields::parse(&body);
    match fields.get("grant_type").as_deref() {
        Some(JWT_BEARER) => match check_assertion(&shared, &parts, &fields) {
            Ok(()) => ok(&issue(&shared, key::EMAIL.into(), Scope::CloudPlatform)),
            Err(refusal) => refuse(refusal),
        },
        Some("refresh_token") => {
            let user = &shared.credentials.user;
            let (id, secret) = (fields.get("client_id"), fields.get("client_secret"));
            if !user.is_client(id.as_deref(), secret.as_deref()) {
                return refuse(("invalid_client", "The OAuth client was not found."));
            }
            match check_refresh(&shared, user, &fields) {
                Ok(_) => ok(&issue(&shared, user.principal.into(), Scope::CloudPlatform)),
                Err(why) => why.into(),
            }
        }
        Some(_) => refuse(("unsupported_grant_type", "Invalid grant_type.")),
        None => refuse(("invalid_request", "Missing required parameter: grant_type")),
    }
}

fn check_assertion(shared: &Shared, parts: &Parts, fields: &Fields<'_>) -> Result<(), Refusal> {
    let missing = ("invalid_request", "Missing required parameter: assertion");
    let assertion = fields.get("assertion").ok_or(missing)?;
    key::verify(&assertion, &audiences(shared, parts), shared.now().seconds())
}

/// The audiences under which the token endpoint can be addressed: its own, and that of this
/// request.
fn audiences(shared: &Shared, parts: &Parts) -> Vec<String> {
    let mut audiences =
        vec![format!("{}/token", shared.control_url()), format!("{}/token", shared.url())];
    if let Some(authority) = authority(parts) {
        let path = parts.uri.path();
        audiences.extend(["http", "https"].map(|scheme| format!("{scheme}://{authority}{path}")));
    }
    audiences
}

fn authority(parts: &Parts) -> Option<Authority> {
    let named = || parts.headers.get(header::HOST)?.to_str().ok()?.parse().ok();
    parts.uri.authority().cloned().or_else(named)
}

/// The reason why a refresh grant fails.
pub(crate) enum Unrefreshed {
    Refused(Refusal),
    /// The fault [`UserGrantFault::ReauthRequired`]. Its response has more fields than a usual
    /// refusal.
    ReauthRequired,
}

impl From<Unrefreshed> for Answer {
    fn from(why: Unrefreshed) -> Self {
        match why {
            Unrefreshed::Refused(refusal) => refuse(refusal),
            Unrefreshed::ReauthRequired => json_response(
                StatusCode::BAD_REQUEST,
                &json!({
                    "error": "invalid_grant",
                    "error_description": "reauth related error (invalid_rapt)",
                    "error_uri": "https://support.google.com/a/answer/9368756",
                    "error_subtype": "invalid_rapt",
                }),
            ),
        }
    }
}

/// The refresh token in the fields, if it belongs to this login and the login is still valid.
pub(crate) fn check_refresh(
    shared: &Shared,
    login: &Login,
    fields: &Fields<'_>,
) -> Result<String, Unrefreshed> {
    let refused = |error, description| Err(Unrefreshed::Refused((error, description)));
    let Some(shown) = fields.get("refresh_token") else {
        return refused("invalid_request", "Missing required parameter: refresh_token");
    };
    if !login.is_refresh_token(&shown) {
        return refused("invalid_grant", "Bad Request");
    }
    let fault = lock(&shared.tokens).behavior().user_grant;
    match fault {
        None => Ok(shown.into_owned()),
        Some(UserGrantFault::Revoked) => {
            refused("invalid_grant", "Token has been expired or revoked.")
        }
        Some(UserGrantFault::ReauthRequired) => Err(Unrefreshed::ReauthRequired),
    }
}
