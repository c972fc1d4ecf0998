//! The system calls that the shim makes, without libc: libc's wrappers write `errno`, and a preload object that
//! needs nothing of libc loads everywhere. x86-64 only (Linux `arch/x86/entry/syscalls/syscall_64.tbl`).
#![expect(unsafe_code, reason = "system calls")]

pub mod shared;

use core::arch::asm;

/// A system call's answer: a value, or the errno.
pub type Answer = Result<usize, i32>;

const READ: usize = 0;
const WRITE: usize = 1;
const OPEN: usize = 2;
const CLOSE: usize = 3;
const FSTAT: usize = 5;
const MMAP: usize = 9;
const ACCESS: usize = 21;
const MUNMAP: usize = 11;
const MADVISE: usize = 28;
const GETPID: usize = 39;
const FCNTL: usize = 72;
const READLINK: usize = 89;
const GETTID: usize = 186;
const CLOCK_GETTIME: usize = 228;
const PRLIMIT64: usize = 302;

/// `open(2)` flags (asm-generic/fcntl.h).
pub mod flags {
    /// Read.
    pub const READ: usize = 0;
    /// Append-only writing, closed on exec, no symbolic link, never a controlling terminal, never waiting for the
    /// reader of a pipe.
    pub const APPEND: usize = 0o1 | 0o2000 | 0o2_000_000 | 0o400_000 | 0o400 | 0o4000;
    /// Reading and writing, closed on exec, no symbolic link, never a controlling terminal, never waiting.
    pub const UPDATE: usize = 0o2 | 0o2_000_000 | 0o400_000 | 0o400 | 0o4000;
    /// Closed on exec.
    pub const CLOEXEC: usize = 0o2_000_000;
}

/// `ENOENT`.
pub const ENOENT: i32 = 2;
/// `ENAMETOOLONG`.
pub const ENAMETOOLONG: i32 = 36;

/// # Safety
/// The arguments must be what the system call expects; pointers among them must be valid for what it does.
#[expect(clippy::many_single_char_names, reason = "six arguments without a meaning of their own")]
unsafe fn call(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> Answer {
    let answer: isize;
    // SAFETY: the kernel clobbers rcx and r11 only; memory is touched as the caller promised.
    unsafe {
        asm!("syscall", inlateout("rax") number => answer, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    if (-4095..0).contains(&answer) {
        Err(i32::try_from(-answer).unwrap_or(i32::MAX))
    } else {
        Ok(answer.cast_unsigned())
    }
}

/// A path that ends with a NUL.
pub fn open(path: &[u8], flags: usize) -> Answer {
    if path.last() != Some(&0) {
        return Err(ENOENT);
    }
    // SAFETY: the path is a valid C string.
    unsafe { call(OPEN, path.as_ptr() as usize, flags, 0, 0, 0, 0) }
}

/// `close(2)`
pub fn close(descriptor: usize) {
    // SAFETY: no memory is involved; the descriptor is one that this object opened.
    let _ = unsafe { call(CLOSE, descriptor, 0, 0, 0, 0, 0) };
}

/// `read(2)`
pub fn read(descriptor: usize, into: &mut [u8]) -> Answer {
    // SAFETY: the buffer is valid for writes of its length.
    unsafe { call(READ, descriptor, into.as_mut_ptr() as usize, into.len(), 0, 0, 0) }
}

/// `write(2)`
pub fn write(descriptor: usize, bytes: &[u8]) -> Answer {
    // SAFETY: the buffer is valid for reads of its length.
    unsafe { call(WRITE, descriptor, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0) }
}

/// `fcntl(F_DUPFD_CLOEXEC, least)`: a copy of the descriptor with a number not below `least`.
pub fn duplicate(descriptor: usize, least: usize) -> Answer {
    const F_DUPFD_CLOEXEC: usize = 1030;
    // SAFETY: no memory is involved.
    unsafe { call(FCNTL, descriptor, F_DUPFD_CLOEXEC, least, 0, 0, 0) }
}

/// What `fstat(2)` tells of an open file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Number of the device that a device node stands for.
    pub special: u64,
    /// Size in bytes.
    pub size: u64,
}

/// `fstat(2)`; the layout is `struct stat` of `arch/x86/include/uapi/asm/stat.h`.
pub fn status(descriptor: usize) -> Result<Status, i32> {
    let mut words = [0u64; 18];
    // SAFETY: the buffer has the 144 bytes of the structure.
    unsafe { call(FSTAT, descriptor, words.as_mut_ptr() as usize, 0, 0, 0, 0) }?;
    let [device, inode, _, _, _, special, size, ..] = words;
    Ok(Status { device, inode, special, size })
}

/// What is at a path (NUL-terminated). Opens nothing: a device does not notice.
pub fn status_at(path: &[u8]) -> Result<Status, i32> {
    const O_PATH: usize = 0o10_000_000;
    let descriptor = open(path, O_PATH | flags::CLOEXEC)?;
    let status = status(descriptor);
    close(descriptor);
    status
}

/// `access(2)`: whether the file at a path (NUL-terminated) may be read and written by its permissions; the errno if not.
pub fn may_use(path: &[u8]) -> Result<(), i32> {
    const READ_WRITE: usize = 6;
    if path.last() != Some(&0) {
        return Err(ENOENT);
    }
    // SAFETY: the path is a valid C string.
    unsafe { call(ACCESS, path.as_ptr() as usize, READ_WRITE, 0, 0, 0, 0) }.map(drop)
}

/// `getpid(2)`
pub fn pid() -> u32 {
    // SAFETY: no argument.
    unsafe { call(GETPID, 0, 0, 0, 0, 0, 0) }.ok().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0)
}

/// `gettid(2)`
pub fn tid() -> u32 {
    // SAFETY: no argument.
    unsafe { call(GETTID, 0, 0, 0, 0, 0, 0) }.ok().and_then(|tid| u32::try_from(tid).ok()).unwrap_or(0)
}

/// A clock (uapi/linux/time.h).
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// Nanoseconds since the epoch.
    Realtime = 0,
    /// Nanoseconds since boot, a few milliseconds coarse, cheap.
    MonotonicCoarse = 6,
    /// Nanoseconds since boot, time in suspend included.
    Boottime = 7,
}

