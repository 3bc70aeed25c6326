//! The identities that can get tokens from the emulator, and their credential files.

use std::{path::Path, sync::Mutex};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Value, json};

use super::{key, state::lock, tokens::random_text};

/// The person behind `authorized_user`.
pub(crate) const USER: &str = "developer@example.com";
/// The account of the virtual machine.
pub(crate) const MACHINE: &str = "123456789012-compute@developer.gserviceaccount.com";
/// The account in the files with an impersonation. Any other account can be impersonated as well.
const IMPERSONATED: &str = "impersonated@emulator-project.iam.gserviceaccount.com";

/// A pool of external identities, and the identity that the emulator knows in it.
pub(crate) struct Pool {
    pub(crate) audience: &'static str,
    pub(crate) principal: &'static str,
}

/// The pool for programs: workload identity federation.
pub(crate) const WORKLOAD: Pool = Pool {
    audience: "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/\
         emulator/providers/emulator",
    principal: "principal://iam.googleapis.com/projects/123456789012/locations/global/\
         workloadIdentityPools/emulator/subject/tester",
};

/// The pool for people: workforce identity federation.
pub(crate) const WORKFORCE: Pool = Pool {
    audience: "//iam.googleapis.com/locations/global/workforcePools/emulator/providers/emulator",
    principal: "principal://iam.googleapis.com/locations/global/workforcePools/emulator/subject/\
         tester",
};

/// A kind of credential file, by its names at Google.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CredentialKind {
    /// `service_account`: a key file.
    ServiceAccount,
    /// `authorized_user`: the login of a person, as `gcloud auth application-default login` saves it.
    AuthorizedUser,
    /// `impersonated_service_account`: that person acts as a service account.
    ImpersonatedServiceAccount,
    /// `external_account`: workload identity federation.
    ExternalAccount,
    /// `external_account` for a token of a service account.
    ExternalAccountImpersonated,
    /// `external_account_authorized_user`: a workforce login.
    ExternalAccountAuthorizedUser,
}

/// The addresses of the services in a credential file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Addresses<'a> {
    /// The emulator's own, at this base URL.
    Own(&'a str),
    /// Google's own, as in a file that Google makes.
    Google,
}

impl Addresses<'_> {
    fn oauth2(self) -> String {
        self.at("oauth2")
    }

    fn sts(self) -> String {
        self.at("sts")
    }

    fn iam(self) -> String {
        self.at("iamcredentials")
    }

    fn at(self, service: &str) -> String {
        match self {
            Self::Own(base) => base.to_owned(),
            Self::Google => format!("https://{service}.googleapis.com"),
        }
    }
}

/// The secrets in the credential files, new for each emulator.
pub(crate) struct Credentials {
    pub(crate) user: Login,
    pub(crate) workforce: Login,
    pub(crate) subject_token: String,
}

impl Credentials {
    pub(crate) fn new() -> Self {
        Self {
            user: Login::new("emulator.apps.googleusercontent.com", USER),
            workforce: Login::new("emulator-workforce", WORKFORCE.principal),
            subject_token: format!("emulator-subject-{}", random_text()),
        }
    }

    /// The content of a credential file. Two kinds name the file of the subject token.
    pub(crate) fn file(
        &self,
        kind: CredentialKind,
        at: Addresses<'_>,
        subject_token_file: &Path,
    ) -> Value {
        match kind {
            CredentialKind::ServiceAccount => service_account(at),
            CredentialKind::AuthorizedUser => self.authorized_user(at),
            CredentialKind::ImpersonatedServiceAccount => self.impersonated_service_account(at),
            CredentialKind::ExternalAccount => external_account(at, subject_token_file),
            CredentialKind::ExternalAccountImpersonated => {
                external_account_impersonated(at, subject_token_file)
            }
            CredentialKind::ExternalAccountAuthorizedUser => {
                self.external_account_authorized_user(at)
            }
        }
    }

    /// The text of an `authorized_user` file.
    fn authorized_user(&self, at: Addresses<'_>) -> Value {
        json!({
            "type": "authorized_user",
            "client_id": self.user.client_id,
            "client_secret": self.user.client_secret,
            "refresh_token": *lock(&self.user.refresh_token),
            "token_uri": format!("{}/token", at.oauth2()),
            "universe_domain": "googleapis.com",
        })
    }

    /// The text of an `external_account_authorized_user` file.
    fn external_account_authorized_user(&self, at: Addresses<'_>) -> Value {
        json!({
            "type": "external_account_authorized_user",
            "audience": WORKFORCE.audience,
            "client_id": self.workforce.client_id,
            "client_secret": self.workforce.client_secret,
            "refresh_token": *lock(&self.workforce.refresh_token),
            "token_url": format!("{}/v1/oauthtoken", at.sts()),
            "token_info_url": format!("{}/v1/introspect", at.sts()),
            "universe_domain": "googleapis.com",
        })
    }

