//! The rules that map a requested name to an upstream and a name there.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use http::{Extensions, HeaderMap};

use super::{
    ModelEntry, ModelRoute,
    entry::{is_openapi, published},
    route::check_publisher,
};
use crate::{
    error::ConfigError,
    retry::Locations,
    route::{Endpoint, GOOGLE, Upstream},
};

/// Maps the requested model to an upstream and to the name of the model there. Cheap to clone.
///
/// The first of these rules that fits a name decides:
///
/// 1. an entry for exactly this name;
/// 2. an entry with a `*`: the one with the most characters before the `*`, and among equals the
///    one that was added first;
/// 3. a bare name (a name without a `/`) gets the default publisher, `google`, if the request goes
///    to the models that Google runs (an endpoint named `openapi`);
/// 4. any other name stays as it is.
///
/// Before rule 3, the [default model](ModelTableBuilder::default_model), if one is set, takes the place of a
/// name that Vertex AI does not have.
///
/// ```
/// use tower_vertex::{
///     model::{ModelRoute, ModelTable},
///     route::Upstream,
/// };
///
/// let table = ModelTable::builder(Upstream::new("my-project", "global")?)
///     .route("gpt-4o", ModelRoute::new().model("gemini-2.5-pro"))
///     .route("llama-*", ModelRoute::new().location("us-central1").endpoint_id("1234567890"))
///     .build()?;
///
/// let base = table.base();
/// assert_eq!(table.find("gpt-4o").unwrap().upstream_model("gpt-4o", base), "google/gemini-2.5-pro");
/// let mine = table.find("llama-3").unwrap();
/// assert_eq!(mine.upstream().unwrap().location().unwrap().as_str(), "us-central1");
/// assert_eq!(mine.upstream_model("llama-3", mine.upstream().unwrap()), "llama-3");
/// assert!(table.find("gemini-2.5-flash").is_none()); // which gets the default publisher
///
/// let error = ModelTable::builder(base.clone())
///     .route("llama-*", ModelRoute::new().location("evil.com/"))
///     .build()
///     .unwrap_err();
/// assert!(error.to_string().starts_with(r#"model "llama-*": invalid location "evil.com/""#));
/// # Ok::<_, tower_vertex::error::ConfigError>(())
/// ```
#[doc(alias = "alias")]
#[doc(alias = "routing")]
#[derive(Clone)]
pub struct ModelTable {
    pub(super) inner: Arc<Rules>,
}

/// The shared part of a [`ModelTable`].
pub(super) struct Rules {
    base: Upstream,
    publisher: Option<String>,
    pub(super) default_model: Option<Arc<str>>,
    entries: Vec<ModelEntry>,
    /// The entries without a `*`, by their names.
    exact: HashMap<String, usize>,
    /// The entries with a `*`, by the text before it, each in the order of the table.
    wildcards: HashMap<String, Vec<usize>>,
    /// The lengths of these texts, each length once, the longest first.
    prefix_lengths: Vec<usize>,
}

impl ModelTable {
    /// A table without entries: bare names get the publisher `google`, and everything goes to
    /// `base`.
    pub fn new(base: Upstream) -> Self {
        Self::assemble(base, Some(GOOGLE.to_owned()), None, Vec::new())
    }

    /// A table over `base`, the upstream of requests that no entry sends elsewhere. The settings of
    /// entries are changes to it.
    pub fn builder(base: Upstream) -> ModelTableBuilder {
        let publisher = Some(GOOGLE.to_owned());
        ModelTableBuilder { base, publisher, default_model: None, routes: Vec::new() }
    }

