//! 256 threads in each of 16 processes at the edge of one quota, for a minute:
//! `cargo run --release -p firstlight-shim --example race [SECONDS]`. Ends with 1 if the quota was exceeded by a byte, or if
//! something was refused for which there was room.
//!
//! Half of the time threads take and give at random, more than the quota together: what is granted, counted in a page that
//! all share, must never exceed it. In the other half each takes its part of a quota that is just large enough for all, again
//! and again: not one may be refused.
#![expect(clippy::print_stdout, reason = "a report")]
#![expect(unsafe_code, reason = "a page that processes share")]

use firstlight_contract::ledger::{SIZE, UNIT, header};
use firstlight_shim::quota::{Budget as _, Cause, Quota};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

const PROCESSES: u64 = 16;
const THREADS: u64 = 256;
const LIMIT: u64 = PROCESSES * THREADS * PART;
const PART: u64 = 64 * UNIT;
const USUAL_SECONDS: u64 = 60;

/// What the processes count together.
#[repr(C)]
struct Page {
    /// Bytes that are granted now.
    granted: AtomicU64,
    /// Most bytes that were granted at a time.
    most: AtomicU64,
    charges: AtomicU64,
    refused: AtomicU64,
    /// Refused although there was room, or granted although there was none.
    wrong: AtomicU64,
    /// Processes that wait for the others.
    waiting: AtomicU64,
    rounds: AtomicU64,
    /// Whether the last round has begun.
    over: AtomicU64,
}

fn main() -> Result<ExitCode, Failure> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, folder, seconds] = words.as_slice()
        && word == "member"
    {
        return member(Path::new(folder), Duration::from_secs(seconds.parse()?)).map(|()| ExitCode::SUCCESS);
    }
    let seconds = words.get(1).map_or(Ok(USUAL_SECONDS), |word| word.parse())?;
    let folder = tempfile::tempdir()?;
    let mut bytes = header().to_vec();
    bytes.resize(SIZE, 0);
    std::fs::write(folder.path().join("ledger"), bytes)?;
    std::fs::write(folder.path().join("page"), [0; 4096])?;
    let page = page(folder.path())?;
    let start = || {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("member").arg(folder.path()).arg(seconds.to_string()).spawn()
    };
    let members = (0..PROCESSES).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
    let mut ended_well = true;
    for mut member in members {
        ended_well &= member.wait()?.success();
    }
    let [most, charges, refused, wrong, rounds] =
        [&page.most, &page.charges, &page.refused, &page.wrong, &page.rounds].map(|word| word.load(SeqCst));
    let rounds = rounds / PROCESSES;
    println!(
        "{THREADS} threads × {PROCESSES} processes, {seconds} s   {charges} charges, {refused} refused, at most {} bytes \
         below the quota; {rounds} rounds of an exact fit   {}",
        LIMIT.saturating_sub(most),
        if wrong == 0 && ended_well { "ok" } else { "MISSED" }
    );
    let met = ended_well && wrong == 0 && most <= LIMIT && rounds > 0 && charges > 0;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn page(folder: &Path) -> Result<&'static Page, Failure> {
    let file = std::fs::File::options().read(true).write(true).open(folder.join("page"))?;
    let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd());
    // SAFETY: a new mapping of a file that has a page.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED, fd, 0) };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: aligned, never unmapped, and all who have it use atomic numbers.
    Ok(unsafe { &*start.cast::<Page>() })
}

fn member(folder: &Path, time: Duration) -> Result<(), Failure> {
    let (quota, page) = (Quota::new(), page(folder)?);
    let path: Vec<u8> = folder.join("ledger").as_os_str().as_bytes().iter().copied().chain([0]).collect();
    quota.join(&path, &[LIMIT], 1).map_err(|failure| format!("{failure:?}"))?;
    let (half, end) = (Instant::now() + time / 2, Instant::now() + time);
    let together = Barrier::new(usize::try_from(THREADS)?);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (quota, together) = (&quota, &together);
            scope.spawn(move || {
                at_random(quota, page, thread, half);
                exactly(quota, page, together, thread == 0, end);
            });
        }
    });
    Ok(())
}

fn at_random(quota: &Quota, page: &Page, thread: u64, end: Instant) {
    let mut random = u64::from(std::process::id()) << 16 | thread;
    let mut held = Vec::new();
    while Instant::now() < end {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Together they would like to have some three times the quota.
        match quota.charge(0, ((random >> 33) % (2 * PART)).max(1)) {
            Ok(charge) => {
                let now = page.granted.fetch_add(charge.bytes(), SeqCst) + charge.bytes();
                page.most.fetch_max(now, SeqCst);
                page.wrong.fetch_add(u64::from(now > LIMIT), SeqCst);
                page.charges.fetch_add(1, SeqCst);
                held.push(charge);
            }
            Err(refused) => {
                page.refused.fetch_add(1, SeqCst);
                page.wrong.fetch_add(u64::from(refused.cause != Cause::Full), SeqCst);
            }
        }
        if (held.len() > 4 || random >> 62 == 0)
            && let Some(charge) = held.pop()
        {
            page.granted.fetch_sub(charge.bytes(), SeqCst);
            quota.release(charge);
        }
    }
    for charge in held {
        page.granted.fetch_sub(charge.bytes(), SeqCst);
        quota.release(charge);
    }
}

/// All threads of all processes take their part at the same time, and give it back when all have it.
fn exactly(quota: &Quota, page: &Page, together: &Barrier, leads: bool, end: Instant) {
    loop {
        meet(page, together, leads);
        let over = Instant::now() >= end;
        let charge = quota.charge(0, PART);
        page.wrong.fetch_add(u64::from(charge.is_err()), SeqCst);
        page.charges.fetch_add(1, SeqCst);
        if let Ok(charge) = charge {
            meet(page, together, leads);
            quota.release(charge);
        } else {
            meet(page, together, leads);
        }
        // All leave after the same round: whoever came to it early sees that it is the last, too.
        page.over.fetch_or(u64::from(over), SeqCst);
        page.rounds.fetch_add(u64::from(leads), SeqCst);
        meet(page, together, leads);
        if page.over.load(SeqCst) == 1 {
            break;
        }
    }
}

/// Waits for all threads of all processes.
fn meet(page: &Page, together: &Barrier, leads: bool) {
    together.wait();
    if leads {
        let arrived = page.waiting.fetch_add(1, SeqCst) + 1;
        let all = arrived.div_ceil(PROCESSES) * PROCESSES;
        while page.waiting.load(SeqCst) < all {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    together.wait();
}
