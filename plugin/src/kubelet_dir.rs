//! Watches the kubelet's device plugin directory: inotify, and a look every two seconds as a net under it.
//! The directory is watched, never a file: at each start the kubelet removes every socket and makes its own.

use crate::api::KUBELET_SOCKET;
use futures::StreamExt as _;
use inotify::{Inotify, WatchMask};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// How often the directory is looked at without an event.
const LOOK: Duration = Duration::from_secs(2);

/// Tells one file at a path from its successor; inode numbers alone come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation {
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Incarnation {
    /// The file at `path` now, if there is one.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::symlink_metadata(path).ok()?;
        Some(Self { device: meta.dev(), inode: meta.ino(), modified: (meta.mtime(), meta.mtime_nsec()) })
    }
}

/// The kubelet's directory.
#[derive(Clone, Debug)]
pub struct KubeletDir {
    path: PathBuf,
    /// Changes whenever somebody should look again.
    ticks: watch::Receiver<u64>,
}

impl KubeletDir {
    /// The directory, and the watcher that must be run for its sake.
    pub fn new(path: PathBuf) -> (Self, Watcher) {
        let (sender, ticks) = watch::channel(0);
        (Self { path: path.clone(), ticks }, Watcher { path, sender })
    }

    /// A path in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of all that is in the directory.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// The kubelet's socket now.
    pub fn kubelet(&self) -> Option<Incarnation> {
        Incarnation::of(&self.path.join(KUBELET_SOCKET))
    }

    /// Returns after the next change or look; for ever waiting once the watcher is gone.
    pub async fn changed(&mut self) {
        if self.ticks.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Removes what an earlier process of ours left in the directory.
    pub fn remove_stale(&self, prefix: &str) {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// The task behind [`KubeletDir`].
#[derive(Debug)]
pub struct Watcher {
    path: PathBuf,
    sender: watch::Sender<u64>,
}

impl Watcher {
    /// Runs until the process ends. Without inotify, the looks every two seconds remain.
    pub async fn run(self) {
        let mut events = Inotify::init()
            .and_then(|inotify| inotify.into_event_stream(vec![0; 4096]))
            .inspect_err(
                |error| tracing::warn!(%error, "no inotify: kubelet restarts are seen every 2 s only"),
            )
            .ok();
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE_SELF;
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    // The same directory gives the same watch again; a new one gets its own.
                    if let Some(events) = &events {
                        let _ = events.watches().add(&self.path, mask);
                    }
                }
                event = next(&mut events) => {
                    if event.is_none() {
                        tracing::warn!("inotify ended: kubelet restarts are seen every 2 s only");
                        events = None;
                    }
                }
            }
            self.sender.send_modify(|tick| *tick = tick.wrapping_add(1));
        }
    }
}

async fn next(events: &mut Option<inotify::EventStream<Vec<u8>>>) -> Option<()> {
    match events {
        Some(events) => events.next().await.map(drop),
        None => std::future::pending().await,
    }
}
