//! Where tokens come from: the OAuth token endpoint and the metadata server.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header,
    uri::Authority,
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    endpoints::PROJECT_NUMBER,
    google_errors::{html, json as json_response, with_type},
    key,
    settings::LiteralResponse,
    state::{Shared, lock, take_one},
    tokens::{Grant, random_text},
};

/// The largest body that is read here, in bytes.
const LIMIT: usize = 1024 * 1024;
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A person who logged in, and the client that they used.
pub(crate) struct User {
    client_id: &'static str,
    client_secret: String,
    refresh_token: String,
}

impl User {
    pub(crate) fn new() -> Self {
        Self {
            client_id: "emulator.apps.googleusercontent.com",
            client_secret: format!("emulator-secret-{}", random_text()),
            refresh_token: format!("1//emulator-{}", random_text()),
        }
    }

    /// The text of an `authorized_user` file.
    pub(crate) fn file(&self, token_uri: &str) -> Value {
        json!({
            "type": "authorized_user",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "refresh_token": self.refresh_token,
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        })
    }
}

/// The token endpoint.
pub(crate) async fn token(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return html(StatusCode::NOT_FOUND);
    }
    shared.count(|stats| stats.token_requests += 1);
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LIMIT).collect().await else {
        return refuse("invalid_request", "The body is too large or ended early.");
    };
    let body = body.to_bytes();
    if let Some(response) = obstacle(&shared).await {
        return response;
    }
    let fields = Fields::parse(&body);
    let checked = match fields.get("grant_type").as_deref() {
        Some(JWT_BEARER) => match fields.get("assertion") {
            Some(assertion) => {
                let authority = authority(&parts);
                key::verify(&assertion, &audiences(&shared, authority.as_ref()))
            }
            None => Err(("invalid_request", "Missing required parameter: assertion")),
        },
        Some("refresh_token") => check_refresh(&shared.user, &fields),
        Some(_) => Err(("unsupported_grant_type", "Invalid grant_type.")),
        None => Err(("invalid_request", "Missing required parameter: grant_type")),
    };
    match checked {
        Ok(()) => issue(&shared),
        Err((error, description)) => refuse(error, description),
    }
}

/// The names by which the token endpoint may be addressed: its own, and the one just used.
fn audiences(shared: &Shared, authority: Option<&Authority>) -> Vec<String> {
    let mut audiences =
        vec![format!("{}/token", shared.control_url()), format!("{}/token", shared.url())];
    if let Some(authority) = authority {
        audiences.extend(["http", "https"].map(|scheme| format!("{scheme}://{authority}/token")));
    }
    audiences
}

fn authority(parts: &http::request::Parts) -> Option<Authority> {
    let named = || parts.headers.get(header::HOST)?.to_str().ok()?.parse().ok();
    parts.uri.authority().cloned().or_else(named)
}

fn check_refresh(user: &User, fields: &Fields<'_>) -> Result<(), key::Refusal> {
    let client = fields.get("client_id").as_deref() == Some(user.client_id)
        && fields.get("client_secret").as_deref() == Some(&user.client_secret);
    if !client {
        return Err(("invalid_client", "The OAuth client was not found."));
    }
    if fields.get("refresh_token").as_deref() != Some(&user.refresh_token) {
        return Err(("invalid_grant", "Bad Request"));
    }
    Ok(())
}

/// The fields of a form, or of a JSON object: `gcp_auth` sends the refresh grant as one.
enum Fields<'a> {
    Json(Value),
    Form(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn parse(body: &'a [u8]) -> Self {
        // No form begins with a brace, so the content type is not needed.
        match serde_json::from_slice(body) {
            Ok(value @ Value::Object(_)) => Self::Json(value),
            _ => Self::Form(body),
        }
    }

    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Json(object) => object.get(name)?.as_str().map(Cow::Borrowed),
            Self::Form(body) => {
                form_urlencoded::parse(body).find(|(key, _)| key == name).map(|(_, value)| value)
            }
        }
    }
}

