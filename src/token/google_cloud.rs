//! Google's own crate `google-cloud-auth` as a source.
//!
//! Its credentials keep a token and refresh it in a task of their own. This module works around
//! five limits (as of 1.18):
//!
//! - They do not report when a token expires. So its lifetime is treated as unknown and the cache
//!   fetches it every few minutes. That costs nothing: they return a token from memory, which has
//!   four minutes left unless its refresh fails.
//! - They cannot be forced to refresh. After a 401 they are built again.
//! - Each build leaves a task behind that sleeps for most of an hour. So each build has a small
//!   runtime of its own, which is shut down with it.
//! - After one permanent error they fail forever. So after any error they are built again.
//! - They panic when their runtime is gone, and on a response with a token that has already
//!   expired. Here the runtime lives as long as they do, and a panic becomes an error.

mod explain;
mod given;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use google_cloud_auth::{
    build_errors::Error as BuildError,
    credentials::{
        AccessTokenCredentials, Credentials, external_account, impersonated, mds, service_account,
        user_account,
    },
};
use tokio::runtime::{Builder, Runtime};

use self::{
    explain::{Failure, explain_build},
    given::Given,
};
use super::{
    AccessToken, CLOUD_PLATFORM_SCOPE, CredentialKind, FetchReason, TokenFuture, TokenSource,
    credential_file::{self, CredentialFile, Reread, TransportPolicy},
    grant,
    impersonated::check_lifetime,
};
use crate::{
    BoxError, crypto_provider,
    error::{ConfigError, Fault},
};

/// Fetches access tokens with Google's crate `google-cloud-auth`: for identity federation,
/// impersonation, user credentials in any file, and a metadata server at any host.
///
/// [`Credentials::detect`](super::Credentials::detect) uses it where it is needed. Each source owns
/// one thread once it has been used.
///
/// The crate takes its cryptography from rustls's process-wide provider. If the process has none by
/// the first fetch, this source installs `ring`.
#[doc(alias = "workload identity federation")]
#[doc(alias = "external_account")]
#[derive(Clone)]
pub struct GoogleCloudAuth {
    shared: Arc<Shared>,
}

struct Shared {
    origin: Origin,
    lifetime: Option<Duration>,
    quota_project: Option<String>,
    /// The credentials in use, and the content of the file that they were built from.
    built: Mutex<Option<(Arc<str>, Arc<Built>)>>,
}

enum Origin {
    File(Reread),
    MetadataServer,
    Given(Given),
}

/// Credentials and the runtime of their task.
struct Built {
    credentials: AccessTokenCredentials,
    runtime: Option<Runtime>,
}

impl GoogleCloudAuth {
    /// Creates a source from the text of a credential file of any type but
    /// `external_account_authorized_user`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the text is not such a file. The message names the field, never its
    /// content.
    pub fn from_json(json: impl Into<String>) -> Result<Self, ConfigError> {
        credential_file::parse(json.into(), TransportPolicy::Safe)
            .and_then(|content| Self::file(Reread::fixed(content)))
            .map_err(|why| ConfigError::unusable_content("credential file", &why))
    }

    /// Creates a source from a credential file of any type but `external_account_authorized_user`.
    /// A change of the file is picked up with the next token. While the file is missing or broken,
    /// the last good content is used.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the file cannot be read now, or is not such a file.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let path = path.into();
        Reread::open(&path, TransportPolicy::Safe)
            .and_then(Self::file)
            .map_err(|why| ConfigError::unusable("credential file", &path, &why))
    }

    /// Uses the metadata server that `GCE_METADATA_HOST` names, or the one of this machine.
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
        let quota_project = match &origin {
            Origin::File(file) => credential_file::quota_project(Some(file)),
            Origin::MetadataServer => credential_file::quota_project(None),
            // It is one of their headers.
            Origin::Given(_) => None,
        };
        let built = Mutex::default();
        Self { shared: Arc::new(Shared { origin, lifetime: None, quota_project, built }) }
    }

    /// Sets the lifetime to request for credentials that impersonate a service account, 1 s to 12
    /// h. Other credentials ignore it. See
    /// [`Impersonated::lifetime`](super::Impersonated::lifetime).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the lifetime is outside these bounds.
    pub fn lifetime(self, lifetime: Duration) -> Result<Self, ConfigError> {
        check_lifetime(lifetime)?;
        let quota_project = self.shared.quota_project.clone();
        let origin = match Arc::try_unwrap(self.shared) {
            Ok(shared) => shared.origin,
            Err(shared) => match &shared.origin {
                Origin::File(file) => Origin::File(file.again()),
                Origin::MetadataServer => Origin::MetadataServer,
                Origin::Given(given) => Origin::Given(given.again()),
            },
        };
        let built = Mutex::default();
        let shared = Shared { origin, lifetime: Some(lifetime), quota_project, built };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn kind(&self) -> Option<CredentialKind> {
        match &self.shared.origin {
            Origin::File(file) => Some(file.last_good().kind),
            Origin::MetadataServer => Some(CredentialKind::MetadataServer),
            Origin::Given(_) => None,
        }
    }

    fn built(&self) -> MutexGuard<'_, Option<(Arc<str>, Arc<Built>)>> {
        self.shared.built.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn token(&self, reason: FetchReason) -> Result<AccessToken, BoxError> {
        let content = match &self.shared.origin {
            Origin::File(file) => Some(file.current().await?),
            Origin::MetadataServer => None,
            Origin::Given(given) => return given.token(reason).await,
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

/// Uses credentials that the program built itself, with the headers that they return: the token, the
/// quota project, and any other, which all travel with each request. A quota project of
/// [`VertexAuthLayer`](crate::auth::VertexAuthLayer::quota_project) takes precedence.
///
/// Three things cannot be forced, because the credentials belong to the program:
///
/// - They return the token in their memory, and replace it themselves four minutes before
///   it expires. So a 401 is healed only if they have a newer token by then. If their entity tag says
///   that they have none, the caller gets the original 401 with
///   [`RefreshOutcome::SameToken`](super::RefreshOutcome::SameToken).
/// - They refresh it in a task of the runtime in which they were built, which has to outlive them.
///   Otherwise they panic once the token has expired, and the fetch fails.
/// - After an error that they take for permanent they return it forever. Build them again, or use
///   [`from_file`](GoogleCloudAuth::from_file), which does so.
///
/// Credentials of an API key or without any have no token, and each fetch fails.
///
/// If the process has no provider of cryptography yet, the conversion installs `ring`. Credentials
/// fetch their first token when they are built, perhaps on another thread; a program without a default
/// provider should install one before.
///
/// ```no_run
/// use google_cloud_auth::credentials::Builder;
/// use tower_vertex::{auth::VertexAuthLayer, token::GoogleCloudAuth};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let credentials = Builder::default().with_quota_project_id("my-project").build()?;
/// let layer = VertexAuthLayer::new(GoogleCloudAuth::from(credentials));
/// # Ok(())
/// # }
/// ```
impl From<Credentials> for GoogleCloudAuth {
    fn from(credentials: Credentials) -> Self {
        crypto_provider::install_default();
        Self::of(Origin::Given(Given::new(credentials)))
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
        crypto_provider::install_default();
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

    /// Returns the token in memory, or the first one. The call runs on the credentials' own
    /// runtime, which also contains a panic of the crate.
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
            // This does not wait, so the value may be dropped anywhere.
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
            // The scopes are those that the login granted. A request for any other scope fails.
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
