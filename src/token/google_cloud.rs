//! Google's own crate `google-cloud-auth` as a source.
//!
//! Its credentials keep a token and refresh it by a task of their own. That has five edges, which
//! end here (as of 1.18):
//!
//! - They do not tell when a token expires. So its life counts as unknown and they are asked every
//!   few minutes, which costs nothing: they answer from memory, with a token that has four minutes
//!   left unless its refresh fails.
//! - They cannot be forced. After a 401 they are built again.
//! - Each build leaves a task behind that sleeps for most of an hour. So each has a small runtime
//!   of its own, which is shut down with it.
//! - After one permanent error they fail for ever. So after any error they are built again.
//! - They panic when their runtime is gone, and on an answer that has already expired. Theirs is
//!   never gone before them, and a panic becomes an error.

use std::{
    error::Error as StdError,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use google_cloud_auth::{
    build_errors::Error as BuildError,
    credentials::{
        AccessTokenCredentials, external_account, impersonated, mds, service_account, user_account,
    },
    errors::CredentialsError,
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

use super::{
    AccessToken, CLOUD_PLATFORM_SCOPE, CredentialKind, FetchReason, TokenFuture, TokenSource,
    credential_file::{self, CredentialFile, Reread, Transport},
    grant,
    http::{chain, unanswered},
    impersonated::check_lifetime,
    oauth_error::OAuthError,
};
use crate::{
    BoxError,
    error::{ConfigError, Fault, FaultKind, TokenError},
    regular_file, shown,
};

/// Access tokens by Google's crate `google-cloud-auth`: for identity federation, impersonation,
/// user credentials wherever they are, and a metadata server wherever it is.
///
/// [`Credentials::detect`](super::Credentials::detect) uses it where it is needed. One thread
/// belongs to each source once it has been used.
///
/// The crate takes its cryptography from rustls's process-wide provider. If the process has none
/// by the first fetch, this installs `ring`.
#[derive(Clone)]
pub struct GoogleCloudAuth {
    shared: Arc<Shared>,
}

struct Shared {
    origin: Origin,
    lifetime: Option<Duration>,
    quota_project: Option<String>,
    /// What answers now, and the content of the file that it was built from.
    built: Mutex<Option<(Arc<str>, Arc<Built>)>>,
}

enum Origin {
    File(Reread),
    MetadataServer,
}

/// Credentials and the runtime that their task lives in.
struct Built {
    credentials: AccessTokenCredentials,
    runtime: Option<Runtime>,
}

impl GoogleCloudAuth {
    /// The text of a credential file of any type but `external_account_authorized_user`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not such a file; the text names the field, never its content.
    pub fn from_json(json: impl Into<String>) -> Result<Self, ConfigError> {
        credential_file::parse(json.into(), Transport::Safe)
            .and_then(|content| Self::file(Reread::fixed(content)))
            .map_err(|why| ConfigError::unusable_content("credential file", &why))
    }

    /// A credential file of any type but `external_account_authorized_user`. A change of it is
    /// picked up with the next token; while it is missing or broken, the last good content is
    /// used.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it cannot be read now, or is not such a file.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let path = path.into();
        Reread::open(&path, Transport::Safe)
            .and_then(Self::file)
            .map_err(|why| ConfigError::unusable("credential file", &path, &why))
    }

    /// The metadata server: the one that `GCE_METADATA_HOST` names, or that of this machine.
    pub fn metadata_server() -> Self {
        Self::of(Origin::MetadataServer)
    }

    pub(super) fn file(file: Reread) -> Result<Self, Fault> {
        if file.last_good().kind == CredentialKind::ExternalAccountAuthorizedUser {
            let what = "its \"type\" is not one that google-cloud-auth knows";
            return Err(credential_file::fault(what, "use `Credentials::detect`"));
        }
        Ok(Self::of(Origin::File(file)))
    }

    fn of(origin: Origin) -> Self {
        let quota_project = credential_file::quota_project(match &origin {
            Origin::File(file) => Some(file),
            Origin::MetadataServer => None,
        });
        let built = Mutex::default();
        Self { shared: Arc::new(Shared { origin, lifetime: None, quota_project, built }) }
    }

    /// The life to ask for where credentials impersonate a service account, 1 s to 12 h; others
    /// ignore it. See [`Impersonated::lifetime`](super::Impersonated::lifetime).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is outside these bounds.
    pub fn lifetime(self, lifetime: Duration) -> Result<Self, ConfigError> {
        check_lifetime(lifetime)?;
        let quota_project = self.shared.quota_project.clone();
        let origin = match Arc::try_unwrap(self.shared) {
            Ok(shared) => shared.origin,
            Err(shared) => match &shared.origin {
                Origin::File(file) => Origin::File(file.again()),
                Origin::MetadataServer => Origin::MetadataServer,
            },
        };
        let built = Mutex::default();
        let shared = Shared { origin, lifetime: Some(lifetime), quota_project, built };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn kind(&self) -> CredentialKind {
        match &self.shared.origin {
            Origin::File(file) => file.last_good().kind,
            Origin::MetadataServer => CredentialKind::MetadataServer,
        }
    }

    fn built(&self) -> MutexGuard<'_, Option<(Arc<str>, Arc<Built>)>> {
        self.shared.built.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn token(&self, reason: FetchReason) -> Result<AccessToken, BoxError> {
        let content = match &self.shared.origin {
            Origin::File(file) => Some(file.current().await?),
            Origin::MetadataServer => None,
        };
        let text =
            content.as_ref().map_or_else(|| Arc::from(""), |content| Arc::clone(&content.text));
        let current = self.built().clone().filter(|(from, _)| *from == text);
        if let Some((_, built)) = current
            && reason != FetchReason::Rejected
            && let Ok(token) = built.token().await
        {
            return Ok(token);
        }
        let (mut tries, mut pause) = (1, grant::FIRST_PAUSE);
        loop {
            let built = Arc::new(Built::new(content.as_ref(), self.shared.lifetime)?);
            match built.token().await {
                Ok(token) => {
                    *self.built() = Some((text, built));
                    return Ok(token);
                }
                Err(Failure::Credentials(error))
                    if error.is_transient() && tries < grant::TRIES =>
                {
                    tokio::time::sleep(pause).await;
                    (tries, pause) = (tries + 1, pause * 2);
                }
                Err(failure) => {
                    *self.built() = None;
                    return Err(failure.explain(self.kind(), content.as_ref()));
                }
            }
        }
    }
}

impl TokenSource for GoogleCloudAuth {
    fn fetch(&self, reason: FetchReason) -> TokenFuture<'_> {
        Box::pin(self.token(reason))
    }

    fn quota_project(&self) -> Option<&str> {
        self.shared.quota_project.as_deref()
    }
}

impl fmt::Debug for GoogleCloudAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleCloudAuth")
            .field("kind", &self.kind())
            .field("lifetime", &self.shared.lifetime)
            .finish_non_exhaustive()
    }
}

