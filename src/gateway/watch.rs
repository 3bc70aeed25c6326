//! Files that are read again when they change.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use ring::digest::{Digest, SHA256, digest};
use tokio::sync::Notify;

use super::config::Failure;

const INTERVAL: Duration = Duration::from_secs(1);

/// Something made of files, which can be made anew.
pub(super) struct Watched {
    what: &'static str,
    files: Vec<PathBuf>,
    last: Vec<Option<[u8; 32]>>,
    reload: Box<dyn Fn() -> Result<(), Failure> + Send>,
}

impl Watched {
    fn content(files: &[PathBuf]) -> Vec<Option<[u8; 32]>> {
        // By content: a modification time says nothing of the file behind a link, and two changes
        // may have the same.
        let of = |digest: Digest| <[u8; 32]>::try_from(digest.as_ref()).ok();
        let one = |path: &PathBuf| of(digest(&SHA256, &fs::read(path).ok()?));
        files.iter().map(one).collect()
    }

    /// To be called before the files are read for the first time, so that no change is missed.
    pub(super) fn new(what: &'static str, files: Vec<PathBuf>) -> Self {
        let last = Self::content(&files);
        Self { what, files, last, reload: Box::new(|| Ok(())) }
    }

    /// What to do: put the new in force, or leave the old there and say why.
    pub(super) fn reloading(
        mut self,
        reload: impl Fn() -> Result<(), Failure> + Send + 'static,
    ) -> Self {
        self.reload = Box::new(reload);
        self
    }

    fn look_and_reload(&mut self) {
        self.last = Self::content(&self.files);
        self.reload();
    }

    fn reload(&self) {
        match (self.reload)() {
            Ok(()) => tracing::info!("{} read again", self.what),
            Err(error) => tracing::warn!(%error, "{} not read again: the old stay", self.what),
        }
    }

    fn look(&mut self) {
        let content = Self::content(&self.files);
        if content != self.last {
            self.last = content;
            self.reload();
        }
    }
}

/// Looks for changes for ever; reads everything again, changed or not, when `again` is notified.
pub(super) async fn keep(mut watched: Vec<Watched>, again: Arc<Notify>) {
    loop {
        let look = tokio::select! {
            () = tokio::time::sleep(INTERVAL) => Watched::look,
            () = again.notified() => Watched::look_and_reload,
        };
        // Off the threads that serve: a disk may be slow.
        let looked = tokio::task::spawn_blocking(move || {
            watched.iter_mut().for_each(look);
            watched
        });
        let Ok(back) = looked.await else { return };
        watched = back;
    }
}
