//! [`Trust`]: the hosts to which the token may be sent.

mod hosts;

use std::{fmt, sync::Arc};

use http::{Uri, uri::Scheme};

use self::hosts::{is, is_google_api, is_universe_domain, is_usual, is_vertex};
use crate::error::{ConfigError, UntrustedHost};

const ADVICE: &str =
    "give a scheme and a host, such as https://vertex.example.com or http://127.0.0.1:8080";

/// The hosts to which a layer sends its token: those of a policy, and origins that are added to it.
///
/// Until it expires, a token opens all that its owner may use. So a request for any other host fails before a
/// byte of it is sent.
///
/// | policy | hosts | for |
/// |---|---|---|
/// | [`vertex`](Self::vertex), the default | Vertex AI's | Vertex AI |
/// | [`google_apis`](Self::google_apis) | those of every Google API | Cloud Storage, Pub/Sub, any other |
/// | [`origins`](Self::origins) | the origins in the list | ID tokens, a proxy |
/// | [`from_fn`](Self::from_fn) | those for which a function returns `true` | rules of your own |
///
/// No policy trusts a URI with a user name, or one without a host. A host matches label by label and
/// without regard to case; a name that ends with a dot is another name. The first two policies trust
/// https at port 443 alone.
///
/// ```
/// use tower_vertex::{auth::{Trust, VertexAuthLayer}, token::StaticToken};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let trust = Trust::google_apis().and_origin("http://127.0.0.1:8080")?;
/// assert!(trust.check(&"https://storage.googleapis.com/b".parse()?).is_ok());
/// assert!(trust.check(&"http://storage.googleapis.com/b".parse()?).is_err());
/// assert!(trust.check(&"https://googleapis.com.example.com/".parse()?).is_err());
///
/// let layer = VertexAuthLayer::new(StaticToken::new("ya29.example")?).trust(trust);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "allowed hosts")]
#[doc(alias = "allow list")]
#[derive(Clone, Debug, Default)]
#[must_use = "a trust list does nothing until it is given to a layer"]
pub struct Trust {
    policy: Policy,
    universes: Vec<String>,
    added: Vec<Origin>,
}

