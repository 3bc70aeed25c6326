//! A description of credentials without their secrets.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::redact;

/// The kinds of credentials that Google's Application Default Credentials define, and `gcloud`'s
/// own login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CredentialKind {
    /// A service account's key file (`"type": "service_account"`).
    ServiceAccount,
    /// A person's login, by `gcloud auth application-default login` (`authorized_user`).
    AuthorizedUser,
    /// Workload or workforce identity federation (`external_account`).
    ExternalAccount,
    /// A person's login through workforce identity federation
    /// (`external_account_authorized_user`).
    ExternalAccountAuthorizedUser,
    /// Another credential that impersonates a service account (`impersonated_service_account`).
    ImpersonatedServiceAccount,
    /// The metadata server of Compute Engine, GKE, Cloud Run and the like.
    MetadataServer,
    /// `gcloud auth print-access-token`, after `gcloud auth login`.
    Gcloud,
}

impl CredentialKind {
    /// The `type` of a credential file; for the other two, `metadata_server` and `gcloud`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "service_account",
            Self::AuthorizedUser => "authorized_user",
            Self::ExternalAccount => "external_account",
            Self::ExternalAccountAuthorizedUser => "external_account_authorized_user",
            Self::ImpersonatedServiceAccount => "impersonated_service_account",
            Self::MetadataServer => "metadata_server",
            Self::Gcloud => "gcloud",
        }
    }

    pub(super) fn from_type(text: &str) -> Option<Self> {
        [
            Self::ServiceAccount,
            Self::AuthorizedUser,
            Self::ExternalAccount,
            Self::ExternalAccountAuthorizedUser,
            Self::ImpersonatedServiceAccount,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// The kind in words: `service account key`, `metadata server`.
impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceAccount => "service account key",
            Self::AuthorizedUser => "user credentials",
            Self::ExternalAccount => "identity federation",
            Self::ExternalAccountAuthorizedUser => "workforce login",
            Self::ImpersonatedServiceAccount => "impersonated service account",
            Self::MetadataServer => "metadata server",
            Self::Gcloud => "gcloud",
        })
    }
}

/// A description of the credentials that were found, for users and for settings that depend on
/// them. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsInfo {
    pub(super) kind: CredentialKind,
    pub(super) principal: Option<String>,
    pub(super) impersonates: Option<String>,
    pub(super) project_id: Option<String>,
    pub(super) quota_project: Option<String>,
    pub(super) universe_domain: Option<String>,
    pub(super) path: Option<PathBuf>,
    pub(super) backend: &'static str,
    pub(super) warnings: Vec<String>,
}

impl CredentialsInfo {
    pub(super) fn new(kind: CredentialKind, backend: &'static str) -> Self {
        Self {
            kind,
            principal: None,
            impersonates: None,
            project_id: None,
            quota_project: None,
            universe_domain: None,
            path: None,
            backend,
            warnings: Vec::new(),
        }
    }

    /// The kind of the credentials.
    pub fn kind(&self) -> CredentialKind {
        self.kind
    }

    /// The principal, if the credentials name it: an e-mail address, or a federated
    /// `principal://…`.
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    /// The service account to impersonate, if one is configured.
    pub fn impersonates(&self) -> Option<&str> {
        self.impersonates.as_deref()
    }

    /// The project that the credentials belong to: a key file's `project_id`, or the metadata
    /// server's.
    pub fn project_id(&self) -> Option<&str> {
        self.project_id.as_deref()
    }

    /// The project to bill and to charge quota to: `GOOGLE_CLOUD_QUOTA_PROJECT`, otherwise the
    /// file's `quota_project_id`.
    pub fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }

    /// The domain of the cloud that issued the credentials, if it is not `googleapis.com`.
    pub fn universe_domain(&self) -> Option<&str> {
        self.universe_domain.as_deref()
    }

    /// The path of the credential file.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The code that fetches the tokens: `gcp_auth`, `google-cloud-auth` or `tower-vertex`.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Problems that do not prevent the use of the credentials, such as a key file that all users
    /// of the machine can read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The description in one line: `service account key of sa@p.iam.gserviceaccount.com in
/// /etc/key.json`.
impl fmt::Display for CredentialsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(principal) = &self.principal {
            write!(f, " of {}", redact::value(principal))?;
        }
        if let Some(path) = &self.path {
            write!(f, " in {}", redact::path(path))?;
        }
        if let Some(account) = &self.impersonates {
            write!(f, ", impersonating {}", redact::value(account))?;
        }
        Ok(())
    }
}
