//! The search for credentials: which this machine offers, and who fetches their tokens.
//!
//! The order is that of Google's Application Default Credentials, and after it gcloud's own login.
//! A place that is taken decides: if what is there cannot be used, that is an error, not a reason to
//! become somebody else. What was found stays for the life of the process.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

#[cfg(feature = "google-cloud-auth")]
use super::GoogleCloudAuth;
#[cfg(feature = "gcp-auth")]
use super::gcp_auth::{self, GcpAuth};
use super::{
    CredentialKind, CredentialsInfo, FetchReason, Impersonated, TokenFuture, TokenSource,
    file::{self, KEY_VARIABLE, Reread, blocking, is_name},
    metadata::{self, Surroundings},
    workforce::WorkforceUser,
};
use crate::error::{ConfigError, CredentialsError, Error};

const QUOTA_VARIABLE: &str = "GOOGLE_CLOUD_QUOTA_PROJECT";
const FILE_NAME: &str = "application_default_credentials.json";
/// Two runs of a Python program.
#[cfg(feature = "gcp-auth")]
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
/// | found | tokens by, first choice | else |
/// |---|---|---|
/// | service account key | `gcp_auth` | `google-cloud-auth` |
/// | user credentials in their usual place | `gcp_auth` | `google-cloud-auth` |
/// | user credentials elsewhere, identity federation, impersonation | `google-cloud-auth` | |
/// | a person's login through workforce identity federation | this crate | |
/// | metadata server | `gcp_auth` | `google-cloud-auth` |
/// | metadata server named by `GCE_METADATA_HOST` | `google-cloud-auth` | |
/// | gcloud's own login | `gcp_auth` | |
///
/// `gcp_auth` comes first where it can, because it tells when a token expires. Where nothing that
/// was compiled in can, the error names the feature to enable.
#[derive(Clone)]
pub struct Credentials {
    source: Arc<dyn TokenSource>,
    info: Arc<CredentialsInfo>,
}

impl Credentials {
    /// The first of these that is there:
    ///
    /// 1. the file that `GOOGLE_APPLICATION_CREDENTIALS` names, of any type,
    /// 2. `application_default_credentials.json` in `$CLOUDSDK_CONFIG`, or in gcloud's usual folder,
    /// 3. the metadata server, at `GCE_METADATA_HOST` or where Google Cloud has it,
    /// 4. `gcloud auth print-access-token`.
    ///
    /// Takes at most five seconds; and up to half a minute on Google Cloud, in Kubernetes and where
    /// `GCE_METADATA_HOST` is set, while the metadata server is not up yet, as it is not in the first
    /// seconds of a machine or a pod. `NO_GCE_CHECK=true` says that there is none. No token is fetched
    /// but by gcloud, which has no other way to tell whether anybody is logged in.
    ///
    /// # Errors
    ///
    /// [`Error::Credentials`]: a file that cannot be used, with the reason; or, if there is nothing,
    /// each place with what is missing there.
    pub async fn detect() -> Result<Self, Error> {
        Self::builder().detect().await
    }

    /// Settings for [`detect`](Self::detect).
    pub fn builder() -> CredentialsBuilder {
        CredentialsBuilder::default()
    }

