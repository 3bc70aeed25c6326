//! Credential files: their required fields, and the reasons why a file cannot be used.
//!
//! The reasons are fixed texts and names of fields. No content of a file can get into a message,
//! because files with keys get mixed up.

mod fields;
mod private_key;
mod reread;
mod subject;
mod urls;

use std::{
    borrow::Cow,
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

pub(super) use self::reread::Reread;
use self::{
    fields::Fields,
    private_key::mend_key,
    subject::check_subject,
    urls::{check_impersonation_url, check_url},
};
use super::{CredentialKind, environment};
use crate::{
    BoxError,
    error::{Fault, FaultKind, TokenError},
    regular_file,
};

/// A file of a known type with all the fields that its type needs.
#[derive(Clone)]
pub(super) struct CredentialFile {
    pub(super) kind: CredentialKind,
    pub(super) json: Value,
    pub(super) text: Arc<str>,
}

/// The variable that names the file of Application Default Credentials.
pub(super) const KEY_VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// The variable that names the project to bill.
pub(super) const QUOTA_VARIABLE: &str = "GOOGLE_CLOUD_QUOTA_PROJECT";
/// The maximum size of a file in bytes. No real credential file is longer.
const LONGEST: u64 = 1024 * 1024;
const AS_MADE: &str = "use the file as it was made";
/// Token endpoint for service account keys and logins whose file names none.
pub(super) const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// The destinations to which the secrets of a credential file may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TransportPolicy {
    /// https URLs, and `http://` URLs of this machine.
    #[default]
    Safe,
    /// Any `http://` URL in a file: its owner has said that the network is theirs.
    ClearTextToo,
}

/// The reason why a file cannot be used. It contains nothing of the file's content.
pub(super) fn fault(
    what: impl Into<Cow<'static, str>>,
    remedy: impl Into<Cow<'static, str>>,
) -> Fault {
    Fault::new(FaultKind::Credentials, what, remedy)
}

/// The reason why a field cannot be used: its state, and how to correct it.
fn field_fault(name: &str, what: &str, remedy: impl Into<Cow<'static, str>>) -> Fault {
    fault(format!("its {name:?} {what}"), remedy)
}

pub(super) fn read(path: &Path, transport: TransportPolicy) -> Result<CredentialFile, Fault> {
    let text = regular_file::read_to_string(path, LONGEST)
        .map_err(|unread| fault(unread.what(), unread.remedy()))?;
    parse(text, transport)
}

pub(super) fn parse(
    text: impl Into<Arc<str>>,
    transport: TransportPolicy,
) -> Result<CredentialFile, Fault> {
    let text = text.into();
    let mut json: Value =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|_| {
            fault(
                match text.contains("-----BEGIN") {
                    true => "it is a bare key in PEM form, not a credential file in JSON",
                    false => "it is not JSON",
                },
                AS_MADE,
            )
        })?;
    let field = |name: &str| json.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    // Some hand-written keys of service accounts lack a `type`.
    let kind = match json.get("type") {
        None if field("private_key").is_some() => CredentialKind::ServiceAccount,
        None if json.get("installed").or_else(|| json.get("web")).is_some() => {
            return Err(fault(
                "it is an OAuth client, not a credential",
                "run `gcloud auth application-default login`",
            ));
        }
        None => return Err(fault("it has no \"type\"", AS_MADE)),
        Some(kind) => kind.as_str().and_then(CredentialKind::from_type).ok_or_else(|| {
            fault(
                "its \"type\" is not one of service_account, authorized_user, external_account, \
                 external_account_authorized_user and impersonated_service_account",
                AS_MADE,
            )
        })?,
    };
    let Fields { needed, optional, urls } = Fields::of(kind);
    for (name, shape) in needed {
        match json.get(name) {
            None | Some(Value::Null) => return Err(fault(format!("it has no {name:?}"), AS_MADE)),
            Some(value) => shape.check(name, value)?,
        }
    }
    for (name, shape) in optional {
        if let Some(value) = json.get(name).filter(|value| !value.is_null()) {
            shape.check(name, value)?;
        }
    }
    for name in urls {
        if let Some(url) = field(name) {
            check_url(name, url, transport)?;
        }
    }
    match kind {
        CredentialKind::ServiceAccount => {
            mend_key(&mut json)?;
            if field_of(&json, "token_uri").is_none() {
                json["token_uri"] = TOKEN_URI.into();
            }
        }
        CredentialKind::ImpersonatedServiceAccount => check_source(&json, transport)?,
        CredentialKind::ExternalAccount => check_subject(&json, transport)?,
        _ => {}
    }
    if let Some(url) = field_of(&json, "service_account_impersonation_url") {
        check_impersonation_url(url, field_of(&json, "universe_domain"), transport)?;
    }
    Ok(CredentialFile { kind, json, text })
}

