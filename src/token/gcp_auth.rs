//! Google's credentials, through the crate `gcp_auth`.
//!
//! What `gcp_auth` 0.12 cannot do is done here. Its providers return a cached token until 20 s
//! before its end and cannot be forced, so **each flight builds a provider of its own**. Its search
//! does not tell what it found, so it is made here, in the same order, and what first succeeded
//! stays: a later failure never turns the process into somebody else. It panics on an invalid
//! `token_uri`, and blocks its thread on `gcloud` and on files. It tells why a token was refused
//! only to the log, with the whole body; that event is read for its status and its error code, and
//! goes no further.

use std::{
    env, fmt,
    future::Future,
    io::ErrorKind,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use gcp_auth::{
    ConfigDefaultCredentials, CustomServiceAccount, Error as GcpError, GCloudAuthorizedUser,
    MetadataServiceAccount, TokenProvider,
};
use tokio::time::Instant;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    instrument::WithSubscriber,
    span,
};

use super::{
    AccessToken, CLOUD_PLATFORM_SCOPE, CredentialKind, FetchReason, TokenFuture, TokenSource,
    file::{self, KEY_VARIABLE, Reread, blocking},
    https::chain,
    metadata::{self, Surroundings},
    refusal::Refusal,
};
use crate::{BoxError, error::ConfigError};

/// Off Google Cloud nobody answers for the metadata server, and `gcp_auth` asks five times.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
/// Within the time of a fetch, 10 s, with the last try.
const METADATA_PATIENCE: Duration = Duration::from_secs(6);
const METADATA_PAUSE: Duration = Duration::from_millis(500);
/// `gcloud` starts a Python interpreter and may refresh its own token.
const GCLOUD_TIMEOUT: Duration = Duration::from_secs(5);

/// Access tokens by a service-account key, or by whatever credentials this machine offers.
///
/// ```no_run
/// use tower_vertex::token::{GcpAuth, TokenCache};
///
/// // GOOGLE_APPLICATION_CREDENTIALS, gcloud's user credentials, the metadata server, gcloud
/// let cache = TokenCache::new(GcpAuth::new());
/// ```
#[derive(Clone)]
pub struct GcpAuth {
    /// What gives the tokens, once something gave one.
    origin: Arc<OnceLock<Origin>>,
}

enum Origin {
    Key(Reread),
    UserCredentials,
    MetadataServer,
    Gcloud,
}

impl GcpAuth {
    /// The first of these that gives a token, for as long as this source lives:
    ///
    /// 1. the service-account key named by `GOOGLE_APPLICATION_CREDENTIALS`,
    /// 2. the user credentials that `gcloud auth application-default login` left,
    /// 3. the metadata server of Google Cloud,
    /// 4. `gcloud auth print-access-token`.
    ///
    /// If the variable is set, nothing else is tried: a broken key is an error, not a reason to
    /// become somebody else. Nothing is read or sent before the first fetch.
    pub fn new() -> Self {
        Self { origin: Arc::default() }
    }

    fn of(origin: Origin) -> Self {
        Self { origin: Arc::new(OnceLock::from(origin)) }
    }

    /// The metadata server of Google Cloud, and nothing else.
    pub(super) fn metadata_server() -> Self {
        Self::of(Origin::MetadataServer)
    }

    /// gcloud's user credentials in their usual place, and nothing else.
    pub(super) fn user_credentials() -> Self {
        Self::of(Origin::UserCredentials)
    }

    /// `gcloud auth print-access-token`, and nothing else.
    pub(super) fn gcloud() -> Self {
        Self::of(Origin::Gcloud)
    }

    /// A service account's key.
    pub(super) fn key(file: Reread) -> Result<Self, &'static str> {
        parse_key(&file.last_good().text)?;
        Ok(Self::of(Origin::Key(file)))
    }

    /// Whether gcloud is there and somebody is logged in; gives the project that it is set to.
    pub(super) async fn probe_gcloud(limit: Duration) -> Result<Option<String>, String> {
        let provider = gcloud_provider(limit).await.map_err(|error| error.to_string())?;
        Ok(provider.project_id().await.ok().map(|project| project.to_string()))
    }

    /// The text of a service-account key, as downloaded from Google Cloud.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not such a key; the text names the field, never its content.
    pub fn from_service_account_key(json: impl Into<String>) -> Result<Self, ConfigError> {
        file::parse(json.into())
            .and_then(|content| Self::key(Reread::fixed(content)))
            .map_err(|why| ConfigError::missing("usable service-account key", why))
    }

    /// A file with a service-account key. It is read again for each token, so a key that is
    /// rotated in place is picked up; while the file is missing or broken, the last good content
    /// is used.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it cannot be read now, or is not such a key.
    pub fn from_service_account_file(path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let path = path.into();
        Reread::open(&path).and_then(Self::key).map_err(|why| {
            ConfigError::invalid("service-account key file", &path.display().to_string(), why)
        })
    }

    async fn token(&self) -> Result<AccessToken, BoxError> {
        if let Some(origin) = self.origin.get() {
            return origin.token().await;
        }
        let (token, first) = search().await?;
        // Flights do not overlap but for one that was given up; the first one counts.
        let _ = self.origin.set(first);
        Ok(token)
    }
}

