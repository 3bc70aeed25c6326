//! Identity federation and impersonation with a credential file: `external_account` with a subject
//! token in a file or at a URL, and `impersonated_service_account`.
//!
//! Google's own crate handles subject tokens from a command or from AWS; see
//! [`GoogleCloudAuth`](super::GoogleCloudAuth).

use std::{fmt, path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{
    AccessToken, CLOUD_PLATFORM_SCOPE, CredentialKind, FetchReason, TokenFuture, TokenSource,
    credential_file::{self, CredentialFile, Reread, TransportPolicy, blocking, fault},
    grant, impersonated, login,
    oauth_error::OAuthError,
};
use crate::{BoxError, error::Fault, redact, regular_file};

/// Scope of a Security Token Service token that will be exchanged at Google's IAM.
const IAM_SCOPE: &str = "https://www.googleapis.com/auth/iam";
/// The maximum size of a subject token in bytes. No identity provider issues longer ones.
const LONGEST_SUBJECT_TOKEN: u64 = 64 * 1024;

pub(super) struct Federation {
    file: Reread,
    lifetime: Option<Duration>,
    quota_project: Option<String>,
}

impl Federation {
    /// Whether this module supports all that the file needs.
    pub(super) fn knows(file: &CredentialFile) -> bool {
        match file.kind {
            CredentialKind::ExternalAccount => {
                let source = file.json.get("credential_source");
                source.is_some_and(|source| {
                    source.get("environment_id").is_none()
                        && source.get("executable").is_none()
                        && (source.get("file").is_some() || source.get("url").is_some())
                })
            }
            CredentialKind::ImpersonatedServiceAccount => {
                source_of(file).is_ok_and(|source| match source.kind {
                    CredentialKind::ServiceAccount => cfg!(feature = "credentials"),
                    CredentialKind::ExternalAccount => Self::knows(&source),
                    _ => true,
                })
            }
            _ => false,
        }
    }

    pub(super) fn new(file: Reread, lifetime: Option<Duration>) -> Self {
        let quota_project = credential_file::quota_project(Some(&file));
        Self { file, lifetime, quota_project }
    }

    async fn token(&self) -> Result<AccessToken, BoxError> {
        let file = self.file.current().await?;
        match file.kind {
            CredentialKind::ImpersonatedServiceAccount => impersonate(&file, self.lifetime).await,
            _ => exchange(&file).await,
        }
    }
}

impl TokenSource for Federation {
    fn fetch(&self, _: FetchReason) -> TokenFuture<'_> {
        Box::pin(self.token())
    }

    fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }
}

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Federation").field("file", &self.file).finish_non_exhaustive()
    }
}

fn source_of(file: &CredentialFile) -> Result<CredentialFile, Fault> {
    let source = file.json.get("source_credentials").map(Value::to_string).unwrap_or_default();
    // The destinations of its secrets were checked with the file that contains it.
    credential_file::parse(source, TransportPolicy::ClearTextToo)
}

async fn impersonate(
    file: &CredentialFile,
    lifetime: Option<Duration>,
) -> Result<AccessToken, BoxError> {
    let token = source_token(file).await?;
    let lifetime = lifetime.unwrap_or(impersonated::DEFAULT_LIFETIME);
    impersonated::generate(url(file), token.authorization(), &delegates(file), lifetime).await
}

/// Fetches an ID token of the service account that the file impersonates.
pub(super) async fn id_token(
    file: &CredentialFile,
    audience: &str,
) -> Result<AccessToken, BoxError> {
    let (token, delegates) = match file.kind {
        CredentialKind::ImpersonatedServiceAccount => (source_token(file).await?, delegates(file)),
        _ => (federated(file, IAM_SCOPE).await?, Vec::new()),
    };
    let bearer = token.authorization();
    impersonated::generate_id_token(url(file), bearer, &delegates, audience).await
}

/// Fetches a token of the identity that impersonates the account of an
/// `impersonated_service_account`.
async fn source_token(file: &CredentialFile) -> Result<AccessToken, BoxError> {
    let source = source_of(file)?;
    match source.kind {
        #[cfg(feature = "credentials")]
        CredentialKind::ServiceAccount => super::gcp_auth::key_token(source).await,
        CredentialKind::ExternalAccount => exchange(&source).await,
        _ => login::once(&source).await,
    }
}

fn url(file: &CredentialFile) -> &str {
    file.text_of("service_account_impersonation_url").unwrap_or_default()
}

fn delegates(file: &CredentialFile) -> Vec<String> {
    let delegates = file.json.get("delegates").and_then(Value::as_array);
    let delegates = delegates.into_iter().flatten().filter_map(Value::as_str);
    delegates.map(impersonated::resource_name).collect()
}

