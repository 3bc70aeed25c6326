//! Reloads files when they change.
//!
//! Each thing that is loaded from files has its own task. A slow reload, because a disk is
//! unavailable or because Vertex AI has to respond, does not delay the others.

use std::{fs::Metadata, path::PathBuf, sync::Arc, time::Duration};

use ring::digest::{SHA256, digest};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use zeroize::Zeroizing;

use crate::{error::Error, values::LONGEST_FILE};
use tower_vertex::regular_file::{self, FileError};

const INTERVAL: Duration = Duration::from_secs(1);
/// Time between the two looks after a signal.
const SHORT: Duration = Duration::from_millis(200);
/// A read that takes longer is logged, for an operator who waits for a change to take effect.
const SLOW: Duration = Duration::from_secs(10);

/// Timestamps of files can be as coarse as two seconds. For this many looks after a change, the
/// content is read regardless of them.
const UNSETTLED: u32 = 3;
/// The content is also read at every look with a multiple of this number, because not all file
/// systems keep timestamps.
const DISTRUSTED: u32 = 60;

/// The hash of a file's bytes, or the reason why they could not be read.
type Content = Result<[u8; 32], FileError>;

/// Metadata that changes when a file changes. Two contents can have the same metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<std::time::SystemTime>,
    /// Device, inode, and the time of the last change of the inode, which cannot be set back.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// Number of looks since the stamp changed.
    looks: u32,
    content: Content,
}

impl File {
    fn new(path: PathBuf) -> Self {
        let mut this = Self { path, stamp: None, looks: 0, content: Err(FileError::NotFound) };
        let _ = this.look();
        this
    }

    fn look(&mut self) -> Content {
        // The metadata is that of the file behind a link. It is read before the content, so that no
        // later change is missed.
        let stamp = std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        self.looks = if stamp == self.stamp { self.looks.wrapping_add(1) } else { 0 };
        self.stamp = stamp;
        if stamp.is_none() || self.looks <= UNSETTLED || self.looks.is_multiple_of(DISTRUSTED) {
            let read = regular_file::read(&self.path, LONGEST_FILE).map(Zeroizing::new);
            self.content = read.map(|bytes| {
                let mut content = [0; 32];
                content.copy_from_slice(digest(&SHA256, &bytes).as_ref());
                content
            });
        }
        self.content
    }
}

/// Something that is loaded from files and can be reloaded.
pub(crate) struct Watched {
    what: &'static str,
    files: Vec<File>,
    /// The contents of the last reload, whether it succeeded or not.
    last: Vec<Content>,
    /// New contents, which are loaded if the next look finds them again. Files are not always
    /// written at once.
    next: Option<Vec<Content>>,
    /// Number of looks in a row that found new contents.
    restless: u32,
    /// Whether to reload without a change.
    forced: bool,
    reload: Box<dyn Fn() -> Result<(), Error> + Send>,
}

impl Watched {
    /// This must be called before the files are read for the first time, so that no change is
    /// missed.
    pub(crate) fn new(what: &'static str, files: Vec<PathBuf>) -> Self {
        let files: Vec<_> = files.into_iter().map(File::new).collect();
        let last = files.iter().map(|file| file.content).collect();
        let reload = Box::new(|| Ok(()));
        Self { what, files, last, next: None, restless: 0, forced: false, reload }
    }

    /// Sets the reload. It applies the new contents, or keeps the previous ones and returns an
    /// error.
    pub(crate) fn reloading(
        mut self,
        reload: impl Fn() -> Result<(), Error> + Send + 'static,
    ) -> Self {
        self.reload = Box::new(reload);
        self
    }

    fn content(&mut self) -> Vec<Content> {
        self.files.iter_mut().map(File::look).collect()
    }

    fn look(&mut self) {
        let content = self.content();
        let is_new = self.forced || content != self.last;
        if !is_new {
            self.next = None;
        } else if self.next.as_ref() == Some(&content) {
            self.reload();
            // The files are read again after the reload. If one was written to meanwhile, its new
            // contents can be loaded at the next look.
            let after = self.content();
            self.next = (after != content).then_some(after);
            self.last = content;
            self.forced = false;
        } else {
            self.next = Some(content);
            self.restless += 1;
            if self.restless == 10 {
                tracing::warn!("{} not reloaded: the files keep changing", self.what);
            }
            return;
        }
        self.restless = 0;
    }

