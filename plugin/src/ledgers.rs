//! What containers hold of their quotas, read from their ledgers when somebody asks.
//!
//! A ledger belongs to the tenant as a record file does: it is read with pread and never mapped, opened without following
//! links, and must be a regular file. What a process held that is dead is not counted. `/proc/locks` tells who lives,
//! whatever the pid namespace: open-file-description locks have no pid there (linux, `fs/locks.c`, `locks_translate_pid`).

use crate::book::Id;
use crate::grants::Store;
use firstlight_contract::ledger::{self, HEADER_SIZE, Ledger, SIZE, SLOT_SIZE, SLOTS, TAKEN_AT};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, fstat, major, minor, open, statx};
use rustix::io::pread;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Longest list of locks that is read. Each lock is a line of 60 bytes, and a container may take any number of them.
const MAX_LOCKS: u64 = 4 << 20;

/// Bytes that the container of each grant uses, by the grant's devices; grants whose ledger cannot be read are missing.
pub type Used = BTreeMap<Id, Vec<u64>>;

/// What these grants use; with each its number of devices.
pub fn used(store: &Store, grants: impl IntoIterator<Item = (Id, usize)>) -> Used {
    let mut grants = grants.into_iter().peekable();
    if grants.peek().is_none() {
        return Used::new();
    }
    // Before the ledgers: who dies meanwhile is counted once more, and nobody is counted who has not begun.
    let locks = Locks::read().inspect_err(|error| {
        tracing::debug!(%error, "cannot tell who lives: memory of dead processes is counted, too");
    });
    let (locks, mut bytes) = (locks.ok(), vec![0; SIZE]);
    let one = |(id, devices): (Id, usize)| {
        let used = one(&store.ledger(&id), devices, locks.as_ref(), &mut bytes);
        let used = used.inspect_err(|error| tracing::debug!(grant = &*id, %error, "cannot read a ledger"));
        Some((id, used.ok()?))
    };
    grants.filter_map(one).collect()
}

fn one(path: &Path, devices: usize, locks: Option<&Locks>, bytes: &mut [u8]) -> io::Result<Vec<u64>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    let stat = fstat(&file)?;
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(wrong("it is no regular file"));
    }
    if u64::try_from(stat.st_size).unwrap_or(0) < SIZE as u64 {
        return Err(wrong("it has been cut off"));
    }
    bytes.fill(0);
    let (head, slots) = bytes.split_at_mut(HEADER_SIZE);
    pread(&file, &mut *head, 0)?;
    let taken = head.get(TAKEN_AT..).and_then(<[u8]>::first_chunk::<4>).map_or(0, |n| u32::from_le_bytes(*n));
    let taken = SLOTS.min(taken as usize);
    pread(&file, slots.get_mut(..taken * SLOT_SIZE).unwrap_or_default(), HEADER_SIZE as u64)?;
    let mut found = Ledger::read(bytes).ok_or_else(|| wrong("it is no ledger of this version"))?;
    if let Some(locks) = locks {
        let (file_system, lines) = locks.of(path, stat.st_dev, stat.st_ino);
        found = found.without_dead(&ledger::held(lines, file_system, stat.st_ino));
    }
    Ok((0..devices).map(|device| found.used_bytes(device)).collect())
}

/// The node's locks by file, as `/proc/locks` names it.
#[derive(Debug, Default)]
struct Locks {
    by_file: HashMap<String, String>,
    /// Major and minor number of each mount's file system.
    mounts: HashMap<u64, (u32, u32)>,
}

impl Locks {
    fn read() -> io::Result<Self> {
        let mut text = String::new();
        let length = File::open("/proc/locks")?.take(MAX_LOCKS).read_to_string(&mut text)?;
        if length as u64 >= MAX_LOCKS {
            return Err(io::Error::other(format!("/proc/locks is longer than {MAX_LOCKS} bytes")));
        }
        Ok(Self::parse(&text, &std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()))
    }

