//! Versions, process names, and what there is none of.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, check, nvml, put, put_text};
use crate::entry::{hang, number};
use firstlight_contract::fault::Fault;
use firstlight_simulator::machine::Machine;
use firstlight_simulator::version::{CUDA_VERSION, DRIVER_VERSION, NVML_VERSION};
use std::ffi::c_char;

/// The version that the driver answers, a fault on order included.
fn cuda_version() -> i32 {
    let ordered = Machine::of_process().fault(|fault| match fault {
        Fault::DriverVersion(version) => i32::try_from(*version).ok(),
        _ => None,
    });
    ordered.unwrap_or(CUDA_VERSION)
}

/// The program of a process, as its command line names it.
fn program(pid: u32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = line.split(|byte| *byte == 0).next().filter(|first| !first.is_empty())?;
    Some(String::from_utf8_lossy(first).into_owned())
}

/// A text cut to what fits, on the boundary of a character.
fn cut(mut text: String, length: u32) -> String {
    let most = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(1);
    let boundary = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(boundary);
    text
}

fn none_of_them(out: *mut u32) -> Done {
    put(out, 0)
}

/// Works before `nvmlInit`.
#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetNVMLVersion(out: *mut c_char, length: u32) -> u32 {
    hang("nvmlSystemGetNVMLVersion");
    number(put_text(out, length, NVML_VERSION))
}

nvml! {
    fn nvmlSystemGetDriverVersion(out: *mut c_char, length: u32) {
        put_text(out, length, DRIVER_VERSION)
    }

    fn nvmlSystemGetCudaDriverVersion(out: *mut i32) {
        put(out, cuda_version())
    }

    fn nvmlSystemGetCudaDriverVersion_v2(out: *mut i32) {
        put(out, cuda_version())
    }

    /// The name is cut to what fits (nvml.h).
    fn nvmlSystemGetProcessName(pid: u32, out: *mut c_char, length: u32) {
        check(out)?;
        if length == 0 {
            return Err(Code::INVALID_ARGUMENT);
        }
        put_text(out, length, &cut(program(pid).ok_or(Code::NOT_FOUND)?, length))
    }

    fn nvmlUnitGetCount(out: *mut u32) {
        none_of_them(out)
    }

    /// No index names a unit.
    fn nvmlUnitGetHandleByIndex(_index: u32, out: *mut u64) {
        check(out)?;
        Err(Code::INVALID_ARGUMENT)
    }

    fn nvmlGetExcludedDeviceCount(out: *mut u32) {
        none_of_them(out)
    }

    /// No index names an excluded device.
    fn nvmlGetExcludedDeviceInfoByIndex(_index: u32, out: *mut u8) {
        check(out)?;
        Err(Code::INVALID_ARGUMENT)
    }
}
