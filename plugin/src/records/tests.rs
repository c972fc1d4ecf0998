use super::*;
use firstlight_contract::record::{Caller, Kind, MAX_ENCODED, NO_FUNCTION, Record};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

fn bytes(pid: u32, sequence: u32, text: &str) -> Vec<u8> {
    let record = Record {
        kind: Kind::Start,
        time_ns: 1,
        pid,
        tid: pid,
        process: u64::from(pid),
        sequence,
        function: NO_FUNCTION,
        caller: Caller::Unknown,
        result: 0,
        arg0: 0,
        arg1: 0,
    };
    record.encode(text.as_bytes(), &mut [0; MAX_ENCODED]).to_vec()
}

struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        fs::write(&path, b"").unwrap();
        Self { _folder: folder, path }
    }

    fn append(&self, bytes: &[u8]) {
        fs::OpenOptions::new().append(true).open(&self.path).unwrap().write_all(bytes).unwrap();
    }

    fn held(&self) -> u64 {
        fs::metadata(&self.path).unwrap().blocks() * 512
    }
}

fn read_all(tail: &mut Tail, file: &File) -> (Vec<Item>, u64) {
    let (mut items, mut dropped) = (Vec::new(), 0);
    loop {
        let read = tail.read(&file.path).unwrap();
        items.extend(read.items);
        dropped += read.dropped;
        if !read.more {
            return (items, dropped);
        }
    }
}

fn sequences(items: &[Item]) -> BTreeMap<u32, Vec<u32>> {
    let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for item in items {
        match item {
            Item::Entry(entry) => found.entry(entry.record.pid).or_default().push(entry.record.sequence),
            Item::Garbage { bytes } => panic!("{bytes} bytes of garbage"),
        }
    }
    found
}

#[test]
fn what_is_appended_between_two_reads_is_read_once() {
    let (file, mut tail) = (File::new(), Tail::default());
    file.append(&bytes(1, 0, "first"));
    assert_eq!(read_all(&mut tail, &file).0.len(), 1);
    assert_eq!(read_all(&mut tail, &file).0.len(), 0);
    file.append(&bytes(1, 1, "second"));
    assert_eq!(sequences(&read_all(&mut tail, &file).0)[&1], [1]);
}

#[test]
fn nothing_is_lost_under_concurrent_appends_with_holes_being_punched() {
    const WRITERS: u32 = 4;
    const EACH: u32 = 20_000;
    let file = File::new();
    let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut tail = Tail::default();
    let mut most_held = 0;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|pid| {
                let path = file.path.clone();
                scope.spawn(move || {
                    for sequence in 0..EACH {
                        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                        file.write_all(&bytes(pid, sequence, "")).unwrap();
                        if sequence % 64 == 0 {
                            std::thread::sleep(std::time::Duration::from_micros(500));
                        }
                    }
                })
            })
            .collect();
        loop {
            let done = writers.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let (items, dropped) = read_all(&mut tail, &file);
            assert_eq!(dropped, 0);
            for (pid, numbers) in sequences(&items) {
                found.entry(pid).or_default().extend(numbers);
            }
            most_held = most_held.max(file.held());
            if done {
                break;
            }
        }
    });
    for pid in 0..WRITERS {
        assert_eq!(found[&pid], (0..EACH).collect::<Vec<_>>(), "writer {pid}");
    }
    let written = fs::metadata(&file.path).unwrap().len();
    assert_eq!(written, u64::from(WRITERS * EACH) * RECORD_SIZE as u64);
    assert!(file.held() < MAX_HELD / 2, "{} bytes are held of {written}", file.held());
}

#[test]
fn a_new_start_reads_the_head_and_the_newest_part_again() {
    let (file, mut tail) = (File::new(), Tail::default());
    let count = 16_000;
    for sequence in (0..count).step_by(1000) {
        let many: Vec<u8> = (sequence..sequence + 1000).flat_map(|sequence| bytes(1, sequence, "")).collect();
        file.append(&many);
        read_all(&mut tail, &file);
    }
    let again = sequences(&read_all(&mut Tail::default(), &file).0).remove(&1).unwrap();
    assert_eq!(again.first(), Some(&0));
    assert_eq!(again.last(), Some(&(count - 1)));
    assert!(again.len() < count as usize / 2, "a hole was punched");
}

#[test]
fn a_file_beyond_its_bound_is_freed_whole_and_counted() {
    let (file, mut tail) = (File::new(), Tail::default());
    file.append(&vec![b'x'; 3 << 20]);
    let (items, dropped) = read_all(&mut tail, &file);
    assert_eq!((items.len(), dropped), (0, 3 << 20));
    assert!(file.held() < 8192, "{} bytes are held", file.held());
    file.append(&bytes(7, 0, "after"));
    assert_eq!(sequences(&read_all(&mut tail, &file).0)[&7], [0]);
}

#[test]
fn a_truncated_file_begins_anew() {
    let (file, mut tail) = (File::new(), Tail::default());
    file.append(&[bytes(1, 0, ""), bytes(1, 1, "")].concat());
    read_all(&mut tail, &file);
    fs::File::create(&file.path).unwrap();
    file.append(&bytes(2, 0, ""));
    assert_eq!(sequences(&read_all(&mut tail, &file).0)[&2], [0]);
}

#[test]
fn a_sparse_terabyte_costs_nothing() {
    let (file, mut tail) = (File::new(), Tail::default());
    fs::OpenOptions::new().write(true).open(&file.path).unwrap().set_len(1 << 40).unwrap();
    file.append(&bytes(3, 0, ""));
    let started = std::time::Instant::now();
    assert_eq!(sequences(&read_all(&mut tail, &file).0)[&3], [0]);
    assert!(started.elapsed().as_secs() < 1);
}

#[test]
fn links_directories_and_pipes_are_refused() {
    let file = File::new();
    let link = file.path.with_file_name("link");
    std::os::unix::fs::symlink(&file.path, &link).unwrap();
    let mut tail = Tail::default();
    assert!(tail.read(&link).is_err());
    assert!(tail.read(file.path.parent().unwrap()).is_err());
    assert!(tail.read(Path::new("/dev/null")).is_err());
}

proptest::proptest! {
    #[test]
    fn rubbish_of_any_shape_never_panics(pieces in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), 0..8)) {
        let (file, mut tail) = (File::new(), Tail::default());
        for piece in &pieces {
            file.append(piece);
            read_all(&mut tail, &file);
        }
    }
}
