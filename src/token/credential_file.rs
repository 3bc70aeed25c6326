//! Credential files: what they must have, and what is wrong with one that cannot be used.
//!
//! Reasons are fixed texts and names of fields: nothing that a file holds can get into a message,
//! because files with keys get mixed up.

use std::{
    borrow::Cow,
    env, fmt,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::{CredentialKind, http::is_loopback};
use crate::{
    BoxError,
    error::{Fault, FaultKind, TokenError},
    regular_file, shown,
};

/// A file of a known type with all the fields that its type needs.
#[derive(Clone)]
pub(super) struct CredentialFile {
    pub(super) kind: CredentialKind,
    pub(super) json: Value,
    pub(super) text: Arc<str>,
}

/// Names the file of Application Default Credentials.
pub(super) const KEY_VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// Names the project that pays.
pub(super) const QUOTA_VARIABLE: &str = "GOOGLE_CLOUD_QUOTA_PROJECT";
/// Nobody's credentials are longer.
const LONGEST: u64 = 1024 * 1024;
const AS_MADE: &str = "use the file as it was made";
/// Where a service account's key and a login are exchanged if their file does not say.
pub(super) const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// Where secrets of a credential file may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Transport {
    /// By https; in clear text only to this machine.
    #[default]
    Safe,
    /// In clear text wherever a file says: its owner has said that the network is theirs.
    ClearTextToo,
}

/// What is wrong with a file. Nothing of its content is part of it.
pub(super) fn fault(
    what: impl Into<Cow<'static, str>>,
    remedy: impl Into<Cow<'static, str>>,
) -> Fault {
    Fault::new(FaultKind::Credentials, what, remedy)
}

/// What is wrong with a field: what it is, and what it should be.
fn field_fault(name: &str, what: &str, remedy: impl Into<Cow<'static, str>>) -> Fault {
    fault(format!("its {name:?} {what}"), remedy)
}

pub(super) fn read(path: &Path, transport: Transport) -> Result<CredentialFile, Fault> {
    let text = regular_file::read_to_string(path, LONGEST)
        .map_err(|unread| fault(unread.what(), unread.remedy()))?;
    parse(text, transport)
}

pub(super) fn parse(
    text: impl Into<Arc<str>>,
    transport: Transport,
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
    // Keys of service accounts have been written by hand without it.
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

/// What a field has to be.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Object,
    Texts,
}

impl Shape {
    fn check(self, name: &str, value: &Value) -> Result<(), Fault> {
        let (fits, wanted) = match self {
            Self::Text => (value.is_string(), "text"),
            Self::Object => (value.is_object(), "an object"),
            Self::Texts => {
                let texts = value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
                (texts, "a list of texts")
            }
        };
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(text) if text.is_empty() => "empty",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        if !fits {
            return Err(field_fault(name, &format!("is not {wanted} but {is}"), AS_MADE));
        }
        if value.as_str() == Some("") {
            return Err(field_fault(name, "is empty", AS_MADE));
        }
        Ok(())
    }
}

type Shapes = &'static [(&'static str, Shape)];

/// The fields of a type. Others are not looked at.
struct Fields {
    needed: Shapes,
    optional: Shapes,
    urls: &'static [&'static str],
}

impl Fields {
    fn of(kind: CredentialKind) -> Self {
        use Shape::{Object, Text, Texts};
        const LOGIN: Shapes =
            &[("client_id", Text), ("client_secret", Text), ("refresh_token", Text)];
        let (needed, optional, urls): (Shapes, Shapes, &'static [&'static str]) = match kind {
            CredentialKind::ServiceAccount => (
                &[("client_email", Text), ("private_key", Text)],
                &[("token_uri", Text), ("project_id", Text), ("private_key_id", Text)],
                &["token_uri"],
            ),
            CredentialKind::AuthorizedUser => (LOGIN, &[("token_uri", Text)], &["token_uri"]),
            CredentialKind::ExternalAccount => (
                &[
                    ("audience", Text),
                    ("subject_token_type", Text),
                    ("token_url", Text),
                    ("credential_source", Object),
                ],
                &[
                    ("service_account_impersonation_url", Text),
                    ("service_account_impersonation", Object),
                    ("client_id", Text),
                    ("client_secret", Text),
                    ("scopes", Texts),
                    ("workforce_pool_user_project", Text),
                ],
                &["token_url", "service_account_impersonation_url"],
            ),
            CredentialKind::ExternalAccountAuthorizedUser => (
                &[
                    ("client_id", Text),
                    ("client_secret", Text),
                    ("refresh_token", Text),
                    ("token_url", Text),
                ],
                &[],
                &["token_url"],
            ),
            CredentialKind::ImpersonatedServiceAccount => (
                &[("service_account_impersonation_url", Text), ("source_credentials", Object)],
                &[("delegates", Texts)],
                &["service_account_impersonation_url"],
            ),
            CredentialKind::MetadataServer | CredentialKind::Gcloud => (&[], &[], &[]),
        };
        Self { needed, optional, urls }
    }
}

