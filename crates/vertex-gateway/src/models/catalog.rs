//! The table of models in force: made of the configuration file and of what Vertex AI says of
//! endpoints, and made anew when either changes.

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

/// What the table is made of.
pub(crate) struct Catalog {
    layer: VertexModelLayer,
    /// Its trust is that of the start: no file sends a token to a host of its own later on.
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

impl Catalog {
    /// Makes the first table.
    ///
    /// # Errors
    ///
    /// A model that cannot be used, or an endpoint that was not found by its name.
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

    /// What applies the table in force.
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

    /// Looks endpoints up again whenever `interval` has passed. What was found before stays in force
    /// while Vertex AI does not answer.
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
    /// The same with what Vertex AI says of endpoints now.
    async fn look_up(&self, auth: &VertexAuthLayer) -> Result<(Self, ModelTable), Error> {
        let Self { target, upstream, retry, .. } = self;
        let discovered = discovery::look_up(target, upstream, auth).await?;
        let table = target.models(upstream, auth, &discovered)?;
        retry.check(&table)?;
        let (target, upstream, retry) = (target.clone(), upstream.clone(), retry.clone());
        Ok((Self { target, upstream, retry, discovered }, table))
    }
}