    fn assemble(
        base: Upstream,
        publisher: Option<String>,
        default_model: Option<Arc<str>>,
        entries: Vec<ModelEntry>,
    ) -> Self {
        let indices = |wildcard| {
            let entries = entries.iter().enumerate();
            entries.filter(move |(_, entry)| entry.is_wildcard() == wildcard)
        };
        let exact = indices(false).map(|(i, entry)| (entry.pattern().to_owned(), i)).collect();
        let mut wildcards: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, entry) in indices(true) {
            let prefix = entry.pattern.prefix().unwrap_or_default();
            wildcards.entry(prefix.to_owned()).or_default().push(i);
        }
        let mut prefix_lengths: Vec<_> = wildcards.keys().map(String::len).collect();
        prefix_lengths.sort_unstable_by(|one, other| other.cmp(one));
        prefix_lengths.dedup();
        let rules =
            Rules { base, publisher, default_model, entries, exact, wildcards, prefix_lengths };
        Self { inner: Arc::new(rules) }
    }

    /// The upstream of requests that no entry sends elsewhere.
    pub fn base(&self) -> &Upstream {
        &self.inner.base
    }

    /// The publisher that a bare name gets by rule 3.
    pub fn default_publisher(&self) -> Option<&str> {
        self.inner.publisher.as_deref()
    }

    /// All entries, in the order in which they were added.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &ModelEntry> {
        self.inner.entries.iter()
    }

    /// The entry that decides about `name`. Allocates nothing.
    pub fn find(&self, name: &str) -> Option<&ModelEntry> {
        let Rules { entries, exact, wildcards, prefix_lengths, .. } = &*self.inner;
        // One lookup for each length, regardless of the number of entries.
        let by_prefix = || {
            let prefixes = prefix_lengths.iter().filter_map(|&length| name.get(..length));
            let alike = prefixes.filter_map(|prefix| wildcards.get(prefix)).flatten();
            alike.copied().find(|&i| entries[i].pattern.matches(name))
        };
        let index = exact.get(name).copied().or_else(by_prefix);
        entries.get(index?)
    }

    /// The name of the model that the rules send to `upstream` for `requested`.
    pub fn upstream_model<'a>(&'a self, requested: &'a str, upstream: &Upstream) -> Cow<'a, str> {
        match self.find(requested) {
            Some(entry) => entry.upstream_model(requested, upstream),
            None => published(self.default_publisher(), requested, upstream),
        }
    }

    /// Whether there is a rule that could fit a request with these extensions.
    pub(super) fn has_rules_for(&self, extensions: &Extensions) -> bool {
        let Rules { publisher, default_model, entries, .. } = &*self.inner;
        let names_models = publisher.is_some() || default_model.is_some();
        !entries.is_empty() || names_models && is_openapi(self.upstream_of(extensions))
    }

    /// The first upstream for a request with these extensions, before its model is looked up.
    pub(super) fn upstream_of<'a>(&'a self, extensions: &'a Extensions) -> &'a Upstream {
        given(extensions).unwrap_or(&self.inner.base)
    }

    /// Puts the upstream that this table assumes for a request into its extensions, so that the
    /// request goes there.
    pub(super) fn settle(&self, extensions: &mut Extensions) {
        if extensions.get::<Upstream>().is_none() || extensions.get::<Locations>().is_some() {
            let upstream = self.upstream_of(extensions).clone();
            extensions.insert(upstream);
        }
    }

    /// Sends the request with these extensions and headers to the upstream for `requested`. Returns
    /// the name of the model there, if it differs.
    pub(super) fn apply(
        &self,
        requested: &str,
        extensions: &mut Extensions,
        headers: &mut HeaderMap,
    ) -> Option<String> {
        let entry = self.find(requested);
        self.choose(entry, extensions, headers);
        let upstream = extensions.get::<Upstream>().unwrap_or(&self.inner.base);
        let name = match entry {
            Some(entry) => entry.upstream_model(requested, upstream),
            None => published(self.default_publisher(), requested, upstream),
        };
        (name != requested).then(|| name.into_owned())
    }

    /// Sends the request with these extensions and headers to the upstream of its entry, or else to
    /// the one that this table assumes.
    pub(super) fn choose(
        &self,
        entry: Option<&ModelEntry>,
        extensions: &mut Extensions,
        headers: &mut HeaderMap,
    ) {
        if let Some(entry) = entry
            && let Some(upstream) = entry.upstream()
        {
            extensions.insert(upstream.clone());
            match entry.locations() {
                Some(locations) => drop(extensions.insert(locations.clone())),
                // The locations of the request would take precedence.
                None => drop(extensions.remove::<Locations>()),
            }
        }
        self.settle(extensions);
        if let Some(entry) = entry.filter(|entry| !entry.headers().is_empty()) {
            extensions.insert(entry.own_headers.clone());
        }
        if let Some(entry) = entry {
            for name in entry.headers().keys() {
                headers.remove(name);
            }
            for (name, value) in entry.headers() {
                headers.append(name, value.clone());
            }
        }
    }

    /// The publisher of a model in a path without a publisher.
    pub(super) fn bare_publisher(&self, extensions: &Extensions) -> Cow<'_, str> {
        match self.upstream_of(extensions).endpoint() {
            Endpoint::Publisher { name } => name.clone().into(),
            _ => self.default_publisher().unwrap_or(GOOGLE).into(),
        }
    }
}