/// A URL to which secrets are sent.
fn check_url(name: &str, url: &str, transport: Transport) -> Result<(), Fault> {
    let Some((uri, host)) = url.parse::<http::Uri>().ok().and_then(|uri| {
        let host = uri.host().filter(|host| !host.is_empty())?.to_owned();
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let fits = !has_user && matches!(uri.scheme_str(), Some("https" | "http"));
        fits.then_some((uri, host))
    }) else {
        return Err(field_fault(name, "is not an https URL", AS_MADE));
    };
    let clear = uri.scheme_str() == Some("http") && !is_loopback(&host);
    if clear && transport == Transport::Safe {
        return Err(field_fault(
            name,
            "would send secrets in clear text, because it begins with http://",
            "begin it with https://, or allow it with --allow-insecure-token-endpoints if the \
             network between is yours",
        ));
    }
    Ok(())
}

/// Where the tokens of an identity go to be exchanged for those of a service account: Google's IAM,
/// by any of its names, or this machine.
fn check_impersonation_url(
    url: &str,
    universe: Option<&str>,
    transport: Transport,
) -> Result<(), Fault> {
    let is_iam = |host: &str| {
        let domain = universe.unwrap_or("googleapis.com").trim();
        let labels = host.strip_suffix(domain).and_then(|labels| labels.strip_suffix('.'));
        let of_google = labels.is_some_and(|l| l.split('.').any(|l| l.contains("iamcredentials")));
        of_google || is_loopback(host) || transport == Transport::ClearTextToo
    };
    let fits = url.parse::<http::Uri>().is_ok_and(|uri| {
        uri.path().ends_with(":generateAccessToken")
            && uri.query().is_none()
            && uri.host().is_some_and(is_iam)
    });
    if fits {
        return Ok(());
    }
    Err(field_fault(
        "service_account_impersonation_url",
        "is not that of generateAccessToken at Google's IAM, so no token is sent to it",
        "it is such as https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/\
         EMAIL:generateAccessToken",
    ))
}

/// A key as it should be: with line breaks where it has them as two characters, as variables and
/// templates leave it, and without quotes around it.
fn mend_key(json: &mut Value) -> Result<(), Fault> {
    const NAME: &str = "private_key";
    const AGAIN: &str = "use the file as it was made, or make a new key with \
                         `gcloud iam service-accounts keys create`";
    let wrong = |what: &str, remedy: &'static str| Err(field_fault(NAME, what, remedy));
    let Some(key) = field_of(json, NAME) else { return wrong("is not text", AGAIN) };
    let mended = key.replace("\\r", "").replace("\\n", "\n");
    let mended = mended.trim().trim_matches(['"', '\'']).trim();
    if mended.contains("BEGIN RSA PRIVATE KEY") {
        return wrong("is in PKCS#1 form", "convert it with `openssl pkcs8 -topk8 -nocrypt`");
    }
    if mended.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return wrong("has a password", "take it off with `openssl pkcs8 -topk8 -nocrypt`");
    }
    if mended.contains("BEGIN EC PRIVATE KEY") {
        return wrong("is an EC key, and Google's service accounts have RSA keys", AGAIN);
    }
    if mended.contains("BEGIN PUBLIC KEY") || mended.contains("BEGIN CERTIFICATE") {
        return wrong("is not the private one: it can be seen by everybody", AGAIN);
    }
    let (begin, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
    let Some((_, rest)) = mended.split_once(begin) else {
        return wrong("is not an RSA key in PKCS#8 PEM form", AGAIN);
    };
    let Some((body, _)) = rest.split_once(end) else {
        return wrong("has lost its end: there is no line \"-----END PRIVATE KEY-----\"", AGAIN);
    };
    // Spaces for line breaks, none at all, or indented: what is between is base64 whatever its lines.
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    if let Some(other) = body.chars().find(|c| !c.is_ascii_alphanumeric() && !"+/=".contains(*c)) {
        return wrong(
            match other {
                '\\' => "has backslashes in it: it was escaped more than once",
                '.' | '*' | '\u{2026}' => "was shortened: it has dots or asterisks in it",
                '%' => "is encoded as in a URL",
                _ => "has characters in it that are not base64",
            },
            AGAIN,
        );
    }
    let lines = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>();
    json[NAME] = format!("{begin}\n{}\n{end}\n", lines.join("\n")).into();
    Ok(())
}

