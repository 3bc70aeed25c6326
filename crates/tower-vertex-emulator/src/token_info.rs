//! Facts about a token: `/tokeninfo` of Google's OAuth, and `/v1/introspect` of the Security Token
//! Service.

use std::sync::Arc;

use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::{
    google_errors::{html, json as json_response},
    grant::{Answer, Fields, ok, receive},
    id_token, key,
    state::{Shared, lock},
    sts::{client_unknown, shows_client},
    tokens::{Bearer, Verdict},
};

/// Whether a path is one of `/tokeninfo`.
pub(crate) fn is_path(path: &str) -> bool {
    matches!(path, "/tokeninfo" | "/oauth2/v1/tokeninfo" | "/oauth2/v3/tokeninfo")
}

/// `/tokeninfo`. The token is in the query, in a form, or in the `Authorization` header, which
/// google-auth-library for Node.js uses.
pub(crate) async fn token_info(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    if ![Method::GET, Method::POST].contains(request.method()) {
        return html(StatusCode::NOT_FOUND);
    }
    let (parts, body) = match receive(&shared, request).await {
        Ok(received) => received,
        Err(stop) => return stop.into(),
    };
    let query = parts.uri.query().unwrap_or_default();
    let (query, form) = (Fields::Form(query.as_bytes()), Fields::parse(&body));
    let field = |name: &str| {
        let value = query.get(name).or_else(|| form.get(name));
        value.map(|value| value.into_owned())
    };
    if let Some(claims) = field("id_token").and_then(|token| key::claims(&token)) {
        return ok(&as_texts(claims));
    }
    let in_header = || {
        let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    };
    let token = field("access_token").or_else(in_header).unwrap_or_default();
    match known(&shared, &token) {
        Some((bearer, left)) => ok(&facts(&shared, &bearer, left)),
        None => json_response(
            StatusCode::BAD_REQUEST,
            &json!({ "error": "invalid_token", "error_description": "Invalid Value" }),
        ),
    }
}

/// A valid token and its remaining seconds.
fn known(shared: &Shared, token: &str) -> Option<(Bearer, u64)> {
    let Verdict::Valid(bearer) = shared.judge(token) else { return None };
    Some((bearer, lock(&shared.tokens).remaining(token)?))
}

fn facts(shared: &Shared, bearer: &Bearer, left: u64) -> Value {
    let subject = id_token::subject(&bearer.principal);
    let mut facts = json!({
        "azp": subject, "aud": subject, "sub": subject, "access_type": "online",
        "exp": (shared.now().seconds() + left.cast_signed()).to_string(),
        "expires_in": left.to_string(),
        "scope": bearer.rights.scopes().map(ToString::to_string),
    });
    if bearer.principal.contains('@') {
        facts["email"] = bearer.principal.as_ref().into();
        facts["email_verified"] = "true".into();
    }
    facts
}

/// The claims of an ID token, as `/tokeninfo` returns them: each value is a text.
fn as_texts(claims: Map<String, Value>) -> Value {
    let text = |value: Value| match value {
        Value::Number(_) | Value::Bool(_) => value.to_string().into(),
        value => value,
    };
    claims.into_iter().map(|(name, value)| (name, text(value))).collect()
}

/// `/v1/introspect` (RFC 7662), to which the `token_info_url` of a credential file leads. It needs
/// the client of the workforce login.
pub(crate) async fn introspect(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return html(StatusCode::NOT_FOUND);
    }
    let (parts, body) = match receive(&shared, request).await {
        Ok(received) => received,
        Err(stop) => return stop.into(),
    };
    if !shows_client(&parts, &shared.credentials.workforce) {
        return client_unknown();
    }
    let token = Fields::parse(&body).get("token").unwrap_or_default().into_owned();
    ok(&match known(&shared, &token) {
        None => json!({ "active": false }),
        Some((bearer, left)) => json!({
            "active": true,
            "sub": bearer.principal,
            "username": bearer.principal,
            "iss": "https://sts.googleapis.com/",
            "exp": shared.now().seconds() + left.cast_signed(),
            "scope": bearer.rights.scopes().map(ToString::to_string),
        }),
    })
}
