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
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use gcp_auth::{
    ConfigDefaultCredentials, CustomServiceAccount, Error as GcpError, GCloudAuthorizedUser,
    MetadataServiceAccount, TokenProvider,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    instrument::WithSubscriber,
    span,
};

use super::{AccessToken, CLOUD_PLATFORM_SCOPE, FetchReason, TokenFuture, TokenSource};
use crate::{
    BoxError,
    error::{ConfigError, TokenError},
};

const KEY_VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// Off Google Cloud nobody answers for the metadata server, and `gcp_auth` asks five times.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);
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
    origin: Arc<Origin>,
}

enum Origin {
    Key(Arc<str>),
    KeyFile(KeyFile),
    /// What the search found, once something gave a token.
    Search(OnceLock<Found>),
}

enum Found {
    KeyFile(KeyFile),
    UserCredentials,
    MetadataServer,
    Gcloud,
}

struct KeyFile {
    path: PathBuf,
    /// The text that last gave a provider: kept in case a rotation leaves a broken file.
    last_good: Mutex<Option<Arc<str>>>,
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
        Self { origin: Arc::new(Origin::Search(OnceLock::new())) }
    }

    /// The text of a service-account key, as downloaded from Google Cloud.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it is not such a key; the text names the field, never its content.
    pub fn from_service_account_key(json: impl Into<String>) -> Result<Self, ConfigError> {
        let json = json.into();
        match parse_key(&json) {
            Ok(_) => Ok(Self { origin: Arc::new(Origin::Key(json.into())) }),
            Err(why) => Err(ConfigError::missing("usable service-account key", why)),
        }
    }

    /// A file with a service-account key. It is read again for each token, so a key that is
    /// rotated in place is picked up; while the file is missing or broken, the last good content
    /// is used.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if it cannot be read now, or is not such a key.
    pub fn from_service_account_file(path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let file = KeyFile::new(path);
        match read_key(&file.path) {
            Ok((text, _)) => *file.last_good() = Some(text),
            Err(why) => {
                let path = file.path.display().to_string();
                return Err(ConfigError::invalid("service-account key file", &path, why));
            }
        }
        Ok(Self { origin: Arc::new(Origin::KeyFile(file)) })
    }

    async fn token(&self) -> Result<AccessToken, BoxError> {
        match &*self.origin {
            Origin::Key(json) => {
                let json = Arc::clone(json);
                let provider = blocking(move || Ok(parse_key(&json)?)).await?;
                ask(async { Ok(provider) }).await
            }
            Origin::KeyFile(file) => file.token().await,
            Origin::Search(found) => match found.get() {
                Some(Found::KeyFile(file)) => file.token().await,
                Some(Found::UserCredentials) => user_credentials().await,
                Some(Found::MetadataServer) => metadata_server().await,
                Some(Found::Gcloud) => gcloud().await,
                None => {
                    let (token, first) = search().await?;
                    // Flights do not overlap but for one that was given up; the first one counts.
                    let _ = found.set(first);
                    Ok(token)
                }
            },
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
        let from = match &*self.origin {
            Origin::Key(_) => "service-account key",
            Origin::KeyFile(_) => "service-account key file",
            Origin::Search(found) => match found.get() {
                None => "search",
                Some(Found::KeyFile(_)) => KEY_VARIABLE,
                Some(Found::UserCredentials) => "user credentials",
                Some(Found::MetadataServer) => "metadata server",
                Some(Found::Gcloud) => "gcloud",
            },
        };
        f.debug_struct("GcpAuth").field("from", &from).finish_non_exhaustive()
    }
}

/// The search of `gcp_auth::provider`, in its order, by its parts.
async fn search() -> Result<(AccessToken, Found), BoxError> {
    if let Some(path) = env::var_os(KEY_VARIABLE).filter(|path| !path.is_empty()) {
        let file = KeyFile::new(path);
        return Ok((file.token().await?, Found::KeyFile(file)));
    }
    let user_error = match user_credentials().await {
        Ok(token) => return Ok((token, Found::UserCredentials)),
        Err(error) => error,
    };
    let metadata_error = match metadata_server().await {
        Ok(token) => return Ok((token, Found::MetadataServer)),
        Err(error) => error,
    };
    let gcloud_error = match gcloud().await {
        Ok(token) => return Ok((token, Found::Gcloud)),
        Err(error) => error,
    };
    Err(format!(
        "no Google credentials found:\n\
         - {KEY_VARIABLE} is not set: set it to the path of a service-account key\n\
         - user credentials: {user_error}: run `gcloud auth application-default login`\n\
         - metadata server: {metadata_error}: it answers on Google Cloud only\n\
         - gcloud: {gcloud_error}: install it and run `gcloud auth login`"
    )
    .into())
}

impl KeyFile {
    fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), last_good: Mutex::new(None) }
    }

    fn last_good(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn token(&self) -> Result<AccessToken, BoxError> {
        let (path, last_good) = (self.path.clone(), self.last_good().clone());
        let (text, provider) = blocking(move || match (read_key(&path), last_good) {
            (Ok(read), _) => Ok(read),
            (Err(why), Some(text)) => {
                tracing::warn!(path = %path.display(), why, "keeping the last good service-account key");
                let provider = parse_key(&text)?;
                Ok((text, provider))
            }
            (Err(why), None) => {
                Err(format!("the service-account key file {path:?} is of no use: {why}").into())
            }
        })
        .await?;
        let token = ask(async { Ok(provider) }).await?;
        *self.last_good() = Some(text);
        Ok(token)
    }
}

