//! The search for the credentials of this machine, and for the source that fetches their tokens.
//!
//! The order is that of Google's Application Default Credentials, followed by gcloud's own login.
//! The first place that holds credentials decides. If they are unusable, the search fails, because
//! other credentials could belong to another identity. The result is kept for the life of the
//! process.

mod builder;

#[cfg(feature = "credentials")]
use std::time::Duration;
use std::{borrow::Cow, fmt, path::PathBuf, sync::Arc};

pub use self::builder::CredentialsBuilder;
#[cfg(feature = "credentials-federation")]
use super::GoogleCloudAuth;
#[cfg(feature = "credentials")]
use super::gcp_auth::GcpAuth;
use super::{
    CredentialKind, CredentialsInfo, FetchReason, TokenFuture, TokenSource,
    credential_file::{self, KEY_VARIABLE, Reread, blocking},
    environment,
    federation::Federation,
    id_token::Identity,
    impersonated::check_lifetime,
    login::Login,
    machine::MetadataServer,
    metadata::{self, Surroundings},
};
use crate::{
    error::{ConfigError, CredentialsError, Error, Fault},
    redact,
};

/// The time limit of gcloud: enough for two runs of a Python program.
#[cfg(feature = "credentials")]
const GCLOUD_LIMIT: Duration = Duration::from_millis(2900);

/// The credentials that this machine offers, as a source of tokens.
///
/// ```no_run
/// use tower_vertex::{auth::VertexAuthLayer, token::Credentials};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_vertex::Error> {
/// let credentials = Credentials::detect().await?;
/// println!("{}", credentials.info());
/// let layer = VertexAuthLayer::new(credentials);
/// # Ok(())
/// # }
/// ```
///
/// | found | tokens by |
/// |---|---|
/// | service account key | `gcp_auth`, which signs; without it `google-cloud-auth` |
/// | user credentials, a person's login through workforce identity federation | this crate |
/// | identity federation by a file or a URL, impersonation | this crate |
/// | identity federation by a command or AWS | `google-cloud-auth` |
/// | metadata server | this crate |
/// | gcloud's own login | `gcp_auth` |
///
/// The requests of this crate are bounded in time and size. Their responses are read in the same
/// way as by Google's own libraries, and the tokens have their expiry. If no compiled feature can
/// fetch tokens for the credentials, the error names the feature to enable.
#[doc(alias = "adc")]
#[doc(alias = "application default credentials")]
#[doc(alias = "service account")]
#[doc(alias = "oauth")]
#[derive(Clone)]
pub struct Credentials {
    source: Arc<dyn TokenSource>,
    info: Arc<CredentialsInfo>,
    identity: Arc<Identity>,
}

impl Credentials {
    /// Returns the first of these that exists:
    ///
    /// 1. the file that `GOOGLE_APPLICATION_CREDENTIALS` names, of any type,
    /// 2. `application_default_credentials.json` in `$CLOUDSDK_CONFIG`, or in gcloud's usual folder,
    /// 3. the metadata server, at `GCE_METADATA_HOST` or at its usual address on Google Cloud,
    /// 4. `gcloud auth print-access-token`.
    ///
    /// The search takes at most five seconds. It takes up to half a minute on Google Cloud, in
    /// Kubernetes and if `GCE_METADATA_HOST` is set, because the metadata server is not up yet in
    /// the first seconds of a machine or a pod. `NO_GCE_CHECK=true` says that there is none. Only
    /// gcloud fetches a token, because it has no other way to find out whether a user is logged in.
    ///
    /// # Errors
    ///
    /// [`Error::Credentials`] if a file cannot be used, with the reason, or if no credentials are
    /// found, with each place and the thing that is missing there.
    #[doc(alias = "adc")]
    #[doc(alias = "find_default_credentials")]
    #[doc(alias = "from_env")]
    pub async fn detect() -> Result<Self, Error> {
        Self::builder().detect().await
    }

    /// Settings for [`detect`](Self::detect).
    pub fn builder() -> CredentialsBuilder {
        CredentialsBuilder::default()
    }

    /// Description of the credentials that were found.
    pub fn info(&self) -> &CredentialsInfo {
        &self.info
    }

    /// The owner of ID tokens.
    pub(super) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }
}

impl TokenSource for Credentials {
    fn fetch(&self, reason: FetchReason) -> TokenFuture<'_> {
        self.source.fetch(reason)
    }

    fn quota_project(&self) -> Option<&str> {
        self.info.quota_project()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("info", &self.info).finish_non_exhaustive()
    }
}

impl CredentialsBuilder {
    async fn search(&self) -> Result<Found, Error> {
        if let Some(path) = environment::path(KEY_VARIABLE) {
            return self.open(path, KEY_VARIABLE.into()).await;
        }
        let mut looked = vec![(KEY_VARIABLE, "not set: the path of a credential file".to_owned())];
        let usual = credential_file::user_credentials();
        if let Some(path) = usual.as_deref().filter(|path| credential_file::may_be_there(path)) {
            return self.open(path.to_owned(), "user credentials".into()).await;
        }
        looked.push((
            "user credentials",
            match usual {
                Some(path) => format!(
                    "no file {}: run `gcloud auth application-default login`",
                    redact::path(&path)
                ),
                None => "no home directory to look in".to_owned(),
            },
        ));
        looked.push((
            "metadata server",
            match self.machine().await {
                Ok(machine) => return Ok(metadata_server(machine)),
                Err(why) => why,
            },
        ));
        match gcloud().await {
            Ok(found) => return Ok(found),
            Err(why) => looked.push(("gcloud", why)),
        }
        Err(CredentialsError::not_found(looked).into())
    }

