//! Credential files: what they must have, and what is wrong with one that cannot be used.
//!
//! Reasons are fixed texts: nothing that a file holds can get into a message, because files with
//! keys get mixed up.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::CredentialKind;
use crate::{BoxError, error::TokenError, regular_file};

/// A file of a known type with all the fields that its type needs.
#[derive(Clone)]
pub(super) struct CredentialFile {
    pub(super) kind: CredentialKind,
    pub(super) json: Value,
    pub(super) text: Arc<str>,
}

/// Names the file of Application Default Credentials.
pub(super) const KEY_VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// Nobody's credentials are longer.
const LONGEST: u64 = 1024 * 1024;

pub(super) fn read(path: &Path) -> Result<CredentialFile, &'static str> {
    let text = regular_file::read_to_string(path, LONGEST);
    parse(text.map_err(regular_file::Unread::as_str)?)
}

pub(super) fn parse(text: impl Into<Arc<str>>) -> Result<CredentialFile, &'static str> {
    let text = text.into();
    let json: Value =
        serde_json::from_str(&text).map_err(|_| "it is not JSON; use the file as it was made")?;
    let field = |name: &str| json.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    // Keys of service accounts have been written by hand without it.
    let kind = match json.get("type") {
        None if field("private_key").is_some() => CredentialKind::ServiceAccount,
        None if json.get("installed").or_else(|| json.get("web")).is_some() => {
            return Err("it is an OAuth client, not a credential; run \
                        `gcloud auth application-default login`");
        }
        None => return Err("it has no \"type\"; use the file as it was made"),
        Some(kind) => kind.as_str().and_then(CredentialKind::from_type).ok_or(
            "its \"type\" is not one of service_account, authorized_user, external_account, \
             external_account_authorized_user and impersonated_service_account",
        )?,
    };
    let (needed, urls) = needs(kind);
    if let Some((_, why)) = needed.iter().find(|(name, _)| json.get(name).is_none_or(is_nothing)) {
        return Err(why);
    }
    for (name, why) in urls {
        if field(name).is_some_and(|url| !is_url(url))
            || json.get(name).is_some_and(|v| !v.is_string())
        {
            return Err(why);
        }
    }
    match kind {
        CredentialKind::ServiceAccount => check_key(&json)?,
        CredentialKind::ImpersonatedServiceAccount => check_source(&json)?,
        _ => {}
    }
    Ok(CredentialFile { kind, json, text })
}

type Needs = &'static [(&'static str, &'static str)];

/// The fields that a type needs, and those that are URLs.
fn needs(kind: CredentialKind) -> (Needs, Needs) {
    macro_rules! missing {
        ($($name:literal),*) => { &[$(
            ($name, concat!("it has no \"", $name, "\"; use the file as it was made"))
        ),*] };
    }
    macro_rules! urls {
        ($($name:literal),*) => { &[$(
            ($name, concat!("its \"", $name, "\" is not an https URL"))
        ),*] };
    }
    match kind {
        CredentialKind::ServiceAccount => {
            (missing!["client_email", "private_key", "token_uri"], urls!["token_uri"])
        }
        CredentialKind::AuthorizedUser => {
            (missing!["client_id", "client_secret", "refresh_token"], urls!["token_uri"])
        }
        CredentialKind::ExternalAccount => (
            missing!["audience", "subject_token_type", "token_url", "credential_source"],
            urls!["token_url", "service_account_impersonation_url"],
        ),
        CredentialKind::ExternalAccountAuthorizedUser => (
            missing!["client_id", "client_secret", "refresh_token", "token_url"],
            urls!["token_url"],
        ),
        CredentialKind::ImpersonatedServiceAccount => (
            missing!["service_account_impersonation_url", "source_credentials"],
            urls!["service_account_impersonation_url"],
        ),
        CredentialKind::MetadataServer | CredentialKind::Gcloud => (&[], &[]),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Object(_) => false,
        _ => true,
    }
}

fn is_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("https" | "http"))
            && uri.host().is_some_and(|host| !host.is_empty())
    })
}

fn check_key(json: &Value) -> Result<(), &'static str> {
    let text = |name: &str| json.get(name).and_then(Value::as_str);
    if text("client_email").is_none() {
        return Err("its \"client_email\" is not text; use the file as it was made");
    }
    let key = text("private_key").ok_or("its \"private_key\" is not text")?;
    if key.contains("BEGIN RSA PRIVATE KEY") {
        return Err(
            "its \"private_key\" is in PKCS#1 form; convert it with `openssl pkcs8 -topk8 -nocrypt`",
        );
    }
    if !key.contains("BEGIN PRIVATE KEY") {
        return Err("its \"private_key\" is not an RSA key in PKCS#8 PEM form");
    }
    Ok(())
}