fn read_key(path: &Path) -> Result<(Arc<str>, CustomServiceAccount), &'static str> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "there is no such file",
        ErrorKind::PermissionDenied => "this user may not read it",
        ErrorKind::InvalidData => "it is not text",
        ErrorKind::IsADirectory => "it is a directory; name the file in it",
        _ => "it cannot be read",
    })?;
    let provider = parse_key(&text)?;
    Ok((text.into(), provider))
}

/// A provider of a key whose faults, which `gcp_auth` would panic on or hide, were looked for.
fn parse_key(json: &str) -> Result<CustomServiceAccount, &'static str> {
    let key: serde_json::Value =
        serde_json::from_str(json).map_err(|_| "it is not JSON; use the file as downloaded")?;
    let field = |name: &str| key.get(name).and_then(|value| value.as_str());
    if !matches!(field("type"), Some("service_account") | None) {
        return Err("its \"type\" is not \"service_account\"");
    }
    if field("client_email").is_none_or(str::is_empty) {
        return Err("it has no \"client_email\"; use the file as downloaded");
    }
    let private_key = field("private_key").ok_or("it has no \"private_key\"")?;
    if private_key.contains("BEGIN RSA PRIVATE KEY") {
        return Err(
            "its \"private_key\" is in PKCS#1 form; convert it with `openssl pkcs8 -topk8 -nocrypt`",
        );
    }
    let token_uri = field("token_uri").ok_or("it has no \"token_uri\"")?;
    let uri: http::Uri = token_uri.parse().map_err(|_| "its \"token_uri\" is not a URL")?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) || uri.host().is_none_or(str::is_empty) {
        return Err("its \"token_uri\" is not an https URL");
    }
    CustomServiceAccount::from_json(json).map_err(|error| match error {
        GcpError::Other(..) | GcpError::Str(_) => {
            "its \"private_key\" is not an RSA key in PKCS#8 PEM form"
        }
        GcpError::Io(..) => "the system's root certificates cannot be read",
        _ => "a field of it has the wrong type",
    })
}

async fn user_credentials() -> Result<AccessToken, BoxError> {
    ask(ConfigDefaultCredentials::new()).await
}

async fn metadata_server() -> Result<AccessToken, BoxError> {
    tokio::time::timeout(METADATA_TIMEOUT, ask(MetadataServiceAccount::new()))
        .await
        .map_err(|_| format!("no answer within {METADATA_TIMEOUT:?}"))?
}

async fn gcloud() -> Result<AccessToken, BoxError> {
    let runtime = tokio::runtime::Handle::current();
    // The command blocks; when the time is over, its thread ends with it and its answer is dropped.
    let command = blocking(move || {
        Ok(runtime.block_on(GCloudAuthorizedUser::new()).map_err(|error| explain(&error, None))?)
    });
    let provider = tokio::time::timeout(GCLOUD_TIMEOUT, command)
        .await
        .map_err(|_| format!("no answer within {GCLOUD_TIMEOUT:?}"))??;
    ask(async { Ok(provider) }).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BoxError> + Send + 'static,
) -> Result<T, BoxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(TokenError::Panicked.into()),
        Err(_cancelled) => Err(TokenError::RuntimeGone.into()),
    }
}

/// One token from a provider made for it.
async fn ask<P: TokenProvider>(
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
            Err(explain(&error, refusal).into())
        }
    }
}

/// The text of an error of `gcp_auth`, without what could be a secret: `serde_json` quotes the
/// values that it did not expect.
fn explain(error: &GcpError, refusal: Option<String>) -> String {
    match error {
        GcpError::Json(what, error) => {
            format!(
                "{what}: not what was expected at line {}, column {}",
                error.line(),
                error.column()
            )
        }
        GcpError::Other(what, error) => {
            let mut text = format!("{what}: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            text
        }
        GcpError::Str(_) if refusal.is_some() => refusal.unwrap_or_default(),
        // Static text, or that of an operating-system or connection error.
        error => error.to_string(),
    }
}

/// Stands in for the subscriber while `gcp_auth` works, and reads the one event that says why a
/// token was refused.
struct RefusalReader(Arc<Mutex<Option<String>>>);

impl Subscriber for RefusalReader {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("gcp_auth")
    }

    fn event(&self, event: &Event<'_>) {
        let mut refusal = Refusal::default();
        event.record(&mut refusal);
        if let Some(status) = refusal.status {
            let code = refusal.code.map(|code| format!(" with {code:?}")).unwrap_or_default();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(format!("the token endpoint answered {status}{code}"));
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
struct Refusal {
    status: Option<String>,
    code: Option<String>,
}

impl Visit for Refusal {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "status" => self.status = Some(format!("{value:?}")),
            // RFC 6749 §5.2: `error` is one of a few words. The rest of the body is not ours to show.
            "body" => {
                self.code = serde_json::from_str::<serde_json::Value>(&format!("{value:?}"))
                    .ok()
                    .and_then(|body| Some(body.get("error")?.as_str()?.to_owned()))
                    .filter(|code| {
                        code.len() <= 40
                            && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                    });
            }
            _ => {}
        }
    }
}
