//! The models of publishers as Vertex AI lists them, fetched when a client requests a list and then
//! kept up to date.
//!
//! The first request for a list fetches it, so that a start needs no request, and a gateway without
//! clients that request a list sends none. The list that is known is served at once, and a newer one is fetched in
//! the background. If Vertex AI refuses, the previous list stays in use.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Empty;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout},
};
use tower::Layer as _;

use super::discovery::describe_error;
use crate::{config::listing::ListingOptions, outbound::Outbound};
use tower_vertex::{
    auth::VertexAuthLayer,
    connect::Network,
    discover::{PublisherModel, PublisherModels},
    model::{ModelTable, VertexModelLayer},
    replay::ReplayBody,
    route::{Endpoint, Upstream},
    token::{CredentialKind, CredentialsInfo},
};

/// The longest time that a request waits for the first list.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time limit of one request to Vertex AI, so that a host that does not respond is known before the
/// next attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time after a failure until the next attempt.
const PAUSE: Duration = Duration::from_secs(30);

/// A publisher's list at the host of one location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Has the endpoint `openapi`.
    pub(crate) upstream: Upstream,
    pub(crate) publisher: String,
}

/// The models of all sources.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    pub(crate) lists: Vec<(Source, Arc<Vec<PublisherModel>>)>,
    /// The sources whose latest request failed, with the reason.
    failed: Vec<(Source, String)>,
    /// The end of the latest fetch; `None` before the first.
    at: Option<Instant>,
}

impl Listed {
    /// The sources whose latest request failed, each with the reason.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&Source, &str)> {
        self.failed.iter().map(|(source, reason)| (source, reason.as_str()))
    }

    /// The publishers that have lists, each once.
    pub(crate) fn publishers(&self) -> Vec<&str> {
        let mut publishers: Vec<&str> = Vec::new();
        for (source, _) in &self.lists {
            if !publishers.contains(&source.publisher.as_str()) {
                publishers.push(&source.publisher);
            }
        }
        publishers
    }
}

/// The current list.
pub(crate) struct PublisherLists {
    options: ListingOptions,
    network: Network,
    auth: VertexAuthLayer,
    /// Holds the current table, which says where models are requested.
    table: VertexModelLayer,
    /// Age at which a list is fetched again; `None` for never.
    interval: Option<Duration>,
    listed: ArcSwap<Listed>,
    /// Closed when the fetch in flight has ended.
    in_flight: Mutex<Option<watch::Receiver<()>>>,
    /// The runtime of the fetches. A worker's would end with the worker.
    runtime: Handle,
}

impl PublisherLists {
    /// Call this in the runtime that lives as long as the gateway.
    pub(crate) fn new(
        options: ListingOptions,
        network: Network,
        auth: VertexAuthLayer,
        table: VertexModelLayer,
        interval: Option<Duration>,
    ) -> Arc<Self> {
        Arc::new(Self {
            options,
            network,
            auth,
            table,
            interval,
            listed: ArcSwap::default(),
            in_flight: Mutex::default(),
            runtime: Handle::current(),
        })
    }

    /// The list that is known. Waits for the first one, for a limited time.
    pub(crate) async fn current(self: &Arc<Self>) -> Arc<Listed> {
        let listed = self.listed.load_full();
        let sources = sources(&self.options, &self.table.table());
        if !self.is_due(&listed, &sources) {
            return listed;
        }
        let mut fetched = self.fetch(sources);
        if listed.at.is_some() {
            return listed;
        }
        // The sender sends nothing: the receiver is closed at the end of the fetch.
        let _ = timeout(PATIENCE, fetched.changed()).await;
        self.listed.load_full()
    }

    fn is_due(&self, listed: &Listed, sources: &[Source]) -> bool {
        let Some(at) = listed.at else { return !sources.is_empty() };
        let is_listed = |source| {
            listed.failed.iter().any(|(of, _)| of == source)
                || listed.lists.iter().any(|(of, _)| of == source)
        };
        if !sources.iter().all(is_listed) {
            return true;
        }
        let pause = match listed.failed.is_empty() {
            true => self.interval,
            false => Some(self.interval.unwrap_or(PAUSE).min(PAUSE)),
        };
        pause.is_some_and(|pause| at.elapsed() >= pause)
    }

