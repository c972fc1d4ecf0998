//! Follows the record files of all grants: inotify on each file, and a look at all of them every two seconds
//! as a net under it. No descriptor is kept between reads.

use crate::book::{Book, Id};
use crate::clock;
use crate::grants::Store;
use crate::metrics::Metrics;
use futures::StreamExt as _;
use inotify::{EventStream, Inotify, WatchDescriptor, WatchMask};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often all files are looked at without an event.
const LOOK: Duration = Duration::from_secs(2);
/// How often verdicts are formed without a record.
const JUDGE: Duration = Duration::from_millis(500);

/// The task that reads records and forms verdicts.
#[derive(Debug)]
pub struct Tailer {
    book: Arc<Book>,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    watched: BTreeMap<Id, WatchDescriptor>,
    ids: HashMap<WatchDescriptor, Id>,
}

impl Tailer {
    /// For these grants.
    pub fn new(book: Arc<Book>, store: Arc<Store>, metrics: Arc<Metrics>) -> Self {
        Self { book, store, metrics, watched: BTreeMap::new(), ids: HashMap::new() }
    }

    /// Runs until the process ends.
    pub async fn run(mut self) {
        let mut events = Inotify::init()
            .and_then(|inotify| inotify.into_event_stream(vec![0; 4096]))
            .inspect_err(|error| tracing::warn!(%error, "no inotify: records are seen every 2 s only"))
            .ok();
        let mut look = tokio::time::interval(LOOK);
        let mut judge = tokio::time::interval(JUDGE);
        loop {
            let mut ids = BTreeSet::new();
            tokio::select! {
                () = self.book.files.notified() => {
                    ids.extend(std::mem::take(&mut self.book.lock().new));
                    self.watch(&mut events, &ids);
                }
                _ = look.tick() => {
                    ids = self.book.lock().grants.keys().cloned().collect();
                    self.watch(&mut events, &ids);
                    self.unwatch(&mut events, &ids);
                }
                _ = judge.tick() => {
                    self.book.judge(clock::now_ns(), &self.metrics, None);
                    continue;
                }
                id = next(&mut events, &self.ids) => match id {
                    Event::Of(id) => { ids.insert(id); }
                    Event::Nothing => {}
                    Event::End => {
                        tracing::warn!("inotify ended: records are seen every 2 s only");
                        events = None;
                    }
                },
            }
            for id in ids {
                if self.read(&id).await {
                    self.book.judge(clock::now_ns(), &self.metrics, Some(&id));
                }
            }
        }
    }

    /// Watches the record files of these grants, as far as that is not done. They are read afterwards: what was
    /// appended before the watch gives no event.
    fn watch(&mut self, events: &mut Option<EventStream<Vec<u8>>>, ids: &BTreeSet<Id>) {
        let Some(events) = events else { return };
        for id in ids {
            if self.watched.contains_key(id) {
                continue;
            }
            let mask = WatchMask::MODIFY | WatchMask::DONT_FOLLOW;
            match events.watches().add(self.store.records(id), mask) {
                Ok(watch) => {
                    self.ids.insert(watch.clone(), id.clone());
                    self.watched.insert(id.clone(), watch);
                }
                Err(error) => {
                    tracing::debug!(grant = &**id, %error, "cannot watch a record file; it is looked at every 2 s");
                }
            }
        }
    }

    /// Forgets the watches of grants that are gone.
    fn unwatch(&mut self, events: &mut Option<EventStream<Vec<u8>>>, ids: &BTreeSet<Id>) {
        let Some(events) = events else { return };
        let gone: Vec<Id> = self.watched.keys().filter(|id| !ids.contains(*id)).cloned().collect();
        for id in gone {
            if let Some(watch) = self.watched.remove(&id) {
                self.ids.remove(&watch);
                // The file is gone already, and its watch with it.
                let _ = events.watches().remove(watch);
            }
        }
    }

    /// Reads what is new in one file; says whether anything was. The lock is not held while the disk is read.
    async fn read(&self, id: &str) -> bool {
        let path = self.store.records(id);
        let mut news = false;
        loop {
            let tail = self.book.lock().grants.get_mut(id).and_then(|entry| {
                let offset = match entry.forgotten {
                    Some(forgotten) => forgotten.offset,
                    None => entry.tail.as_ref()?.offset(),
                };
                if size(&path) == Some(offset) {
                    entry.judged.caught_up();
                    return None;
                }
                entry.remember();
                entry.tail.take()
            });
            let Some(mut tail) = tail else { return news };
            let read = tail.read(&path);
            let more = {
                let mut inner = self.book.lock();
                let Some(entry) = inner.grants.get_mut(id) else { return news };
                entry.tail = Some(tail);
                let replay = entry.judged.is_replay();
                match read {
                    Ok(read) => {
                        if read.dropped > 0 {
                            self.metrics.bytes_dropped.inc_by(read.dropped);
                            let owner = entry.held.owner.as_ref();
                            tracing::warn!(
                                grant = id,
                                namespace = owner.map(|owner| owner.namespace.as_str()),
                                pod = owner.map(|owner| owner.pod.as_str()),
                                bytes = read.dropped,
                                "a record file had grown beyond its bound and was freed unread"
                            );
                        }
                        if !read.items.is_empty() {
                            news = true;
                            entry.container.observe(&read.items);
                            entry.judged.records_arrived(clock::now_ns());
                        }
                        for duration in entry.take_new_durations_ns() {
                            if !replay {
                                self.metrics
                                    .init_duration
                                    .observe(Duration::from_nanos(duration).as_secs_f64());
                            }
                        }
                        if !read.more {
                            entry.judged.caught_up();
                        }
                        read.more
                    }
                    Err(error) => {
                        tracing::debug!(grant = id, %error, "cannot read records");
                        false
                    }
                }
            };
            if !more {
                return news;
            }
            // Others run between two pieces of a long file.
            tokio::task::yield_now().await;
        }
    }
}

fn size(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|meta| meta.len())
}

enum Event {
    Of(Id),
    Nothing,
    End,
}

async fn next(events: &mut Option<EventStream<Vec<u8>>>, ids: &HashMap<WatchDescriptor, Id>) -> Event {
    let Some(stream) = events else { return std::future::pending().await };
    match stream.next().await {
        Some(Ok(event)) => ids.get(&event.wd).cloned().map_or(Event::Nothing, Event::Of),
        Some(Err(_)) => Event::Nothing,
        None => Event::End,
    }
}
