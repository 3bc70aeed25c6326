//! Google's OAuth token endpoint, for assertions of a service account and refresh tokens of a user.

use std::sync::Arc;

use http::{Method, Request, StatusCode, header, request::Parts, uri::Authority};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    credentials::Login,
    google_errors::{html, json as json_response},
    grant::{Answer, Fields, Refusal, issue, ok, receive, refuse},
    id_token,
    key::{self, Asked},
    scopes::{CLOUD_PLATFORM, Scopes},
    state::{Shared, lock},
    token_settings::{Origin, UserGrantFault},
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The names of the token endpoint. Each is a valid audience of each request:
/// google-auth for Python always sends the first one, even if `token_uri` in the file is another.
const NAMES: [&str; 3] = [
    "https://oauth2.googleapis.com/token",
    "https://www.googleapis.com/oauth2/v4/token",
    "https://accounts.google.com/o/oauth2/token",
];

/// The scopes to which the user agreed: those of `gcloud auth application-default login`.
const USER_SCOPES: [&str; 3] =
    ["openid", "https://www.googleapis.com/auth/userinfo.email", CLOUD_PLATFORM];

/// Serves `/token` at `oauth2.googleapis.com`, and the older addresses of the same endpoint. `gcp_auth`
/// uses `/o/oauth2/token` at `accounts.google.com`.
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
            Ok(Asked::AccessToken(scopes)) => {
                ok(&issue(&shared, key::EMAIL.into(), scopes, Origin::Other))
            }
            Ok(Asked::IdToken(audience)) => {
                shared.count(|stats| stats.token_mints += 1);
                let token = id_token::of_account(&shared, key::EMAIL, &audience);
                ok(&json!({ "id_token": token }))
            }
            Err(refusal) => refuse(refusal),
        },
        Some("refresh_token") => {
            let user = &shared.credentials.user;
            let (id, secret) = (fields.get("client_id"), fields.get("client_secret"));
            if !user.is_client(id.as_deref(), secret.as_deref()) {
                return refuse(("invalid_client", "The OAuth client was not found."));
            }
            match check_refresh(&shared, user, &fields) {
                Ok(_) => match granted_scopes(&fields) {
                    Ok(scopes) => ok(&refreshed(&shared, user, scopes)),
                    Err(refusal) => refuse(refusal),
                },
                Err(why) => why.into(),
            }
        }
        Some(_) => refuse(("unsupported_grant_type", "Invalid grant_type.")),
        None => refuse(("invalid_request", "Missing required parameter: grant_type")),
    }
}

/// The scopes in a refresh grant, or all to which the user agreed.
fn granted_scopes(fields: &Fields<'_>) -> Result<Scopes, Refusal> {
    let asked = fields.get("scope").unwrap_or_default();
    if asked.trim().is_empty() {
        return Scopes::parse(USER_SCOPES);
    }
    // A user cannot get more scopes by a refresh than by the login.
    let refused = ("invalid_scope", "Bad Request");
    let scopes = Scopes::parse(asked.split_whitespace()).map_err(|_| refused)?;
    let granted = scopes.iter().all(|scope| USER_SCOPES.contains(&scope));
    if granted { Ok(scopes) } else { Err(refused) }
}

/// The response to a user: it has the scopes, and an ID token if `openid` is one of them.
fn refreshed(shared: &Shared, user: &Login, scopes: Scopes) -> Value {
    let (scope, is_openid) = (scopes.to_string(), scopes.contains("openid"));
    let mut token = issue(shared, user.principal.into(), scopes, Origin::Other);
    token["scope"] = scope.into();
    if is_openid {
        token["id_token"] = id_token::of_account(shared, user.principal, user.client_id).into();
    }
    token
}

fn check_assertion(shared: &Shared, parts: &Parts, fields: &Fields<'_>) -> Result<Asked, Refusal> {
    let missing = ("invalid_request", "Missing required parameter: assertion");
    let assertion = fields.get("assertion").ok_or(missing)?;
    key::verify(&assertion, &audiences(shared, parts), shared.now().seconds())
}

/// The audiences under which the token endpoint can be addressed: Google's, its own, and that of
/// this request.
fn audiences(shared: &Shared, parts: &Parts) -> Vec<String> {
    let mut audiences: Vec<String> = NAMES.iter().map(|&name| name.to_owned()).collect();
    audiences.push(format!("{}/token", shared.control_url()));
    audiences.push(format!("{}/token", shared.url()));
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
