use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use tower::Layer;

use super::{ModelTable, VertexModel, table::Rules};
use crate::http_client::InnerService;

/// 32 MiB: more than the 20 MiB that Gemini's endpoint accepts.
const BODY_LIMIT: usize = 32 << 20;

/// Applies [`VertexModel`]: `model` picks the upstream and the name. See the [module](super).
///
/// Clones, and all services that they make, share one table, which can be replaced while they run.
/// A [`ModelTable`] in the extensions of a request takes precedence over it. This is for a service
/// further out that has already looked something up in a table.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct VertexModelLayer {
    pub(super) rules: Arc<ArcSwap<Rules>>,
    pub(super) body_limit: usize,
}

impl VertexModelLayer {
    /// Applies the rules of `table`.
    pub fn new(table: ModelTable) -> Self {
        Self { rules: Arc::new(ArcSwap::new(table.inner)), body_limit: BODY_LIMIT }
    }

    /// The longest body, in bytes, that is read for its `model`. Default 32 MiB. A longer one is
    /// refused with [`ModelError::TooLarge`](crate::error::ModelError::TooLarge): if it were sent
    /// unread, it could reach an upstream that does not serve its model.
    ///
    /// A request holds its body in memory until it is sent. So this limit and the number of
    /// concurrent requests bound the memory that is needed: at most twice their product. The replay
    /// of an auth layer below holds the same bytes, not a copy.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// The table in use.
    pub fn table(&self) -> ModelTable {
        ModelTable { inner: self.rules.load_full() }
    }

    /// Replaces the table, here and in all clones and services. Requests whose bodies are being
    /// read keep the previous one.
    pub fn set_table(&self, table: ModelTable) {
        self.rules.store(table.inner);
    }
}

impl fmt::Debug for VertexModelLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VertexModelLayer")
            .field("table", &self.table())
            .field("body_limit", &self.body_limit)
            .finish()
    }
}

impl<S: InnerService> Layer<S> for VertexModelLayer {
    type Service = VertexModel<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VertexModel { inner, layer: self.clone() }
    }
}
