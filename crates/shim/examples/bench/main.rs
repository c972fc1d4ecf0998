//! What the shim costs: each figure is the difference to the same thing without it, measured side by side in one run.
//!
//! `cargo run --release -p firstlight-shim --example bench` builds the artefacts and prints a table; it ends with 1
//! if a bar is missed. Needs gcc. `FIRSTLIGHT_SHIM_DIR` names artefacts that are built already.
//! `FIRSTLIGHT_DRIVER_DIR` names the folder of the driver behind the shim, the simulator's `libcuda.so.1`; for the
//! last figure `FIRSTLIGHT_CUDART` names NVIDIA's `libcudart.so.*`. What cannot be measured for want of them is left
//! out, and the table says so.
#![expect(unsafe_code, reason = "dlopen, and calls through what it finds")]
#![expect(clippy::print_stdout, reason = "a report")]

mod calls;
mod quota;

use std::ffi::{CString, OsStr, c_void};
use std::io::{Error, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

/// Processes started for each side.
const STARTS: usize = 1500;
/// Processes that bring the runtime up, for each side.
const RUNTIMES: usize = 60;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().collect();
    let result = match words.get(1).map(String::as_str) {
        Some("calls") => words.get(2).map_or_else(
            || Err("no driver named".into()),
            |path| calls::calls(Path::new(path), words.len() > 3),
        ),
        Some("quota") => {
            words.get(2).map_or_else(|| Err("no driver named".into()), |path| quota::quota(Path::new(path)))
        }
        Some("launch") => {
            words.get(2).map_or_else(|| Err("no driver named".into()), |path| quota::launch(Path::new(path)))
        }
        Some("runtime") => {
            words.get(2).map_or_else(|| Err("no runtime named".into()), |path| runtime(Path::new(path)))
        }
        Some("starts") => match words.get(2..) {
            Some([empty, shim]) => over_empty(Path::new(empty), Path::new(shim))
                .map(|added| line("the same with a start record", added, 25.0, "µs")),
            _ => Err("two preloads must be named".into()),
        },
        _ => report(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("the benchmark could not run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line of the table; whether the bar was met.
fn line(what: &str, value: f64, bar: f64, unit: &str) -> bool {
    let met = value <= bar;
    let verdict = match met {
        _ if bar.is_infinite() => String::new(),
        true => format!("bar {bar:>6.1} {unit}   ok"),
        false => format!("bar {bar:>6.1} {unit}   MISSED"),
    };
    println!("{what:<58} {value:>8.2} {unit}   {verdict}");
    met
}

fn report() -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let place = folder.path();
    let artefacts = artefacts(place)?;
    let shim = artefacts.join("libcuda.so.1");
    let driver = compile(
        include_str!("../../bench/driver.c"),
        &place.join("driver.so"),
        &["-shared", "-fPIC", "-Wl,-Bsymbolic"],
    )?;
    let empty =
        compile(include_str!("../../bench/empty.c"), &place.join("empty.so"), &["-shared", "-nostdlib"])?;
    // Copied the same way, because the layout in the page cache alone makes a difference of microseconds.
    let (shim, empty) = (copy(&shim, &place.join("shim.so.1"))?, copy(&empty, &place.join("empty.so.1"))?);
    // A part of this program behind the shim.
    let behind = |grant: PathBuf, words: &[&str]| -> Result<bool, Failure> {
        let mut program = Command::new(std::env::current_exe()?);
        program.args(words).env("LD_PRELOAD", &shim).env("FIRSTLIGHT_GRANT", grant);
        Ok(program.status()?.success())
    };
    let nothing = driver.to_str().ok_or("a temporary folder whose name is no text")?;
    println!("added to a driver that does nothing, for the order of magnitude:");
    behind(grant(place, &driver)?, &["calls", nothing])?;
    let simulator = std::env::var("FIRSTLIGHT_DRIVER_DIR").map(|folder| format!("{folder}/libcuda.so.1"));
    let mut met = true;
    if let Ok(driver) = &simulator {
        println!("added to {driver}:");
        met &= behind(grant(place, Path::new(driver))?, &["calls", driver, "barred"])?;
    } else {
        println!("added to a driver: left out (FIRSTLIGHT_DRIVER_DIR is not set)");
    }

    println!("added by a quota, in front of a driver that does nothing:");
    met &= behind(limited(place, &driver)?, &["quota", nothing])?;
    if let Ok(driver) = &simulator {
        println!("the same in front of {driver}:");
        met &= behind(limited(place, Path::new(driver))?, &["launch", driver])?;
    }

    let plain = over_empty(&empty, &shim)?;
    met &= line("start of /bin/true over an empty preload", plain, 12.0, "µs");
    met &= recorded_start(&empty, &shim)?;
    met &= runtimes(place, &shim)?;
    Ok(met)
}

/// Microseconds that /bin/true takes longer with the shim than with an empty preload.
fn over_empty(empty: &Path, shim: &Path) -> Result<f64, Failure> {
    let start = |preload: &Path| -> Result<Duration, Failure> {
        let mut command = Command::new("/bin/true");
        command.env_clear().env("LD_PRELOAD", preload);
        let begin = Instant::now();
        command.status()?;
        Ok(begin.elapsed())
    };
    let mut differences = Vec::new();
    for _ in 0..STARTS {
        let base = start(empty)?;
        differences.push(difference(start(shim)?, base));
    }
    Ok(median(&mut differences) / 1e3)
}

/// The same where a record file stands at its place in the container: in a mount namespace with a /run of its own.
fn recorded_start(empty: &Path, shim: &Path) -> Result<bool, Failure> {
    let script =
        "mount -t tmpfs none /run && mkdir /run/firstlight && : >/run/firstlight/records && exec \"$@\"";
    let mut inside = Command::new("unshare");
    inside
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe()?)
        .arg("starts")
        .args([empty, shim]);
    let met = inside.status().is_ok_and(|status| status.success());
    if !met {
        println!("(no line for the start record above: it needs the right to make a mount namespace)");
    }
    Ok(met)
}

/// `cudaGetDeviceCount` of the real runtime, with the driver directly and behind the shim.
fn runtimes(place: &Path, shim: &Path) -> Result<bool, Failure> {
    let (Some(runtime), Some(drivers)) =
        (std::env::var_os("FIRSTLIGHT_CUDART"), std::env::var_os("FIRSTLIGHT_DRIVER_DIR"))
    else {
        println!("cudaGetDeviceCount: left out (FIRSTLIGHT_CUDART and FIRSTLIGHT_DRIVER_DIR are not set)");
        return Ok(true);
    };
    let grant = grant(place, &Path::new(&drivers).join("libcuda.so.1"))?;
    let silent = place.join("grant-without-records");
    let text = std::fs::read_to_string(&grant)?;
    std::fs::write(&silent, text.replace("records=", "records=/nowhere"))?;
    let one = |variable: &str, value: &OsStr, grant: &Path| -> Result<f64, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        // The simulator reads its grant, whoever loads it.
        command.arg("runtime").arg(&runtime).env(variable, value).env("FIRSTLIGHT_GRANT", grant);
        let output = command.stderr(Stdio::inherit()).output()?;
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    };
    let (mut alone, mut added, mut unrecorded) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNTIMES {
        let base = one("LD_LIBRARY_PATH", &drivers, &grant)?;
        alone.push(base);
        added.push(one("LD_PRELOAD", shim.as_os_str(), &grant)? - base);
        unrecorded.push(one("LD_PRELOAD", shim.as_os_str(), &silent)? - base);
    }
    let said = |what, values: &mut [f64], bar| line(what, median(values) / 1e3, bar, "µs");
    said("cudaGetDeviceCount in a fresh process, without the shim", &mut alone, f64::INFINITY);
    said("added by the shim without a record file", &mut unrecorded, f64::INFINITY);
    Ok(said("added to cudaGetDeviceCount in a fresh process", &mut added, 100.0))
}

/// Prints how many nanoseconds the runtime's first call took.
fn runtime(path: &Path) -> Result<bool, Failure> {
    let count = symbol(open(path)?, "cudaGetDeviceCount")?;
    // SAFETY: cuda_runtime_api.h: `cudaError_t cudaGetDeviceCount(int *)`.
    let count = unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut i32) -> i32>(count) };
    let mut number = 0;
    let begin = Instant::now();
    // SAFETY: the out-pointer is valid.
    let code = unsafe { count(&raw mut number) };
    let took = begin.elapsed();
    if code != 0 {
        return Err(format!("cudaGetDeviceCount answered {code}").into());
    }
    println!("{}", took.as_nanos());
    Ok(true)
}