    fn parse(locks: &str, mounts: &str) -> Self {
        let mut all = Self::default();
        for line in locks.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("OFDLCK"), Some(file)) = (words.nth(1), words.nth(3)) {
                let lines = all.by_file.entry(file.to_owned()).or_default();
                lines.push_str(line);
                lines.push('\n');
            }
        }
        // proc_pid_mountinfo(5): id, id of the parent, major:minor.
        all.mounts = mounts
            .lines()
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let id = words.next()?.parse().ok()?;
                let (major, minor) = words.nth(1)?.split_once(':')?;
                Some((id, (major.parse().ok()?, minor.parse().ok()?)))
            })
            .collect();
        all
    }

    /// The locks of a file, and how they name its file system: by the device that its mount tells. On btrfs `stat` tells
    /// another one, that of the subvolume.
    fn of(&self, path: &Path, device: u64, inode: u64) -> ((u32, u32), &str) {
        let mount = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID).ok();
        let told = mount.and_then(|found| self.mounts.get(&found.stx_mnt_id));
        let (major, minor) = told.copied().unwrap_or((major(device), minor(device)));
        let name = format!("{major:02x}:{minor:02x}:{inode}");
        ((major, minor), self.by_file.get(&name).map_or("", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::ledger::{UNIT, Word, lock_byte};
    use rustix::fs::makedev;
    use std::os::unix::fs::MetadataExt as _;

    /// A ledger in which two processes have held memory of device 0.
    fn ledger() -> Vec<u8> {
        let mut bytes = ledger::blank();
        bytes[TAKEN_AT] = 2;
        for (slot, used) in [(0usize, 3u32), (1, 5)] {
            let at = usize::try_from(lock_byte(slot)).unwrap() + ledger::WORDS_AT;
            bytes[at..at + 8].copy_from_slice(&Word { reserved: 8, used }.pack().to_le_bytes());
        }
        bytes
    }

    fn put(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn read(path: &Path, locks: Option<&Locks>) -> io::Result<Vec<u64>> {
        one(path, 2, locks, &mut vec![7; SIZE])
    }

    /// A line of `/proc/locks` about this slot of a file, and the mounts of this process.
    fn locks(path: &Path, slot: usize) -> Locks {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let meta = path.metadata().unwrap();
        let ((major, minor), _) = Locks::parse("", &mounts).of(path, meta.dev(), meta.ino());
        let (at, inode) = (lock_byte(slot), meta.ino());
        let line =
            format!("1: OFDLCK ADVISORY  WRITE -1 {major:02x}:{minor:02x}:{inode} {at} {at}\n2: POSIX x\n");
        Locks::parse(&line, &mounts)
    }

    #[test]
    fn only_what_the_living_use_is_counted() {
        let (_folder, path) = put(&ledger());
        assert_eq!(read(&path, Some(&locks(&path, 0))).unwrap(), [3 * UNIT, 0]);
        assert_eq!(read(&path, Some(&locks(&path, 1))).unwrap(), [5 * UNIT, 0]);
        assert_eq!(read(&path, Some(&Locks::default())).unwrap(), [0, 0]);
        assert_eq!(read(&path, None).unwrap(), [8 * UNIT, 0], "nobody tells who lives");
    }

    #[test]
    fn the_mount_tells_the_file_system_where_stat_tells_another() {
        let (_folder, path) = put(b"");
        let mount = statx(CWD, &path, AtFlags::empty(), StatxFlags::MNT_ID).unwrap().stx_mnt_id;
        let locks =
            Locks::parse("1: OFDLCK ADVISORY  WRITE -1 00:2b:7 0 0\n", &format!("{mount} 1 0:43 / / rw"));
        let (name, lines) = locks.of(&path, makedev(9, 9), 7);
        assert_eq!((name, lines.is_empty()), ((0, 0x2b), false));
        assert_eq!(Locks::default().of(&path, makedev(9, 8), 7).0, (9, 8));
    }

    #[test]
    fn a_ledger_that_is_none_is_told_and_never_followed() {
        let (folder, path) = put(&ledger()[..SIZE - 1]);
        assert!(read(&path, None).unwrap_err().to_string().contains("cut off"));
        std::fs::write(&path, vec![b'x'; SIZE]).unwrap();
        assert!(read(&path, None).unwrap_err().to_string().contains("no ledger of this version"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link, None).is_err());
        assert!(read(folder.path(), None).unwrap_err().to_string().contains("no regular file"));
    }

    #[test]
    fn grants_without_a_ledger_are_missing_and_the_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned(), folder.path().to_owned());
        let id = "a".repeat(32);
        std::fs::create_dir(folder.path().join(&id)).unwrap();
        std::fs::write(store.ledger(&id), ledger()).unwrap();
        let found = used(&store, [(Id::from(id.as_str()), 1), (Id::from("gone"), 1)]);
        assert_eq!(found, Used::from([(Id::from(id.as_str()), vec![0])]), "nobody holds its lock");
    }
}
