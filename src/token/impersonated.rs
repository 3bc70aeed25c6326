//! Tokens of another service account, with a lifetime of up to twelve hours.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{
    AccessToken, CLOUD_PLATFORM_SCOPE, CredentialKind, FetchReason, TokenCache, TokenFuture,
    TokenSource,
    credential_file::is_name,
    grant,
    http::{Answer, is_loopback},
    id_token,
    oauth_error::OAuthError,
};
use crate::{
    BoxError,
    error::{ConfigError, Fault},
};

/// The lifetime that Google grants by default.
pub(super) const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
/// The longest lifetime that Google grants, if a policy of the organisation allows it.
const LONGEST_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Fetches tokens of a service account that the owner of other credentials may impersonate, with
/// `generateAccessToken` of Google's IAM Service Account Credentials API.
///
/// The identity of the other credentials needs `roles/iam.serviceAccountTokenCreator` on the
/// account.
///
/// ```no_run
/// use std::time::Duration;
/// use tower_vertex::token::{Credentials, Impersonated};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_vertex::Error> {
/// let base = Credentials::detect().await?;
/// let source = Impersonated::new(base, "vertex@my-project.iam.gserviceaccount.com")?
///     .lifetime(Duration::from_secs(12 * 3600))?;
/// # Ok(())
/// # }
/// ```
#[doc(alias = "service account impersonation")]
#[doc(alias = "generateAccessToken")]
#[derive(Clone)]
pub struct Impersonated {
    base: TokenCache,
    account: String,
    delegates: Vec<String>,
    lifetime: Duration,
    endpoint: Arc<str>,
}

impl Impersonated {
    /// Impersonates `account`, the service account's e-mail address or its numeric id. The tokens
    /// of `base` identify the caller; they are cached.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `account` cannot be the name of a service account.
    pub fn new(base: impl TokenSource, account: impl Into<String>) -> Result<Self, ConfigError> {
        let account = account.into();
        check_account(&account)?;
        Ok(Self {
            // The cache above limits how often 401s force a refresh.
            base: TokenCache::builder().forced_refreshes(u32::MAX, Duration::ZERO).build(base),
            account,
            delegates: Vec::new(),
            lifetime: DEFAULT_LIFETIME,
            endpoint: "https://iamcredentials.googleapis.com".into(),
        })
    }

    /// Sets the lifetime to request, 1 s to 12 h. Default 1 h, which is the most that Google grants
    /// unless the organisation's policy `iam.allowServiceAccountCredentialLifetimeExtension` names
    /// the account.
    ///
    /// Source: <https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken>.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the lifetime is outside these bounds.
    pub fn lifetime(mut self, lifetime: Duration) -> Result<Self, ConfigError> {
        check_lifetime(lifetime)?;
        self.lifetime = lifetime;
        Ok(self)
    }