impl Built {
    fn new(content: Option<&CredentialFile>, lifetime: Option<Duration>) -> Result<Self, BoxError> {
        if CryptoProvider::get_default().is_none() {
            // Somebody else may be first; either will do.
            let _ = ring::default_provider().install_default();
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("google-cloud-auth")
            .enable_all()
            .build()
            .map_err(|error| format!("no thread for google-cloud-auth: {error}"))?;
        let credentials = {
            let _inside = runtime.enter();
            match content {
                Some(content) => build(content, lifetime),
                None => mds::Builder::default()
                    .with_scopes([CLOUD_PLATFORM_SCOPE])
                    .build_access_token_credentials(),
            }
        };
        match credentials {
            Ok(credentials) => Ok(Self { credentials, runtime: Some(runtime) }),
            Err(error) => {
                runtime.shutdown_background();
                Err(explain_build(&error).into())
            }
        }
    }

    /// The token in memory, or the first one. Runs on its own runtime: this is also where a panic
    /// of the crate ends.
    async fn token(&self) -> Result<AccessToken, Failure> {
        let credentials = self.credentials.clone();
        let runtime = self.runtime.as_ref().ok_or(Failure::Gone)?;
        let token = runtime.spawn(async move { credentials.access_token().await }).await;
        match token {
            Ok(Ok(token)) => AccessToken::new(token.token, None).map_err(Failure::Token),
            Ok(Err(error)) => Err(Failure::Credentials(error)),
            Err(error) if error.is_panic() => Err(Failure::Panicked),
            Err(_cancelled) => Err(Failure::Gone),
        }
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait, so it may be dropped anywhere.
            runtime.shutdown_background();
        }
    }
}

fn build(
    content: &CredentialFile,
    lifetime: Option<Duration>,
) -> Result<AccessTokenCredentials, BuildError> {
    let (json, scopes) = (content.json.clone(), [CLOUD_PLATFORM_SCOPE]);
    match content.kind {
        CredentialKind::AuthorizedUser => {
            // Its own scopes are what the login granted; asking for one that is not among them fails.
            user_account::Builder::new(json).build_access_token_credentials()
        }
        CredentialKind::ExternalAccount => external_account::Builder::new(json)
            .with_scopes(scopes)
            .build_access_token_credentials(),
        CredentialKind::ImpersonatedServiceAccount => {
            let builder = impersonated::Builder::new(json).with_scopes(scopes);
            match lifetime {
                Some(lifetime) => builder.with_lifetime(lifetime),
                None => builder,
            }
            .build_access_token_credentials()
        }
        _ => service_account::Builder::new(json)
            .with_access_specifier(service_account::AccessSpecifier::from_scopes(scopes))
            .build_access_token_credentials(),
    }
}