fn check_source(json: &Value) -> Result<(), &'static str> {
    let source = json.get("source_credentials").map(Value::to_string).unwrap_or_default();
    match parse(source) {
        Err(_) => Err("its \"source_credentials\" are not credentials that can be used"),
        Ok(source) if source.kind == CredentialKind::ImpersonatedServiceAccount => {
            Err("its \"source_credentials\" impersonate too; name the chain in \"delegates\"")
        }
        Ok(_) => Ok(()),
    }
}

impl CredentialFile {
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.json.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// Whose they are, as far as the file tells.
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

    /// A file's cloud, if it is another one than Google's public one.
    pub(super) fn universe_domain(&self) -> Option<String> {
        let universe = self.text_of("universe_domain").map(str::trim);
        universe.filter(|domain| *domain != "googleapis.com" && is_name(domain)).map(str::to_owned)
    }
}

/// The account in `…/serviceAccounts/ACCOUNT:generateAccessToken`.
fn impersonated(url: &str) -> Option<&str> {
    url.rsplit_once("/serviceAccounts/")?.1.strip_suffix(":generateAccessToken")
}

/// A file that is read again for each token, so that a rotated one is picked up. While it is
/// missing, broken or of another type, its last good content serves: a process does not turn into
/// somebody else, or nobody, by accident.
pub(super) struct Reread {
    path: Option<PathBuf>,
    last_good: Mutex<CredentialFile>,
}

impl Reread {
    pub(super) fn open(path: impl Into<PathBuf>) -> Result<Self, &'static str> {
        let path = path.into();
        let last_good = Mutex::new(read(&path)?);
        Ok(Self { path: Some(path), last_good })
    }

    /// Content that no file holds, and that stays.
    pub(super) fn fixed(content: CredentialFile) -> Self {
        Self { path: None, last_good: Mutex::new(content) }
    }

    /// The same file for another source.
    #[cfg(feature = "google-cloud-auth")]
    pub(super) fn again(&self) -> Self {
        Self { path: self.path.clone(), last_good: Mutex::new(self.last_good().clone()) }
    }

    pub(super) fn last_good(&self) -> MutexGuard<'_, CredentialFile> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn current(&self) -> Result<CredentialFile, BoxError> {
        let Some(path) = self.path.clone() else { return Ok(self.last_good().clone()) };
        let content = blocking(move || Ok(read(&path))).await?;
        let mut last_good = self.last_good();
        let why = match content {
            Ok(content) if content.kind == last_good.kind => {
                *last_good = content;
                return Ok(last_good.clone());
            }
            Ok(_) => "its type has changed, which takes a restart",
            Err(why) => why,
        };
        tracing::warn!(path = ?self.path, why, "keeping the last good credentials");
        Ok(last_good.clone())
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reread").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Off the runtime's threads: files may be on a network, and keys take a while to parse.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BoxError> + Send + 'static,
) -> Result<T, BoxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(TokenError::Panicked.into()),
        Err(_cancelled) => Err(TokenError::RuntimeGone.into()),
    }
}

/// Whether it can be the name of a project, an account or a domain: names are shown, and what else
/// a field may hold by mistake is not.
pub(super) fn is_name(text: &str) -> bool {
    (1..=254).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@._:+-".contains(&byte))
}

/// Whether everybody on this machine can read the file.
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
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_says_why() {
        let user = json!({"type": "authorized_user", "client_id": "a", "client_secret": "SECRET", "refresh_token": "SECRET"});
        let with = |name: &str, value: Value| {
            let mut file = user.clone();
            file[name] = value;
            file.to_string()
        };
        for (text, why) in [
            ("SECRET".to_owned(), "not JSON"),
            ("{}".into(), "no \"type\""),
            (json!({"installed": {"client_secret": "SECRET"}}).to_string(), "OAuth client"),
            (with("type", "SECRET".into()), "not one of"),
            (with("type", 7.into()), "not one of"),
            (with("refresh_token", "".into()), "\"refresh_token\""),
            (with("client_id", 7.into()), "\"client_id\""),
            (with("token_uri", "SECRET".into()), "\"token_uri\" is not"),
            (with("token_uri", 7.into()), "\"token_uri\" is not"),
            (json!({"type": "external_account"}).to_string(), "\"audience\""),
            (
                json!({"type": "impersonated_service_account", "source_credentials": {"type": "SECRET"},
                       "service_account_impersonation_url": "https://h/v1/projects/-/serviceAccounts/a:generateAccessToken"})
                .to_string(),
                "source_credentials",
            ),
        ] {
            let error = parse(text.clone()).err().unwrap_or("it was accepted");
            assert!(error.contains(why) && !error.contains("SECRET"), "{text}: {error}");
        }
        assert_eq!(
            parse(user.to_string()).map(|file| file.kind),
            Ok(CredentialKind::AuthorizedUser)
        );
    }

    #[test]
    fn the_impersonated_account_is_read_from_the_url() {
        let url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken";
        assert_eq!(impersonated(url), Some("a@b"));
        assert_eq!(impersonated("https://iamcredentials.googleapis.com/v1/a"), None);
    }
}
