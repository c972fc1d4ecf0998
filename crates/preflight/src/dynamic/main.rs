//! The dynamic half: one step in a process of its own, which may crash or hang and is then replaced by words. It is
//! started by the static half only, in the image's libc and with the pod's preloads, as Ollama's processes are.
#![expect(unsafe_code, reason = "libraries are opened and called by name: that is what this program is for")]

mod backend;
mod driver;
mod library;
mod nvml;
mod out;

use firstlight_contract::preflight::{Finding, Outcome, Probe};
use firstlight_preflight::wire::step;
use out::Out;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (word, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let Ok(mut out) = Out::new() else { return ExitCode::from(2) };
    match word.as_str() {
        step::LIBC => say_libc(&mut out),
        step::LOAD => backend::load(&mut out, &path),
        step::NVML => nvml::probe(&mut out),
        step::DRIVER => driver::probe(&mut out),
        step::RUNTIME => backend::count(&mut out, &path),
        _ => return ExitCode::from(2),
    }
    out.end()
}

fn say_libc(out: &mut Out) {
    out.begin(Probe::Libc, "glibc");
    out.found(Finding::new(Probe::Libc, Outcome::Ok).on("glibc").saying(version()));
}

#[cfg(target_env = "gnu")]
fn version() -> String {
    // SAFETY: it takes nothing and returns a string of the library's, which lives as long as the process.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: the string ends with a zero and nobody changes it.
    unsafe { std::ffi::CStr::from_ptr(version) }.to_string_lossy().into_owned()
}

#[cfg(not(target_env = "gnu"))]
fn version() -> String {
    String::new()
}
