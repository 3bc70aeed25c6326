//! The IAM Service Account Credentials API: `generateAccessToken`, which impersonation calls, and the
//! methods that sign in the name of an account.

mod sign;

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

/// A method of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    AccessToken,
    IdToken,
    SignBlob,
    SignJwt,
    /// The locations in which an account may be used, which newer libraries look up.
    AllowedLocations,
}

impl Call {
    /// The name of the method in errors.
    fn rpc(self) -> &'static str {
        match self {
            Self::AccessToken => "google.iam.credentials.v1.IAMCredentials.GenerateAccessToken",
            Self::IdToken => "google.iam.credentials.v1.IAMCredentials.GenerateIdToken",
            Self::SignBlob => "google.iam.credentials.v1.IAMCredentials.SignBlob",
            Self::SignJwt => "google.iam.credentials.v1.IAMCredentials.SignJwt",
            Self::AllowedLocations => {
                "google.iam.credentials.v1.IAMCredentials.GetAllowedLocations"
            }
        }
    }

    /// The permission that the caller needs.
    fn permission(self) -> &'static str {
        match self {
            Self::AccessToken | Self::AllowedLocations => "iam.serviceAccounts.getAccessToken",
            Self::IdToken => "iam.serviceAccounts.getOpenIdToken",
            Self::SignBlob => "iam.serviceAccounts.signBlob",
            Self::SignJwt => "iam.serviceAccounts.signJwt",
        }
    }
}

/// A path of this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target<'a> {
    project: &'a str,
    account: &'a str,
    call: Call,
}

impl<'a> Target<'a> {
    fn parse(method: &Method, path: &'a str) -> Option<Self> {
        let (project, rest) = path.strip_prefix("/v1/projects/")?.split_once('/')?;
        let rest = rest.strip_prefix("serviceAccounts/")?;
        let (account, call) = match *method {
            Method::GET => (rest.strip_suffix("/allowedLocations")?, Call::AllowedLocations),
            Method::POST => {
                let (account, call) = rest.rsplit_once(':')?;
                let call = match call {
                    "generateAccessToken" => Call::AccessToken,
                    "generateIdToken" => Call::IdToken,
                    "signBlob" => Call::SignBlob,
                    "signJwt" => Call::SignJwt,
                    _ => return None,
                };
                (account, call)
            }
            _ => return None,
        };
        (!account.contains('/')).then_some(Self { project, account, call })
    }
}

/// Serves one request to this API.
pub(crate) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let path = percent_decode(request.uri().path());
    let Some(target) = Target::parse(request.method(), &path) else {
        return html(StatusCode::NOT_FOUND);
    };
    let (parts, body) = match receive(&shared, request).await {
        Ok(received) => received,
        Err(Stop::Literal(literal)) => return literal_response(&literal),
        Err(stop) => return refused(target.call, &stop).into_response(),
    };
    let answer = credential(&shared, &parts)
        .accept(target.call.rpc(), Access::Impersonate)
        .and_then(|_| check_account(target))
        .and_then(|()| respond(&shared, target, &body));
    answer.unwrap_or_else(GoogleError::into_response)
}

fn respond(shared: &Shared, target: Target<'_>, body: &[u8]) -> Result<Answer, GoogleError> {
    let denied = lock(&shared.tokens).behavior().impersonation_denied;
    let body = match target.call {
        Call::AllowedLocations => {
            return Ok(ok(&json!({ "locations": [], "encodedLocations": "0x0" })));
        }
        _ => parse_body(body)?,
    };
    let response = match target.call {
        Call::AccessToken => {
            let asked = Asked::new(target.account, &body)?;
            if denied {
                return Err(permission_denied(target.call));
            }
            generate_access_token(shared, asked)
        }
        _ if denied => Err(permission_denied(target.call)),
        Call::IdToken => sign::id_token(shared, target.account, &body),
        Call::SignBlob => sign::blob(&body),
        Call::SignJwt => sign::jwt(shared, &body),
        Call::AllowedLocations => Ok(Value::Null),
    };
    response.map(|response| ok(&response))
}

/// The error for a request that was not read, or that the emulator is configured to refuse.
fn refused(call: Call, stop: &Stop) -> GoogleError {
    match *stop {
        Stop::Told(StatusCode::FORBIDDEN) => permission_denied(call),
        Stop::Told(status) => GoogleError::for_status(status, call.rpc(), ""),
        Stop::Unreadable | Stop::Literal(_) => invalid("the body is too large or ended early"),
    }
}

/// Decodes a path. Some clients escape the `@` of an e-mail address, or the colon.
fn percent_decode(path: &str) -> String {
    let path = path.replace('+', "%2B");
    let decoded = form_urlencoded::parse(path.as_bytes()).next();
    // The name of a pair ends at an equals sign, which no path of this API contains.
    decoded.map(|(name, _)| name.into_owned()).unwrap_or_default()
}

