//! What counting costs an allocation and its free: `cargo run --release -p firstlight-shim --example quota`. Ends with
//! 1 if the bar is missed. A pair is a charge and an entry in the table, then the entry's end and a release.
#![expect(clippy::print_stdout, reason = "a report")]

use firstlight_contract::ledger::{SIZE, UNIT, header};
use firstlight_shim::quota::live::Live;
use firstlight_shim::quota::{Budget, Quota};
use std::hint::black_box;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::sync::Barrier;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

const LIMIT: u64 = 8 << 30;
const BYTES: u64 = 4096;
const BAR_NS: f64 = 60.0;
const PAIRS: u32 = 200_000;
const ROUNDS: usize = 21;

fn main() -> Result<ExitCode, Failure> {
    let mut met = true;
    for threads in [1, 2] {
        for live in [0, 10_000, 50_000] {
            let nanoseconds = measured(threads, live)?;
            met &= nanoseconds <= BAR_NS;
            let verdict = if nanoseconds <= BAR_NS { "ok" } else { "MISSED" };
            println!(
                "{threads} threads, {live:>6} live   {nanoseconds:>7.1} ns a pair   bar {BAR_NS} ns   {verdict}"
            );
        }
    }
    let quota = joined()?.0;
    for _ in 0..2 {
        let begin = Instant::now();
        for _ in 0..PAIRS {
            black_box(quota.used(0));
        }
        println!(
            "memory info, alone                {:>7.1} ns",
            begin.elapsed().as_secs_f64() * 1e9 / f64::from(PAIRS)
        );
        quota.charge_in(0, 0, BYTES).map_err(|refused| format!("{refused:?}"))?;
    }
    let (quota, ledger) = joined()?;
    let other = member(ledger.path().as_os_str().as_bytes())?;
    let begin = Instant::now();
    let rounds = 2000;
    for _ in 0..rounds {
        for member in [&quota, &other] {
            member.release(member.charge_in(0, 0, LIMIT).map_err(|refused| format!("{refused:?}"))?);
        }
    }
    println!(
        "a charge that trims another        {:>7.1} ns",
        begin.elapsed().as_secs_f64() * 1e9 / f64::from(rounds * 2)
    );
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn member(path: &[u8]) -> Result<Quota, Failure> {
    let quota = Quota::new();
    let path: Vec<u8> = path.iter().copied().chain([0]).collect();
    quota.join(&path, &[LIMIT], 1).map_err(|failure| format!("{failure:?}"))?;
    Ok(quota)
}

fn joined() -> Result<(Quota, tempfile::NamedTempFile), Failure> {
    let mut file = tempfile::NamedTempFile::new()?;
    let mut bytes = header().to_vec();
    bytes.resize(SIZE, 0);
    file.write_all(&bytes)?;
    Ok((member(file.path().as_os_str().as_bytes())?, file))
}

/// Nanoseconds of a pair, in the middle of all rounds of the slowest thread.
fn measured(threads: u64, live: u64) -> Result<f64, Failure> {
    let (quota, _file) = joined()?;
    let table = Live::new();
    let keep = |address: u64| -> bool {
        Budget::charge(&quota, 0, BYTES).is_ok_and(|charge| table.insert(address, charge).is_ok())
    };
    let base = 0x7000_0000_0000;
    if !(0..live).all(|index| keep(base + index * BYTES)) {
        return Err("the table could not be filled".into());
    }
    let barrier = Barrier::new(usize::try_from(threads)?);
    let run = |thread: u64| {
        let first = base + (1 << 40) * (thread + 1);
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                barrier.wait();
                let begin = Instant::now();
                for pair in 0..u64::from(PAIRS) {
                    // A driver gives the same few addresses again and again.
                    let address = black_box(first + pair % 64 * 2 * UNIT);
                    assert!(keep(address));
                    if let Some(charge) = table.remove(address) {
                        quota.release(charge);
                    }
                }
                begin.elapsed().as_secs_f64() * 1e9 / f64::from(PAIRS)
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        rounds.get(ROUNDS / 2).copied().unwrap_or(f64::INFINITY)
    };
    let run = &run;
    Ok(std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        all.into_iter().filter_map(|one| one.join().ok()).fold(0.0, f64::max)
    }))
}
