//! [`IdToken`]: ID tokens, which say to a service who calls it.

mod identity;
mod jwt;

use std::{fmt, path::PathBuf, sync::Arc, time::SystemTime};

pub(super) use self::identity::Identity;
use super::{
    AccessToken, Credentials, FetchReason, Impersonated, TokenFuture, TokenSource,
    credential_file::{self, Reread, TransportPolicy},
    http::Answer,
    metadata,
};
use crate::{
    BoxError,
    error::{ConfigError, CredentialsError, Error, Fault},
};

/// The maximum length of an audience in bytes: that of a URL which every server accepts.
const LONGEST: usize = 2048;

/// Fetches ID tokens for one service: Cloud Run, Cloud Functions, or one behind Identity-Aware Proxy.
///
/// An ID token is a signed statement about the caller, for one *audience*. For Cloud Run it is the
/// URL of the service, `https://service-abc.a.run.app`; for Identity-Aware Proxy it is an OAuth
/// client id. The token lives until its claim `exp`, usually for an hour.
///
/// [`VertexAuthLayer`](crate::auth::VertexAuthLayer) sends the token to no other host: its trust list
/// is the origin of an audience that is an https URL, and is empty for any other audience, until
/// [`trust_origin`](crate::auth::VertexAuthLayer::trust_origin) adds the service's origin.
///
/// ```no_run
/// use tower_vertex::{auth::VertexAuthLayer, token::IdToken};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_vertex::Error> {
/// let run = VertexAuthLayer::new(IdToken::detect("https://service-abc.a.run.app").await?);
///
/// let client = "1234-abc.apps.googleusercontent.com";
/// let iap = VertexAuthLayer::new(IdToken::detect(client).await?)
///     .trust_origin("https://behind-iap.example.com")?;
/// # Ok(())
/// # }
/// ```
///
/// | credentials | ID tokens by |
/// |---|---|
/// | service account key | an assertion with `target_audience` (feature `credentials`) |
/// | metadata server | `identity?audience=…&format=full` |
/// | impersonation of a service account, with or without a file | `generateIdToken` of Google's IAM, with the e-mail address |
/// | identity federation that impersonates a service account, with a subject token from a file or a URL | the same |
/// | a person's login | the login's own ID token, whose audience can only be the `client_id` of the login |
/// | other identity federation, a workforce login, gcloud's own login | none: impersonate a service account |
///
/// Each fetch requests a new token. Only a metadata server may return the same one again, until
/// shortly before its expiry.
#[doc(alias = "OIDC")]
#[doc(alias = "identity token")]
#[doc(alias = "Cloud Run")]
#[doc(alias = "IAP")]
#[derive(Clone)]
pub struct IdToken {
    identity: Arc<Identity>,
    audience: Arc<str>,
}

impl IdToken {
    /// Finds the credentials of this machine, as [`Credentials::detect`] does.
    ///
    /// # Errors
    ///
    /// The errors of [`Credentials::detect`] and of [`of`](Self::of).
    pub async fn detect(audience: impl Into<String>) -> Result<Self, Error> {
        let audience = check(audience.into())?;
        let credentials = Credentials::builder().project_known(true).detect().await?;
        Self::of(&credentials, audience)
    }

    /// Uses credentials that were found, with the service account that they impersonate.
    ///
    /// # Errors
    ///
    /// [`Error::Credentials`] if such credentials have no ID tokens for this audience, and
    /// [`Error::Config`] if `audience` is empty, longer than 2048 bytes, or has a space or a control
    /// character.
    pub fn of(credentials: &Credentials, audience: impl Into<String>) -> Result<Self, Error> {
        let audience = check(audience.into())?;
        let identity = credentials.identity();
        let place = credentials.info().to_string();
        identity.check(&audience).map_err(|why| CredentialsError::unsuited(place, why))?;
        Ok(Self { identity, audience: audience.into() })
    }

    /// Uses a credential file. A change of the file is picked up with the next token.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the file cannot be read now, if it has no ID tokens for this audience, or if
    /// the audience cannot be one.
    pub fn from_file(
        path: impl Into<PathBuf>,
        audience: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        let path = path.into();
        let file = Reread::open(&path, TransportPolicy::Safe);
        Self::file(file, audience.into(), |why| {
            ConfigError::unusable("credential file", &path, why)
        })
    }

    /// Uses the text of a credential file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] in the cases of [`from_file`](Self::from_file). It names the field of the text,
    /// never its content.
    pub fn from_json(
        json: impl Into<String>,
        audience: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        let file = credential_file::parse(json.into(), TransportPolicy::Safe).map(Reread::fixed);
        Self::file(file, audience.into(), |why| {
            ConfigError::unusable_content("credential file", why)
        })
    }

    /// Uses the metadata server that `GCE_METADATA_HOST` names, or the one of this machine.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the audience cannot be one.
    pub fn metadata_server(audience: impl Into<String>) -> Result<Self, ConfigError> {
        Self::new(Identity::MetadataServer { host: metadata::host() }, audience.into())
    }

    /// Uses a service account that other credentials impersonate. The lifetime of
    /// [`Impersonated::lifetime`] is not that of ID tokens.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the audience cannot be one.
    pub fn impersonated(
        account: Impersonated,
        audience: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        Self::new(Identity::Impersonated(account), audience.into())
    }

    fn new(identity: Identity, audience: String) -> Result<Self, ConfigError> {
        let audience = check(audience)?.into();
        Ok(Self { identity: Arc::new(identity), audience })
    }

    fn file(
        file: Result<Reread, Fault>,
        audience: String,
        unusable: impl Fn(&Fault) -> ConfigError,
    ) -> Result<Self, ConfigError> {
        let source = Self::new(Identity::File(file.map_err(|why| unusable(&why))?), audience)?;
        source.identity.check(&source.audience).map_err(|why| unusable(&why))?;
        Ok(source)
    }
}

fn check(audience: String) -> Result<String, ConfigError> {
    let fits = (1..=LONGEST).contains(&audience.len())
        && audience.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return Ok(audience);
    }
    let advice = "give the URL of the service, such as https://service-abc.a.run.app, or the client \
                  id of Identity-Aware Proxy";
    Err(ConfigError::invalid("audience", &audience, advice))
}

/// Reads an ID token that came with `answer`. `wrong` makes an error of the reason why it is none.
pub(super) fn read(
    token: &str,
    audience: &str,
    answer: &Answer,
    wrong: impl Fn(&'static str) -> Fault,
) -> Result<AccessToken, BoxError> {
    // The remaining lifetime is counted by the server's clock, because this machine's may be wrong.
    let now = answer.date().unwrap_or_else(SystemTime::now);
    let lifetime = jwt::lifetime(token, audience, now).map_err(wrong)?;
    Ok(AccessToken::new(token, Some(lifetime))?)
}

impl TokenSource for IdToken {
    fn fetch(&self, _: FetchReason) -> TokenFuture<'_> {
        Box::pin(self.identity.token(&self.audience))
    }

    fn audience(&self) -> Option<&str> {
        Some(&self.audience)
    }
}

impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdToken")
            .field("kind", &self.identity.kind())
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}
