//! Admission of a request by its request head: host and path, then its credential, then faults.

use http::{HeaderMap, StatusCode, Uri, header};

use super::{
    anthropic,
    api::shape,
    google_errors::GoogleError,
    models::Surface,
    path::{Call, HostVerdict, Target, judge_host},
    scopes::{Access, Insufficient},
    settings::{ApiFault, ErrorShape},
    state::{Shared, lock},
    tokens::{Bearer, Verdict},
};

/// A refusal, sent without reading the body.
pub(crate) struct Refusal {
    /// The owner of the known token in the request; the token may be expired.
    pub(crate) bearer: Option<Box<Bearer>>,
    pub(crate) error: GoogleError,
}

/// Checks the request head: host and path, then the credential, then faults. Returns the target of
/// the request and the owner of its token.
pub(crate) fn admit<'a>(
    shared: &Shared,
    parts: &'a http::request::Parts,
) -> Result<(Target<'a>, Bearer), Refusal> {
    let refuse = |bearer, error| Err(Refusal { bearer, error });
    if !hosts_agree(&parts.uri, &parts.headers) {
        return refuse(None, GoogleError::page(StatusCode::BAD_REQUEST));
    }
    let Some(target) = Target::parse(&parts.method, parts.uri.path(), parts.uri.query()) else {
        return refuse(None, GoogleError::page(StatusCode::NOT_FOUND));
    };
    let mut elsewhere = None;
    if shared.host_aware {
        let host = host(&parts.uri, &parts.headers).map(without_port).unwrap_or_default();
        match judge_host(host, &target, &lock(&shared.endpoints)) {
            HostVerdict::Serves => {}
            HostVerdict::DedicatedElsewhere(dns) => elsewhere = Some(dns),
            HostVerdict::Unknown => {
                return refuse(None, GoogleError::page(StatusCode::NOT_FOUND));
            }
            HostVerdict::Invalid => {
                let error = GoogleError::invalid_argument(format!("Invalid hostname: {host}"));
                return refuse(None, error);
            }
        }
    }

    let credential = credential(shared, parts);
    let known = credential.known().cloned().map(Box::new);
    if let Some(fault) = shared.take_fault(target.location, |status| status == 401) {
        return refuse(known, fault_error(&fault, &target));
    }
    if let Credential::ApiKey = &credential {
        match target.call {
            Call::Other(other) => return refuse(known, GoogleError::not_emulated(other.method)),
            // The express mode of Google's own libraries has a key and no project. The emulator has
            // issued no key. With a project the service refused keys (googleapis/js-genai issue 292).
            Call::Model { .. } | Call::Endpoint(_) if target.project.is_empty() => {
                let error = GoogleError::unknown_api_key();
                return refuse(known, error.with_shape(denial_shape(&target)));
            }
            _ => {}
        }
    }
    let bearer = match credential.accept(&target.rpc(), access(target.call)) {
        Ok(bearer) => bearer,
        Err(error) => return refuse(known, error.with_shape(denial_shape(&target))),
    };
    if let Some(fault) = shared.take_fault(target.location, |_| true) {
        return refuse(known, fault_error(&fault, &target));
    }
    if let Some(dns) = elsewhere {
        let error = GoogleError::failed_precondition(format!(
            "This endpoint is a dedicated endpoint via CloudESF and cannot be accessed through \
             the Vertex AI API. Please access the endpoint using its dedicated dns name '{dns}'"
        ));
        return refuse(known, error);
    }
    Ok((target, bearer))
}

fn access(call: Call<'_>) -> Access {
    match call {
        // Whether Model Garden takes more scopes is not known.
        Call::ListEndpoints
        | Call::GetEndpoint
        | Call::ListModels { .. }
        | Call::GetModel { .. } => Access::Manage,
        _ => Access::Predict,
    }
}

/// The wrapping of errors about the credential. `openapi` sends them without an array, unlike its
/// other errors. The streams of publishers' models wrap them (BerriAI/litellm issue 18890 for
/// `streamRawPredict`; googleapis/js-genai issue 292 for an object with `alt=sse`).
fn denial_shape(target: &Target<'_>) -> ErrorShape {
    if target.is_openapi() { ErrorShape::Object } else { shape(target) }
}

/// Checks the project that pays for a request without a project in its path. A person needs to name
/// one, and a service account has one (maximhq/bifrost issue 4106).
pub(crate) fn check_quota_project(
    shared: &Shared,
    headers: &HeaderMap,
    bearer: &Bearer,
) -> Result<(), GoogleError> {
    let named = headers.get("x-goog-user-project").map(|name| name.to_str().unwrap_or_default());
    match (named, &shared.projects) {
        (Some(name), Some(known)) if !known.iter().any(|project| project == name) => {
            Err(GoogleError::no_use_of_project(name))
        }
        (None, _) if bearer.is_of_a_person() => Err(GoogleError::no_quota_project()),
        _ => Ok(()),
    }
}

