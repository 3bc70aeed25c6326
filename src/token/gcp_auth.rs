//! Google's credentials, through the crate `gcp_auth`.
//!
//! `gcp_auth` 0.12 reads and checks service-account keys, signs with them, and runs gcloud. What it
//! cannot do is done here:
//!
//! - Its requests take an answer of any length, fail on an `expires_in` in quotes, and tell why a
//!   token was refused only to the log, with the whole body. So what is signed is sent by
//!   [`grant`], as every other source does it.
//! - Its search does not tell what it found, so it is made here, in the same order, and what first
//!   succeeded stays: a later failure never turns the process into somebody else.
//! - It blocks its thread on `gcloud` and on files.

use std::{
    env, fmt,
    io::ErrorKind,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gcp_auth::{CustomServiceAccount, Error as GcpError, GCloudAuthorizedUser, TokenProvider};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    AccessToken, CLOUD_PLATFORM_SCOPE, CredentialKind, FetchReason, TokenFuture, TokenSource,
    credential_file::{self, CredentialFile, KEY_VARIABLE, Reread, TransportPolicy, blocking},
    grant,
    login::Login,
    machine,
    metadata::{self, Surroundings},
};
use crate::{
    BoxError,
    error::{ConfigError, CredentialsError, Fault, FaultKind},
};

/// Within the time of a fetch, 10 s, with the last try.
const METADATA_PATIENCE: Duration = Duration::from_secs(6);
const METADATA_PAUSE: Duration = Duration::from_millis(500);
/// `gcloud` starts a Python interpreter and may refresh its own token.
const GCLOUD_TIMEOUT: Duration = Duration::from_secs(5);
/// In seconds. Google takes assertions of up to an hour.
const ASSERTION_LIFE: i64 = 3595;

/// Access tokens by a service-account key, or by whatever credentials this machine offers.
///
/// ```no_run
/// use tower_vertex::token::{GcpAuth, TokenCache};
///
/// // GOOGLE_APPLICATION_CREDENTIALS, gcloud's user credentials, the metadata server, gcloud
/// let cache = TokenCache::new(GcpAuth::new());
/// ```
#[doc(alias = "service account")]
#[derive(Clone)]
pub struct GcpAuth {
    /// What gives the tokens, once something gave one.
    origin: Arc<OnceLock<Origin>>,
    /// Of the environment or of the file, once somebody asked for it.
    quota_project: Arc<OnceLock<Option<String>>>,
}

enum Origin {
    Key(Reread),
    UserCredentials(Login),
    MetadataServer,
    Gcloud,
}

impl GcpAuth {
    /// The first of these that gives a token, for as long as this source lives:
    ///
    /// 1. the service-account key named by `GOOGLE_APPLICATION_CREDENTIALS`,
    /// 2. the user credentials that `gcloud auth application-default login` left, in
    ///    `$CLOUDSDK_CONFIG` or in gcloud's usual folder,
    /// 3. the metadata server, at `GCE_METADATA_HOST` or where Google Cloud has it,
    /// 4. `gcloud auth print-access-token`.
    ///
    /// If the variable is set, nothing else is tried: a broken key is an error, not a reason to
    /// become somebody else. Nothing is sent before the first fetch, and nothing is read but for the
    /// project that pays, when a layer asks for it.
    pub fn new() -> Self {
        Self { origin: Arc::default(), quota_project: Arc::default() }
    }

    fn of(origin: Origin) -> Self {
        Self { origin: Arc::new(OnceLock::from(origin)), quota_project: Arc::default() }
    }

    /// `gcloud auth print-access-token`, and nothing else.
    pub(super) fn gcloud() -> Self {
        Self::of(Origin::Gcloud)
    }

