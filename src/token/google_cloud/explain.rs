//! Explains failures of `google-cloud-auth` in messages that hold no secret.

use std::{error::Error as StdError, fmt, path::Path};

use google_cloud_auth::{build_errors::Error as BuildError, errors::CredentialsError};
use serde_json::Value;

use crate::{
    BoxError,
    error::{ErrorChain, Fault, FaultKind, TokenError},
    redact, regular_file,
    token::{
        CredentialKind,
        credential_file::{self, CredentialFile},
        grant,
        http::request_error,
        oauth_error::OAuthError,
    },
};

pub(super) enum Failure {
    Credentials(CredentialsError),
    Token(TokenError),
    Panicked,
    Gone,
}

impl Failure {
    /// Explains a failure without the crate's own texts, which hold response bodies and subject
    /// tokens.
    pub(super) fn explain(
        self,
        kind: Option<CredentialKind>,
        content: Option<&CredentialFile>,
    ) -> BoxError {
        let error = match self {
            Self::Credentials(error) => error,
            Self::Token(error) => return error.into(),
            Self::Gone => return TokenError::RuntimeGone.into(),
            Self::Panicked => {
                let what = "google-cloud-auth panicked, as it does over a token that has already \
                            expired when it arrives";
                let remedy = "check this machine's clock";
                return Fault::new(FaultKind::NotAToken, what, remedy).into();
            }
        };
        let seen = Seen::of(&error);
        let source = content.and_then(|content| content.json.get("credential_source"));
        let of_source = |what: String, remedy: &'static str| {
            BoxError::from(Fault::new(FaultKind::Credentials, what, remedy))
        };
        let is_source = |url: &str| {
            let named = source.and_then(Value::as_object).into_iter().flatten();
            let mut named = named.filter_map(|(_, value)| value.as_str());
            named.any(|named| url.starts_with(named.trim_end_matches('/')))
        };
        if let (Some(status), Some(url)) = (seen.status, seen.url.as_deref())
            && is_source(url)
        {
            let whose = redact::value(url);
            let what = format!("the source of the subject token, {whose}, returned {status}");
            let region = source.and_then(|source| source.get("region_url")?.as_str());
            let refusal = OAuthError::new(status, "").of_subject(what);
            return match region == Some(url) {
                true => refusal.remedied("set AWS_REGION to the region that this runs in").into(),
                false => refusal.into(),
            };
        }
        if let Some(status) = seen.status {
            return OAuthError::new(status, body_of(&seen.text)).fault(kind).into();
        }
        if let Some(path) = source.and_then(|source| source.get("file")?.as_str())
            && let Err(unread) = regular_file::open(Path::new(path))
        {
            let path = redact::path(Path::new(path));
            return of_source(
                format!("the subject token's file {path} cannot be read: {}", unread.what()),
                "check that the program that writes it for this workload has run",
            );
        }
        if let Some(request_error) = seen.request_error {
            return request_error.into();
        }
        if source.is_some_and(|source| source.get("executable").is_some()) && !seen.has_answer {
            return of_source(
                "the command that prints the subject token failed".to_owned(),
                "it must be allowed by GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1, and print what \
                 Google's specification of executable-sourced credentials requires",
            );
        }
        if source.is_some_and(|source| source.get("environment_id").is_some()) && !seen.has_answer {
            return of_source(
                "AWS returned no identity: no region, no role or no credentials were found"
                    .to_owned(),
                "set AWS_REGION, and AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or check that \
                 the instance has a role",
            );
        }
        if source.is_some() && !seen.has_answer {
            return of_source(
                "the credential source provided no subject token".to_owned(),
                "check \"credential_source\" and the source that it names",
            );
        }
        if kind.is_none() && !seen.has_answer {
            let what = "the credentials of google-cloud-auth have no headers for a request";
            let remedy = "look at the error that they return to google-cloud-auth's own clients";
            return Fault::new(FaultKind::NotAToken, what, remedy).into();
        }
        grant::not_a_token(
            "the token endpoint",
            "could not be understood: it has no \"access_token\" that is text, or an \
             \"expires_in\" that is not a number",
        )
        .into()
    }
}

#[derive(Debug)]
struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no response was received")
    }
}

impl StdError for NoAnswer {}

/// The facts that an error and its causes show by their types.
#[derive(Default)]
struct Seen {
    /// Text of the error. It holds response bodies and must not be shown.
    text: String,
    status: Option<u16>,
    url: Option<String>,
    request_error: Option<Fault>,
    /// Whether a response arrived that could not be read.
    has_answer: bool,
}

impl Seen {
    fn of(error: &CredentialsError) -> Self {
        let chain = ErrorChain::new(error);
        let mut seen = Self { text: chain.to_string(), ..Self::default() };
        let mut lost = None;
        for error in chain.iter().skip(1) {
            if let Some(error) = error.downcast_ref::<reqwest::Error>() {
                seen.status = error.status().map(|status| status.as_u16()).or(seen.status);
                seen.url = error.url().map(ToString::to_string).or(seen.url);
                seen.has_answer |= error.is_decode();
                if error.is_connect() || error.is_timeout() || error.is_request() {
                    lost = Some(error);
                }
            }
            seen.has_answer |= error.is::<serde_json::Error>();
        }
        seen.request_error = lost.filter(|_| seen.status.is_none()).map(|error| {
            let host = error.url().and_then(|url| url.host_str()).unwrap_or("the token endpoint");
            // The text of the error itself has the URL, whose query may be a secret.
            let cause = error.source().unwrap_or(&NoAnswer);
            request_error(cause, error.is_connect()).fault(host)
        });
        seen
    }
}

/// Returns the body of a response from the text of an error. The text repeats the body, and the
/// first copy is complete.
fn body_of(text: &str) -> &str {
    let body = text.find('{').and_then(|start| {
        let rest = text.get(start..)?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        values.next()?.ok()?;
        rest.get(..values.byte_offset())
    });
    body.unwrap_or(text)
}

/// The reason why the crate cannot use a file that has passed the checks of this crate.
pub(super) fn explain_build(error: &BuildError) -> Fault {
    if error.is_not_supported() {
        let what = "credentials of this type are not supported in another universe than \
                    googleapis.com";
        return credential_file::fault(what, "use credentials of another type");
    }
    // The first name in quotes or backquotes in the text is that of the field, if it names one.
    let text = ErrorChain::new(error).to_string();
    let quoted = text.split(['`', '"']).skip(1).step_by(2);
    let mut fields = FIELDS.iter().filter(|field| quoted.clone().any(|name| name == **field));
    match fields.next() {
        Some(field) => credential_file::fault(
            format!("its {field:?} is missing or not what google-cloud-auth takes"),
            "use the file as it was made",
        ),
        None => credential_file::fault(
            "google-cloud-auth cannot use these credentials",
            "use the file as it was made",
        ),
    }
}

/// The fields that a message may name. Any other word may be content of the file.
const FIELDS: [&str; 12] = [
    "access_token",
    "audience",
    "client_email",
    "client_id",
    "client_secret",
    "credential_source",
    "private_key",
    "private_key_id",
    "refresh_token",
    "subject_token_type",
    "token_url",
    "workforce_pool_user_project",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_found_in_the_text_of_an_error() {
        let text = r#"failed, body=<{"error":"invalid_grant"}> and: body=<{"error":"invalid_grant"}>: HTTP status client error (400 Bad Request)"#;
        assert_eq!(body_of(text), r#"{"error":"invalid_grant"}"#);
        assert_eq!(body_of("connection refused"), "connection refused");
    }
}
