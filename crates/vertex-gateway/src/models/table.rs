//! The current table of models. It is built from the configuration file and from the endpoints that
//! Vertex AI lists, and built again when either changes.

use std::{sync::Arc, time::Duration};

use tokio::sync::Mutex;

use super::discovery;
use crate::{
    config::{discovered::Discovered, retry::RetryOptions, upstream::TargetOptions},
    error::Error,
};
use tower_vertex::{
    auth::VertexAuthLayer,
    model::{ModelTable, VertexModelLayer},
    route::Upstream,
    token::CredentialsInfo,
};
use tower_vertex_emulator::Emulator;

/// The current table of models and its sources.
pub(crate) struct LiveTable {
    layer: VertexModelLayer,
    /// Its trusted hosts are those of the start: a later change of the file cannot send a token to
    /// another host.
    auth: VertexAuthLayer,
    emulator: Option<Arc<Emulator>>,
    info: Option<CredentialsInfo>,
    current: Mutex<Current>,
}

struct Current {
    target: TargetOptions,
    upstream: Upstream,
    retry: RetryOptions,
    discovered: Discovered,
}

impl LiveTable {
    /// Builds the first table.
    ///
    /// # Errors
    ///
    /// Returns an error for a model that cannot be used, or for an endpoint whose name was not
    /// found.
    pub(crate) async fn new(
        target: TargetOptions,
        upstream: Upstream,
        auth: VertexAuthLayer,
        emulator: Option<Arc<Emulator>>,
        info: Option<CredentialsInfo>,
        retry: RetryOptions,
    ) -> Result<Self, Error> {
        let current = Current { target, upstream, retry, discovered: Discovered::default() };
        let (current, table) = current.look_up(&auth).await?;
        let layer = VertexModelLayer::new(table);
        Ok(Self { layer, auth, emulator, info, current: Mutex::new(current) })
    }

    /// The layer that applies the current table.
    pub(crate) fn layer(&self) -> &VertexModelLayer {
        &self.layer
    }

    /// Reads the file again. On an error the table stays as it was.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        let mut current = self.current.lock().await;
        let mut target = current.target.clone();
        target.reload()?;
        let changed = target.file.changed_options(&current.target.file);
        if !changed.is_empty() {
            tracing::warn!(keys = changed.join(", "), "these keys take effect at the next start");
        }
        let settings = target.settings(self.emulator.as_deref(), self.info.as_ref())?;
        let (retry, discovered) = (current.retry.clone(), current.discovered.clone());
        let next = Current { target, upstream: settings.upstream()?, retry, discovered };
        let (next, table) = next.look_up(&self.auth).await?;
        self.layer.set_table(table);
        *current = next;
        Ok(())
    }

    /// Looks endpoints up again after each `interval`. While Vertex AI does not respond, the
    /// previous endpoints stay in use.
    pub(crate) async fn refresh_every(self: Arc<Self>, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let mut current = self.current.lock().await;
            if !current.target.has_names() {
                continue;
            }
            match current.look_up(&self.auth).await {
                Ok((next, _)) if next.discovered == current.discovered => {}
                Ok((next, table)) => {
                    tracing::info!(models = table.entries().len(), "endpoints changed");
                    self.layer.set_table(table);
                    *current = next;
                }
                Err(error) => tracing::warn!(%error, "looking up endpoints failed; keeping the \
                     previous ones"),
            }
        }
    }
}

impl Current {
    /// Returns a copy with the endpoints that Vertex AI lists now, and its table.
    async fn look_up(&self, auth: &VertexAuthLayer) -> Result<(Self, ModelTable), Error> {
        let Self { target, upstream, retry, .. } = self;
        let discovered = discovery::look_up(target, upstream, auth).await?;
        let table = target.models(upstream, auth, &discovered)?;
        retry.check(&table)?;
        let (target, upstream, retry) = (target.clone(), upstream.clone(), retry.clone());
        Ok((Self { target, upstream, retry, discovered }, table))
    }
}