    /// Begins to fetch the lists, unless a fetch is in flight.
    fn fetch(self: &Arc<Self>, sources: Vec<Source>) -> watch::Receiver<()> {
        // The value is consistent between two statements.
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetch) = in_flight.as_ref().filter(|fetch| fetch.has_changed().is_ok()) {
            return fetch.clone();
        }
        let (end, ended) = watch::channel(());
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            let before = this.listed.load_full();
            let next = fetch_all(&this.auth, &this.network, sources, &before).await;
            for failure @ (source, reason) in &next.failed {
                if !before.failed.contains(failure) {
                    tracing::warn!(
                        publisher = source.publisher,
                        error = reason,
                        "listing models failed; keeping the previous list"
                    );
                }
            }
            this.listed.store(Arc::new(next));
            drop(end);
        });
        *in_flight = Some(ended.clone());
        ended
    }
}

/// The lists of all sources. The list of a source that fails is the one in `before`.
pub(crate) async fn fetch_all(
    auth: &VertexAuthLayer,
    network: &Network,
    sources: Vec<Source>,
    before: &Listed,
) -> Listed {
    let answers = join_all(sources.iter().map(|source| fetch_one(auth, network, source))).await;
    let mut next = Listed::default();
    for (source, answer) in sources.into_iter().zip(answers) {
        match answer {
            Ok(models) => next.lists.push((source, Arc::new(models))),
            Err(reason) => {
                let known = before.lists.iter().find(|(of, _)| *of == source);
                next.lists.extend(known.cloned());
                next.failed.push((source, reason));
            }
        }
    }
    next.at = Some(Instant::now());
    next
}

/// The models of one source, or the reason why they could not be listed.
pub(crate) async fn fetch_one(
    auth: &VertexAuthLayer,
    network: &Network,
    source: &Source,
) -> Result<Vec<PublisherModel>, String> {
    let Source { upstream, publisher } = source;
    let client = Outbound::<ReplayBody<Empty<Bytes>>>::for_a_while(network);
    let models = PublisherModels::from_upstream(auth.layer(client), upstream);
    let models = models.map_err(|error| error.to_string())?.timeout(TIMEOUT);
    models.list(publisher).await.map_err(|error| describe_error(upstream, error))
}

/// The sources of a table: each publisher at each location to which a request for one of its models
/// could go.
pub(crate) fn sources(options: &ListingOptions, table: &ModelTable) -> Vec<Source> {
    let publishers = options.publishers(table);
    let mut sources: Vec<Source> = Vec::new();
    let of_patterns =
        table.entries().filter(|entry| entry.is_wildcard()).filter_map(|entry| entry.upstream());
    for upstream in std::iter::once(table.base()).chain(of_patterns) {
        if !matches!(upstream.endpoint(), Endpoint::OpenApi) {
            continue;
        }
        for publisher in &publishers {
            let known = sources
                .iter()
                .any(|of| is_same_place(&of.upstream, upstream) && of.publisher == *publisher);
            if !known {
                let publisher = publisher.clone();
                sources.push(Source { upstream: upstream.clone(), publisher });
            }
        }
    }
    sources
}

/// Whether both serve the same models.
pub(crate) fn is_same_place(one: &Upstream, other: &Upstream) -> bool {
    one.location() == other.location() && one.origin() == other.origin()
}

/// The layer for requests that have no project in their path. Vertex AI wants one to charge the quota
/// to if the credentials are a person's, and the credentials need not name it. A service account
/// charges its own project, and may lack the permission to charge another.
pub(crate) fn charging(
    auth: &VertexAuthLayer,
    info: Option<&CredentialsInfo>,
    quota_project: Option<&str>,
    upstream: &Upstream,
) -> VertexAuthLayer {
    use CredentialKind::{AuthorizedUser, ExternalAccountAuthorizedUser, Gcloud};
    let kind = info.map(CredentialsInfo::kind);
    let is_person = matches!(kind, Some(AuthorizedUser | ExternalAccountAuthorizedUser | Gcloud));
    let is_named = quota_project.is_some() || auth.cache().quota_project().is_some();
    let project = upstream.project().filter(|_| is_person && !is_named);
    // The project of an upstream is valid in a header.
    project.and_then(|project| auth.clone().quota_project(project).ok()).unwrap_or(auth.clone())
}
