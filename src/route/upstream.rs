use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use http::{HeaderName, Uri, uri::Scheme};

use super::{
    ApiVersion, Endpoint, Location, ModelPath, UpstreamBuilder,
    methods::Methods,
    model_methods::{ModelMethods, RESPONSES},
    place::{Alternative, Bare, Place, choose},
};
use crate::error::ConfigError;

/// The destination of requests: a project, a location and an endpoint, checked and ready for use.
///
/// It is cheap to clone. An upstream in the extensions of a request overrides that of the layer.
///
/// ```
/// use tower_vertex::route::{Endpoint, Upstream};
///
/// let gemini = Upstream::new("my-project", "global")?;
/// assert_eq!(gemini.origin(), "https://aiplatform.googleapis.com");
///
/// let mine = Upstream::builder()
///     .project("my-project")
///     .location("us-central1")
///     .endpoint(Endpoint::Deployed { id: "1234567890".into() })
///     .build()?;
/// assert_eq!(mine.uri().path(), "/v1/projects/my-project/locations/us-central1/endpoints/1234567890");
///
/// let error = Upstream::new("my-project", "evil.com/").unwrap_err();
/// assert!(error.to_string().starts_with(r#"invalid location "evil.com/": give a location"#));
/// # Ok::<_, tower_vertex::error::ConfigError>(())
/// ```
#[doc(alias = "base url")]
#[doc(alias = "target")]
#[derive(Clone)]
pub struct Upstream {
    inner: Arc<Inner>,
}

/// The results of the checks in [`UpstreamBuilder::build`].
pub(super) struct Checked {
    /// The settings that were checked.
    pub(super) settings: UpstreamBuilder,
    pub(super) location: Option<Location>,
    pub(super) scheme: Scheme,
    pub(super) authority: String,
    /// Without a slash at its end; may be empty.
    pub(super) base_path: String,
    /// Without a slash at its end; may be empty.
    pub(super) prefix: String,
    pub(super) methods: Methods,
    pub(super) forward: Forward,
    pub(super) model_methods: ModelMethods,
    /// `None` if the path of the upstream has no project and location.
    pub(super) place: Option<Place>,
    /// The upstreams in other projects and locations that clients may name.
    pub(super) alternatives: Vec<Alternative>,
}

/// The headers and query parameters that are forwarded besides the default ones.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Forward {
    pub(super) headers: Vec<HeaderName>,
    pub(super) query: Vec<String>,
}

impl Forward {
    pub(crate) fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    pub(super) fn query(&self) -> &[String] {
        &self.query
    }
}

struct Inner {
    checked: Checked,
    origin: String,
    base: Uri,
    /// A URI for every [`Methods::FIXED`] path that the endpoint has.
    fixed: [Option<Uri>; Methods::FIXED.len()],
}

impl Upstream {
    /// Creates an upstream for Gemini and the other models that Google runs, at `location`, with
    /// version `v1`.
    ///
    /// # Errors
    /// [`ConfigError`] if a value is empty or cannot be part of a URL.
    pub fn new(
        project: impl Into<String>,
        location: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        Self::builder().project(project).location(location).build()
    }

    /// Returns a builder for all settings.
    pub fn builder() -> UpstreamBuilder {
        UpstreamBuilder::default()
    }

    /// Creates an upstream from the environment. Each setting has the value of the first of these
    /// variables that is not empty:
    ///
    /// | setting | variables |
    /// |---|---|
    /// | project | `GOOGLE_CLOUD_PROJECT`, `GCLOUD_PROJECT`, `PROJECT_ID` |
    /// | location | `GOOGLE_CLOUD_LOCATION`, `LOCATION` |
    /// | endpoint | `ENDPOINT`: `openapi`, the default, or the id of an endpoint |
    ///
    /// Google's libraries read the first variable of the project and of the location. `PROJECT_ID`,
    /// `LOCATION` and `ENDPOINT` are those of its guide to the OpenAI library.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no project or no location, or a value cannot be part of a URL.
    pub fn from_env() -> Result<Self, ConfigError> {
        UpstreamBuilder::from_env().build()
    }

    pub(super) fn assemble(checked: Checked) -> Result<Self, ConfigError> {
        let Checked { scheme, authority, base_path, methods, .. } = &checked;
        let origin = format!("{scheme}://{authority}");
        let uri = |path: &str| {
            let uri = Uri::builder()
                .scheme(scheme.clone())
                .authority(authority.as_str())
                .path_and_query([base_path, path].concat())
                .build();
            let uri = uri.map_err(|_| {
                let base = [&origin, base_path.as_str()].concat();
                ConfigError::invalid("upstream", &base, "the URL is too long; shorten the settings")
            })?;
            // The first clone of a `Bytes` made from a `Vec` allocates; every later one only
            // counts a reference. So the first one is made here.
            drop(uri.clone());
            Ok(uri)
        };
        let base = uri("")?;
        let mut fixed = [const { None }; Methods::FIXED.len()];
        for (path, fixed) in Methods::FIXED.iter().zip(&mut fixed) {
            *fixed = match methods {
                Methods::Publisher if !checked.model_methods.have(RESPONSES) => None,
                Methods::Publisher if methods.have(path) => Some(uri(&["/v1", path].concat())?),
                _ if methods.have(path) => Some(uri(path)?),
                _ => None,
            };
        }
        Ok(Self { inner: Arc::new(Inner { checked, origin, base, fixed }) })
    }

