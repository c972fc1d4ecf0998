//! Writes records: numbered without gaps, several in one `write(2)`, never on a descriptor that a host might take
//! for its own, never beyond its file size limit. Whatever fails, fails in silence: CUDA goes on.
#![expect(unsafe_code, reason = "one buffer shared between threads under a try-lock")]

use crate::sys::{self, Clock};
use core::cell::UnsafeCell;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst,
};
use firstlight_contract::record::{Caller, Kind, MAX_ENCODED, NO_FUNCTION, Record};

/// Longest path that is kept, with its NUL.
const MAX_PATH: usize = 256;
/// Bytes of records that may wait for the next record that is written.
const MAX_PENDING: usize = 8192;
/// How often the lock is tried: some 100 microseconds, a few times as long as a record takes to write.
const SPINS: u32 = 4096;
/// Lowest descriptor that is written to: 0–2 are the host's, open or not.
const LEAST_DESCRIPTOR: usize = 3;

/// What a record says, beyond what the recorder adds itself (time, process, number).
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    /// Kind.
    pub kind: Kind,
    /// Function id, or [`NO_FUNCTION`].
    pub function: u16,
    /// Who called.
    pub caller: Caller,
    /// Result.
    pub result: i32,
    /// First argument.
    pub arg0: u64,
    /// Second argument.
    pub arg1: u64,
    /// Text.
    pub text: &'a [u8],
}

impl<'a> Note<'a> {
    /// A note about no function.
    pub const fn new(kind: Kind, text: &'a [u8]) -> Self {
        Self { kind, function: NO_FUNCTION, caller: Caller::Unknown, result: 0, arg0: 0, arg1: 0, text }
    }
}

/// The recorder of this process.
pub struct Recorder {
    active: AtomicBool,
    path: UnsafeCell<[u8; MAX_PATH]>,
    path_length: AtomicUsize,
    pid: AtomicU32,
    process: AtomicU64,
    sequence: AtomicU32,
    locked: AtomicBool,
    pending: UnsafeCell<[u8; MAX_PENDING]>,
    pending_length: AtomicUsize,
}

// SAFETY: `path` is written once, before `active` is set; `pending` only while `locked` is held.
unsafe impl Sync for Recorder {}

/// The one recorder.
pub static RECORDER: Recorder = Recorder {
    active: AtomicBool::new(false),
    path: UnsafeCell::new([0; MAX_PATH]),
    path_length: AtomicUsize::new(0),
    pid: AtomicU32::new(0),
    process: AtomicU64::new(0),
    sequence: AtomicU32::new(0),
    locked: AtomicBool::new(false),
    pending: UnsafeCell::new([0; MAX_PENDING]),
    pending_length: AtomicUsize::new(0),
};

impl Recorder {
    /// Writes the first record into an open file, and from then on records go to the file at its path. Called
    /// once, while the process has one thread.
    pub fn write_first(&self, note: &Note<'_>, file: File) {
        if self.active.load(SeqCst) {
            file.close();
            return;
        }
        // SAFETY: nobody reads the path before `active` is set below.
        let kept = unsafe { &mut *self.path.get() };
        for (to, from) in kept.iter_mut().zip(file.path()) {
            *to = *from;
        }
        self.path_length.store(file.path().len(), SeqCst);
        self.pid.store(sys::pid(), SeqCst);
        self.process.store(sys::now(Clock::Boottime), SeqCst);
        let mut encoded = [0; MAX_ENCODED];
        file.append(self.number(note).encode(note.text, &mut encoded));
        file.close();
        self.active.store(true, SeqCst);
    }

    /// Whether anything is recorded.
    pub fn is_active(&self) -> bool {
        self.active.load(Relaxed)
    }

    /// Writes a record now, and before it what waited.
    pub fn write(&self, note: &Note<'_>) {
        self.take(note, true);
    }

    /// Keeps a record until the next one is written. Only for what is of no use alone: a process may be killed
    /// in between.
    pub fn defer(&self, note: &Note<'_>) {
        self.take(note, false);
    }

    fn take(&self, note: &Note<'_>, now: bool) {
        if !self.is_active() {
            return;
        }
        self.follow_fork();
        let mut encoded = [0; MAX_ENCODED];
        if !self.lock() {
            // Held for long: its thread may be gone. The numbers tell the order.
            self.append(self.number(note).encode(note.text, &mut encoded));
            return;
        }
        let bytes = self.number(note).encode(note.text, &mut encoded);
        // SAFETY: the lock is held.
        let pending = unsafe { &mut *self.pending.get() };
        let mut used = self.pending_length.load(Relaxed);
        if used == 0 && now {
            self.append(bytes);
            self.locked.store(false, SeqCst);
            return;
        }
        if used + bytes.len() > MAX_PENDING {
            self.append(pending.get(..used).unwrap_or(&[]));
            used = 0;
        }
        for (to, from) in pending.iter_mut().skip(used).zip(bytes) {
            *to = *from;
        }
        used += bytes.len();
        if now {
            self.append(pending.get(..used).unwrap_or(&[]));
            used = 0;
        }
        self.pending_length.store(used, Relaxed);
        self.locked.store(false, SeqCst);
    }

