//! The IAM Service Account Credentials API: `generateAccessToken`, which impersonation calls.

use std::{sync::Arc, time::Duration};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::{
    admission::credential,
    clock::parse_duration,
    google_errors::{GoogleError, html},
    grant::{Answer, Stop, literal_response, ok, receive},
    scopes::{Access, Scopes},
    state::{Shared, lock},
    token_settings::Origin,
    tokens::Principal,
};

const RPC: &str = "google.iam.credentials.v1.IAMCredentials.GenerateAccessToken";
const HOUR: Duration = Duration::from_secs(3600);
const TWELVE_HOURS: Duration = Duration::from_secs(43_200);

/// Whether a path belongs to this API: `/v1/projects/{project}/serviceAccounts/{account}:{method}`.
pub(crate) fn is_path(path: &str) -> bool {
    let mut segments = path.split('/');
    segments.next() == Some("")
        && segments.next() == Some("v1")
        && segments.next() == Some("projects")
        && segments.nth(1) == Some("serviceAccounts")
}

/// Serves one request to this API.
pub(crate) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let path = percent_decode(request.uri().path());
    let Some((project, account)) = parse(&path).filter(|_| request.method() == Method::POST) else {
        return html(StatusCode::NOT_FOUND);
    };
    let answer = generate_access_token(&shared, request, project, account).await;
    answer.unwrap_or_else(|answer| answer)
}

/// The project and the account in the path of the only method.
fn parse(path: &str) -> Option<(&str, &str)> {
    let (project, rest) = path.strip_prefix("/v1/projects/")?.split_once('/')?;
    let account = rest.strip_prefix("serviceAccounts/")?.strip_suffix(":generateAccessToken")?;
    (!account.contains('/')).then_some((project, account))
}

/// Decodes a path. Some clients escape the `@` of an e-mail address, or the colon.
fn percent_decode(path: &str) -> String {
    let path = path.replace('+', "%2B");
    let decoded = form_urlencoded::parse(path.as_bytes()).next();
    // The name of a pair ends at an equals sign, which no path of this API contains.
    decoded.map(|(name, _)| name.into_owned()).unwrap_or_default()
}

async fn generate_access_token(
    shared: &Shared,
    request: Request<Incoming>,
    project: &str,
    account: &str,
) -> Result<Answer, Answer> {
    let (parts, body) = receive(shared, request).await.map_err(|stop| match stop {
        Stop::Literal(literal) => literal_response(&literal),
        Stop::Unreadable => invalid("the body is too large or ended early").into_response(),
        Stop::Told(StatusCode::FORBIDDEN) => denied().into_response(),
        Stop::Told(status) => GoogleError::for_status(status, RPC, "").into_response(),
    })?;
    let asked = credential(shared, &parts)
        .accept(RPC, Access::Impersonate)
        .and_then(|_| Asked::new(project, account, &body))
        .and_then(|asked| check(shared, asked));
    let asked = asked.map_err(GoogleError::into_response)?;

    let (life, value) = {
        let mut tokens = lock(&shared.tokens);
        let set = tokens.behavior().life();
        let life = if set < HOUR { asked.lifetime.min(set) } else { asked.lifetime };
        (life, tokens.mint(asked.principal, asked.scopes, life, Origin::Other))
    };
    shared.count(|stats| stats.token_mints += 1);
    let expire_time = shared.now().after(life).rfc3339();
    Ok(ok(&json!({ "accessToken": value, "expireTime": expire_time })))
}

/// Applies the configured policies of the organization.
fn check(shared: &Shared, asked: Asked) -> Result<Asked, GoogleError> {
    let (is_denied, longest) = {
        let tokens = lock(&shared.tokens);
        let behavior = tokens.behavior();
        let longest = if behavior.allow_long_lifetimes { TWELVE_HOURS } else { HOUR };
        (behavior.impersonation_denied, longest)
    };
    if is_denied {
        return Err(denied());
    }
    if asked.lifetime > longest {
        return Err(GoogleError::invalid_argument(format!(
            "The access token lifetime cannot exceed {} seconds.",
            longest.as_secs()
        )));
    }
    Ok(asked)
}

