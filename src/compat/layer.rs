use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tower::Layer;

use super::{Cures, SignatureStats, Signatures, VertexCompat};
use crate::{http_client::InnerService, route::Upstream};

/// 32 MiB: more than the 20 MiB that Gemini's endpoint accepts.
const BODY_LIMIT: usize = 32 << 20;

/// Applies [`VertexCompat`]: cures what OpenAI clients and Gemini cannot read of each other. See the
/// [module](super).
///
/// Clones, and all services that they make, share one memory of thought signatures.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct VertexCompatLayer {
    settings: Arc<CompatSettings>,
}

#[derive(Clone, Debug)]
pub(super) struct CompatSettings {
    pub(super) cures: Cures,
    pub(super) has_cures_of_chats: bool,
    pub(super) signatures: Signatures,
    pub(super) counters: Arc<Counters>,
    pub(super) upstream: Option<Upstream>,
    pub(super) body_limit: usize,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) restored: AtomicU64,
    pub(super) placeholders: AtomicU64,
    pub(super) missing: AtomicU64,
}

/// Counts of the thought signatures of requests, since the start. See
/// [`VertexCompatLayer::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompatStats {
    /// Signatures that clients had dropped and that were restored.
    pub restored: u64,
    /// Placeholders that were sent after Vertex AI had refused a request without a signature.
    pub placeholders: u64,
    /// Tool calls of the current turn without a signature that Gemini 3 demands and that was not
    /// remembered.
    pub missing: u64,
    /// The memory of signatures.
    pub memory: SignatureStats,
}

impl CompatSettings {
    pub(super) fn new(cures: Cures) -> Self {
        Self {
            cures,
            has_cures_of_chats: !cures.embeddings(false).is_empty(),
            signatures: Signatures::new(),
            counters: Arc::default(),
            upstream: None,
            body_limit: BODY_LIMIT,
        }
    }
}

impl VertexCompatLayer {
    /// Applies these cures.
    pub fn new(cures: Cures) -> Self {
        Self { settings: Arc::new(CompatSettings::new(cures)) }
    }

    /// The memory of thought signatures, which several layers may share. Default:
    /// [`Signatures::new`], at most 64 MiB.
    pub fn signatures(mut self, signatures: Signatures) -> Self {
        self.edit().signatures = signatures;
        self
    }

    /// The upstream of requests that have none in their extensions, such as that of a
    /// [`VertexRouteLayer`](crate::route::VertexRouteLayer) further in. It is not necessary behind a
    /// [`VertexModelLayer`](crate::model::VertexModelLayer). Without any, the name of the model
    /// decides: only `openapi` has names that begin with `google/`.
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.edit().upstream = Some(upstream);
        self
    }

    /// The longest body of a request, in bytes, that is read for cures. Default 32 MiB, as that of
    /// [`VertexModelLayer`](crate::model::VertexModelLayer). A longer body is sent as it is.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.edit().body_limit = bytes;
        self
    }

    /// The cures that are applied.
    pub fn cures(&self) -> Cures {
        self.settings.cures
    }

    /// The counts of this layer and of its clones.
    pub fn stats(&self) -> CompatStats {
        let Counters { restored, placeholders, missing } = &*self.settings.counters;
        CompatStats {
            restored: restored.load(Relaxed),
            placeholders: placeholders.load(Relaxed),
            missing: missing.load(Relaxed),
            memory: self.settings.signatures.stats(),
        }
    }

    fn edit(&mut self) -> &mut CompatSettings {
        Arc::make_mut(&mut self.settings)
    }
}

/// Applies the default cures.
impl Default for VertexCompatLayer {
    fn default() -> Self {
        Self::new(Cures::default())
    }
}

impl<S: InnerService> Layer<S> for VertexCompatLayer {
    type Service = VertexCompat<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VertexCompat::with(inner, Arc::clone(&self.settings))
    }
}