    /// What was found.
    pub fn info(&self) -> &CredentialsInfo {
        &self.info
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

/// Settings of a search for [`Credentials`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct CredentialsBuilder {
    file: Option<PathBuf>,
    account: Option<String>,
    delegates: Vec<String>,
    lifetime: Option<Duration>,
    iam_endpoint: Option<String>,
    quota_project: Option<String>,
    project_known: bool,
}

impl CredentialsBuilder {
    /// This credential file, of any type, instead of a search.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Tokens of this service account, which what is found may impersonate. See [`Impersonated`].
    pub fn impersonate(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// Service accounts between what is found and the one to impersonate.
    pub fn delegates(mut self, accounts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.delegates = accounts.into_iter().map(Into::into).collect();
        self
    }

    /// The life to ask for, up to 12 hours; only where a service account is impersonated. See
    /// [`Impersonated::lifetime`].
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Where Google's IAM Service Account Credentials API is. See [`Impersonated::endpoint`].
    pub fn iam_endpoint(mut self, origin: impl Into<String>) -> Self {
        self.iam_endpoint = Some(origin.into());
        self
    }

    /// The project that pays and whose quota counts, instead of the one that the environment or
    /// the file names.
    pub fn quota_project(mut self, project: impl Into<String>) -> Self {
        self.quota_project = Some(project.into());
        self
    }

    /// Whether the project is known already: then a metadata server is not asked for its own, and
    /// nothing waits for it.
    #[cfg(feature = "gateway")]
    pub(crate) fn project_known(mut self, known: bool) -> Self {
        self.project_known = known;
        self
    }

    /// Searches. See [`Credentials::detect`].
    ///
    /// # Errors
    ///
    /// As [`Credentials::detect`], and [`Error::Config`] for a setting that cannot be used.
    pub async fn detect(self) -> Result<Credentials, Error> {
        let found = match &self.file {
            Some(path) => self.open(path.clone(), "the credential file").await?,
            None => self.search().await?,
        };
        self.finish(found)
    }

    async fn search(&self) -> Result<Found, Error> {
        if let Some(path) = env::var_os(KEY_VARIABLE).filter(|path| !path.is_empty()) {
            return self.open(path.into(), KEY_VARIABLE).await;
        }
        let mut looked = vec![(KEY_VARIABLE, "not set: the path of a credential file".to_owned())];
        let usual = gcloud_folder().map(|folder| folder.join(FILE_NAME));
        if let Some(path) = &usual {
            // What cannot be looked at may be there.
            if !matches!(path.try_exists(), Ok(false)) {
                return self.open(path.clone(), "user credentials").await;
            }
        }
        looked.push((
            "user credentials",
            match usual {
                Some(path) => format!(
                    "no file {}: run `gcloud auth application-default login`",
                    path.display()
                ),
                None => "no home directory to look in".to_owned(),
            },
        ));
        looked.push((
            "metadata server",
            match self.machine().await {
                Ok(machine) => return metadata_server(machine),
                Err(why) => why,
            },
        ));
        match gcloud().await {
            Ok(found) => return Ok(found),
            Err(why) => looked.push(("gcloud", why)),
        }
        Err(CredentialsError::not_found(looked).into())
    }

    /// Who this machine is, or why no metadata server says so.
    async fn machine(&self) -> Result<metadata::Machine, String> {
        if metadata::is_ruled_out() {
            return Err(format!("not asked, because {} is set", metadata::NONE_VARIABLE));
        }
        let around = Surroundings::look();
        metadata::machine(around, !self.project_known).await.map_err(|error| match around {
            Surroundings::GoogleCloud => error.to_string(),
            _ => format!("{error}: only on Google Cloud"),
        })
    }

    async fn open(&self, path: PathBuf, place: &'static str) -> Result<Found, Error> {
        let unusable = |why: &str| CredentialsError::unusable(place, &path, why);
        let opened = path.clone();
        let opened =
            blocking(move || Ok((Reread::open(&opened), file::is_world_readable(&opened))));
        let (file, world_readable) = opened.await.map_err(|error| unusable(&error.to_string()))?;
        let file = file.map_err(unusable)?;
        let content = file.last_good().clone();
        let kind = content.kind;
        if self.lifetime.is_some()
            && self.account.is_none()
            && kind != CredentialKind::ImpersonatedServiceAccount
        {
            return Err(no_lifetime());
        }
        let (source, backend) = self.source(file, &path).map_err(unusable)?;
        let mut info = CredentialsInfo::new(kind, backend);
        info.principal = content.principal();
        info.project_id = content.project("project_id");
        info.quota_project = content.project("quota_project_id");
        info.universe_domain = content.universe_domain();
        if world_readable {
            info.warnings.push(format!(
                "everybody on this machine can read {0}; run `chmod 600 {0}`",
                path.display()
            ));
        }
        info.path = Some(path);
        Ok(Found { source, info })
    }

    fn source(
        &self,
        file: Reread,
        path: &Path,
    ) -> Result<(Arc<dyn TokenSource>, &'static str), &'static str> {
        let kind = file.last_good().kind;
        if kind == CredentialKind::ExternalAccountAuthorizedUser {
            return Ok((Arc::new(WorkforceUser::new(file)), "tower-vertex"));
        }
        #[cfg(feature = "gcp-auth")]
        match kind {
            CredentialKind::ServiceAccount => {
                return Ok((Arc::new(GcpAuth::key(file)?), "gcp_auth"));
            }
            CredentialKind::AuthorizedUser
                if gcp_auth::user_credentials().as_deref() == Some(path)
                    && file.last_good().text_of("token_uri").is_none() =>
            {
                return Ok((Arc::new(GcpAuth::user_credentials()), "gcp_auth"));
            }
            _ => {}
        }
        let _ = path;
        #[cfg(feature = "google-cloud-auth")]
        {
            let mut source = GoogleCloudAuth::file(file)?;
            if let Some(lifetime) = self.lifetime.filter(|_| self.account.is_none()) {
                source =
                    source.lifetime(lifetime).map_err(|_| "token lifetime: 1 to 43200 seconds")?;
            }
            Ok((Arc::new(source), "google-cloud-auth"))
        }
        #[cfg(not(feature = "google-cloud-auth"))]
        Err("tokens for its \"type\" need this crate's feature `google-cloud-auth`")
    }

    fn finish(self, found: Found) -> Result<Credentials, Error> {
        let Found { mut source, mut info } = found;
        let quota = self.quota_project.or_else(|| variable(QUOTA_VARIABLE));
        if let Some(project) = quota {
            if !is_name(&project) {
                return Err(
                    ConfigError::invalid("quota project", &project, "give a project id").into()
                );
            }
            info.quota_project = Some(project);
        }
        if let Some(account) = self.account {
            let mut impersonated = Impersonated::new(source, account)?.delegates(self.delegates)?;
            if let Some(lifetime) = self.lifetime {
                impersonated = impersonated.lifetime(lifetime)?;
            }
            let universe = info.universe_domain.as_deref().unwrap_or("googleapis.com");
            impersonated = match &self.iam_endpoint {
                Some(origin) => impersonated.endpoint(origin)?,
                None => impersonated.endpoint(format!("https://iamcredentials.{universe}"))?,
            };
            info.impersonates = Some(impersonated.account().to_owned());
            source = Arc::new(impersonated);
        } else if self.lifetime.is_some() && info.kind != CredentialKind::ImpersonatedServiceAccount
        {
            return Err(no_lifetime());
        }
        for warning in &info.warnings {
            tracing::warn!("{warning}");
        }
        Ok(Credentials { source, info: Arc::new(info) })
    }
}

struct Found {
    source: Arc<dyn TokenSource>,
    info: CredentialsInfo,
}

fn no_lifetime() -> Error {
    ConfigError::missing(
        "service account to impersonate",
        "only impersonated service accounts have tokens of a life of your choice",
    )
    .into()
}

fn metadata_server(machine: metadata::Machine) -> Result<Found, Error> {
    let other = metadata::other_host();
    let found = |source: Arc<dyn TokenSource>, backend| {
        let mut info = CredentialsInfo::new(CredentialKind::MetadataServer, backend);
        info.principal = machine.email;
        info.project_id = machine.project_id;
        info.universe_domain = machine.universe_domain;
        Ok(Found { source, info })
    };
    #[cfg(feature = "gcp-auth")]
    if other.is_none() {
        return found(Arc::new(GcpAuth::metadata_server()), "gcp_auth");
    }
    let _ = other;
    #[cfg(feature = "google-cloud-auth")]
    return found(Arc::new(GoogleCloudAuth::metadata_server()), "google-cloud-auth");
    #[cfg(not(feature = "google-cloud-auth"))]
    {
        drop(found);
        Err(CredentialsError::needs_feature(metadata::HOST_VARIABLE, "google-cloud-auth").into())
    }
}

#[cfg(feature = "gcp-auth")]
async fn gcloud() -> Result<Found, String> {
    let project_id = GcpAuth::probe_gcloud(GCLOUD_LIMIT).await?;
    let mut info = CredentialsInfo::new(CredentialKind::Gcloud, "gcp_auth");
    info.project_id = project_id.filter(|project| is_name(project));
    Ok(Found { source: Arc::new(GcpAuth::gcloud()), info })
}

#[cfg(not(feature = "gcp-auth"))]
async fn gcloud() -> Result<Found, String> {
    Err("not looked for: that needs this crate's feature `gcp-auth`".to_owned())
}

/// A variable that is set to nothing is not set.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Where gcloud keeps its configuration.
fn gcloud_folder() -> Option<PathBuf> {
    if let Some(folder) = env::var_os("CLOUDSDK_CONFIG").filter(|folder| !folder.is_empty()) {
        return Some(folder.into());
    }
    #[cfg(windows)]
    return Some(PathBuf::from(env::var_os("APPDATA")?).join("gcloud"));
    #[cfg(not(windows))]
    return Some(env::home_dir()?.join(".config").join("gcloud"));
}
