//! [`CredentialsBuilder`]: the settings of a search, and their effect on the credentials found.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use super::{Credentials, Found, no_lifetime};
use crate::{
    error::{ConfigError, Error},
    redact,
    token::{
        CredentialKind, Impersonated,
        credential_file::{QUOTA_VARIABLE, TransportPolicy, is_name},
        environment,
        id_token::Identity,
    },
};

/// Settings of a search for [`Credentials`].
#[derive(Clone, Default)]
#[must_use]
pub struct CredentialsBuilder {
    pub(super) file: Option<PathBuf>,
    pub(super) account: Option<String>,
    delegates: Vec<String>,
    pub(super) lifetime: Option<Duration>,
    iam_endpoint: Option<String>,
    quota_project: Option<String>,
    /// The setting that named the file.
    pub(super) place: Option<String>,
    pub(super) transport: TransportPolicy,
    pub(super) project_known: bool,
}

/// `Debug` shows no value that could be a secret, because no value has been checked yet.
impl fmt::Debug for CredentialsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |text: &Option<String>| text.as_deref().map(|text| redact::value(text).into_owned());
        f.debug_struct("CredentialsBuilder")
            .field("file", &self.file.as_deref().map(redact::path))
            .field("account", &shown(&self.account))
            .field("lifetime", &self.lifetime)
            .field("iam_endpoint", &shown(&self.iam_endpoint))
            .field("quota_project", &shown(&self.quota_project))
            .finish_non_exhaustive()
    }
}

impl CredentialsBuilder {
    /// Uses this credential file, of any type, instead of a search.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Whether a credential file may name token endpoints with `http://` URLs on a network that you
    /// trust, and an IAM endpoint that is not Google's. Default: no, because secrets and tokens
    /// would travel in clear text. Without this setting, `http://` is allowed only for this machine
    /// and for the metadata servers of clouds, which speak no TLS.
    pub fn allow_insecure_token_endpoints(mut self, allow: bool) -> Self {
        self.transport = if allow { TransportPolicy::ClearTextToo } else { TransportPolicy::Safe };
        self
    }

    /// The setting that named the [`file`](Self::file), for errors: `--credentials`, for instance.
    pub fn named_by(mut self, setting: impl Into<String>) -> Self {
        self.place = Some(setting.into());
        self
    }

    /// Fetches tokens of this service account, which the credentials found may impersonate. See
    /// [`Impersonated`].
    pub fn impersonate(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// The chain of service accounts between the credentials found and the account to impersonate.
    pub fn delegates(mut self, accounts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.delegates = accounts.into_iter().map(Into::into).collect();
        self
    }

    /// The lifetime of the tokens to request, up to 12 hours. It works only if a service account is
    /// impersonated. See [`Impersonated::lifetime`].
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Address of Google's IAM Service Account Credentials API. See [`Impersonated::endpoint`].
    pub fn iam_endpoint(mut self, origin: impl Into<String>) -> Self {
        self.iam_endpoint = Some(origin.into());
        self
    }

    /// The project to bill and to charge quota to, instead of the one that the environment or the
    /// file names.
    pub fn quota_project(mut self, project: impl Into<String>) -> Self {
        self.quota_project = Some(project.into());
        self
    }

    /// Whether the program knows its project already. If so, the search does not request the
    /// project from a metadata server, which saves a request at start. Default: no.
    pub fn project_known(mut self, known: bool) -> Self {
        self.project_known = known;
        self
    }

    /// Starts the search. See [`Credentials::detect`].
    ///
    /// # Errors
    ///
    /// The errors of [`Credentials::detect`], and [`Error::Config`] for a setting that cannot be
    /// used.
    pub async fn detect(self) -> Result<Credentials, Error> {
        let found = match &self.file {
            Some(path) => {
                let place = self.place.clone().map_or("the credential file".into(), Into::into);
                self.open(path.clone(), place).await?
            }
            None => self.search().await?,
        };
        self.finish(found)
    }

    fn finish(self, found: Found) -> Result<Credentials, Error> {
        let Found { mut source, mut info, mut identity } = found;
        let from_variable = self.quota_project.is_none().then(|| QUOTA_VARIABLE.to_owned());
        let quota = self.quota_project.or_else(|| environment::text(QUOTA_VARIABLE));
        if let Some(project) = quota {
            if !is_name(&project) {
                let error = ConfigError::invalid("quota project", &project, "give a project id");
                return Err(match from_variable {
                    Some(place) => error.given_in(place),
                    None => error,
                }
                .into());
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
            identity = Identity::Impersonated(impersonated.clone());
            source = Arc::new(impersonated);
        } else if self.lifetime.is_some() && info.kind != CredentialKind::ImpersonatedServiceAccount
        {
            return Err(no_lifetime());
        }
        for warning in &info.warnings {
            tracing::warn!("{warning}");
        }
        Ok(Credentials { source, info: Arc::new(info), identity: Arc::new(identity) })
    }
}