    fn reload(&self) {
        match (self.reload)() {
            Ok(()) => tracing::info!("{} reloaded", self.what),
            Err(error) => tracing::warn!(%error, "reload of {} failed; keeping the previous \
                 ones", self.what),
        }
    }
}

/// Looks for changes forever. When `again` is notified, everything is reloaded, changed or not.
pub(crate) fn watch_files(all: Vec<Watched>, again: Arc<Notify>) {
    let (tell, told) = watch::channel(());
    for watched in all {
        tokio::spawn(follow(watched, told.clone()));
    }
    tokio::spawn(async move {
        loop {
            again.notified().await;
            tell.send_replace(());
        }
    });
}

async fn follow(mut watched: Watched, mut again: watch::Receiver<()>) {
    let what = watched.what;
    loop {
        let pause = if watched.forced { SHORT } else { INTERVAL };
        tokio::select! {
            () = sleep(pause) => {}
            // A signal before the second look waits for the next reload. Otherwise signals in quick
            // succession would postpone the reload forever.
            told = again.changed(), if !watched.forced => {
                if told.is_err() {
                    return;
                }
                watched.forced = true;
                watched.next = None;
            }
        }
        // A blocking thread looks at the files, because a disk may be slow.
        let mut looking = tokio::task::spawn_blocking(move || {
            watched.look();
            watched
        });
        let looked = match timeout(SLOW, &mut looking).await {
            Ok(looked) => looked,
            Err(_) => {
                tracing::warn!(
                    "reading {what} takes more than {SLOW:?}; keeping the previous \
                     ones meanwhile"
                );
                looking.await
            }
        };
        match looked {
            Ok(back) => watched = back,
            Err(error) => {
                tracing::error!(%error, "{what} are no longer checked for changes: restart the \
                     gateway");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    fn counting(files: Vec<PathBuf>) -> (Watched, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let watched = Watched::new("files", files).reloading(move || {
            counted.fetch_add(1, Relaxed);
            Ok(())
        });
        (watched, count)
    }

    #[test]
    fn a_changed_file_is_reloaded_when_two_looks_find_the_same_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "one").unwrap();
        let (mut watched, count) = counting(vec![path.clone()]);
        let mut after = |content: &str| {
            fs::write(&path, content).unwrap();
            watched.look();
            count.load(Relaxed)
        };
        // The file is being written.
        assert_eq!((after(""), after("t"), after("tw"), after("two")), (0, 0, 0, 0));
        assert_eq!((after("two"), after("two")), (1, 1));
        // A change that is undone before the second look is no change.
        assert_eq!((after("three"), after("two"), after("two")), (1, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn repeated_signals_do_not_postpone_the_reload() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "one").unwrap();
        let (watched, count) = counting(vec![path]);
        let again = Arc::new(Notify::new());
        watch_files(vec![watched], Arc::clone(&again));
        for _ in 0..100 {
            again.notify_one();
            sleep(SHORT / 2).await;
        }
        assert!(count.load(Relaxed) > 10, "{count:?}");
    }

    #[test]
    fn a_change_with_the_same_length_and_modification_time_is_detected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "one").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let (mut watched, count) = counting(vec![path.clone()]);
        for _ in 0..2 * DISTRUSTED {
            watched.look();
        }
        assert_eq!(count.load(Relaxed), 0);
        for (content, seen) in [("two", 1), ("six", 2)] {
            let file = fs::File::options().write(true).open(&path).unwrap();
            std::io::Write::write_all(&mut &file, content.as_bytes()).unwrap();
            file.set_modified(time).unwrap();
            watched.look();
            watched.look();
            assert_eq!(count.load(Relaxed), seen, "{content}");
        }
    }

    #[test]
    fn a_file_that_becomes_a_directory_is_removed_and_returns_is_reloaded_once_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "one").unwrap();
        let (mut watched, count) = counting(vec![path.clone()]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        (0..5).for_each(|_| watched.look());
        assert_eq!(count.load(Relaxed), 1);
        fs::remove_dir(&path).unwrap();
        (0..5).for_each(|_| watched.look());
        assert_eq!(count.load(Relaxed), 2);
        fs::write(&path, "one").unwrap();
        (0..5).for_each(|_| watched.look());
        assert_eq!(count.load(Relaxed), 3);
    }
}