fn generate_access_token(shared: &Shared, asked: Asked) -> Result<Value, GoogleError> {
    let (life, value) = {
        let mut tokens = lock(&shared.tokens);
        let behavior = tokens.behavior();
        // A policy of the organization allows the longer lifetime.
        let longest = if behavior.allow_long_lifetimes { TWELVE_HOURS } else { HOUR };
        if asked.lifetime > longest {
            return Err(GoogleError::invalid_argument(format!(
                "The access token lifetime cannot exceed {} seconds.",
                longest.as_secs()
            )));
        }
        let set = behavior.life();
        let life = if set < HOUR { asked.lifetime.min(set) } else { asked.lifetime };
        (life, tokens.mint(asked.principal, asked.scopes, life, Origin::Other))
    };
    shared.count(|stats| stats.token_mints += 1);
    let expire_time = shared.now().after(life).rfc3339();
    Ok(json!({ "accessToken": value, "expireTime": expire_time }))
}

/// Checks the name of an account.
fn check_account(target: Target<'_>) -> Result<(), GoogleError> {
    let Target { project, account, .. } = target;
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
            "Invalid form of account ID. Should be [Gaia ID |Email |Unique ID |] of the account",
        ));
    }
    Ok(())
}

fn parse_body(body: &[u8]) -> Result<Map<String, Value>, GoogleError> {
    serde_json::from_slice(body).map_err(|error| {
        // The message contains the position but no text, because it must not carry pieces of the
        // body.
        let (line, column) = (error.line(), error.column());
        GoogleError::invalid_argument(format!(
            "Invalid JSON payload received. Parsing terminated at line {line}, column {column}."
        ))
    })
}

/// A parsed request.
struct Asked {
    principal: Principal,
    scopes: Scopes,
    lifetime: Duration,
}

impl Asked {
    fn new(account: &str, body: &Map<String, Value>) -> Result<Self, GoogleError> {
        let lifetime = lifetime(body)?;
        let scopes = body.get("scope").and_then(Value::as_array).into_iter().flatten();
        let scopes = Scopes::parse(scopes.filter_map(Value::as_str))
            .map_err(|(_, why)| GoogleError::invalid_argument(why))?;
        Ok(Self { principal: account.to_owned().into(), scopes, lifetime })
    }
}

/// The lifetime in the body, after the other fields were checked.
fn lifetime(body: &Map<String, Value>) -> Result<Duration, GoogleError> {
    check_fields(body, &["scope", "lifetime", "delegates"])?;
    if strings(body, "scope").is_none_or(|count| count == 0) {
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

/// Checks that all fields are known, and `delegates`, which every method has.
fn check_fields(body: &Map<String, Value>, known: &[&str]) -> Result<(), GoogleError> {
    if body.keys().any(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(GoogleError::invalid_argument(format!(
            "Invalid JSON payload received. Unknown name: only {known} are fields of this request."
        )));
    }
    if strings(body, "delegates").is_none() {
        return Err(invalid("`delegates` must be names of service accounts"));
    }
    Ok(())
}

/// The number of strings in a list; `None` if the field is not one.
fn strings(body: &Map<String, Value>, name: &str) -> Option<usize> {
    match body.get(name) {
        None | Some(Value::Null) => Some(0),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => Some(items.len()),
        Some(_) => None,
    }
}

fn permission_denied(call: Call) -> GoogleError {
    GoogleError::permission_denied(call.permission(), "iam.googleapis.com")
}

fn invalid(what: &str) -> GoogleError {
    GoogleError::invalid_argument(format!("Request contains an invalid argument: {what}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_an_account_and_a_method() {
        let target = |project, account, call| Some(Target { project, account, call });
        for (method, path, parsed) in [
            (
                "POST",
                "-/serviceAccounts/a@b:generateAccessToken",
                target("-", "a@b", Call::AccessToken),
            ),
            (
                "POST",
                "p/serviceAccounts/a%40b%3AgenerateAccessToken",
                target("p", "a@b", Call::AccessToken),
            ),
            ("POST", "-/serviceAccounts/a+b:generateIdToken", target("-", "a+b", Call::IdToken)),
            ("POST", "-/serviceAccounts/a@b:signBlob", target("-", "a@b", Call::SignBlob)),
            ("POST", "-/serviceAccounts/a@b:signJwt", target("-", "a@b", Call::SignJwt)),
            (
                "GET",
                "-/serviceAccounts/a@b/allowedLocations",
                target("-", "a@b", Call::AllowedLocations),
            ),
            ("GET", "-/serviceAccounts/a@b:signJwt", None),
            ("POST", "-/serviceAccounts/a@b:other", None),
            ("POST", "-/serviceAccounts/a@b", None),
            ("POST", "-/serviceAccounts/a/b:generateAccessToken", None),
        ] {
            let path = format!("/v1/projects/{path}");
            assert!(is_path(&path));
            let method = method.parse().unwrap();
            assert_eq!(Target::parse(&method, &percent_decode(&path)), parsed, "{path}");
        }
        for path in ["/v1/projects/p/locations/l/endpoints", "/v1/token", "/", "", "/v1/projects"] {
            assert!(!is_path(path), "{path}");
        }
    }
}