    /// Returns the identity of this machine, or the reason why no metadata server reports it.
    async fn machine(&self) -> Result<metadata::MachineIdentity, String> {
        if metadata::is_ruled_out() {
            return Err(format!("not contacted, because {} is set", metadata::NONE_VARIABLE));
        }
        let around = Surroundings::look();
        metadata::machine(around, !self.project_known).await.map_err(|error| match around {
            Surroundings::GoogleCloud => error.to_string(),
            _ => format!("{error}: only on Google Cloud"),
        })
    }

    async fn open(&self, path: PathBuf, place: Cow<'static, str>) -> Result<Found, Error> {
        let unusable = |fault: Fault| CredentialsError::unusable(place.clone(), &path, fault);
        let (opened, transport) = (path.clone(), self.transport);
        let opened = blocking(move || {
            Ok((Reread::open(&opened, transport), credential_file::is_world_readable(&opened)))
        });
        let (file, world_readable) = opened.await.map_err(|error| {
            unusable(credential_file::fault(error.to_string(), "start this again"))
        })?;
        let file = file.map_err(unusable)?;
        let content = file.last_good().clone();
        let kind = content.kind;
        if self.lifetime.is_some()
            && self.account.is_none()
            && kind != CredentialKind::ImpersonatedServiceAccount
        {
            return Err(no_lifetime());
        }
        self.lifetime.map_or(Ok(()), check_lifetime)?;
        let identity = Identity::File(file.again());
        let (source, backend) = self.source(file).map_err(unusable)?;
        let mut info = CredentialsInfo::new(kind, backend);
        info.principal = content.principal();
        info.project_id = content.project("project_id");
        info.quota_project = content.project("quota_project_id");
        info.universe_domain = content.universe_domain();
        if world_readable {
            info.warnings.push(format!(
                "all users of this machine can read {0}; run `chmod 600 {0}`",
                redact::path(&path)
            ));
        }
        info.path = Some(path);
        Ok(Found { source, info, identity })
    }

    fn source(&self, file: Reread) -> Result<(Arc<dyn TokenSource>, &'static str), Fault> {
        const OURS: &str = "tower-vertex";
        let content = file.last_good().clone();
        match content.kind {
            #[cfg(feature = "credentials")]
            CredentialKind::ServiceAccount => {
                return Ok((Arc::new(GcpAuth::key(file)?), "gcp_auth"));
            }
            CredentialKind::AuthorizedUser | CredentialKind::ExternalAccountAuthorizedUser => {
                return Ok((Arc::new(Login::new(file)), OURS));
            }
            _ if Federation::knows(&content) => {
                let lifetime = self.lifetime.filter(|_| self.account.is_none());
                return Ok((Arc::new(Federation::new(file, lifetime)), OURS));
            }
            _ => {}
        }
        #[cfg(feature = "credentials-federation")]
        {
            let mut source = GoogleCloudAuth::file(file)?;
            if let Some(lifetime) = self.lifetime.filter(|_| self.account.is_none()) {
                source = source.lifetime(lifetime).map_err(|error| {
                    credential_file::fault("no token has such a lifetime", error.to_string())
                })?;
            }
            Ok((Arc::new(source), "google-cloud-auth"))
        }
        #[cfg(not(feature = "credentials-federation"))]
        Err(credential_file::fault(
            "no token can be had for what it names",
            "enable this crate's feature `credentials-federation`",
        ))
    }
}

struct Found {
    source: Arc<dyn TokenSource>,
    info: CredentialsInfo,
    identity: Identity,
}

fn metadata_server(machine: metadata::MachineIdentity) -> Found {
    let mut info = CredentialsInfo::new(CredentialKind::MetadataServer, "tower-vertex");
    info.principal = machine.email;
    info.project_id = machine.project_id;
    info.universe_domain = machine.universe_domain;
    let identity = Identity::MetadataServer { host: metadata::host() };
    Found { source: Arc::new(MetadataServer::new()), info, identity }
}

#[cfg(feature = "credentials")]
async fn gcloud() -> Result<Found, String> {
    let project_id = GcpAuth::probe_gcloud(GCLOUD_LIMIT).await?;
    let mut info = CredentialsInfo::new(CredentialKind::Gcloud, "gcp_auth");
    info.project_id = project_id.filter(|project| credential_file::is_name(project));
    Ok(Found { source: Arc::new(GcpAuth::gcloud()), info, identity: Identity::Gcloud })
}

#[cfg(not(feature = "credentials"))]
async fn gcloud() -> Result<Found, String> {
    Err("not looked for: that needs this crate's feature `credentials`".to_owned())
}

fn no_lifetime() -> Error {
    ConfigError::missing(
        "service account to impersonate",
        "only impersonated service accounts have tokens of a lifetime of your choice",
    )
    .into()
}
