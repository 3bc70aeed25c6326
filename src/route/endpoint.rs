use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use crate::{error::ConfigError, redact};

/// A Vertex AI location: a region such as `europe-west4`, a multi-region (`us`, `eu`), or `global`.
///
/// Any name of the right form is accepted, because Google adds regions. Other names are refused,
/// because the location becomes part of a host to which an access token is sent.
///
/// ```
/// use tower_vertex::route::Location;
///
/// let location: Location = "us-central1".parse()?;
/// assert_eq!(location, "us-central1");
/// assert!("evil.com/".parse::<Location>().is_err());
/// # Ok::<_, tower_vertex::error::ConfigError>(())
/// ```
#[doc(alias = "region")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(Arc<str>);

impl Location {
    /// The location in the form that a URL has.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host at this location that all projects share. `us` and `eu` have hosts of another form,
    /// and `global` has one without a prefix: the regional form does not work for them.
    pub(super) fn shared_host(&self, universe_domain: &str) -> String {
        match self.as_str() {
            "global" => format!("aiplatform.{universe_domain}"),
            multi @ ("us" | "eu") => format!("aiplatform.{multi}.rep.{universe_domain}"),
            region => format!("{region}-aiplatform.{universe_domain}"),
        }
    }
}

impl From<Location> for Arc<str> {
    fn from(location: Location) -> Self {
        location.0
    }
}

impl TryFrom<&str> for Location {
    type Error = ConfigError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        let good = text.len() <= 30
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if good {
            Ok(Self(text.into()))
        } else {
            Err(ConfigError::invalid(
                "location",
                text,
                "give a location such as us-central1, eu or global: lower-case letters, digits and \
                 hyphens, at most 30",
            ))
        }
    }
}

impl TryFrom<String> for Location {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::try_from(text.as_str())
    }
}