fn check_source(json: &Value, transport: Transport) -> Result<(), Fault> {
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

/// Where a workload's own proof comes from.
fn check_subject(json: &Value, transport: Transport) -> Result<(), Fault> {
    const NAME: &str = "credential_source";
    let Some(source) = json.get(NAME) else { return Ok(()) };
    let text = |name: &str| match source.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            Shape::Text.check(&format!("{NAME}.{name}"), value)?;
            Ok(value.as_str())
        }
    };
    if source.get("certificate").is_some() {
        return Err(field_fault(
            NAME,
            "is a certificate, which is not supported here",
            "file, url, executable and aws are: make one of these with \
             `gcloud iam workload-identity-pools create-cred-config`",
        ));
    }
    if let Some(format) = source.get("format").filter(|format| !format.is_null()) {
        let json = match format.get("type").and_then(Value::as_str) {
            None | Some("text") => false,
            Some("json") => true,
            Some(_) => {
                return Err(field_fault(
                    "credential_source.format.type",
                    "is neither text nor json",
                    AS_MADE,
                ));
            }
        };
        if json && field_of(format, "subject_token_field_name").is_none() {
            return Err(fault(
                "it has no \"credential_source.format.subject_token_field_name\"",
                AS_MADE,
            ));
        }
    }
    if let Some(environment) = text("environment_id")? {
        if !environment.starts_with("aws") {
            return Err(field_fault(
                "credential_source.environment_id",
                "is not aws1, which alone is supported here",
                AS_MADE,
            ));
        }
        for name in
            ["region_url", "url", "regional_cred_verification_url", "imdsv2_session_token_url"]
        {
            if let Some(url) = text(name)? {
                check_local_url(&format!("{NAME}.{name}"), url, transport)?;
            }
        }
        return Ok(());
    }
    if let Some(executable) = source.get("executable") {
        let command = executable.get("command").unwrap_or(&Value::Null);
        return Shape::Text.check("credential_source.executable.command", command);
    }
    if let Some(url) = text("url")? {
        return check_local_url("credential_source.url", url, transport);
    }
    if text("file")?.is_some() {
        return Ok(());
    }
    Err(field_fault(
        NAME,
        "names no source",
        "it has one of \"file\", \"url\", \"executable\" and, for AWS, \"environment_id\"",
    ))
}

/// A URL of this machine or of the metadata server of the cloud that it is in, which by design
/// speak http; any other one as [`check_url`].
fn check_local_url(name: &str, url: &str, transport: Transport) -> Result<(), Fault> {
    // `{region}` in AWS's is put in later.
    let url = url.replace(['{', '}'], "");
    let host = url.parse::<http::Uri>().ok().and_then(|uri| Some(uri.host()?.to_owned()));
    if url.starts_with("http://") && host.is_some_and(|host| is_metadata_host(&host)) {
        return Ok(());
    }
    check_url(name, &url, transport)
}

/// Link-local addresses, AWS's one of IPv6, and the name of Google's.
fn is_metadata_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_unicast_link_local()
                || address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
        Err(_) => host == "metadata.google.internal",
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
    transport: Transport,
    last_good: Mutex<CredentialFile>,
}

impl Reread {
    pub(super) fn open(path: impl Into<PathBuf>, transport: Transport) -> Result<Self, Fault> {
        let path = path.into();
        let last_good = Mutex::new(read(&path, transport)?);
        Ok(Self { path: Some(path), transport, last_good })
    }

    /// Content that no file holds, and that stays.
    pub(super) fn fixed(content: CredentialFile) -> Self {
        Self { path: None, transport: Transport::Safe, last_good: Mutex::new(content) }
    }

    /// The same file for another source.
    #[cfg(feature = "google-cloud-auth")]
    pub(super) fn again(&self) -> Self {
        let last_good = Mutex::new(self.last_good().clone());
        Self { path: self.path.clone(), transport: self.transport, last_good }
    }

    pub(super) fn last_good(&self) -> MutexGuard<'_, CredentialFile> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn current(&self) -> Result<CredentialFile, BoxError> {
        let Some(path) = self.path.clone() else { return Ok(self.last_good().clone()) };
        let transport = self.transport;
        let (content, path) = blocking(move || Ok((read(&path, transport), path))).await?;
        let mut last_good = self.last_good();
        let why = match content {
            Ok(content) if content.kind == last_good.kind => {
                *last_good = content;
                return Ok(last_good.clone());
            }
            Ok(_) => fault("its type has changed", "restart to use it"),
            Err(why) => why,
        };
        tracing::warn!(path = %shown::path(&path), %why, "keeping the last good credentials");
        Ok(last_good.clone())
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_deref().map(shown::path);
        f.debug_struct("Reread").field("path", &path).finish_non_exhaustive()
    }
}

/// Where gcloud leaves a person's credentials; `None` without a home directory.
pub(super) fn user_credentials() -> Option<PathBuf> {
    const NAME: &str = "application_default_credentials.json";
    if let Some(folder) = env::var_os("CLOUDSDK_CONFIG").filter(|folder| !folder.is_empty()) {
        return Some(PathBuf::from(folder).join(NAME));
    }
    #[cfg(windows)]
    let folder = PathBuf::from(env::var_os("APPDATA")?);
    #[cfg(not(windows))]
    let folder = env::home_dir()?.join(".config");
    Some(folder.join("gcloud").join(NAME))
}

/// Whether a search ends at this path: what cannot be looked at may be there.
pub(super) fn may_be_there(path: &Path) -> bool {
    !matches!(path.try_exists(), Ok(false))
}

/// The project that pays, by the environment or else by the file.
pub(super) fn quota_project(file: Option<&Reread>) -> Option<String> {
    let variable = env::var(QUOTA_VARIABLE).ok().map(|value| value.trim().to_owned());
    let of_file = || file?.last_good().project("quota_project_id");
    variable.filter(|value| is_name(value)).or_else(of_file)
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
mod tests;