/// Whether the server of a Claude model responds to the request.
fn is_of_claude(target: &Target<'_>) -> bool {
    match target.call {
        Call::Model { publisher, method, .. } => {
            publisher == anthropic::PUBLISHER && method.surface() == Surface::RawPredict
        }
        _ => false,
    }
}

fn fault_error(fault: &ApiFault, target: &Target<'_>) -> GoogleError {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut error = GoogleError::for_status(status, &target.rpc(), &target.resource());
    if let Some(reason) = &fault.reason {
        error = error.with_reason(reason, target);
    }
    if let Some(delay) = &fault.retry_delay {
        error = error.with_retry_delay(delay);
    }
    let usual = match status.as_u16() {
        401 => denial_shape(target),
        // The other statuses are those of Vertex AI itself.
        500 | 529 if is_of_claude(target) => ErrorShape::Anthropic,
        _ => shape(target),
    };
    error.with_shape(fault.shape.unwrap_or(usual))
}

/// The credential of a request.
pub(crate) enum Credential {
    Missing,
    ApiKey,
    Token(Verdict),
}

impl Credential {
    fn known(&self) -> Option<&Bearer> {
        match self {
            Self::Token(Verdict::Valid(bearer) | Verdict::Dead(bearer)) => Some(bearer),
            _ => None,
        }
    }

    /// Returns the owner of a valid token that permits this. A valid token without the scope is a
    /// 403, in the name of the method; everything else is a 401.
    pub(crate) fn accept(self, rpc: &str, access: Access) -> Result<Bearer, GoogleError> {
        match self {
            Self::Token(Verdict::Valid(bearer)) => match bearer.rights.check(access) {
                Ok(()) => Ok(bearer),
                Err(Insufficient::Scope) => Err(GoogleError::insufficient_scope(rpc)),
                Err(Insufficient::Audience) => Err(GoogleError::invalid_token(rpc)),
            },
            Self::Token(_) => Err(GoogleError::invalid_token(rpc)),
            Self::Missing => Err(GoogleError::missing_credentials(rpc)),
            Self::ApiKey => Err(GoogleError::api_key(rpc)),
        }
    }
}

/// The credential in a request. An API key takes precedence over a valid token, and two tokens are
/// invalid.
pub(crate) fn credential(shared: &Shared, parts: &http::request::Parts) -> Credential {
    let query = parts.uri.query().unwrap_or_default();
    let key_in_query = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "key");
    if key_in_query || parts.headers.contains_key("x-goog-api-key") {
        return Credential::ApiKey;
    }
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Credential::Missing };
    let token = value.to_str().ok().and_then(|value| value.split_once(' '));
    match token {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") && values.next().is_none() =>
        {
            Credential::Token(shared.judge(token.trim()))
        }
        _ => Credential::Token(Verdict::Unknown),
    }
}

/// `:authority` or `Host`, without credentials before an `@`.
pub(crate) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(header::HOST)?.to_str().ok()?,
    };
    Some(host.rsplit_once('@').map_or(host, |(_, host)| host))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether all names that the request has for its host are equal.
fn hosts_agree(uri: &Uri, headers: &HeaderMap) -> bool {
    let Some(first) = host(uri, headers) else { return true };
    let mut named = headers.get_all(header::HOST).iter();
    named.all(|name| name.to_str().is_ok_and(|name| name.eq_ignore_ascii_case(first)))
}

/// The query as sent, without credentials. It recognizes every spelling of their names that some
/// server accepts.
pub(crate) fn redact(query: &str) -> String {
    let pairs = query.split('&').map(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        // Some servers treat a semicolon as a separator of pairs.
        match pair.split(';').any(is_credential) {
            true => format!("{name}=REDACTED"),
            false => pair.to_owned(),
        }
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn is_credential(pair: &str) -> bool {
    let mut name = pair.split('=').next().unwrap_or_default().to_owned();
    // Each decoding makes the name shorter or leaves it unchanged. Clients do not encode a name
    // more than three times.
    for _ in 0..3 {
        let decoded = form_urlencoded::parse(name.as_bytes()).next();
        name = decoded.map(|(name, _)| name.into_owned()).unwrap_or_default();
    }
    let name = name.trim().trim_start_matches('$').to_ascii_lowercase();
    matches!(name.as_str(), "key" | "access_token" | "oauth_token" | "bearer_token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_in_the_query_is_redacted_in_every_spelling_of_its_name() {
        for pair in [
            "key=S",
            "KEY=S",
            "k%65y=S",
            "k%2565y=S",
            "$key=S",
            "%24key=S",
            "+key=S",
            "a;key=S",
            "a=b;key=S",
            "bearer_token=S",
            "$access_token=S",
            "oauth_token=S",
            "key==S",
        ] {
            let redacted = redact(&format!("a=1&{pair}&b=2"));
            assert!(!redacted.contains('S'), "{pair}: {redacted}");
            assert!(
                redacted.starts_with("a=1&") && redacted.ends_with("=REDACTED&b=2"),
                "{redacted}"
            );
        }
        for query in ["a=b%20c", "monkey=S", "keys=S", "alt=sse;x=key", "x", ""] {
            assert_eq!(redact(query), query);
        }
    }
}