impl AsRef<str> for Location {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Allows a lookup by text in a map whose keys are locations: both have the same hash and order.
impl Borrow<str> for Location {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Location {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Location {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<Location> for str {
    fn eq(&self, other: &Location) -> bool {
        self == other.as_str()
    }
}

impl PartialEq<Location> for &str {
    fn eq(&self, other: &Location) -> bool {
        *self == other.as_str()
    }
}

impl FromStr for Location {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text)
    }
}

impl From<Location> for String {
    fn from(location: Location) -> Self {
        location.0.as_ref().to_owned()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version of the Vertex AI API in the path. Both have the same methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApiVersion {
    /// `v1`, the default, because it is stable.
    #[default]
    V1,
    /// `v1beta1`.
    V1Beta1,
}

impl ApiVersion {
    /// The version in the form that a URL has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Beta1 => "v1beta1",
        }
    }
}

impl FromStr for ApiVersion {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "v1" => Ok(Self::V1),
            "v1beta1" => Ok(Self::V1Beta1),
            _ => Err(ConfigError::invalid("API version", text, "give v1 or v1beta1")),
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The endpoint at a location. It is checked when the [`Upstream`](super::Upstream) is built.
///
/// An `id` is the endpoint's id in Vertex AI, such as `1234567890` or `mg-endpoint-…`: letters,
/// digits, hyphens and underscores.
#[doc(alias = "model garden")]
#[doc(alias = "psc")]
#[doc(alias = "self-deployed")]
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// The endpoint named `openapi`: Gemini and the other models that Google runs. The default.
    #[default]
    OpenApi,
    /// A model that you deployed, at the host that all projects share.
    Deployed {
        /// The endpoint's id.
        id: String,
    },
    /// A model that you deployed, at a host of its own.
    Dedicated {
        /// The endpoint's id.
        id: String,
        /// The endpoint's `dedicatedEndpointDns`. It cannot be derived from the other settings:
        /// `gcloud ai endpoints describe` shows it. The scheme is always https.
        dns: String,
    },
    /// A model that you deployed, behind Private Service Connect.
    Private {
        /// The endpoint's id.
        id: String,
        /// `http://` or `https://`, an address or a host name, and optionally a port. The default
        /// scheme is https. Over http the access token travels in clear text.
        address: String,
    },
    /// The models of one publisher, such as `google` or `anthropic`, at the host that all projects
    /// share. [`OpenApi`](Self::OpenApi) has the models of all publishers beside OpenAI's paths, so
    /// this is for a client that may use no others, and for OpenAI's Responses at
    /// `publishers/openai`.
    Publisher {
        /// The publisher's name.
        name: String,
    },
    /// A complete base URL, to which `/chat/completions` and the other paths are appended: a custom
    /// route (`…/endpoints/ID/invoke/v1`), a proxy, or an emulator. It needs neither a project nor
    /// a location.
    BaseUrl {
        /// The URL, with `http` or `https`, and without user name, query and fragment.
        url: String,
    },
}

impl fmt::Debug for Endpoint {
    /// Shows no value that could be a secret, because the values may not have been checked yet.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenApi => f.write_str("OpenApi"),
            Self::Deployed { id } => {
                f.debug_struct("Deployed").field("id", &redact::value(id)).finish()
            }
            Self::Dedicated { id, dns } => f
                .debug_struct("Dedicated")
                .field("id", &redact::value(id))
                .field("dns", &redact::value(dns))
                .finish(),
            Self::Private { id, address } => f
                .debug_struct("Private")
                .field("id", &redact::value(id))
                .field("address", &redact::value(address))
                .finish(),
            Self::Publisher { name } => {
                f.debug_struct("Publisher").field("name", &redact::value(name)).finish()
            }
            Self::BaseUrl { url } => {
                f.debug_struct("BaseUrl").field("url", &redact::value(url)).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_equal_to_its_text_and_becomes_it() {
        let location = Location::try_from("us-east4").unwrap();
        let (text, other) = ("us-east4", "us-east5");
        assert!(location == *text && location == text);
        assert!(*text == location);
        assert!(text == location);
        assert!(location != *other && location != other);
        assert!(*other != location && other != location);
        assert_eq!(AsRef::<str>::as_ref(&location), text);
        assert_eq!(Borrow::<str>::borrow(&location), text);
        assert_eq!(Arc::<str>::from(location.clone()).as_ref(), text);
        assert_eq!(String::from(location), text);
    }

    #[test]
    fn a_location_is_lower_case_letters_digits_and_hyphens() {
        let longest = "a".repeat(30);
        for good in ["us-central1", "global", "us", "eu", "northamerica-northeast1", "a", &longest]
        {
            assert_eq!(good.parse::<Location>().unwrap().to_string(), good);
        }
        let too_long = "a".repeat(31);
        for bad in [
            "",
            "evil.com/",
            "us-central1.evil.com",
            "US-Central1",
            "1us",
            "-us",
            "us_central1",
            "us central1",
            "us/",
            "us\\",
            "us#",
            "us?",
            "us@evil.com",
            "us:443",
            "us%2f",
            "us\n",
            "\u{fc}s",
            " us",
            &too_long,
        ] {
            let error = Location::try_from(bad).unwrap_err();
            assert_eq!(error.setting(), "location");
            assert!(
                error.to_string().contains(&format!("{:?}", redact::value(bad))),
                "{error} does not name {bad:?}"
            );
        }
    }

    #[test]
    fn an_api_version_is_v1_or_v1beta1() {
        for version in [ApiVersion::V1, ApiVersion::V1Beta1] {
            assert_eq!(version.to_string().parse::<ApiVersion>().unwrap(), version);
        }
        for bad in ["", "V1", "v2", "v1/", "v1beta"] {
            assert!(bad.parse::<ApiVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_endpoint_that_was_never_checked_prints_no_password() {
        let url = || "http://user:hunter2@host/".to_owned();
        for endpoint in [
            Endpoint::BaseUrl { url: url() },
            Endpoint::Private { id: url(), address: url() },
            Endpoint::Dedicated { id: url(), dns: url() },
            Endpoint::Deployed { id: url() },
            Endpoint::Publisher { name: url() },
        ] {
            assert!(!format!("{endpoint:?}").contains("hunter2"));
        }
        let named = Endpoint::Deployed { id: "7".into() };
        assert_eq!(format!("{named:?}"), "Deployed { id: \"7\" }");
    }
}
