//! What all that serves stands on: credentials, the upstream, the token and the table of models.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{
    catalog::Catalog,
    config::Failure,
    credentials::{Identity, find},
    retry::RetryOptions,
    sight::Sight,
    target::TargetOptions,
    watch::Watched,
};
use crate::{auth::VertexAuthLayer, emulator::Emulator, route::Upstream};

pub(super) struct Ground {
    /// If it is in this process.
    pub(super) emulator: Option<Arc<Emulator>>,
    pub(super) identity: Identity,
    pub(super) upstream: Upstream,
    /// Trusts what the options name.
    pub(super) auth: VertexAuthLayer,
    pub(super) catalog: Arc<Catalog>,
    /// The file of the table, if there is one.
    pub(super) watched: Option<Watched>,
}

impl Ground {
    /// Finds what the options name, and refuses what is wrong with them.
    pub(super) async fn find(
        target: &TargetOptions,
        retry: &RetryOptions,
        replay_limit: usize,
    ) -> Result<Self, Failure> {
        let owned_emulator = target.credentials.start_emulator().await?.map(Arc::new);
        let emulator = owned_emulator.as_deref();
        target.validate(&target.settings(emulator, None)?.with_some_project()?, emulator)?;
        let identity = find(target.credentials.search()?, emulator).await?;
        let info = identity.info.as_ref();
        let upstream = target.settings(emulator, info)?.upstream()?;
        let auth = VertexAuthLayer::new(identity.source.clone()).replay_limit(replay_limit);
        let auth = target.trusting(auth, &upstream, emulator, info)?;
        let file = target.config();
        let watched = file.map(|file| Watched::new("models", vec![file.into()]));
        let catalog = Catalog::new(
            target.clone(),
            upstream.clone(),
            auth.clone(),
            owned_emulator.clone(),
            identity.info.clone(),
            retry.clone(),
        );
        let catalog = Arc::new(catalog.await?);
        Ok(Self { emulator: owned_emulator, identity, upstream, auth, catalog, watched })
    }
}

/// The table of models, made anew when its file changes.
pub(super) fn reloading(
    watched: Option<Watched>,
    catalog: &Arc<Catalog>,
    sight: &Arc<Sight>,
) -> Option<Watched> {
    let (catalog, sight) = (Arc::clone(catalog), Arc::clone(sight));
    let runtime = Handle::current();
    Some(watched?.reloading(move || {
        runtime.block_on(catalog.reload())?;
        sight.know(&catalog.layer().table());
        Ok(())
    }))
}