    /// Sets the service accounts between the base and the account. Each may impersonate the next.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if one of them cannot be the name of a service account.
    pub fn delegates(
        mut self,
        accounts: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, ConfigError> {
        self.delegates = accounts.into_iter().map(Into::into).collect();
        self.delegates.iter().try_for_each(|account| check_account(account))?;
        Ok(self)
    }

    /// Sets the address of the API, if it is not `https://iamcredentials.googleapis.com`: Private
    /// Service Connect (`https://iamcredentials-NAME.p.googleapis.com`), another universe, an
    /// emulator. The base's token is sent there.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the address is neither `https://HOST` nor `http://` and a host of this
    /// machine.
    pub fn endpoint(mut self, origin: impl AsRef<str>) -> Result<Self, ConfigError> {
        let origin = origin.as_ref().trim_end_matches('/');
        let advice = "give an origin such as https://iamcredentials-NAME.p.googleapis.com";
        let uri = origin.parse::<http::Uri>().ok().filter(|uri| {
            let local = uri.host().is_some_and(is_loopback);
            let safe =
                uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && local;
            safe && !origin.contains('@') && matches!(uri.path(), "" | "/") && uri.query().is_none()
        });
        if uri.is_none() {
            return Err(ConfigError::invalid("IAM endpoint", origin, advice));
        }
        self.endpoint = origin.into();
        Ok(self)
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    async fn token(&self) -> Result<AccessToken, BoxError> {
        let answer = self.call("generateAccessToken", access_token_body(self.lifetime)).await?;
        read(&answer, self.lifetime, |fault| fault.of(&self.whose()))
    }

    pub(super) async fn id_token(&self, audience: &str) -> Result<AccessToken, BoxError> {
        let answer = self.call("generateIdToken", id_token_body(audience)).await?;
        read_id_token(&answer, audience, |fault| fault.of(&self.whose()))
    }

    fn whose(&self) -> String {
        format!("no token for {}", self.account)
    }

    /// Calls a method of the account, once more with another token of the base if this one is
    /// rejected.
    async fn call(&self, method: &str, body: Value) -> Result<Answer, BoxError> {
        let delegates: Vec<_> = self.delegates.iter().map(|name| resource_name(name)).collect();
        let account = resource_name(&self.account);
        let url = format!("{}/v1/{account}:{method}", self.endpoint);
        let token = self.base.get().await?;
        let answer = ask(&url, token.authorization(), &delegates, body.clone()).await?;
        if answer.status == StatusCode::UNAUTHORIZED
            && let Ok(newer) = self.base.rejected(token.generation()).await
        {
            return ask(&url, newer.authorization(), &delegates, body).await;
        }
        Ok(answer)
    }
}

/// The resource name of a service account in IAM, from its e-mail address or from the resource name
/// itself.
pub(super) fn resource_name(account: &str) -> String {
    match account.contains('/') {
        true => account.to_owned(),
        false => format!("projects/-/serviceAccounts/{account}"),
    }
}

/// Fetches a token of the service account that the URL names, for the identity of the token in
/// `bearer`.
pub(super) async fn generate(
    url: &str,
    bearer: &HeaderValue,
    delegates: &[String],
    lifetime: Duration,
) -> Result<AccessToken, BoxError> {
    let answer = ask(url, bearer, delegates, access_token_body(lifetime)).await?;
    read(&answer, lifetime, |fault| fault)
}

/// Fetches an ID token of the service account whose access tokens `url` generates.
pub(super) async fn generate_id_token(
    url: &str,
    bearer: &HeaderValue,
    delegates: &[String],
    audience: &str,
) -> Result<AccessToken, BoxError> {
    let url = url.replace(":generateAccessToken", ":generateIdToken");
    let answer = ask(&url, bearer, delegates, id_token_body(audience)).await?;
    read_id_token(&answer, audience, |fault| fault)
}

fn access_token_body(lifetime: Duration) -> Value {
    json!({ "scope": [CLOUD_PLATFORM_SCOPE], "lifetime": format!("{}s", lifetime.as_secs()) })
}

/// Identity-Aware Proxy requires the e-mail address, which is left out by default.
fn id_token_body(audience: &str) -> Value {
    json!({ "audience": audience, "includeEmail": true })
}

async fn ask(
    url: &str,
    bearer: &HeaderValue,
    delegates: &[String],
    mut body: Value,
) -> Result<Answer, BoxError> {
    if !delegates.is_empty() {
        body["delegates"] = delegates.into();
    }
    let request = Request::post(url)
        .header(header::AUTHORIZATION, bearer)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::<Bytes>::from(body.to_string()))?;
    Ok(grant::send(request).await?)
}

fn read_id_token(
    answer: &Answer,
    audience: &str,
    of: impl Fn(Fault) -> Fault,
) -> Result<AccessToken, BoxError> {
    let json = granted(answer, &of)?;
    let wrong = |what| of(grant::not_a_token(IAM, what));
    let token = json["token"].as_str().ok_or_else(|| wrong("has no \"token\" that is text"))?;
    id_token::read(token, audience, answer, wrong)
}

const IAM: &str = "Google's IAM";

/// Reads the response of a method.
fn granted(answer: &Answer, of: &impl Fn(Fault) -> Fault) -> Result<Value, BoxError> {
    if !answer.status.is_success() {
        let refusal = OAuthError::new(answer.status.as_u16(), answer.text());
        return Err(of(refusal.fault(CredentialKind::ImpersonatedServiceAccount)).into());
    }
    Ok(answer.json().ok_or_else(|| of(grant::not_a_token(IAM, "is not JSON")))?)
}

fn read(
    answer: &Answer,
    lifetime: Duration,
    of: impl Fn(Fault) -> Fault,
) -> Result<AccessToken, BoxError> {
    let json = granted(answer, &of)?;
    let wrong = |what| of(grant::not_a_token(IAM, what));
    let token =
        json["accessToken"].as_str().ok_or_else(|| wrong("has no \"accessToken\" that is text"))?;
    let end = end(&json["expireTime"])
        .ok_or_else(|| wrong("has an \"expireTime\" that is not a time"))?;
    // The remaining lifetime is counted by the server's clock, because this machine's may be wrong.
    let now = answer.date().unwrap_or_else(SystemTime::now);
    let left = end.map(|end| (end - DateTime::<Utc>::from(now)).to_std().unwrap_or_default());
    Ok(AccessToken::new(token, left.map(|left| left.min(lifetime)))?)
}

/// Reads a point in time in Google's format; `Some(None)` if it is missing.
fn end(value: &Value) -> Option<Option<DateTime<Utc>>> {
    match value {
        Value::Null => Some(None),
        value => value.as_str()?.parse().ok().map(Some),
    }
}

pub(super) fn check_lifetime(lifetime: Duration) -> Result<(), ConfigError> {
    if (Duration::from_secs(1)..=LONGEST_LIFETIME).contains(&lifetime) {
        return Ok(());
    }
    let given = format!("{} s", lifetime.as_secs());
    Err(ConfigError::invalid("token lifetime", &given, "give 1 to 43200 seconds (12 hours)"))
}

fn check_account(account: &str) -> Result<(), ConfigError> {
    let is_number = account.bytes().all(|byte| byte.is_ascii_digit());
    if is_name(account) && !account.contains(':') && (is_number || account.contains('@')) {
        return Ok(());
    }
    let advice = "give its e-mail address, such as vertex@my-project.iam.gserviceaccount.com";
    Err(ConfigError::invalid("service account", account, advice))
}

impl TokenSource for Impersonated {
    fn fetch(&self, _: FetchReason) -> TokenFuture<'_> {
        Box::pin(self.token())
    }

    fn quota_project(&self) -> Option<&str> {
        self.base.quota_project()
    }
}

impl fmt::Debug for Impersonated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Impersonated")
            .field("account", &self.account)
            .field("delegates", &self.delegates)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expire_time_is_a_time_or_missing() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().ok();
        for text in
            ["2014-10-02T15:01:23Z", "2014-10-02T15:01:23.045123456Z", "2014-10-02T15:01:23+05:30"]
        {
            assert_eq!(end(&json!(text)), Some(time(text)));
            assert!(time(text).is_some(), "{text}");
        }
        assert_eq!(end(&Value::Null), Some(None));
        for value in
            [json!(3600), json!("3600"), json!(""), json!("tomorrow"), json!({}), json!(true)]
        {
            assert_eq!(end(&value), None, "{value}");
        }
    }
}
