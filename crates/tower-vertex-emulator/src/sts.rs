//! The Security Token Service: tokens for external identities (RFC 8693), and the refresh of a
//! workforce login.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, StatusCode, header, request::Parts};
use hyper::body::Incoming;

use super::{
    credentials::{Login, WORKFORCE, WORKLOAD},
    google_errors::html,
    grant::{Answer, Fields, Refusal, issue, ok, receive, refuse},
    oauth::check_refresh,
    scopes::Scopes,
    state::{Shared, lock},
    token_settings::Origin,
    tokens::Principal,
};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The accepted types of a subject token. The emulator has only one token, and checks nothing else.
const SUBJECT_TOKEN_TYPES: [&str; 4] = [
    "urn:ietf:params:oauth:token-type:jwt",
    "urn:ietf:params:oauth:token-type:id_token",
    "urn:ietf:params:oauth:token-type:saml2",
    "urn:ietf:params:aws:token-type:aws4_request",
];

/// `/v1/token`: exchanges a subject token for an access token.
pub(crate) async fn exchange(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return html(StatusCode::NOT_FOUND);
    }
    let body = match receive(&shared, request).await {
        Ok((_, body)) => body,
        Err(stop) => return stop.into(),
    };
    match check_exchange(&shared, &Fields::parse(&body)) {
        Ok((principal, scopes)) => {
            let mut token = issue(&shared, principal, scopes, Origin::Exchange);
            token["issued_token_type"] = ACCESS_TOKEN.into();
            ok(&token)
        }
        Err(refusal) => refuse(refusal),
    }
}

fn check_exchange(shared: &Shared, fields: &Fields<'_>) -> Result<(Principal, Scopes), Refusal> {
    let field = |name: &str, missing: &'static str| {
        let value = fields.get(name).filter(|value| !value.is_empty());
        value.ok_or(("invalid_request", missing))
    };
    if field("grant_type", "Missing required parameter: grant_type")? != TOKEN_EXCHANGE {
        return Err(("unsupported_grant_type", "Invalid grant_type."));
    }
    let audience = field("audience", "Missing required parameter: audience")?;
    let scope = field("scope", "Missing required parameter: scope")?;
    let requested =
        field("requested_token_type", "Missing required parameter: requested_token_type")?;
    let subject = field("subject_token", "Missing required parameter: subject_token")?;
    let kind = field("subject_token_type", "Missing required parameter: subject_token_type")?;

    if requested != ACCESS_TOKEN {
        return Err(("invalid_request", "Unsupported value of requested_token_type."));
    }
    if !SUBJECT_TOKEN_TYPES.contains(&kind.as_ref()) {
        return Err(("invalid_request", "Unsupported value of subject_token_type."));
    }
    let Some(pool) = [WORKLOAD, WORKFORCE].into_iter().find(|pool| pool.audience == audience)
    else {
        return Err((
            "invalid_target",
            "The target service indicated by the \"audience\" parameters is invalid. This might \
             either be because the pool or provider is disabled or deleted or because it doesn't \
             exist.",
        ));
    };
    let scopes = Scopes::parse(scope.split_whitespace())?;
    if subject != shared.credentials.subject_token {
        return Err(("invalid_grant", "The subject token is not the emulator's."));
    }
    Ok((pool.principal.into(), scopes))
}

/// `/v1/oauthtoken`: the refresh grant of a workforce login.
pub(crate) async fn refresh(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return html(StatusCode::NOT_FOUND);
    }
    let (parts, body) = match receive(&shared, request).await {
        Ok(received) => received,
        Err(stop) => return stop.into(),
    };
    let login = &shared.credentials.workforce;
    if !shows_client(&parts, login) {
        return client_unknown();
    }
    let fields = Fields::parse(&body);
    match fields.get("grant_type").as_deref() {
        Some("refresh_token") => {}
        Some(_) => return refuse(("unsupported_grant_type", "Invalid grant_type.")),
        None => return refuse(("invalid_request", "Missing required parameter: grant_type")),
    }
    let shown = match check_refresh(&shared, login, &fields) {
        Ok(shown) => shown,
        Err(why) => return why.into(),
    };
    let rotate = lock(&shared.tokens).behavior().rotate_refresh_token;
    let rotated = match rotate.then(|| login.rotate(&shown)) {
        // Two requests used the same refresh token, and this is the second.
        Some(None) => return refuse(("invalid_grant", "Bad Request")),
        Some(rotated) => rotated,
        None => None,
    };
    let mut token =
        issue(&shared, login.principal.into(), Scopes::cloud_platform(), Origin::Exchange);
    if let Some(rotated) = rotated {
        token["refresh_token"] = rotated.into();
    }
    ok(&token)
}

/// The refusal of a client that is not the one of the login.
pub(crate) fn client_unknown() -> Answer {
    let mut answer = refuse(("invalid_client", "The OAuth client was not found."));
    let challenge = HeaderValue::from_static(r#"Basic realm="emulator""#);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    answer
}

/// Whether the request has the client's id and secret.
pub(crate) fn shows_client(parts: &Parts, login: &Login) -> bool {
    let value = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| login.is_basic(value))
}