    /// A service account's key.
    pub(super) fn key(file: Reread) -> Result<Self, Fault> {
        parse_key(&file.last_good())?;
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
        credential_file::parse(json.into(), TransportPolicy::Safe)
            .and_then(|content| Self::key(Reread::fixed(content)))
            .map_err(|why| ConfigError::unusable_content("service-account key", &why))
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
        Reread::open(&path, TransportPolicy::Safe)
            .and_then(Self::key)
            .map_err(|why| ConfigError::unusable("service-account key file", &path, &why))
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
            Self::Key(file) => key_token(file.current().await?).await,
            Self::UserCredentials(login) => login.fetch(FetchReason::Cold).await,
            Self::MetadataServer => machine::token(&metadata::host()).await,
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

    fn quota_project(&self) -> Option<&str> {
        let found = || match self.origin.get() {
            Some(Origin::Key(file)) => credential_file::quota_project(Some(file)),
            Some(Origin::UserCredentials(login)) => login.quota_project().map(str::to_owned),
            Some(Origin::MetadataServer | Origin::Gcloud) => credential_file::quota_project(None),
            None => {
                // Of what the search will find first, if it is a file.
                let named = env::var_os(KEY_VARIABLE).filter(|path| !path.is_empty());
                let path = named.map(PathBuf::from).or_else(credential_file::user_credentials);
                let file = path.and_then(|path| Reread::open(path, TransportPolicy::Safe).ok());
                credential_file::quota_project(file.as_ref())
            }
        };
        self.quota_project.get_or_init(found).as_deref()
    }
}

impl fmt::Debug for GcpAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match self.origin.get() {
            None => "search",
            Some(Origin::Key(_)) => "service-account key",
            Some(Origin::UserCredentials(_)) => "user credentials",
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
        let origin = Origin::Key(open(KEY_VARIABLE, path).await?);
        return Ok((origin.token().await?, origin));
    }
    // What is there decides, even if it gives no token now.
    let usual = credential_file::user_credentials();
    if let Some(path) = usual.filter(|path| credential_file::may_be_there(path)) {
        let origin = Origin::UserCredentials(Login::new(open("user credentials", path).await?));
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
    Err(CredentialsError::not_found(vec![
        (KEY_VARIABLE, "not set: the path of a service-account key".to_owned()),
        ("user credentials", "none: run `gcloud auth application-default login`".to_owned()),
        ("metadata server", format!("{metadata_error}: only on Google Cloud")),
        ("gcloud", gcloud_error.to_string()),
    ])
    .into())
}

/// The first token decides who this process is. So where there should be a metadata server, which in
/// the first seconds of a machine or a pod is not ready, it is asked for as long as a fetch may take.
async fn first_of_metadata_server() -> Result<AccessToken, BoxError> {
    if metadata::is_ruled_out() {
        return Err(format!("not asked, because {} is set", metadata::NONE_VARIABLE).into());
    }
    let until = Instant::now() + METADATA_PATIENCE;
    metadata::wait(Surroundings::look(), METADATA_PATIENCE).await?;
    // It is there, and may have no token yet.
    loop {
        let token = Origin::MetadataServer.token().await;
        if token.is_ok() || Instant::now() >= until {
            return token;
        }
        tokio::time::sleep(METADATA_PAUSE).await;
    }
}

async fn open(place: &'static str, path: PathBuf) -> Result<Reread, BoxError> {
    blocking(move || {
        let file = Reread::open(&path, TransportPolicy::Safe);
        Ok(file.map_err(|fault| CredentialsError::unusable(place.into(), &path, fault))?)
    })
    .await
}

/// A token of a service account, by an assertion that its key signs: RFC 7523 §2.1.
pub(super) async fn key_token(content: CredentialFile) -> Result<AccessToken, BoxError> {
    let request = blocking(move || {
        let signer = parse_key(&content)?;
        let field = |name| content.text_of(name).unwrap_or_default();
        let now = chrono::Utc::now().timestamp();
        let claims = json!({
            "iss": field("client_email"),
            "aud": field("token_uri"),
            "scope": CLOUD_PLATFORM_SCOPE,
            "iat": now,
            "exp": now + ASSERTION_LIFE,
        });
        let mut header = json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(id) = content.text_of("private_key_id") {
            header["kid"] = id.into();
        }
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = signer.signer().sign(signed.as_bytes()).map_err(|_| {
            credential_file::fault("its \"private_key\" cannot sign", "make a new key")
        })?;
        let assertion = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        grant::form(
            field("token_uri"),
            &[
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", &assertion),
            ],
        )
    });
    Ok(grant::ask(CredentialKind::ServiceAccount, request.await?).await?.token)
}

/// What signs with a key whose faults, which `gcp_auth` would hide, were looked for by
/// [`credential_file::parse`].
fn parse_key(content: &CredentialFile) -> Result<CustomServiceAccount, Fault> {
    if content.kind != CredentialKind::ServiceAccount {
        let what = "its \"type\" is not \"service_account\"";
        return Err(credential_file::fault(what, "use `Credentials::detect`"));
    }
    CustomServiceAccount::from_json(&content.json.to_string()).map_err(|error| match error {
        GcpError::Io(..) => credential_file::fault(
            "the system's root certificates cannot be read",
            "install the package ca-certificates",
        ),
        // The fields have the right types.
        _ => credential_file::fault(
            "its \"private_key\" is not an RSA key in PKCS#8 PEM form",
            "make a new key with `gcloud iam service-accounts keys create`",
        ),
    })
}

async fn gcloud() -> Result<AccessToken, BoxError> {
    let provider = gcloud_provider(GCLOUD_TIMEOUT).await?;
    // It was fetched by the constructor.
    let token =
        provider.token(&[CLOUD_PLATFORM_SCOPE]).await.map_err(|error| gcloud_fault(&error))?;
    let lifetime = token.expires_at() - chrono::Utc::now();
    Ok(AccessToken::new(token.as_str(), Some(lifetime.to_std().unwrap_or_default()))?)
}

async fn gcloud_provider(limit: Duration) -> Result<GCloudAuthorizedUser, BoxError> {
    let runtime = tokio::runtime::Handle::current();
    // The command blocks; when the time is over, its thread ends with it and its answer is dropped.
    let command = blocking(move || {
        Ok(runtime.block_on(GCloudAuthorizedUser::new()).map_err(|error| gcloud_fault(&error))?)
    });
    let provided = tokio::time::timeout(limit, command).await;
    provided.map_err(|_| {
        let what = format!("it gave no token within {limit:?}");
        Fault::new(FaultKind::Unreachable, what, "see what `gcloud auth print-access-token` does")
    })?
}

fn gcloud_fault(error: &GcpError) -> Fault {
    match error {
        GcpError::Io(_, error) if error.kind() == ErrorKind::NotFound => Fault::new(
            FaultKind::Credentials,
            "there is no such command",
            "install it and run `gcloud auth login`",
        ),
        GcpError::Io(_, error) => Fault::new(
            FaultKind::Credentials,
            format!("it cannot be run ({})", error.kind()),
            "see what `gcloud auth print-access-token` does",
        ),
        _ => Fault::new(FaultKind::Refused, "it gives no token", "run `gcloud auth login`"),
    }
}