/// A token in the form of RFC 6749, which the metadata server uses too.
fn issue(shared: &Shared) -> Response<Full<Bytes>> {
    let Grant { value, expires_in, minted } = lock(&shared.tokens).grant();
    if minted {
        shared.count(|stats| stats.token_mints += 1);
    }
    let body = json!({ "access_token": value, "expires_in": expires_in, "token_type": "Bearer" });
    json_response(StatusCode::OK, &body)
}

fn refuse(error: &str, description: &str) -> Response<Full<Bytes>> {
    let status = match error {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        _ => StatusCode::BAD_REQUEST,
    };
    json_response(status, &json!({ "error": error, "error_description": description }))
}

/// Whatever stands between a client and its token: a delay, a failure, an odd answer, silence.
async fn obstacle(shared: &Shared) -> Option<Response<Full<Bytes>>> {
    let (delay, hang, fail, respond) = {
        let mut tokens = lock(&shared.tokens);
        let behavior = tokens.behavior_mut();
        let fail = behavior.fail.as_mut().filter(|fail| fail.times != Some(0));
        let fail = fail.and_then(|fail| take_one(&mut fail.times).then_some(fail.status));
        (behavior.delay, behavior.hang, fail, behavior.respond.clone())
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if hang {
        std::future::pending::<()>().await;
    }
    if let Some(status) = fail {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let error = match status.as_u16() {
            400 => "invalid_grant",
            401 => "invalid_client",
            403 => "access_denied",
            503 => "temporarily_unavailable",
            500..=599 => "internal_failure",
            _ => "invalid_request",
        };
        let body = json!({ "error": error, "error_description": "The emulator was told to fail." });
        return Some(json_response(status, &body));
    }
    respond.map(|literal| literal_response(&literal))
}

fn literal_response(literal: &LiteralResponse) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(literal.body.clone()));
    *response.status_mut() = StatusCode::from_u16(literal.status).unwrap_or(StatusCode::OK);
    let content_type = literal.content_type.iter().map(|value| ("content-type", value));
    let headers = literal.headers.iter().map(|(name, value)| (name.as_str(), value));
    for (name, value) in content_type.chain(headers) {
        // Settings from JSON were checked; what Rust code sets and HTTP cannot carry is left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

/// The metadata server of a virtual machine.
pub(crate) async fn metadata(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let mut response = metadata_answer(&shared, &request).await;
    response.headers_mut().insert(FLAVOR, HeaderValue::from_static("Google"));
    response
}

async fn metadata_answer(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
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
    let path = request.uri().path();
    let path = path.strip_prefix("/computeMetadata/v1/").unwrap_or(path);
    let account = path
        .strip_prefix("instance/service-accounts/default")
        .or_else(|| path.strip_prefix("instance/service-accounts/")?.strip_prefix(key::EMAIL));
    match (path, account) {
        ("/", _) => text("computeMetadata/\n"),
        ("project/project-id", _) => text(key::PROJECT),
        ("project/numeric-project-id", _) => text(PROJECT_NUMBER),
        (_, Some("/email")) => text(key::EMAIL),
        (_, Some("/scopes")) => text(&format!("{}\n", key::SCOPE)),
        // Asked with `?recursive=true` by libraries that want to know who they are.
        (_, Some("" | "/")) => json_response(
            StatusCode::OK,
            &json!({ "aliases": ["default"], "email": key::EMAIL, "scopes": [key::SCOPE] }),
        ),
        (_, Some("/token")) => {
            shared.count(|stats| stats.token_requests += 1);
            match obstacle(shared).await {
                Some(response) => response,
                None => issue(shared),
            }
        }
        _ => html(StatusCode::NOT_FOUND),
    }
}

fn has_flavor(headers: &HeaderMap) -> bool {
    headers.get(FLAVOR).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"google"))
}

fn text(body: &str) -> Response<Full<Bytes>> {
    with_type(StatusCode::OK, "application/text", body.to_owned())
}