    /// Waits a moment for the lock, and no longer: the thread that holds it may have been killed by a signal
    /// handler's longjmp, or this may be a handler on that very thread.
    fn lock(&self) -> bool {
        (0..SPINS).any(|_| {
            core::hint::spin_loop();
            !self.locked.load(Relaxed) && !self.locked.swap(true, SeqCst)
        })
    }

    /// Writes what waits, when the process ends.
    pub fn finish(&self) {
        let waits = self.is_active() && self.pending_length.load(Relaxed) > 0;
        if waits && self.pid.load(Relaxed) == sys::pid() && self.lock() {
            // SAFETY: the lock is held.
            let pending = unsafe { &*self.pending.get() };
            let used = self.pending_length.swap(0, Relaxed);
            if used > 0 {
                self.append(pending.get(..used).unwrap_or(&[]));
            }
            self.locked.store(false, SeqCst);
        }
    }

    /// A forked child begins a chain of its own; what waited belongs to its parent.
    fn follow_fork(&self) {
        let pid = sys::pid();
        let parent = self.pid.load(Relaxed);
        if pid == parent || self.pid.compare_exchange(parent, pid, SeqCst, SeqCst).is_err() {
            return;
        }
        self.process.store(sys::now(Clock::Boottime), SeqCst);
        self.sequence.store(0, SeqCst);
        self.pending_length.store(0, SeqCst);
        self.locked.store(false, SeqCst);
        let note = Note { arg0: u64::from(parent), ..Note::new(Kind::Forked, b"") };
        let mut encoded = [0; MAX_ENCODED];
        self.append(self.number(&note).encode(b"", &mut encoded));
    }

    fn number(&self, note: &Note<'_>) -> Record {
        Record {
            kind: note.kind,
            time_ns: sys::now(Clock::Realtime),
            pid: self.pid.load(Relaxed),
            tid: sys::tid(),
            process: self.process.load(Relaxed),
            sequence: self.sequence.fetch_add(1, SeqCst),
            function: note.function,
            caller: note.caller,
            result: note.result,
            arg0: note.arg0,
            arg1: note.arg1,
        }
    }

    fn append(&self, bytes: &[u8]) {
        // SAFETY: the path is not written any more once the recorder is active.
        let path = unsafe { &*self.path.get() };
        let Some(path) = path.get(..self.path_length.load(Relaxed)) else { return };
        if let Ok(file) = File::open(path) {
            file.append(bytes);
            file.close();
        }
    }
}

impl core::fmt::Debug for Recorder {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("Recorder")
    }
}

/// A record file, open for a moment: a host that closes all descriptors must not find our bytes in a file of its own.
#[derive(Debug)]
pub struct File {
    descriptor: usize,
    path: [u8; MAX_PATH],
    length: usize,
}

impl File {
    /// Opens the file at a path (NUL-terminated) on a descriptor that no host expects to be its own.
    pub fn open(path: &[u8]) -> Result<Self, i32> {
        let mut kept = [0; MAX_PATH];
        let Some(slot) = kept.get_mut(..path.len()) else { return Err(sys::ENAMETOOLONG) };
        for (to, from) in slot.iter_mut().zip(path) {
            *to = *from;
        }
        let low = sys::open(path, sys::flags::APPEND)?;
        if low >= LEAST_DESCRIPTOR {
            return Ok(Self { descriptor: low, path: kept, length: path.len() });
        }
        let higher = sys::duplicate(low, LEAST_DESCRIPTOR);
        sys::close(low);
        higher.map(|descriptor| Self { descriptor, path: kept, length: path.len() })
    }

    fn path(&self) -> &[u8] {
        self.path.get(..self.length).unwrap_or(&[])
    }

    fn append(&self, bytes: &[u8]) {
        let limit = sys::file_size_limit();
        let fits = limit == u64::MAX
            || sys::status(self.descriptor)
                .is_ok_and(|status| status.size.saturating_add(bytes.len() as u64) <= limit);
        if fits {
            // Full or read-only: CUDA goes on.
            let _ = sys::write(self.descriptor, bytes);
        }
    }

    fn close(self) {
        sys::close(self.descriptor);
    }
}