fn field_of<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
    json.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn check_source(json: &Value, transport: TransportPolicy) -> Result<(), Fault> {
    let source = json.get("source_credentials").map(Value::to_string).unwrap_or_default();
    let source =
        parse(source, transport).map_err(|fault| fault.of("its \"source_credentials\""))?;
    if source.kind == CredentialKind::ImpersonatedServiceAccount {
        return Err(field_fault(
            "source_credentials",
            "impersonate too",
            "name the chain in \"delegates\"",
        ));
    }
    Ok(())
}

impl CredentialFile {
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.json.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// The principal that the file names, if any.
    pub(super) fn principal(&self) -> Option<String> {
        let principal = match self.kind {
            CredentialKind::ServiceAccount => self.text_of("client_email"),
            _ => self
                .text_of("service_account_impersonation_url")
                .and_then(impersonated)
                .or_else(|| self.text_of("account")),
        };
        principal.filter(|text| is_name(text) && text.contains('@')).map(str::to_owned)
    }

    pub(super) fn project(&self, field: &str) -> Option<String> {
        self.text_of(field).filter(|text| is_name(text)).map(str::to_owned)
    }

    /// A file's cloud, if it is not Google's public one.
    pub(super) fn universe_domain(&self) -> Option<String> {
        let universe = self.text_of("universe_domain").map(str::trim);
        universe.filter(|domain| *domain != "googleapis.com" && is_name(domain)).map(str::to_owned)
    }
}

/// Returns the account in `…/serviceAccounts/ACCOUNT:generateAccessToken`.
fn impersonated(url: &str) -> Option<&str> {
    url.rsplit_once("/serviceAccounts/")?.1.strip_suffix(":generateAccessToken")
}

/// The file in which gcloud stores a user's credentials; `None` without a home directory.
pub(super) fn user_credentials() -> Option<PathBuf> {
    const NAME: &str = "application_default_credentials.json";
    if let Some(folder) = environment::path("CLOUDSDK_CONFIG") {
        return Some(folder.join(NAME));
    }
    #[cfg(windows)]
    let folder = PathBuf::from(env::var_os("APPDATA")?);
    #[cfg(not(windows))]
    let folder = env::home_dir()?.join(".config");
    Some(folder.join("gcloud").join(NAME))
}

/// Whether a search ends at this path. A path that cannot be examined may exist.
pub(super) fn may_be_there(path: &Path) -> bool {
    !matches!(path.try_exists(), Ok(false))
}

/// The project to bill: the one in the environment, otherwise the one in the file.
pub(super) fn quota_project(file: Option<&Reread>) -> Option<String> {
    let variable = environment::text(QUOTA_VARIABLE);
    let of_file = || file?.last_good().project("quota_project_id");
    variable.filter(|value| is_name(value)).or_else(of_file)
}

/// Runs `work` outside of the runtime's threads: files may be on a network, and keys take a while
/// to parse.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BoxError> + Send + 'static,
) -> Result<T, BoxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(TokenError::Panicked.into()),
        Err(_cancelled) => Err(TokenError::RuntimeGone.into()),
    }
}

/// Whether the text can be the name of a project, an account or a domain. Messages show names, but
/// no other content that a field may hold by mistake.
pub(super) fn is_name(text: &str) -> bool {
    (1..=254).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@._:+-".contains(&byte))
}

/// Whether all users of this machine can read the file.
pub(super) fn is_world_readable(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

#[cfg(test)]
mod tests;