/// Exchanges the subject token for an access token, of the service account if the file names one.
async fn exchange(file: &CredentialFile) -> Result<AccessToken, BoxError> {
    let Some(url) = file.text_of("service_account_impersonation_url") else {
        return federated(file, CLOUD_PLATFORM_SCOPE).await;
    };
    let token = federated(file, IAM_SCOPE).await?;
    let lifetime = file.json.get("service_account_impersonation");
    let lifetime = lifetime.and_then(|settings| settings.get("token_lifetime_seconds")?.as_u64());
    let lifetime = lifetime.map_or(impersonated::DEFAULT_LIFETIME, Duration::from_secs);
    impersonated::generate(url, token.authorization(), &[], lifetime).await
}

/// Exchanges the subject token for an access token of the federated identity: RFC 8693 §2.1.
async fn federated(file: &CredentialFile, scope: &str) -> Result<AccessToken, BoxError> {
    let field = |name| file.text_of(name).unwrap_or_default();
    let subject_token = subject_token(file).await?;
    let mut fields = vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", field("audience")),
        ("subject_token_type", field("subject_token_type")),
        ("subject_token", &subject_token),
        ("scope", scope),
    ];
    let client = file.text_of("client_id").zip(file.text_of("client_secret"));
    let project = file.text_of("workforce_pool_user_project").filter(|_| client.is_none());
    let options = project.map(|project| json!({ "userProject": project }).to_string());
    if let Some(options) = &options {
        fields.push(("options", options));
    }
    let mut request = grant::form(field("token_url"), &fields)?;
    if let Some((id, secret)) = client {
        request.headers_mut().insert(header::AUTHORIZATION, login::basic(id, secret)?);
    }
    Ok(grant::ask(CredentialKind::ExternalAccount, request).await?.token)
}

async fn subject_token(file: &CredentialFile) -> Result<String, BoxError> {
    let source = file.json.get("credential_source").unwrap_or(&Value::Null);
    let named = |name: &str| source.get(name).and_then(Value::as_str);
    let (from, text) = if let Some(path) = named("file") {
        let from = format!("the subject token's file {}", redact::path(Path::new(path)));
        let path = path.to_owned();
        let read = blocking(move || {
            Ok(regular_file::read_to_string(Path::new(&path), LONGEST_SUBJECT_TOKEN))
        });
        let text = read.await?.map_err(|unread| {
            let remedy = "check that the program that writes it for this workload has run";
            fault(format!("{from} cannot be read: {}", unread.what()), remedy)
        })?;
        (from, text)
    } else {
        let url = named("url").unwrap_or_default();
        let from = format!("the source of the subject token, {},", redact::value(url));
        (from.clone(), ask_url(url, source.get("headers"), &from).await?)
    };
    let remedy = "check \"credential_source\" and the source that it names";
    let format = source.get("format");
    let of_format = |name: &str| format.and_then(|format| format.get(name)?.as_str());
    let token = match of_format("type") {
        Some("json") => {
            let name = of_format("subject_token_field_name").unwrap_or_default();
            let json: Option<Value> = serde_json::from_str(&text).ok();
            let json = json.ok_or_else(|| fault(format!("{from} provides no JSON"), remedy))?;
            let token = json.get(name).and_then(Value::as_str).map(str::to_owned);
            let what = format!("{from} has no field {:?} that is text", redact::value(name));
            token.ok_or_else(|| fault(what, remedy))?
        }
        _ => text,
    };
    let token = token.trim();
    if token.is_empty() {
        return Err(fault(format!("{from} provides nothing"), remedy).into());
    }
    Ok(token.to_owned())
}

async fn ask_url(url: &str, headers: Option<&Value>, from: &str) -> Result<String, BoxError> {
    let mut request = Request::get(url).body(Full::<Bytes>::default())?;
    for (name, value) in headers.and_then(Value::as_object).into_iter().flatten() {
        let (Ok(name), Ok(mut value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value.as_str().unwrap_or_default()),
        ) else {
            let what = "its \"credential_source.headers\" are not headers";
            return Err(fault(what, "use the file as it was made").into());
        };
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    let answer = grant::send(request).await?;
    if answer.status != StatusCode::OK {
        // The error holds nothing of the body.
        let refusal = OAuthError::new(answer.status.as_u16(), "");
        let what = format!("{from} returned {}", answer.status.as_u16());
        return Err(refusal.of_subject(what).into());
    }
    Ok(answer.text().to_owned())
}
