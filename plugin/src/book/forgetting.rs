//! Memory is for containers that something happens in. What a container told is on the disk anyhow: a minute
//! after the last record, with everything told, its processes and steps are forgotten. New records, a restart
//! or a question bring them back by reading the file again.

use super::{Book, Entry, Id, Inner};
use crate::grants::Store;
use crate::records::Tail;
use firstlight_diagnosis::Container;

/// What stays of a container that was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// How far its file had been read.
    pub offset: u64,
}

impl Entry {
    /// Forgets the container's processes, if nothing is expected any more.
    pub(super) fn forget_if_over(&mut self, now_ns: u64) {
        let Some(tail) = &self.tail else { return };
        if !self.judged.is_over(now_ns) {
            return;
        }
        self.forgotten = Some(Forgotten { offset: tail.offset() });
        self.tail = Some(Tail::default());
        self.container = Container::new();
        self.judged.rest();
    }

    /// Reads the file from its beginning next time. Durations that were counted are not counted again.
    pub fn remember(&mut self) {
        if self.forgotten.take().is_some() {
            self.durations_to_skip = self.durations_seen;
            self.durations_seen = 0;
        }
    }

    /// Init durations that were not counted yet, nanoseconds.
    pub fn take_new_durations_ns(&mut self) -> Vec<u64> {
        let all = self.container.take_init_durations_ns();
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let known = self.durations_to_skip.min(count);
        self.durations_to_skip -= known;
        self.durations_seen = self.durations_seen.saturating_add(count);
        all.into_iter().skip(known as usize).collect()
    }
}

impl Book {
    /// The records of these grants are read again.
    pub fn wake(&self, ids: &[Id]) {
        if ids.is_empty() {
            return;
        }
        self.lock().wake(ids);
        self.files.notify_one();
    }
}

impl Inner {
    pub(super) fn wake(&mut self, ids: &[Id]) {
        for id in ids {
            if let Some(entry) = self.grants.get_mut(id) {
                entry.remember();
                self.new.push(id.clone());
            }
        }
    }
}

/// What a forgotten container's file tells.
pub fn read_again(store: &Store, id: &str) -> Container {
    let (mut tail, mut container) = (Tail::default(), Container::new());
    let path = store.records(id);
    while let Ok(read) = tail.read(&path) {
        container.observe(&read.items);
        if !read.more {
            break;
        }
    }
    container
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::seconds;
    use crate::grants::{Allocation, Owner};
    use crate::metrics::Metrics;
    use firstlight_contract::grant::{Grant, PoolKind};
    use firstlight_contract::metrics::Outcome;
    use firstlight_contract::record::{Caller, Kind, MAX_ENCODED, NO_FUNCTION, Record, Role};
    use firstlight_driver_api::by_symbol;
    use std::io::Write as _;

    const NOW: u64 = seconds(1_700_000_000);

    struct World {
        _folder: tempfile::TempDir,
        store: Store,
        book: Book,
        metrics: Metrics,
        id: Id,
        sequence: u32,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::new(folder.path().to_owned(), folder.path().to_owned());
            let (book, metrics, id) = (Book::default(), Metrics::new().unwrap(), Id::from("a".repeat(32)));
            let grant = Grant {
                id: id.to_string(),
                pool: "simulated".to_owned(),
                kind: PoolKind::Simulated,
                driver: None,
                nvml: None,
                records: Some("/run/firstlight/records".to_owned()),
                ledger: None,
                quota_bytes: None,
                devices: vec![],
            };
            let allocation = Allocation {
                resource: "firstlight.dev/simulated".to_owned(),
                ids: ["sim-0::0".to_owned()].into(),
                build: "b".to_owned(),
                created_ns: NOW,
                grant: Box::default(),
            };
            store.create(&grant, &allocation);
            book.add(grant, allocation, true);
            let owner = Owner {
                namespace: "ns".to_owned(),
                pod: "p".to_owned(),
                uid: Some("u".to_owned()),
                container: "c".to_owned(),
                init: false,
            };
            book.lock().grants.get_mut(&id).unwrap().held.owner = Some(owner);
            Self { _folder: folder, store, book, metrics, id, sequence: 0 }
        }

        fn write(&mut self, kind: Kind, symbol: Option<&str>, args: (u64, u64)) {
            let record = Record {
                kind,
                time_ns: NOW + u64::from(self.sequence) * 1000,
                pid: 7,
                tid: 7,
                process: 7000,
                sequence: self.sequence,
                function: symbol.map_or(NO_FUNCTION, |symbol| by_symbol(symbol).unwrap().id),
                caller: Caller::Runtime,
                result: 0,
                arg0: args.0,
                arg1: args.1,
            };
            self.sequence += 1;
            let mut file =
                std::fs::OpenOptions::new().append(true).open(self.store.records(&self.id)).unwrap();
            file.write_all(record.encode(b"/d/libcuda.so.1", &mut [0; MAX_ENCODED])).unwrap();
        }

        fn read(&self, now_ns: u64) {
            let path = self.store.records(&self.id);
            let mut inner = self.book.lock();
            let entry = inner.grants.get_mut(&self.id).unwrap();
            entry.remember();
            let read = entry.tail.as_mut().unwrap().read(&path).unwrap();
            entry.container.observe(&read.items);
            entry.judged.records_arrived(now_ns);
            drop(inner);
            self.book.judge(now_ns, &self.metrics, None);
        }

        fn forgotten(&self) -> bool {
            self.book.lock().grants[&self.id].forgotten.is_some()
        }

        fn outcome(&self, now_ns: u64) -> String {
            let reports = self.book.reports(&self.store, "ns", "p", now_ns).unwrap();
            serde_json::to_value(&reports[0].1).unwrap()["verdict"]["outcome"].as_str().unwrap().to_owned()
        }
    }

    #[test]
    fn a_quiet_container_is_forgotten_once_all_is_told_and_remembered_when_asked_for() {
        let mut world = World::new();
        world.write(Kind::Start, None, (Role::GpuDiscover as u64, 2));
        world.write(Kind::DriverOpened, None, (0, 0));
        for (symbol, args) in [
            ("cuDriverGetVersion", (12_080, 0)),
            ("cuInit", (0, 0)),
            ("cuDeviceGetCount", (1, 0)),
            ("cuDevicePrimaryCtxRetain", (0, 0)),
            ("cuMemGetInfo_v2", (20 << 30, 24 << 30)),
        ] {
            world.write(Kind::CallReturned, Some(symbol), args);
        }
        world.read(NOW);
        world.book.judge(NOW + seconds(120), &world.metrics, None);
        assert!(!world.forgotten(), "nothing was told yet");
        world.book.published(&world.book.standing());
        world.book.judge(NOW + seconds(240), &world.metrics, None);
        assert!(world.forgotten());
        assert_eq!(world.outcome(NOW + seconds(300)), Outcome::Success.as_str());
        assert_eq!(world.book.lock().grants[&world.id].container.records(), 0);
        world.write(Kind::Launches, None, (3, 0));
        world.read(NOW + seconds(400));
        assert!(!world.forgotten());
        let inner = world.book.lock();
        let entry = &inner.grants[&world.id];
        assert_eq!((entry.container.launches(), entry.judged.counts), (3, [1, 0, 0]));
    }
}