/// `clock_gettime(2)` in nanoseconds; 0 if the clock cannot be read.
pub fn now(clock: Clock) -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: the buffer has the 16 bytes of `struct timespec`.
    match unsafe { call(CLOCK_GETTIME, clock as usize, time.as_mut_ptr() as usize, 0, 0, 0, 0) } {
        Ok(_) => time[0].wrapping_mul(1_000_000_000).wrapping_add(time[1]),
        Err(_) => 0,
    }
}

/// The processor's time-stamp counter: no unit, but no system call either. A process that forbids itself this counter
/// (`PR_SET_TSC`) has no working `clock_gettime` in its vDSO.
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The soft limit on the size of files, bytes; writing beyond it kills the process by SIGXFSZ.
pub fn file_size_limit() -> u64 {
    const RLIMIT_FSIZE: usize = 1;
    let mut limits = [u64::MAX; 2];
    // SAFETY: the buffer has the 16 bytes of `struct rlimit64`.
    let _ = unsafe { call(PRLIMIT64, 0, RLIMIT_FSIZE, 0, limits.as_mut_ptr() as usize, 0, 0) };
    limits[0]
}

/// `readlink(2)`; the path ends with a NUL.
pub fn readlink<'a>(path: &[u8], into: &'a mut [u8]) -> &'a [u8] {
    if path.last() != Some(&0) {
        return &[];
    }
    // SAFETY: the path is a valid C string, the buffer valid for writes of its length.
    let answer =
        unsafe { call(READLINK, path.as_ptr() as usize, into.as_mut_ptr() as usize, into.len(), 0, 0, 0) };
    answer.ok().and_then(|length| into.get(..length)).unwrap_or(&[])
}

fn map(bytes: usize) -> Option<usize> {
    const READ_WRITE: usize = 3;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: a fresh private mapping touches nobody's memory.
    unsafe { call(MMAP, 0, bytes, READ_WRITE, PRIVATE_ANONYMOUS, usize::MAX, 0) }.ok()
}

/// Fresh zeroed memory that a forked child sees zeroed again; `None` if there is none. Never given back.
pub fn memory(bytes: usize) -> Option<*mut u8> {
    // Linux before 4.14 cannot promise that: then a child starts with its parent's counts.
    shared::forgetful(bytes).or_else(|| map(bytes).map(|start| start as *mut u8))
}

/// Zeroed memory for a moment.
#[derive(Debug)]
pub struct Memory {
    start: usize,
    length: usize,
}

impl Memory {
    /// This many bytes; `None` if there are none.
    pub fn new(length: usize) -> Option<Self> {
        map(length).map(|start| Self { start, length })
    }

    /// The bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is this object's alone.
        unsafe { core::slice::from_raw_parts_mut(self.start as *mut u8, self.length) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's alone, and nobody borrows it any more.
        let _ = unsafe { call(MUNMAP, self.start, self.length, 0, 0, 0, 0) };
    }
}