    /// The settings of this upstream, to build a similar one, for instance at another location.
    pub fn to_builder(&self) -> UpstreamBuilder {
        self.inner.checked.settings.clone()
    }

    /// The base URI, to which the path of a method is appended.
    pub fn uri(&self) -> &Uri {
        &self.inner.base
    }

    /// `https://host`, with the port if one was set.
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// The project; `None` only for an [`Endpoint::BaseUrl`] without one.
    pub fn project(&self) -> Option<&str> {
        self.inner.checked.settings.project.as_deref()
    }

    /// The location; `None` only for an [`Endpoint::BaseUrl`] without one.
    pub fn location(&self) -> Option<&Location> {
        self.inner.checked.location.as_ref()
    }

    /// The endpoint, as it was set.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.checked.settings.endpoint
    }

    /// The version in the path. An [`Endpoint::BaseUrl`] does not use it.
    pub fn api_version(&self) -> ApiVersion {
        self.inner.checked.settings.api_version
    }

    /// The origin, if the program has chosen it as a destination of the token. The host of a
    /// dedicated endpoint does not count: it is copied from elsewhere and has to be one of Vertex
    /// AI's.
    pub(crate) fn chosen_origin(&self) -> Option<&str> {
        let settings = &self.inner.checked.settings;
        let copied = matches!(settings.endpoint, Endpoint::Dedicated { .. });
        (settings.origin.is_some() || !copied).then(|| self.origin())
    }

    /// The upstream for the project and the location that `path` names: this one, or the same in
    /// another place, if it [allows](UpstreamBuilder::allow_location) that.
    pub fn at_place_of(&self, path: &ModelPath<'_>) -> &Self {
        let Checked { alternatives, settings, location, .. } = &self.inner.checked;
        if alternatives.is_empty() {
            return self;
        }
        let own = (settings.project.as_deref(), location.as_ref());
        let (Some(project), Some(location), (Some(own_project), Some(own))) =
            (path.project(), path.location(), own)
        else {
            return self;
        };
        choose(alternatives, (own_project, own.as_str()), (project, location)).unwrap_or(self)
    }

    /// Whether a client may name another project or location in a path.
    pub(crate) fn has_alternatives(&self) -> bool {
        !self.inner.checked.alternatives.is_empty()
    }

    /// The project and the location in the path of this upstream; `None` if there are none.
    pub(super) fn place(&self) -> Option<&Place> {
        self.inner.checked.place.as_ref()
    }

    pub(super) fn model_methods(&self) -> &ModelMethods {
        &self.inner.checked.model_methods
    }

    /// Whether the host of this upstream has the models of publishers.
    pub(crate) fn has_publishers(&self) -> bool {
        self.place().is_some_and(|place| place.has_publishers)
    }

    /// The publisher of a model in a path without a publisher; `None` if there is none.
    pub(crate) fn bare_publisher(&self) -> Option<&str> {
        match &self.place()?.bare {
            Bare::Publisher(name) => Some(name),
            Bare::Endpoint | Bare::Nothing => None,
        }
    }

    /// The id of the endpoint whose methods this upstream has, if it is one that you deployed.
    pub(crate) fn own_endpoint(&self) -> Option<&str> {
        self.place().filter(|place| place.bare == Bare::Endpoint)?.endpoint.rsplit('/').next()
    }

    pub(super) fn base_path(&self) -> &str {
        &self.inner.checked.base_path
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.inner.checked.prefix
    }

    pub(super) fn methods(&self) -> Methods {
        self.inner.checked.methods
    }

    /// The path of the endpoint's resource, `/projects/P/locations/L/endpoints/E`; `None` if the
    /// upstream is not a resource of Google's.
    pub fn resource(&self) -> Option<&str> {
        let base = self.base_path();
        base.get(base.find("/projects/")?..)
    }

    /// The names of the headers that are forwarded besides those on the list. See
    /// [`UpstreamBuilder::forward_header`](super::UpstreamBuilder::forward_header).
    pub fn forwarded_headers(&self) -> &[HeaderName] {
        self.forward().headers()
    }

    pub(crate) fn forward(&self) -> &Forward {
        &self.inner.checked.forward
    }

    pub(super) fn pass_through(&self) -> bool {
        self.inner.checked.settings.pass_through && self.methods() != Methods::Publisher
    }

    /// The URI of the path at `index` in [`Methods::FIXED`], if the endpoint has it.
    pub(super) fn fixed(&self, index: usize) -> Option<&Uri> {
        self.inner.fixed.get(index)?.as_ref()
    }
}

