//! A cached access token that is always valid.
//!
//! A [`TokenSource`] fetches a token, and a [`TokenCache`] decides when. The cache returns the same
//! token to every request for as long as the token is valid. It fetches the next one ahead of time,
//! while requests still use the current one. However many requests wait, it fetches once.
//!
//! | source | tokens |
//! |---|---|
//! | `Credentials` | tokens of the Google credentials that the machine has, found once (feature `credentials` or `credentials-federation`) |
//! | `GcpAuth` | tokens of a service account's key (feature `credentials`) |
//! | `GoogleCloudAuth` | tokens fetched by Google's own crate: of all of these, and of identity federation with a command or AWS, and of credentials that a program built with it (feature `credentials-federation`) |
//! | `Impersonated` | tokens of another service account, with a lifetime of up to 12 hours (either feature) |
//! | `IdToken` | ID tokens for a service on Cloud Run or behind Identity-Aware Proxy (either feature) |
//! | [`token_fn`] | tokens that a closure returns |
//! | [`StaticToken`] | one fixed token, for tests and short scripts |
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use tower_vertex::token::{AccessToken, TokenCache, token_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_vertex::Error> {
//! let cache = TokenCache::new(token_fn(|_reason| async {
//!     // call your own token service here
//!     Ok(AccessToken::new("ya29.example", Some(Duration::from_secs(3600)))?)
//! }));
//!
//! let token = cache.get().await?;
//! assert_eq!(token.generation(), 1);
//! assert!(token.authorization().is_sensitive());
//! # Ok(())
//! # }
//! ```

mod bucket;
mod builder;
mod cache;
mod cached_token;
mod clock;
mod control;
mod counters;
mod decision;
mod entry;
mod flight;
mod state;
mod static_token;
mod waiters;

// These modules find and use Google's credentials.
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod adc;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod credential_file;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod credentials_info;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod environment;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod federation;
#[cfg(feature = "credentials")]
mod gcp_auth;
#[cfg(feature = "credentials-federation")]
mod google_cloud;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod grant;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod http;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod id_token;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod impersonated;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod login;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod machine;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod metadata;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
mod oauth_error;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;

#[cfg(feature = "credentials")]
#[cfg_attr(docsrs, doc(cfg(feature = "credentials")))]
pub use self::gcp_auth::GcpAuth;
#[cfg(feature = "credentials-federation")]
#[cfg_attr(docsrs, doc(cfg(feature = "credentials-federation")))]
pub use self::google_cloud::GoogleCloudAuth;
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "credentials", feature = "credentials-federation"))))]
pub use self::{
    adc::{Credentials, CredentialsBuilder},
    credentials_info::{CredentialKind, CredentialsInfo},
    id_token::IdToken,
    impersonated::Impersonated,
};
pub use self::{
    builder::TokenCacheBuilder,
    cache::{FetchOutcome, TokenCache, TokenStats},
    cached_token::{CachedToken, CachedTokenFuture, RefreshOutcome, RejectionFuture},
    static_token::{StaticToken, TokenFn, token_fn},
};
#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "credentials", feature = "credentials-federation"))))]
pub use crate::connect::host::is_loopback;
use crate::{BoxError, error::TokenError};

/// The scope that Vertex AI requires, and that every source of this crate requests.
///
/// Source: <https://developers.google.com/identity/protocols/oauth2/scopes>.
pub const CLOUD_PLATFORM_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// In bytes. Google's tokens have up to 2 KiB (12 KiB for `downscoped` ones of federated
/// identities), and servers accept no longer header.
const LONGEST_TOKEN: usize = 16 * 1024;

/// An OAuth 2.0 access token and its lifetime.
///
/// The token is kept as the header value that requests carry, and is never printed: `Debug` shows
/// only the lifetime.
#[doc(alias = "bearer")]
#[doc(alias = "oauth")]
#[derive(Clone)]
pub struct AccessToken {
    header: HeaderValue,
    expires_in: Option<Duration>,
    /// `None` for the tokens of almost all sources, so that requests look at nothing more.
    headers: Option<Arc<HeaderMap>>,
}

