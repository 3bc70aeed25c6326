//! The rules: which name goes where, by which name.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use http::{Extensions, HeaderMap};

use super::{
    ModelEntry, ModelRoute,
    entry::{is_openapi, published},
    route::check_publisher,
};
use crate::{error::ConfigError, retry::Locations, route::Upstream};

/// The publisher of Gemini, which most bare names mean.
const GOOGLE: &str = "google";

/// Which model goes where, by which name. Cheap to clone.
///
/// The first of these rules that fits a name decides:
///
/// 1. an entry for just this name;
/// 2. an entry with a `*`: the one with the most characters before the `*`, and among equals the
///    one that was added first;
/// 3. a bare name, one without a `/`, gets the default publisher, `google`, if it is for one of the
///    models that Google runs (an endpoint named `openapi`);
/// 4. any other stays as it is.
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

/// What a [`ModelTable`] shares.
pub(super) struct Rules {
    base: Upstream,
    publisher: Option<String>,
    entries: Vec<ModelEntry>,
    /// The entries without a `*`, by their names.
    exact: HashMap<String, usize>,
    /// The entries with one, by what comes before it, each in the order of the table.
    wildcards: HashMap<String, Vec<usize>>,
    /// How long that is, each length once, the longest first.
    prefix_lengths: Vec<usize>,
}

impl ModelTable {
    /// A table without entries: bare names get the publisher `google`, and everything goes to
    /// `base`.
    pub fn new(base: Upstream) -> Self {
        Self::assemble(base, Some(GOOGLE.to_owned()), Vec::new())
    }

    /// A table over `base`: where requests go that no entry sends elsewhere, and what the settings
    /// of entries are changes to.
    pub fn builder(base: Upstream) -> ModelTableBuilder {
        ModelTableBuilder { base, publisher: Some(GOOGLE.to_owned()), routes: Vec::new() }
    }

    fn assemble(base: Upstream, publisher: Option<String>, entries: Vec<ModelEntry>) -> Self {
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
        let rules = Rules { base, publisher, entries, exact, wildcards, prefix_lengths };
        Self { inner: Arc::new(rules) }
    }

    /// Where requests go that no entry sends elsewhere.
    pub fn base(&self) -> &Upstream {
        &self.inner.base
    }

    /// What a bare name gets by rule 3.
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
        // As many lookups as there are lengths, however many entries there are.
        let by_prefix = || {
            let prefixes = prefix_lengths.iter().filter_map(|&length| name.get(..length));
            let alike = prefixes.filter_map(|prefix| wildcards.get(prefix)).flatten();
            alike.copied().find(|&i| entries[i].pattern.matches(name))
        };
        let index = exact.get(name).copied().or_else(by_prefix);
        entries.get(index?)
    }

    /// What a request for `requested` asks `upstream` for, by the rules.
    pub fn upstream_model<'a>(&'a self, requested: &'a str, upstream: &Upstream) -> Cow<'a, str> {
        match self.find(requested) {
            Some(entry) => entry.upstream_model(requested, upstream),
            None => published(self.default_publisher(), requested, upstream),
        }
    }

    /// Whether there is a rule that could fit a request with these extensions.
    pub(super) fn has_rules_for(&self, extensions: &Extensions) -> bool {
        let Rules { base, publisher, entries, .. } = &*self.inner;
        let upstream = || given(extensions).unwrap_or(base);
        !entries.is_empty() || publisher.is_some() && is_openapi(upstream())
    }

    /// Makes sure that a request goes where this table was asked about.
    pub(super) fn settle(&self, extensions: &mut Extensions) {
        if extensions.get::<Upstream>().is_none() || extensions.get::<Locations>().is_some() {
            let upstream = given(extensions).unwrap_or(&self.inner.base).clone();
            extensions.insert(upstream);
        }
    }

    /// Sends the request with these extensions and headers where `requested` goes. The name by which
    /// it goes there, if it is another one.
    pub(super) fn apply(
        &self,
        requested: &str,
        extensions: &mut Extensions,
        headers: &mut HeaderMap,
    ) -> Option<String> {
        let entry = self.find(requested);
        if let Some(entry) = entry
            && let Some(upstream) = entry.upstream()
        {
            extensions.insert(upstream.clone());
            match entry.locations() {
                Some(locations) => drop(extensions.insert(locations.clone())),
                // They would count more.
                None => drop(extensions.remove::<Locations>()),
            }
        }
        self.settle(extensions);
        if let Some(entry) = entry.filter(|entry| !entry.headers().is_empty()) {
            extensions.insert(entry.own_headers.clone());
        }
        let upstream = extensions.get::<Upstream>().unwrap_or(&self.inner.base);
        if let Some(entry) = entry {
            for name in entry.headers().keys() {
                headers.remove(name);
            }
            for (name, value) in entry.headers() {
                headers.append(name, value.clone());
            }
        }
        let name = match entry {
            Some(entry) => entry.upstream_model(requested, upstream),
            None => published(self.default_publisher(), requested, upstream),
        };
        (name != requested).then(|| name.into_owned())
    }
}

/// Where a request with these extensions goes first.
fn given(extensions: &Extensions) -> Option<&Upstream> {
    let locations = extensions.get::<Locations>().map(Locations::first);
    locations.or_else(|| extensions.get())
}

impl fmt::Debug for ModelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelTable")
            .field("base", &self.inner.base)
            .field("default_publisher", &self.inner.publisher)
            .field("entries", &self.inner.entries)
            .finish()
    }
}

/// The settings of a [`ModelTable`]. Nothing is checked before [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use]
pub struct ModelTableBuilder {
    base: Upstream,
    publisher: Option<String>,
    routes: Vec<(String, ModelRoute)>,
}

impl ModelTableBuilder {
    /// An entry for `pattern`: a name as requests have it, or one with a single `*`, which stands
    /// for anything or nothing.
    pub fn route(mut self, pattern: impl Into<String>, route: ModelRoute) -> Self {
        self.routes.push((pattern.into(), route));
        self
    }

    /// What bare names get when they go to the models that Google runs. Default: `google`, because
    /// that is Gemini's.
    pub fn default_publisher(mut self, publisher: impl Into<String>) -> Self {
        self.publisher = Some(publisher.into());
        self
    }

    /// Bare names stay bare, unless an entry has a publisher for them.
    pub fn without_default_publisher(mut self) -> Self {
        self.publisher = None;
        self
    }

    /// Checks everything and resolves each entry.
    ///
    /// # Errors
    /// The first setting that cannot be used; its [`entry`](ConfigError::entry) is the pattern.
    pub fn build(self) -> Result<ModelTable, ConfigError> {
        let Self { base, publisher, routes } = self;
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
        Ok(ModelTable::assemble(base, publisher, entries))
    }
}

#[cfg(test)]
mod tests;