fn difference(late: Duration, early: Duration) -> f64 {
    (late.as_secs_f64() - early.as_secs_f64()) * 1e9
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn artefacts(place: &Path) -> Result<PathBuf, Failure> {
    if let Some(folder) = std::env::var_os("FIRSTLIGHT_SHIM_DIR") {
        return Ok(folder.into());
    }
    let folder = place.join("shim");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.sh");
    if !Command::new(script).arg(&folder).status()?.success() {
        return Err("crates/shim/build.sh failed".into());
    }
    Ok(folder)
}

fn compile(source: &str, output: &Path, flags: &[&str]) -> Result<PathBuf, Failure> {
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-x", "c", "-o"]).arg(output).arg("-").args(flags).stdin(Stdio::piped());
    let mut running = gcc.spawn()?;
    running.stdin.take().ok_or("gcc has no standard input")?.write_all(source.as_bytes())?;
    if !running.wait()?.success() {
        return Err(format!("gcc could not compile {}", output.display()).into());
    }
    Ok(output.into())
}

fn copy(from: &Path, to: &Path) -> Result<PathBuf, Failure> {
    if !Command::new("cp").arg(from).arg(to).status()?.success() {
        return Err(Error::other(format!("could not copy {}", from.display())).into());
    }
    Ok(to.into())
}

fn grant(place: &Path, driver: &Path) -> Result<PathBuf, Failure> {
    let (path, records) = (place.join("grant"), place.join("records"));
    std::fs::write(&records, "")?;
    let (driver, records) = (driver.display(), records.display());
    std::fs::write(
        &path,
        format!(
            "firstlight-grant=1\nid={:032}\npool=bench\nkind=custom\ndriver={driver}\nnvml=auto\nrecords={records}\n",
            0
        ),
    )?;
    Ok(path)
}

/// The same with a quota.
fn limited(place: &Path, driver: &Path) -> Result<PathBuf, Failure> {
    let (path, ledger) = (grant(place, driver)?, place.join("ledger"));
    let mut bytes = firstlight_contract::ledger::header().to_vec();
    bytes.resize(firstlight_contract::ledger::SIZE, 0);
    std::fs::write(&ledger, bytes)?;
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{text}ledger={}\nquota={}\n", ledger.display(), 8_u64 << 30))?;
    Ok(path)
}

fn open(path: &Path) -> Result<*mut c_void, Failure> {
    let name = CString::new(OsStr::as_bytes(path.as_os_str()))?;
    // SAFETY: a valid C string.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    if handle.is_null() { Err(format!("could not open {}", path.display()).into()) } else { Ok(handle) }
}

fn symbol(handle: *mut c_void, name: &str) -> Result<*mut c_void, Failure> {
    let symbol = CString::new(name)?;
    // SAFETY: an open library and a valid C string.
    let address = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
    if address.is_null() { Err(format!("no symbol {name}").into()) } else { Ok(address) }
}
