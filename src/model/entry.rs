//! The entries of a table after their checks.

use std::{borrow::Cow, fmt};

use http::HeaderMap;

use super::pattern::Pattern;
use crate::{
    retry::Locations,
    route::{OwnHeaders, Upstream},
};

/// An entry of a [`ModelTable`](super::ModelTable), checked and ready for use.
#[derive(Clone)]
pub struct ModelEntry {
    pub(super) pattern: Pattern,
    pub(super) upstream: Option<Upstream>,
    pub(super) locations: Option<Locations>,
    pub(super) model: Option<String>,
    /// The entry's own publisher, or else the table's.
    pub(super) publisher: Option<String>,
    pub(super) own_publisher: Option<String>,
    pub(super) headers: HeaderMap,
    /// Names of these headers, for [`VertexRoute`](crate::route::VertexRoute), which would
    /// otherwise strip them.
    pub(super) own_headers: OwnHeaders,
}

impl ModelEntry {
    /// The name, or the pattern of names with a `*`, that the entry is for.
    pub fn pattern(&self) -> &str {
        self.pattern.as_str()
    }

    /// Whether [`pattern`](Self::pattern) stands for many names.
    pub fn is_wildcard(&self) -> bool {
        self.pattern.prefix().is_some()
    }

    /// The model that the entry names; `None` to keep the requested one.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The publisher for a bare name: the entry's or else the table's.
    pub fn publisher(&self) -> Option<&str> {
        self.publisher.as_deref()
    }

    /// The upstream that the entry sets. `None` if it sets none: requests go to the upstream in
    /// their extensions, or else to the table's.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_ref()
    }

    /// The locations to try in order; the first of them is [`upstream`](Self::upstream).
    /// `None` without a list.
    pub fn locations(&self) -> Option<&Locations> {
        self.locations.as_ref()
    }

    /// The headers that the entry sets.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The name of the model that a request for `requested` is sent to `upstream` with.
    #[doc(alias = "model name")]
    #[doc(alias = "rewrite")]
    pub fn upstream_model<'a>(&'a self, requested: &'a str, upstream: &Upstream) -> Cow<'a, str> {
        let name = self.model.as_deref().unwrap_or(requested);
        published(self.publisher.as_deref(), name, upstream)
    }
}

impl fmt::Debug for ModelEntry {
    /// Shows no value of a header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelEntry")
            .field("pattern", &self.pattern.as_str())
            .field("model", &self.model)
            .field("publisher", &self.publisher)
            .field("upstream", &self.upstream)
            .field("locations", &self.locations)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// `name`, with `publisher` if it is bare and the models at `upstream` have publishers.
pub(super) fn published<'a>(
    publisher: Option<&str>,
    name: &'a str,
    upstream: &Upstream,
) -> Cow<'a, str> {
    match publisher.filter(|_| is_bare(name) && is_openapi(upstream)) {
        Some(publisher) => format!("{publisher}/{name}").into(),
        None => name.into(),
    }
}

/// An empty name is not bare: Google's samples for deployed models send one, and it names no model.
pub(super) fn is_bare(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

/// Whether the models at `upstream` have publishers. `upstream` may be a base URL.
pub(crate) fn is_openapi(upstream: &Upstream) -> bool {
    upstream.uri().path().ends_with("/endpoints/openapi")
}