#[derive(Clone, Default)]
enum Policy {
    #[default]
    Vertex,
    GoogleApis,
    Origins,
    Own(Arc<dyn Fn(&Uri) -> bool + Send + Sync>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Trust {
    fn of(policy: Policy) -> Self {
        Self { policy, universes: Vec::new(), added: Vec::new() }
    }

    /// Trusts the hosts of Vertex AI, at port 443: `aiplatform.googleapis.com`,
    /// `{region}-aiplatform.googleapis.com`, the same with `mtls`, with `rep` and for Private Service
    /// Connect (`aiplatform-{name}.p.googleapis.com`), and those of dedicated endpoints below
    /// `prediction.vertexai.goog`. This is the default.
    pub fn vertex() -> Self {
        Self::of(Policy::Vertex)
    }

    /// Trusts all hosts below `googleapis.com`, and those of [`vertex`](Self::vertex), at port 443.
    /// Google serves all of them, those with a customer's name too
    /// (`{bucket}.storage.googleapis.com`, `storage-{name}.p.googleapis.com`). Hosts that customers
    /// serve are in other domains, such as `run.app`, and are not trusted.
    pub fn google_apis() -> Self {
        Self::of(Policy::GoogleApis)
    }

    /// Trusts this origin and no other: `https://service-abc.a.run.app`, for instance. See
    /// [`origins`](Self::origins).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `origin` is not a scheme, a host and maybe a port.
    pub fn origin(origin: impl AsRef<str>) -> Result<Self, ConfigError> {
        Self::origins([origin])
    }

    /// Trusts these origins and no others; no host at all if the list is empty. For an origin with
    /// `http`, the token travels in clear text.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if one of them is not a scheme, a host and maybe a port.
    pub fn origins(
        origins: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, ConfigError> {
        origins.into_iter().try_fold(Self::of(Policy::Origins), Self::and_origin)
    }

    /// Trusts the origin of an audience that is an https URL, and nothing for any other audience.
    pub(super) fn of_audience(audience: &str) -> Self {
        let mut trust = Self::of(Policy::Origins);
        let uri: Option<Uri> = audience.parse().ok();
        if let Some((true, host, port)) = uri.as_ref().and_then(parts) {
            trust.added.push(Origin { https: true, host: host.to_owned(), port });
        }
        trust
    }

    /// Trusts the URIs for which `trusts` returns `true`. It is called for each request, with http and
    /// https URIs that have a host and no user name. It has to look at the scheme, the host and the
    /// port: with `http` the token travels in clear text.
    ///
    /// ```
    /// use tower_vertex::auth::Trust;
    ///
    /// # fn main() -> Result<(), http::uri::InvalidUri> {
    /// let trust = Trust::from_fn(|uri| {
    ///     uri.scheme_str() == Some("https")
    ///         && uri.port().is_none()
    ///         && uri.host().is_some_and(|host| host.ends_with(".vertex.internal"))
    /// });
    /// assert!(trust.check(&"https://eu.vertex.internal/v1".parse()?).is_ok());
    /// assert!(trust.check(&"https://vertex.internal.example.com/v1".parse()?).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_fn(trusts: impl Fn(&Uri) -> bool + Send + Sync + 'static) -> Self {
        Self::of(Policy::Own(Arc::new(trusts)))
    }

    /// Adds `origin` to the hosts of the policy: a proxy, a private address, an emulator, another
    /// port. With `http` the token travels in clear text.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `origin` is not a scheme, a host and maybe a port.
    pub fn and_origin(mut self, origin: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.add(origin.as_ref())?;
        Ok(self)
    }

    /// Trusts the hosts of the policy in another universe too: below `domain` instead of
    /// `googleapis.com`. `CredentialsInfo::universe_domain` is that of credentials.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `domain` is not a domain of at least two labels, or if the policy is neither
    /// [`vertex`](Self::vertex) nor [`google_apis`](Self::google_apis).
    pub fn universe_domain(mut self, domain: impl AsRef<str>) -> Result<Self, ConfigError> {
        let domain = domain.as_ref().trim();
        let refuse = |advice| Err(ConfigError::invalid("universe domain", domain, advice));
        if matches!(self.policy, Policy::Origins | Policy::Own(_)) {
            return refuse("only the policies of Google's hosts have universes: add an origin");
        }
        if !is_universe_domain(domain) {
            return refuse("give a domain such as googleapis.com");
        }
        self.universes.push(domain.to_ascii_lowercase());
        Ok(self)
    }

    /// Checks whether the token may be sent to the host of `uri`.
    ///
    /// # Errors
    ///
    /// [`UntrustedHost`] if it may not.
    #[inline]
    pub fn check(&self, uri: &Uri) -> Result<(), UntrustedHost> {
        let of_google = matches!(self.policy, Policy::Vertex | Policy::GoogleApis);
        let https = uri.scheme() == Some(&Scheme::HTTPS);
        if of_google
            && https
            && uri.authority().is_some_and(|authority| is_usual(authority.as_str()))
        {
            return Ok(());
        }
        match parts(uri) {
            Some(origin) if self.policy.trusts(uri, origin, &self.universes) => Ok(()),
            Some(origin) if self.is_added(origin) => Ok(()),
            _ => Err(self.refuse(uri)),
        }
    }

    pub(super) fn add(&mut self, origin: &str) -> Result<(), ConfigError> {
        let error = || ConfigError::invalid("origin", origin, ADVICE);
        let uri: Uri = origin.trim().parse().map_err(|_| error())?;
        let (https, host, port) = parts(&uri).ok_or_else(error)?;
        if uri.path_and_query().is_some_and(|path| path != "/") {
            return Err(error());
        }
        self.added.push(Origin { https, host: host.to_owned(), port });
        Ok(())
    }

    fn is_added(&self, (https, host, port): (bool, &str, u16)) -> bool {
        self.added.iter().any(|origin| {
            origin.https == https && origin.port == port && origin.host.eq_ignore_ascii_case(host)
        })
    }

    #[cold]
    fn refuse(&self, uri: &Uri) -> UntrustedHost {
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return UntrustedHost::unrouted(None);
        };
        let scheme = uri.scheme_str().unwrap_or("no scheme");
        let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
        let origin = format!("{scheme}://{host}{port}");
        // The default host of OpenAI clients: the request was not routed.
        match is(host, "api.openai.com") {
            true => UntrustedHost::unrouted(Some(origin)),
            false => UntrustedHost::new(origin, self.policy.rule()),
        }
    }
}

impl Policy {
    fn trusts(&self, uri: &Uri, origin: (bool, &str, u16), universes: &[String]) -> bool {
        match (self, origin) {
            (Self::Vertex, (true, host, 443)) => is_vertex(host, universes),
            (Self::GoogleApis, (true, host, 443)) => is_google_api(host, universes),
            (Self::Vertex | Self::GoogleApis | Self::Origins, _) => false,
            (Self::Own(trusts), _) => trusts(uri),
        }
    }

    /// The rule in the words of an error.
    fn rule(&self) -> &'static str {
        match self {
            Self::Vertex => "only https on Vertex AI's own hosts is trusted",
            Self::GoogleApis => "only https on the hosts of Google's APIs is trusted",
            Self::Origins => "only the origins that the layer was given are trusted",
            Self::Own(_) => "the policy of the layer does not trust it",
        }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vertex => "Vertex",
            Self::GoogleApis => "GoogleApis",
            Self::Origins => "Origins",
            Self::Own(_) => "Own",
        })
    }
}

/// Returns whether it is https, the host and the port of an http(s) URI without a user name.
fn parts(uri: &Uri) -> Option<(bool, &str, u16)> {
    let https = match uri.scheme()? {
        scheme if *scheme == Scheme::HTTPS => true,
        scheme if *scheme == Scheme::HTTP => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    let (host, text) = (authority.host(), authority.as_str());
    let port = match text.strip_prefix(host) {
        Some("") => {
            if https {
                443
            } else {
                80
            }
        }
        Some(port) => port.strip_prefix(':')?.parse().ok()?,
        // A user name precedes the host.
        None => return None,
    };
    (!host.is_empty() && !text.contains('@')).then_some((https, host, port))
}

#[cfg(test)]
mod tests;