impl Origin {
    async fn token(&self) -> Result<AccessToken, BoxError> {
        match self {
            Self::Key(file) => key(file).await,
            Self::UserCredentials => {
                let provider = ConfigDefaultCredentials::new();
                ask(CredentialKind::AuthorizedUser, "accounts.google.com", provider).await
            }
            Self::MetadataServer => metadata_server().await,
            Self::Gcloud => gcloud().await,
        }
    }
}

impl Default for GcpAuth {
    fn default() -> Self {
        Self::new()
    }
}

impl TokenSource for GcpAuth {
    fn fetch(&self, _: FetchReason) -> TokenFuture<'_> {
        Box::pin(self.token())
    }
}

impl fmt::Debug for GcpAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match self.origin.get() {
            None => "search",
            Some(Origin::Key(_)) => "service-account key",
            Some(Origin::UserCredentials) => "user credentials",
            Some(Origin::MetadataServer) => "metadata server",
            Some(Origin::Gcloud) => "gcloud",
        };
        f.debug_struct("GcpAuth").field("from", &from).finish_non_exhaustive()
    }
}

/// The search of `gcp_auth::provider`, in its order, by its parts.
async fn search() -> Result<(AccessToken, Origin), BoxError> {
    if let Some(path) = env::var_os(KEY_VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        let opened = path.clone();
        let file = blocking(move || Ok(Reread::open(opened))).await?.map_err(|why| {
            format!("the file {path:?} that {KEY_VARIABLE} names is of no use: {why}")
        })?;
        let origin = Origin::Key(file);
        return Ok((origin.token().await?, origin));
    }
    // What is there decides, even if it gives no token now.
    if user_credentials().is_some_and(|path| path.exists()) {
        let origin = Origin::UserCredentials;
        return Ok((origin.token().await?, origin));
    }
    let metadata_error = match first_of_metadata_server().await {
        Ok(token) => return Ok((token, Origin::MetadataServer)),
        // It is late. Who is logged in with gcloud is somebody else.
        Err(error) if Surroundings::look() == Surroundings::GoogleCloud => {
            return Err(format!("metadata server: {error}").into());
        }
        Err(error) => error,
    };
    let gcloud_error = match Origin::Gcloud.token().await {
        Ok(token) => return Ok((token, Origin::Gcloud)),
        Err(error) => error,
    };
    Err(format!(
        "no Google credentials found:\n\
         - {KEY_VARIABLE} is not set: set it to the path of a service-account key\n\
         - there are no user credentials: run `gcloud auth application-default login`\n\
         - metadata server: {metadata_error}: it answers on Google Cloud only\n\
         - gcloud: {gcloud_error}"
    )
    .into())
}

/// The first token decides who this process is. So where there should be a metadata server, which in
/// the first seconds of a machine or a pod is not ready, it is asked for as long as a fetch may take.
async fn first_of_metadata_server() -> Result<AccessToken, BoxError> {
    if metadata::is_ruled_out() {
        return Err(format!("not asked, because {} is set", metadata::NONE_VARIABLE).into());
    }
    let until = Instant::now() + METADATA_PATIENCE;
    loop {
        let token = Origin::MetadataServer.token().await;
        let late = Surroundings::look() == Surroundings::Elsewhere || Instant::now() >= until;
        if token.is_ok() || late {
            return token;
        }
        tokio::time::sleep(METADATA_PAUSE).await;
    }
}

async fn key(file: &Reread) -> Result<AccessToken, BoxError> {
    let content = file.current().await?;
    let endpoint: http::Uri = content.text_of("token_uri").unwrap_or_default().parse()?;
    let provider = blocking(move || Ok(parse_key(&content.text)?)).await?;
    let host = endpoint.host().unwrap_or_default();
    ask(CredentialKind::ServiceAccount, host, async { Ok(provider) }).await
}