/// The first upstream for a request with these extensions, if they name one.
fn given(extensions: &Extensions) -> Option<&Upstream> {
    let locations = extensions.get::<Locations>().map(Locations::first);
    locations.or_else(|| extensions.get())
}

impl fmt::Debug for ModelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelTable")
            .field("base", &self.inner.base)
            .field("default_publisher", &self.inner.publisher)
            .field("default_model", &self.inner.default_model)
            .field("entries", &self.inner.entries)
            .finish()
    }
}

/// The settings of a [`ModelTable`]. [`build`](Self::build) checks them.
#[derive(Clone, Debug)]
#[must_use]
pub struct ModelTableBuilder {
    base: Upstream,
    publisher: Option<String>,
    default_model: Option<String>,
    routes: Vec<(String, ModelRoute)>,
}

impl ModelTableBuilder {
    /// Adds an entry for `pattern`: a requested name, or a name with a single `*`, which stands for
    /// any text, including none.
    pub fn route(mut self, pattern: impl Into<String>, route: ModelRoute) -> Self {
        self.routes.push((pattern.into(), route));
        self
    }

    /// The publisher for bare names that go to the models that Google runs. Default: `google`, the
    /// publisher of Gemini.
    pub fn default_publisher(mut self, publisher: impl Into<String>) -> Self {
        self.publisher = Some(publisher.into());
        self
    }

    /// Keeps bare names bare, unless an entry has a publisher for them.
    pub fn without_default_publisher(mut self) -> Self {
        self.publisher = None;
        self
    }

    /// The model that serves a chat completion or a text completion without a model, or with the name of a
    /// model of OpenAI or Anthropic that no entry has: see [`default_for`](ModelTable::default_for). This is
    /// for clients that request such a model by themselves. It may be the name of an entry. Requests to an
    /// endpoint of your own keep their names, and so do those for embeddings and for the Responses API.
    /// Default: none, so that Vertex AI refuses such a name.
    pub fn default_model(mut self, model: impl Into<String>) -> Self {
        self.default_model = Some(model.into());
        self
    }

    /// Checks all settings and resolves each entry.
    ///
    /// # Errors
    /// The first unusable setting; its [`entry`](ConfigError::entry) is the pattern.
    pub fn build(self) -> Result<ModelTable, ConfigError> {
        let Self { base, publisher, default_model, routes } = self;
        if let Some(publisher) = &publisher {
            check_publisher(publisher)?;
        }
        let mut seen = HashMap::new();
        let mut entries = Vec::with_capacity(routes.len());
        for (pattern, route) in routes {
            let entry = route.resolve(&pattern, &base, publisher.as_deref())?;
            if seen.insert(pattern.clone(), ()).is_some() {
                let advice = "it is in the table already; leave one of the two out";
                return Err(ConfigError::invalid("pattern", &pattern, advice).within(pattern));
            }
            entries.push(entry);
        }
        let table = ModelTable::assemble(base, publisher, default_model.map(Arc::from), entries);
        table.check_default_model()?;
        Ok(table)
    }
}

#[cfg(test)]
mod tests;
