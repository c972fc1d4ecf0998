//! System calls about what threads and processes share: mapped files, locks on bytes of files, futexes, and memory that
//! a forked child must not believe.
#![expect(unsafe_code, reason = "system calls")]

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::SeqCst};

use super::{Answer, FCNTL, MADVISE, MMAP, MUNMAP, call};

const RT_SIGPROCMASK: usize = 14;
const FUTEX: usize = 202;

/// Maps the beginning of an open file for reading and writing. A forked child does not have the mapping: it would hold
/// the file open, and with it the locks, longer than its parent lives.
pub fn map_file(descriptor: usize, bytes: usize) -> Answer {
    const READ_WRITE: usize = 3;
    const MAP_SHARED: usize = 1;
    const MADV_DONTFORK: usize = 10;
    // SAFETY: a mapping where the kernel finds room touches nobody's memory.
    let start = unsafe { call(MMAP, 0, bytes, READ_WRITE, MAP_SHARED, descriptor, 0) }?;
    // SAFETY: the mapping was made here.
    if let Err(errno) = unsafe { call(MADVISE, start, bytes, MADV_DONTFORK, 0, 0, 0) } {
        // SAFETY: nobody knows of it yet.
        unsafe { unmap(start, bytes) };
        return Err(errno);
    }
    Ok(start)
}

/// Takes a mapping away.
///
/// # Safety
/// The caller made it, with this length, and nobody uses it any more.
pub unsafe fn unmap(start: usize, bytes: usize) {
    // SAFETY: as the caller promises.
    let _ = unsafe { call(MUNMAP, start, bytes, 0, 0, 0, 0) };
}

/// Fresh zeroed memory that a forked child sees zeroed again; `None` where there is none, or where the kernel cannot
/// promise that (Linux before 4.14).
pub fn forgetful(bytes: usize) -> Option<*mut u8> {
    const MADV_WIPEONFORK: usize = 18;
    let start = super::map(bytes)?;
    // SAFETY: the mapping was made here.
    if unsafe { call(MADVISE, start, bytes, MADV_WIPEONFORK, 0, 0, 0) }.is_err() {
        // SAFETY: nobody knows of it yet.
        unsafe { unmap(start, bytes) };
        return None;
    }
    Some(start as *mut u8)
}

/// The memory for so many objects at a place, mapped when it is first asked for; `None` if there is none. What is
/// mapped (by [`forgetful`] or the like) must be zeroed, begin on a page, and be valid as it is.
#[inline]
pub fn once<T>(
    place: &AtomicPtr<T>,
    count: usize,
    map: impl FnOnce(usize) -> Option<*mut u8>,
) -> Option<*mut T> {
    let present = place.load(SeqCst);
    if !present.is_null() {
        return Some(present);
    }
    let bytes = size_of::<T>().checked_mul(count)?;
    let fresh = map(bytes)?.cast::<T>();
    let Err(winner) = place.compare_exchange(null_mut(), fresh, SeqCst, SeqCst) else { return Some(fresh) };
    // SAFETY: another thread was first: nobody knows of this mapping.
    unsafe { unmap(fresh as usize, bytes) };
    Some(winner)
}

/// `struct flock` of `asm-generic/fcntl.h`, 64 bit.
#[repr(C)]
struct Flock {
    kind: i16,
    whence: i16,
    start: i64,
    length: i64,
    pid: i32,
}

const WRITE_LOCK: i16 = 1;
const NO_LOCK: i16 = 2;

/// One `fcntl` about the lock of one byte; the kind that the kernel left in the structure.
fn lock_call(descriptor: usize, command: usize, kind: i16, at: u64) -> Result<i16, i32> {
    let start = i64::try_from(at).unwrap_or(i64::MAX);
    let mut lock = Flock { kind, whence: 0, start, length: 1, pid: 0 };
    // SAFETY: the kernel reads and writes one structure.
    unsafe { call(FCNTL, descriptor, command, &raw mut lock as usize, 0, 0, 0) }?;
    Ok(lock.kind)
}

const F_OFD_GETLK: usize = 36;
const F_OFD_SETLK: usize = 37;

/// Locks one byte of an open file for its open file description, if nobody else holds it.
pub fn try_lock(descriptor: usize, at: u64) -> Result<bool, i32> {
    const EAGAIN: i32 = 11;
    const EACCES: i32 = 13;
    match lock_call(descriptor, F_OFD_SETLK, WRITE_LOCK, at) {
        Ok(_) => Ok(true),
        Err(EAGAIN | EACCES) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives such a lock back.
pub fn unlock(descriptor: usize, at: u64) {
    let _ = lock_call(descriptor, F_OFD_SETLK, NO_LOCK, at);
}

/// Whether another open file description holds a lock on this byte.
pub fn is_locked(descriptor: usize, at: u64) -> Result<bool, i32> {
    lock_call(descriptor, F_OFD_GETLK, WRITE_LOCK, at).map(|kind| kind != NO_LOCK)
}

/// Who may wait at a futex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Processes that map the same file.
    Shared = 0,
    /// Threads of this process.
    Private = 128,
}

/// Sleeps while a word has this value, until it is woken, or for so long. Whether the time ran out.
pub fn wait(word: *const u32, seen: u32, reach: Reach, nanoseconds: u32) -> bool {
    const ETIMEDOUT: i32 = 110;
    let time = [u64::from(nanoseconds / 1_000_000_000), u64::from(nanoseconds % 1_000_000_000)];
    // SAFETY: FUTEX_WAIT: the kernel reads the word, wherever it is, and the 16 bytes of `struct timespec`.
    let answer =
        unsafe { call(FUTEX, word as usize, reach as usize, seen as usize, time.as_ptr() as usize, 0, 0) };
    answer == Err(ETIMEDOUT)
}

/// Wakes one that sleeps at this word.
pub fn wake(word: *const u32, reach: Reach) {
    const FUTEX_WAKE: usize = 1;
    // SAFETY: the kernel takes the word for an address and touches no memory.
    let _ = unsafe { call(FUTEX, word as usize, FUTEX_WAKE | reach as usize, 1, 0, 0, 0) };
}

/// While this lives no signal handler runs on the calling thread: one might jump out of what must be finished. Signals
/// that the thread's own next instruction raises are not kept away.
#[derive(Debug)]
pub struct Undisturbed {
    before: u64,
}

impl Undisturbed {
    /// From now on.
    pub fn begin() -> Self {
        /// SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS.
        const OWN_FAULTS: u64 = 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 30;
        const SIG_BLOCK: usize = 0;
        let (all, mut before) = (!OWN_FAULTS, 0_u64);
        let (set, old) = (&raw const all as usize, &raw mut before as usize);
        // SAFETY: both are sets of the 8 bytes that are named.
        let answer = unsafe { call(RT_SIGPROCMASK, SIG_BLOCK, set, old, 8, 0, 0) };
        // Where the call fails nothing is blocked, and nothing must be unblocked.
        Self { before: if answer.is_ok() { before } else { u64::MAX } }
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        const SIG_SETMASK: usize = 2;
        if self.before != u64::MAX {
            // SAFETY: a set of the 8 bytes that are named.
            let _ = unsafe { call(RT_SIGPROCMASK, SIG_SETMASK, &raw const self.before as usize, 0, 8, 0, 0) };
        }
    }
}