impl PartialEq for Upstream {
    /// Whether both send every request to the same URL, with the same headers and query.
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.inner.checked, &other.inner.checked);
        Arc::ptr_eq(&self.inner, &other.inner)
            || self.inner.base == other.inner.base
                && a.prefix == b.prefix
                && a.methods == b.methods
                && a.settings.pass_through == b.settings.pass_through
                && a.forward == b.forward
                && a.model_methods == b.model_methods
                && a.alternatives.len() == b.alternatives.len()
                && a.alternatives.iter().zip(&b.alternatives).all(|(a, b)| a.upstream == b.upstream)
    }
}

impl Eq for Upstream {}

impl Hash for Upstream {
    /// Hashes the fields that [`eq`](Self::eq) compares.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let checked = &self.inner.checked;
        self.inner.base.hash(state);
        checked.prefix.hash(state);
        checked.methods.hash(state);
        checked.settings.pass_through.hash(state);
        checked.forward.hash(state);
        checked.model_methods.hash(state);
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.base.fmt(f)
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("uri", &self.inner.base)
            .field("methods", &self.inner.checked.methods)
            .field("path_prefix", &self.inner.checked.prefix)
            .field("pass_through", &self.inner.checked.settings.pass_through)
            .field("model_methods", &self.inner.checked.model_methods)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(endpoint: Endpoint) -> UpstreamBuilder {
        Upstream::builder().project("p").location("us-central1").endpoint(endpoint)
    }

    #[test]
    fn an_upstream_shows_its_url() {
        let upstream =
            with(Endpoint::OpenApi).origin("HTTPS://Host.Example:8443/").build().unwrap();
        assert_eq!(upstream.origin(), "https://host.example:8443");
        assert_eq!(
            upstream.to_string(),
            "https://host.example:8443/v1/projects/p/locations/us-central1/endpoints/openapi"
        );
        assert_eq!(upstream.uri(), &*upstream.to_string());
        assert!(format!("{upstream:?}").contains(&upstream.to_string()));
        let beta = upstream.to_builder().api_version(ApiVersion::V1Beta1).build().unwrap();
        assert_eq!(
            (upstream.api_version(), beta.api_version()),
            (ApiVersion::V1, ApiVersion::V1Beta1)
        );
        let bare = with(Endpoint::BaseUrl { url: "http://h".into() }).build().unwrap();
        assert_eq!((bare.origin(), bare.to_string().as_str()), ("http://h", "http://h/"));
        assert_eq!(
            (bare.project(), bare.location().map(Location::as_str)),
            (Some("p"), Some("us-central1"))
        );
        let bare = Upstream::builder().endpoint(Endpoint::BaseUrl { url: "http://h".into() });
        assert_eq!(bare.build().unwrap().project(), None);
    }

    #[test]
    fn upstreams_are_equal_when_they_send_to_the_same_urls() {
        let one = with(Endpoint::OpenApi).build().unwrap();
        assert_eq!(one, one.clone());
        assert_eq!(one, with(Endpoint::Deployed { id: "openapi".into() }).build().unwrap());
        assert_eq!(one, one.to_builder().build().unwrap());
        for other in [
            with(Endpoint::OpenApi).location("eu"),
            with(Endpoint::OpenApi).path_prefix(""),
            with(Endpoint::OpenApi).pass_through(true),
            with(Endpoint::OpenApi).forward_header("x-mine"),
            with(Endpoint::OpenApi).forward_query("mine"),
            with(Endpoint::OpenApi).model_methods(["predict"]),
            with(Endpoint::OpenApi).allow_location("eu"),
            with(Endpoint::OpenApi).allow_project("q"),
            with(Endpoint::OpenApi).origin("http://h"),
            with(Endpoint::BaseUrl { url: one.to_string() }),
        ] {
            assert_ne!(one, other.build().unwrap());
        }
        let alike =
            [one.clone(), with(Endpoint::Deployed { id: "openapi".into() }).build().unwrap()];
        assert_eq!(std::collections::HashSet::from(alike).len(), 1);
        let there = one.to_builder().location("eu").build().unwrap();
        assert_eq!(there.origin(), "https://aiplatform.eu.rep.googleapis.com");
    }

    #[test]
    fn an_upstream_can_be_shared_and_put_into_extensions() {
        fn check<T: Clone + Send + Sync + fmt::Debug + PartialEq + 'static>() {}
        check::<Upstream>();
        assert_eq!(size_of::<Upstream>(), size_of::<usize>());
    }
}