    /// The text of an `impersonated_service_account` file.
    fn impersonated_service_account(&self, at: Addresses<'_>) -> Value {
        json!({
            "type": "impersonated_service_account",
            "service_account_impersonation_url": impersonation_url(at),
            "delegates": [],
            "source_credentials": self.authorized_user(at),
            "universe_domain": "googleapis.com",
        })
    }
}

/// The text of a `service_account` file. The first call parses the key.
fn service_account(at: Addresses<'_>) -> Value {
    key::service_account(&format!("{}/token", at.oauth2()))
}

/// The text of an `external_account` file whose subject token is in another file.
fn external_account(at: Addresses<'_>, subject_token_file: &Path) -> Value {
    json!({
        "type": "external_account",
        "audience": WORKLOAD.audience,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/v1/token", at.sts()),
        "token_info_url": format!("{}/v1/introspect", at.sts()),
        "credential_source": { "file": subject_token_file.to_string_lossy() },
        "universe_domain": "googleapis.com",
    })
}

/// The text of the same file, for a token of a service account.
fn external_account_impersonated(at: Addresses<'_>, subject_token_file: &Path) -> Value {
    let mut file = external_account(at, subject_token_file);
    file["service_account_impersonation_url"] = impersonation_url(at).into();
    file
}

fn impersonation_url(at: Addresses<'_>) -> String {
    let base = at.iam();
    format!("{base}/v1/projects/-/serviceAccounts/{IMPERSONATED}:generateAccessToken")
}

/// A person who has logged in, and the client that they used.
pub(crate) struct Login {
    pub(crate) principal: &'static str,
    pub(crate) client_id: &'static str,
    client_secret: String,
    refresh_token: Mutex<String>,
}

impl Login {
    fn new(client_id: &'static str, principal: &'static str) -> Self {
        Self {
            principal,
            client_id,
            client_secret: format!("emulator-secret-{}", random_text()),
            refresh_token: Mutex::new(new_refresh_token()),
        }
    }

    pub(crate) fn is_client(&self, id: Option<&str>, secret: Option<&str>) -> bool {
        id == Some(self.client_id) && secret == Some(&self.client_secret)
    }

    /// Whether the value is a correct `Authorization: Basic`. Libraries use different base64
    /// alphabets and padding (`google-cloud-auth` 1.18: URL-safe, none).
    pub(crate) fn is_basic(&self, value: &str) -> bool {
        let Some((scheme, encoded)) = value.split_once(' ') else { return false };
        let standard = encoded.trim().replace('-', "+").replace('_', "/");
        let decoded = BASE64.decode(standard).ok().and_then(|text| String::from_utf8(text).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        scheme.eq_ignore_ascii_case("basic")
            && pair.is_some_and(|(id, secret)| self.is_client(Some(id), Some(secret)))
    }

    pub(crate) fn is_refresh_token(&self, shown: &str) -> bool {
        *lock(&self.refresh_token) == shown
    }

    /// Replaces this refresh token by a new one. Returns `None` if another request has replaced it
    /// already.
    pub(crate) fn rotate(&self, shown: &str) -> Option<String> {
        let mut current = lock(&self.refresh_token);
        (*current == shown).then(|| {
            *current = new_refresh_token();
            current.clone()
        })
    }
}

fn new_refresh_token() -> String {
    format!("1//emulator-{}", random_text())
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::{super::endpoints::PROJECT_NUMBER, *};

    #[test]
    fn the_names_carry_the_number_of_the_project() {
        for name in [MACHINE, WORKLOAD.audience, WORKLOAD.principal] {
            assert!(name.contains(PROJECT_NUMBER), "{name}");
        }
    }

    #[test]
    fn a_client_is_known_in_every_form_of_base64() {
        use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

        let login = Login::new("id?>", USER);
        let pair = format!("id?>:{}", login.client_secret);
        for encoded in [STANDARD.encode(&pair), URL_SAFE_NO_PAD.encode(&pair)] {
            assert!(login.is_basic(&format!("Basic {encoded}")));
            assert!(login.is_basic(&format!("basic {encoded}")));
            assert!(!login.is_basic(&format!("Bearer {encoded}")));
            assert!(!login.is_basic(&encoded));
        }
        for wrong in ["", "Basic", "Basic ", "Basic !", &format!("Basic {}", STANDARD.encode("id"))]
        {
            assert!(!login.is_basic(wrong));
        }
    }
}