/// A provider of a key whose faults, which `gcp_auth` would panic on or hide, were looked for by
/// [`file::parse`].
fn parse_key(json: &str) -> Result<CustomServiceAccount, &'static str> {
    let content = file::parse(json)?;
    if content.kind != CredentialKind::ServiceAccount {
        return Err("its \"type\" is not \"service_account\"; use `Credentials::detect`");
    }
    CustomServiceAccount::from_json(json).map_err(|error| match error {
        GcpError::Other(..) | GcpError::Str(_) => {
            "its \"private_key\" is not an RSA key in PKCS#8 PEM form"
        }
        GcpError::Io(..) => "the system's root certificates cannot be read",
        _ => "a field of it has the wrong type",
    })
}

async fn metadata_server() -> Result<AccessToken, BoxError> {
    let provider = MetadataServiceAccount::new();
    let ask = ask(CredentialKind::MetadataServer, "metadata.google.internal", provider);
    tokio::time::timeout(METADATA_TIMEOUT, ask)
        .await
        .map_err(|_| format!("no answer within {METADATA_TIMEOUT:?}"))?
}

async fn gcloud() -> Result<AccessToken, BoxError> {
    let provider = gcloud_provider(GCLOUD_TIMEOUT).await?;
    ask(CredentialKind::Gcloud, "gcloud", async { Ok(provider) }).await
}

async fn gcloud_provider(limit: Duration) -> Result<GCloudAuthorizedUser, BoxError> {
    let runtime = tokio::runtime::Handle::current();
    // The command blocks; when the time is over, its thread ends with it and its answer is dropped.
    let command = blocking(move || {
        Ok(runtime.block_on(GCloudAuthorizedUser::new()).map_err(|error| match error {
            GcpError::Io(_, error) if error.kind() == ErrorKind::NotFound => {
                "there is no such command; install it and run `gcloud auth login`".to_owned()
            }
            GcpError::Str(_) => "it gives no token; run `gcloud auth login`".to_owned(),
            error => explain(&error, "gcloud"),
        })?)
    });
    let provided = tokio::time::timeout(limit, command).await;
    provided.map_err(|_| format!("it gave no token within {limit:?}"))?
}

/// The file from which `gcp_auth` reads user credentials, whatever `CLOUDSDK_CONFIG` says.
pub(super) fn user_credentials() -> Option<PathBuf> {
    let folder = match cfg!(windows) {
        true => PathBuf::from(env::var_os("APPDATA")?),
        false => env::home_dir()?.join(".config"),
    };
    Some(folder.join("gcloud").join("application_default_credentials.json"))
}

/// One token from a provider made for it.
async fn ask<P: TokenProvider>(
    kind: CredentialKind,
    host: &str,
    provider: impl Future<Output = Result<P, GcpError>>,
) -> Result<AccessToken, BoxError> {
    let refusal = Arc::new(Mutex::new(None));
    let token = async { provider.await?.token(&[CLOUD_PLATFORM_SCOPE]).await }
        .with_subscriber(RefusalReader(Arc::clone(&refusal)))
        .await;
    match token {
        Ok(token) => {
            let life = token.expires_at() - chrono::Utc::now();
            Ok(AccessToken::new(token.as_str(), Some(life.to_std().unwrap_or_default()))?)
        }
        Err(error) => {
            let refusal = refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
            Err(match refusal {
                Some(refusal) => refusal.explain(kind).into(),
                None => explain(&error, host).into(),
            })
        }
    }
}

/// The text of an error of `gcp_auth`, without what could be a secret: `serde_json` quotes the
/// values that it did not expect.
fn explain(error: &GcpError, host: &str) -> String {
    match error {
        GcpError::Json(what, error) => {
            let (line, column) = (error.line(), error.column());
            format!("{host}: {what}: not what was expected at line {line}, column {column}")
        }
        GcpError::Other("HTTP request failed", error) => {
            format!("{host} cannot be reached: {}", chain(&**error))
        }
        GcpError::Other(what, error) => format!("{what}: {}", chain(&**error)),
        // Static text, or that of an operating-system or connection error.
        error => error.to_string(),
    }
}

/// Stands in for the subscriber while `gcp_auth` works, and reads the one event that says why a
/// token was refused.
struct RefusalReader(Arc<Mutex<Option<Refusal>>>);

impl Subscriber for RefusalReader {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("gcp_auth")
    }

    fn event(&self, event: &Event<'_>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        if let Some(status) = seen.status {
            let refusal = Refusal::new(status, &seen.body);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Seen {
    status: Option<u16>,
    body: String,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "status" => self.status = format!("{value:?}").parse().ok(),
            "body" => self.body = format!("{value:?}"),
            _ => {}
        }
    }
}