/// A parsed request.
struct Asked {
    principal: Principal,
    scopes: Scopes,
    lifetime: Duration,
}

impl Asked {
    fn new(project: &str, account: &str, body: &[u8]) -> Result<Self, GoogleError> {
        // Only the wildcard is valid, because the address alone identifies the account.
        if project != "-" {
            return Err(invalid("the project in the path must be `-`"));
        }
        let word = |text: &str, others: &[u8]| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
        };
        let is_email =
            account.split_once('@').is_some_and(|(at, host)| word(at, b"-_.") && word(host, b"-."));
        if !is_email && account.parse::<u128>().is_err() {
            return Err(GoogleError::invalid_argument(
                "Invalid form of account ID. Should be [Gaia ID |Email |Unique ID |] of the \
                 account",
            ));
        }
        let body: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
            // The message contains the position but no text, because it must not carry pieces of
            // the body.
            let (line, column) = (error.line(), error.column());
            GoogleError::invalid_argument(format!(
                "Invalid JSON payload received. Parsing terminated at line {line}, column {column}."
            ))
        })?;
        let lifetime = lifetime(&body)?;
        let scopes = body.get("scope").and_then(Value::as_array).into_iter().flatten();
        let scopes = Scopes::parse(scopes.filter_map(Value::as_str))
            .map_err(|(_, why)| GoogleError::invalid_argument(why))?;
        Ok(Self { principal: account.to_owned().into(), scopes, lifetime })
    }
}

/// The lifetime in the body, after the other fields were checked.
fn lifetime(body: &Map<String, Value>) -> Result<Duration, GoogleError> {
    let known = ["scope", "lifetime", "delegates"];
    if body.keys().any(|name| !known.contains(&name.as_str())) {
        return Err(GoogleError::invalid_argument(
            "Invalid JSON payload received. Unknown name: only scope, lifetime and delegates are \
             fields of GenerateAccessTokenRequest.",
        ));
    }
    let strings = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Some(0),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => Some(items.len()),
        Some(_) => None,
    };
    if strings("delegates").is_none() {
        return Err(invalid("`delegates` must be names of service accounts"));
    }
    if strings("scope").is_none_or(|count| count == 0) {
        return Err(invalid("`scope` must name at least one scope"));
    }
    let lifetime = match body.get("lifetime") {
        None | Some(Value::Null) => Some(HOUR),
        Some(value) => value.as_str().and_then(parse_duration).filter(|life| !life.is_zero()),
    };
    lifetime.ok_or_else(|| {
        GoogleError::invalid_argument(
            "Invalid value at 'lifetime' (type.googleapis.com/google.protobuf.Duration): it must \
             be seconds above 0 with an `s`, such as \"3600s\".",
        )
    })
}

fn denied() -> GoogleError {
    GoogleError::permission_denied("iam.serviceAccounts.getAccessToken", "iam.googleapis.com")
}

fn invalid(what: &str) -> GoogleError {
    GoogleError::invalid_argument(format!("Request contains an invalid argument: {what}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_an_account() {
        for (path, parsed) in [
            ("/v1/projects/-/serviceAccounts/a@b:generateAccessToken", Some(("-", "a@b"))),
            ("/v1/projects/p/serviceAccounts/a%40b%3AgenerateAccessToken", Some(("p", "a@b"))),
            ("/v1/projects/-/serviceAccounts/a+b:generateAccessToken", Some(("-", "a+b"))),
            ("/v1/projects/-/serviceAccounts/a@b:generateIdToken", None),
            ("/v1/projects/-/serviceAccounts/a@b", None),
            ("/v1/projects/-/serviceAccounts/a/b:generateAccessToken", None),
        ] {
            assert!(is_path(path));
            assert_eq!(parse(&percent_decode(path)), parsed, "{path}");
        }
        for path in ["/v1/projects/p/locations/l/endpoints", "/v1/token", "/", "", "/v1/projects"] {
            assert!(!is_path(path), "{path}");
        }
    }
}