enum Failure {
    Credentials(CredentialsError),
    Token(TokenError),
    Panicked,
    Gone,
}

impl Failure {
    /// Without the crate's own texts: they hold the bodies of answers, and subject tokens.
    fn explain(self, kind: CredentialKind, content: Option<&CredentialFile>) -> BoxError {
        let error = match self {
            Self::Credentials(error) => error,
            Self::Token(error) => return error.into(),
            Self::Gone => return TokenError::RuntimeGone.into(),
            Self::Panicked => {
                let what = "google-cloud-auth panicked, as it does over a token that has already \
                            expired when it arrives";
                let remedy = "look at this machine's clock";
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
            let whose = shown::value(url);
            let what = format!("what gives the subject token, {whose}, answered {status}");
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
            let path = shown::path(Path::new(path));
            return of_source(
                format!("the subject token's file {path} cannot be read: {}", unread.what()),
                "see that what writes it for this workload has run",
            );
        }
        if let Some(unanswered) = seen.unanswered {
            return unanswered.into();
        }
        if source.is_some_and(|source| source.get("executable").is_some()) && !seen.has_answer {
            return of_source(
                "the command that gives the subject token failed".to_owned(),
                "it must be allowed by GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1, and print what \
                 Google's specification of executable-sourced credentials asks for",
            );
        }
        if source.is_some_and(|source| source.get("environment_id").is_some()) && !seen.has_answer {
            return of_source(
                "AWS gave no identity: no region, no role or no credentials were found".to_owned(),
                "set AWS_REGION, and AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, or see that the \
                 instance has a role",
            );
        }
        if source.is_some() && !seen.has_answer {
            return of_source(
                "the credential source gave no subject token".to_owned(),
                "look at \"credential_source\", and at what it names",
            );
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
        f.write_str("there was no answer")
    }
}

impl StdError for NoAnswer {}

/// What the types of an error and of its causes tell.
#[derive(Default)]
struct Seen {
    /// Holds the bodies of answers: not to be shown.
    text: String,
    status: Option<u16>,
    url: Option<String>,
    unanswered: Option<Fault>,
    /// Whether there was an answer that could not be read.
    has_answer: bool,
}

impl Seen {
    fn of(error: &CredentialsError) -> Self {
        let mut seen = Self { text: error.to_string(), ..Self::default() };
        let mut cause = StdError::source(error);
        let mut lost = None;
        while let Some(error) = cause {
            seen.text.push_str(&format!(": {error}"));
            if let Some(error) = error.downcast_ref::<reqwest::Error>() {
                seen.status = error.status().map(|status| status.as_u16()).or(seen.status);
                seen.url = error.url().map(ToString::to_string).or(seen.url);
                seen.has_answer |= error.is_decode();
                if error.is_connect() || error.is_timeout() || error.is_request() {
                    lost = Some(error);
                }
            }
            seen.has_answer |= error.is::<serde_json::Error>();
            cause = error.source();
        }
        seen.unanswered = lost.filter(|_| seen.status.is_none()).map(|error| {
            let host = error.url().and_then(|url| url.host_str()).unwrap_or("the token endpoint");
            // Its own text has the URL, whose query may be a secret.
            let cause = error.source().unwrap_or(&NoAnswer);
            unanswered(cause, error.is_connect()).fault(host)
        });
        seen
    }
}

/// The body of an answer, which the texts of errors hold; they repeat it, and the first one is whole.
fn body_of(text: &str) -> &str {
    let body = text.find('{').and_then(|start| {
        let rest = text.get(start..)?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        values.next()?.ok()?;
        rest.get(..values.byte_offset())
    });
    body.unwrap_or(text)
}

/// What is wrong with a file in the eyes of the crate. What this crate looks for was found right.
fn explain_build(error: &BuildError) -> Fault {
    if error.is_not_supported() {
        let what = "credentials of this type are not supported in another universe than \
                    googleapis.com";
        return credential_file::fault(what, "use credentials of another type");
    }
    // The first name in quotes or backquotes in its text is that of the field, if it is one.
    let text = chain(error);
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

/// Those that the crate may name in an error. Other words may be what a file holds.
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
