//! A GPU backend, loaded as Ollama's `llama-server` does; and the runtime beside it, asked for devices.

use crate::library::{Library, Wrong, functions};
use crate::out::Out;
use firstlight_contract::preflight::{Finding, Outcome, Probe};
use firstlight_preflight::steps::loader_words;
use std::ffi::{CStr, c_char};

/// What ggml looks up in a backend and cannot do without (`ggml-backend-reg.cpp`).
const ENTRY: &CStr = c"ggml_backend_init";

functions! {
    cudaGetDeviceCount(count: &mut i32);
}

/// Loads it. Nothing in it is called: what it would do first is [`count`].
pub(crate) fn load(out: &mut Out, path: &str) {
    out.begin(Probe::Load, path);
    let finding = |outcome| Finding::new(Probe::Load, outcome).on(path);
    out.found(match Library::open(path) {
        Ok(library) if library.find(ENTRY).is_some() => finding(Outcome::Ok),
        Ok(_) => finding(Outcome::Failed).saying(format!("no function {}", ENTRY.to_string_lossy())),
        Err(words) => finding(Outcome::Failed).saying(loader_words(path, &words)),
    });
}

/// The runtime's first question to the driver, with all that it asks before it.
pub(crate) fn count(out: &mut Out, path: &str) {
    out.begin(Probe::RuntimeCount, path);
    let finding = |outcome| Finding::new(Probe::RuntimeCount, outcome).on(path);
    let library = match Library::open(path) {
        Ok(library) => library,
        Err(words) => return out.found(finding(Outcome::Failed).saying(loader_words(path, &words))),
    };
    let mut devices = 0;
    out.found(match cudaGetDeviceCount(library, &mut devices) {
        Ok(()) => finding(Outcome::Ok).saying(devices.to_string()),
        Err(Wrong::Absent(name)) => finding(Outcome::Failed).saying(format!("no function {name}")),
        Err(Wrong::Code(_, code)) => finding(Outcome::Code(code)).saying(error_text(library, code)),
    });
}

fn error_text(library: Library, code: u32) -> String {
    type Function = unsafe extern "C" fn(u32) -> *const c_char;
    let Some(address) = library.find(c"cudaGetErrorString") else { return String::new() };
    // SAFETY: cuda_runtime_api.h: `const char *cudaGetErrorString(cudaError_t)`, an enum of 32 bits.
    let function = unsafe { std::mem::transmute::<*mut std::ffi::c_void, Function>(address.as_ptr()) };
    // SAFETY: it takes any code.
    let text = unsafe { function(code) };
    if text.is_null() {
        return String::new();
    }
    // SAFETY: a string of the runtime's, which ends with a zero and is never freed.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
