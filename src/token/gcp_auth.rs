//! Google's credentials, through the crate `gcp_auth`.
//!
//! `gcp_auth` 0.12 reads and checks service-account keys, signs with them, and runs gcloud. This
//! module works around its limits:
//!
//! - Its requests accept a response of any length and fail on an `expires_in` in quotes. If a token
//!   is refused, they report the reason only in the log, with the whole body. So [`grant`] sends
//!   the signed assertion, as it does for every other source.
//! - It blocks its thread on `gcloud` and on files.
//!
//! Its search is not used, because it does not report what it found. See
//! [`Credentials`](super::Credentials).

use std::{fmt, io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use gcp_auth::{CustomServiceAccount, Error as GcpError, GCloudAuthorizedUser, TokenProvider};
use http::Request;
use http_body_util::Full;
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
/// In seconds. Google accepts assertions of up to an hour.
const ASSERTION_LIFE: i64 = 3595;

/// Fetches access tokens with a service-account key.
///
/// This source searches for nothing. [`Credentials::detect`](super::Credentials::detect) finds the
/// credentials of a machine and uses this source for a key.
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
    /// The quota project of the environment or of the file.
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

    /// Uses `gcloud auth print-access-token`, and nothing else.
    pub(super) fn gcloud() -> Self {
        Self::of(Origin::Gcloud)
    }

    /// Uses the key of a service account.
    pub(super) fn key(file: Reread) -> Result<Self, Fault> {
        parse_key(&file.last_good())?;
        Ok(Self::of(Origin::Key(file)))
    }

    /// Checks that gcloud is installed and a user is logged in, and returns the project that gcloud
    /// is configured for.
    pub(super) async fn probe_gcloud(limit: Duration) -> Result<Option<String>, String> {
        let provider = gcloud_provider(limit).await.map_err(|error| error.to_string())?;
        Ok(provider.project_id().await.ok().map(|project| project.to_string()))
    }

    /// Creates a source from the text of a service-account key, as downloaded from Google Cloud.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the text is not such a key. The message names the field, never its
    /// content.
    pub fn from_service_account_key(json: impl Into<String>) -> Result<Self, ConfigError> {
        credential_file::parse(json.into(), TransportPolicy::Safe)
            .and_then(|content| Self::key(Reread::fixed(content)))
            .map_err(|why| ConfigError::unusable_content("service-account key", &why))
    }

    /// Creates a source from a file with a service-account key. The file is read again for each
    /// token, so a key that is rotated in place is picked up. While the file is missing or broken,
    /// the last good content is used.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the file cannot be read now, or is not such a key.
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

/// Fetches a token of a service account, with an assertion signed by its key: RFC 7523 §2.1.
pub(super) async fn key_token(content: CredentialFile) -> Result<AccessToken, BoxError> {
    let request = signed_request(content, ("scope", CLOUD_PLATFORM_SCOPE.to_owned())).await?;
    Ok(grant::ask(CredentialKind::ServiceAccount, request).await?.token)
}

/// Builds the request for a token of a service account. `wanted` is the claim that says which one:
/// the `scope` of an access token, or the `target_audience` of an ID token.
pub(super) async fn signed_request(
    content: CredentialFile,
    wanted: (&'static str, String),
) -> Result<Request<Full<Bytes>>, BoxError> {
    blocking(move || {
        let signer = parse_key(&content)?;
        let field = |name| content.text_of(name).unwrap_or_default();
        let now = chrono::Utc::now().timestamp();
        let (name, value) = wanted;
        let claims = json!({
            "iss": field("client_email"),
            "aud": field("token_uri"),
            name: value,
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
    })
    .await
}

/// Returns the signer of a key. [`credential_file::parse`] has already looked for the faults of the
/// key, which `gcp_auth` would hide.
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
        // [`credential_file::parse`] has checked the types of the fields.
        _ => credential_file::fault(
            "its \"private_key\" is not an RSA key in PKCS#8 PEM form",
            "make a new key with `gcloud iam service-accounts keys create`",
        ),
    })
}

async fn gcloud() -> Result<AccessToken, BoxError> {
    let provider = gcloud_provider(GCLOUD_TIMEOUT).await?;
    // The constructor has already fetched the token.
    let token =
        provider.token(&[CLOUD_PLATFORM_SCOPE]).await.map_err(|error| gcloud_fault(&error))?;
    let lifetime = token.expires_at() - chrono::Utc::now();
    Ok(AccessToken::new(token.as_str(), Some(lifetime.to_std().unwrap_or_default()))?)
}

async fn gcloud_provider(limit: Duration) -> Result<GCloudAuthorizedUser, BoxError> {
    let runtime = tokio::runtime::Handle::current();
    // The command blocks. After the time-out, its thread runs until the command ends, and its
    // result is dropped.
    let command = blocking(move || {
        Ok(runtime.block_on(GCloudAuthorizedUser::new()).map_err(|error| gcloud_fault(&error))?)
    });
    let provided = tokio::time::timeout(limit, command).await;
    provided.map_err(|_| {
        let what = format!("it returned no token within {limit:?}");
        Fault::new(
            FaultKind::Unreachable,
            what,
            "check the output of `gcloud auth print-access-token`",
        )
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
            "check the output of `gcloud auth print-access-token`",
        ),
        _ => Fault::new(FaultKind::Refused, "it returned no token", "run `gcloud auth login`"),
    }
}
