//! Google's credentials, through the crate `gcp_auth`.
//!
//! `gcp_auth` 0.12 reads and checks service-account keys, signs with them, and runs gcloud. What it
//! cannot do is done here:
//!
//! - Its requests take an answer of any length, fail on an `expires_in` in quotes, and tell why a
//!   token was refused only to the log, with the whole body. So what is signed is sent by
//!   [`grant`], as every other source does it.
//! - It blocks its thread on `gcloud` and on files.
//!
//! Its search is not used: it does not tell what it found. See [`Credentials`](super::Credentials).

use std::{fmt, io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gcp_auth::{CustomServiceAccount, Error as GcpError, GCloudAuthorizedUser, TokenProvider};
use serde_json::{Value, json};

use super::{
    AccessToken, CLOUD_PLATFORM_SCOPE, CredentialKind, FetchReason, TokenFuture, TokenSource,
    credential_file::{self, CredentialFile, Reread, TransportPolicy, blocking},
    grant,
};
use crate::{
    BoxError,
    error::{ConfigError, Fault, FaultKind},
};

/// `gcloud` starts a Python interpreter and may refresh its own token.
const GCLOUD_TIMEOUT: Duration = Duration::from_secs(5);
/// In seconds. Google takes assertions of up to an hour.
const ASSERTION_LIFE: i64 = 3595;

/// Access tokens by a service-account key.
///
/// It searches for nothing: [`Credentials::detect`](super::Credentials::detect) finds what a machine
/// has, and uses this for a key.
///
/// ```
/// use tower_vertex::token::GcpAuth;
///
/// let error = GcpAuth::from_service_account_file("no-such-key.json").unwrap_err();
/// assert!(error.to_string().contains("there is no such file"));
/// ```
#[doc(alias = "service account")]
#[derive(Clone)]
pub struct GcpAuth {
    origin: Arc<Origin>,
    /// Of the environment or of the file.
    quota_project: Option<String>,
}

enum Origin {
    Key(Reread),
    Gcloud,
}

impl GcpAuth {
    fn of(origin: Origin) -> Self {
        let quota_project = credential_file::quota_project(match &origin {
            Origin::Key(file) => Some(file),
            Origin::Gcloud => None,
        });
        Self { origin: Arc::new(origin), quota_project }
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
        match &*self.origin {
            Origin::Key(file) => key_token(file.current().await?).await,
            Origin::Gcloud => gcloud().await,
        }
    }
}

impl TokenSource for GcpAuth {
    fn fetch(&self, _: FetchReason) -> TokenFuture<'_> {
        Box::pin(self.token())
    }

    fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }
}

impl fmt::Debug for GcpAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match &*self.origin {
            Origin::Key(_) => "service-account key",
            Origin::Gcloud => "gcloud",
        };
        f.debug_struct("GcpAuth").field("from", &from).finish_non_exhaustive()
    }
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