/// The headers that belong to a connection or a body, and those of the token itself.
const NOT_OF_A_TOKEN: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl AccessToken {
    /// Creates a token. `value` is the bare token, without `Bearer`. `expires_in` counts from now.
    /// `None` means that the source does not know the lifetime; [`TokenCache`] then fetches the
    /// next token soon.
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`] if `value` is empty, has more than 16 KiB, or has a character that
    /// no token can have: a space, a line break, a control character, or any character beyond
    /// ASCII. Such a value is a mistake, or an attempt to add a header.
    pub fn new(value: impl AsRef<str>, expires_in: Option<Duration>) -> Result<Self, TokenError> {
        let value = value.as_ref();
        if value.is_empty() {
            return Err(TokenError::Invalid("an empty access token"));
        }
        if value.len() > LONGEST_TOKEN {
            return Err(TokenError::Invalid("an access token of more than 16 KiB"));
        }
        if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Invalid(
                "an access token with a space, a line break or another character that tokens never have",
            ));
        }
        let mut header = HeaderValue::from_maybe_shared(Bytes::from(format!("Bearer {value}")))
            .map_err(|_| TokenError::Invalid("an access token that no header can carry"))?;
        header.set_sensitive(true);
        // The first clone of a `Bytes` made from a `Vec` allocates its counter. This clone keeps
        // the allocation out of requests.
        drop(header.clone());
        Ok(Self { header, expires_in, headers: None })
    }

    /// The `Authorization` header's value, `Bearer …`, marked sensitive.
    pub fn authorization(&self) -> &HeaderValue {
        &self.header
    }

    /// Returns the same token with another lifetime, counted from now. `None` means that the
    /// lifetime is not known.
    #[must_use]
    pub fn with_expires_in(mut self, expires_in: Option<Duration>) -> Self {
        self.expires_in = expires_in;
        self
    }

    /// Returns the same token with further headers, which requests with this token carry too:
    /// `x-goog-user-project`, for instance. They replace those of a request. Headers of the connection
    /// and of the body, such as `host` and `content-length`, are left out, and so is `authorization`.
    #[must_use]
    pub fn with_headers(mut self, mut headers: HeaderMap) -> Self {
        for name in NOT_OF_A_TOKEN {
            headers.remove(name);
        }
        self.headers = (!headers.is_empty()).then(|| Arc::new(headers));
        self
    }

    /// The further headers of requests with this token, if there are any.
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.headers.as_deref()
    }

    /// Sets the token, and the headers that belong to it, in the headers of a request.
    #[inline]
    pub(crate) fn set_in(&self, headers: &mut HeaderMap) {
        headers.insert(header::AUTHORIZATION, self.header.clone());
        if let Some(further) = &self.headers {
            replace(headers, further);
        }
    }

    /// The token's lifetime, counted from the token's creation.
    pub fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }
}

#[cold]
fn replace(headers: &mut HeaderMap, others: &HeaderMap) {
    for name in others.keys() {
        headers.remove(name);
    }
    for (name, value) in others {
        headers.append(name, value.clone());
    }
}

impl TryFrom<HeaderValue> for AccessToken {
    type Error = TokenError;

    /// Takes the value of an `Authorization` header, `Bearer …`, and marks it sensitive. The
    /// lifetime of the token is not known; see [`with_expires_in`](Self::with_expires_in).
    ///
    /// # Errors
    ///
    /// [`TokenError::Invalid`] if the value has another scheme, or in the cases of
    /// [`AccessToken::new`].
    fn try_from(authorization: HeaderValue) -> Result<Self, TokenError> {
        let other = TokenError::Invalid("an authorization that is not `Bearer` and a token");
        let (scheme, token) = authorization
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .ok_or(other.clone())?;
        // RFC 9110 §11.1: the case of a scheme does not matter.
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(other);
        }
        Self::new(token.trim_start_matches(' '), None)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// The reason why a token is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchReason {
    /// There is no token yet. Only for this reason may a source return a token from a cache of its
    /// own.
    Cold,
    /// The current token is still valid, but will expire soon.
    Proactive,
    /// The current token has expired, or is about to expire.
    Expired,
    /// The service rejected the current token with a 401.
    Rejected,
}

/// The future that [`TokenSource::fetch`] returns.
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<AccessToken, BoxError>> + Send + 'a>>;

/// Fetches access tokens. Implement it for a token service of your own, or use [`token_fn`].
///
/// [`TokenCache`] makes at most one call at a time, on a task of its own, with a time-out, and
/// contains a panic. Unless the reason is [`FetchReason::Cold`], an implementation must not return
/// a token from a cache, because the token cache has decided that a new token is needed.
#[doc(alias = "TokenProvider")]
#[doc(alias = "CredentialsProvider")]
pub trait TokenSource: Send + Sync + 'static {
    /// Fetches a token.
    ///
    /// # Errors
    ///
    /// The error of the source, without secrets in its text: it is shown to callers and logged.
    fn fetch(&self, reason: FetchReason) -> TokenFuture<'_>;

    /// The project to bill and to charge quota to for requests with these tokens, if the
    /// credentials name one. `VertexAuthLayer` sends it with each request.
    fn quota_project(&self) -> Option<&str> {
        None
    }

    /// The service for which the tokens are, if they are for one alone: the audience of ID tokens.
    /// `VertexAuthLayer` then sends them to no other host than that of an audience that is an https
    /// URL, and to the origins that are added to it.
    fn audience(&self) -> Option<&str> {
        None
    }
}

impl<T: TokenSource + ?Sized> TokenSource for Arc<T> {
    fn fetch(&self, reason: FetchReason) -> TokenFuture<'_> {
        (**self).fetch(reason)
    }
    fn quota_project(&self) -> Option<&str> {
        (**self).quota_project()
    }
    fn audience(&self) -> Option<&str> {
        (**self).audience()
    }
}

impl<T: TokenSource + ?Sized> TokenSource for Box<T> {
    fn fetch(&self, reason: FetchReason) -> TokenFuture<'_> {
        (**self).fetch(reason)
    }
    fn quota_project(&self) -> Option<&str> {
        (**self).quota_project()
    }
    fn audience(&self) -> Option<&str> {
        (**self).audience()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_no_header_can_carry_is_refused() {
        for value in ["", " ", "a b", "a\n", "a\r\nx-evil: 1", "a\0", "ключ", "a\u{7f}"] {
            let error = AccessToken::new(value, None).unwrap_err();
            assert!(matches!(error, TokenError::Invalid(_)), "{value:?}");
            assert!(value.trim().is_empty() || !error.to_string().contains(value));
        }
        assert!(AccessToken::new("ya29.c.b0A-_~+/==", None).is_ok());
        assert!(AccessToken::new("a".repeat(LONGEST_TOKEN), None).is_ok());
        let error = AccessToken::new("a".repeat(LONGEST_TOKEN + 1), None).unwrap_err();
        assert!(error.to_string().contains("16 KiB"), "{error}");
    }

    #[test]
    fn a_bearer_header_becomes_a_sensitive_token_and_no_other_header_does() {
        for text in ["Bearer ya29.example", "bearer   ya29.example"] {
            let header = HeaderValue::from_static(text);
            let token = AccessToken::try_from(header).unwrap();
            assert_eq!(token.authorization(), "Bearer ya29.example");
            assert!(token.authorization().is_sensitive());
            assert_eq!(token.expires_in(), None);
            let hour = Some(Duration::from_secs(3600));
            assert_eq!(token.with_expires_in(hour).expires_in(), hour);
        }
        for text in ["ya29.example", "Basic dXNlcg==", "Bearer", "Bearer ", "Bearer a b", ""] {
            let header = HeaderValue::from_static(text);
            let error = AccessToken::try_from(header).unwrap_err();
            assert!(matches!(error, TokenError::Invalid(_)), "{text}: {error}");
        }
    }

    #[test]
    fn headers_of_a_token_replace_those_of_a_request_but_no_framing() {
        let token = AccessToken::new("ya29.example", None).unwrap();
        assert!(token.clone().with_headers(HeaderMap::new()).headers().is_none());
        let mut further = HeaderMap::new();
        for name in NOT_OF_A_TOKEN {
            further.insert(name, HeaderValue::from_static("evil"));
        }
        assert!(token.clone().with_headers(further.clone()).headers().is_none());
        further.append("x-allowed-locations", HeaderValue::from_static("0x1"));
        further.append("x-allowed-locations", HeaderValue::from_static("0x2"));
        let token = token.with_headers(further);

        let mut headers = HeaderMap::new();
        headers.insert("x-allowed-locations", HeaderValue::from_static("of the request"));
        headers.insert("host", HeaderValue::from_static("of.the.request"));
        token.set_in(&mut headers);
        token.set_in(&mut headers);
        assert_eq!(headers["authorization"], "Bearer ya29.example");
        assert_eq!(headers["host"], "of.the.request");
        let values: Vec<_> = headers.get_all("x-allowed-locations").iter().collect();
        assert_eq!(values, ["0x1", "0x2"]);
        assert_eq!(headers.len(), 4);
    }

    #[test]
    fn debug_does_not_show_the_token() {
        let token = AccessToken::new("ya29.secret", None).unwrap();
        assert!(!format!("{token:?} {:?}", token.authorization()).contains("secret"));
        assert_eq!(format!("{token:?}"), "AccessToken { expires_in: None, .. }");
    }

    /// A source that names a project and an audience.
    struct Named;

    impl TokenSource for Named {
        fn fetch(&self, _: FetchReason) -> TokenFuture<'_> {
            Box::pin(async { Ok(AccessToken::new("ya29.example", None)?) })
        }
        fn quota_project(&self) -> Option<&str> {
            Some("payer")
        }
        fn audience(&self) -> Option<&str> {
            Some("https://service.example")
        }
    }

    #[tokio::test]
    async fn a_source_in_a_box_has_the_same_token_project_and_audience() {
        let boxed: Box<dyn TokenSource> = Box::new(Named);
        let shared: Arc<dyn TokenSource> = Arc::new(Named);
        for cache in [TokenCache::new(Named), TokenCache::new(boxed), TokenCache::new(shared)] {
            assert_eq!(cache.quota_project(), Some("payer"));
            assert_eq!(cache.audience(), Some("https://service.example"));
            let token = cache.get().await.unwrap();
            assert_eq!(token.authorization(), "Bearer ya29.example");
            assert!(token.headers().is_none());
        }
        let plain = TokenCache::new(token_fn(|_| async {
            let mut further = HeaderMap::new();
            further.insert("x-further", HeaderValue::from_static("1"));
            Ok(AccessToken::new("t1", None)?.with_headers(further))
        }));
        assert_eq!((plain.quota_project(), plain.audience()), (None, None));
        assert_eq!(plain.get().await.unwrap().headers().unwrap()["x-further"], "1");
    }
}
