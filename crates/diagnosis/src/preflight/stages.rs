//! The probes in the order of the stages: backend, driver, runtime.

use super::{Finding, crashed_or_hung, said};
use crate::catalogue::Cause;
use crate::facts::{VISIBLE, hides_all};
use crate::rules::code;
use crate::stage::Stage;
use crate::verdict::Confidence::{self, Certain, Likely, Unknown};
use firstlight_contract::preflight::{Finding as Line, Outcome, Probe, Report};

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const UVM: &str = "/dev/nvidia-uvm";
/// 103 is what the runtime says when its integrity rounds fail (measured under libcudart 12.8 to 13.5).
const INTEGRITY: u32 = 103;
/// nvml.h: `NVML_ERROR_LIB_RM_VERSION_MISMATCH`.
const NVML_MISMATCH: u32 = 18;

/// Whether Ollama's backend can be opened, in any of its directories.
pub(super) fn backend(report: &Report) -> Option<Finding> {
    let loads: Vec<&Line> = report.of(Probe::Load).filter(|line| line.outcome != Outcome::Skipped).collect();
    let there: Vec<&&Line> = loads.iter().filter(|line| line.outcome != Outcome::Absent).collect();
    if there.iter().any(|line| line.outcome == Outcome::Ok) || loads.is_empty() {
        return None;
    }
    let Some(first) = there.first() else {
        let places: Vec<&str> = loads.iter().map(|line| line.subject.as_str()).collect();
        let ollama = report.of(Probe::Ollama).any(|line| line.outcome == Outcome::Ok);
        let confidence = if ollama { Certain } else { Likely };
        let sentence = format!("the image has no CUDA backend: looked for {}.", places.join(", "));
        let cause = Cause::BackendRuntimeLibraryMissing;
        return Some(Finding::new(Stage::BackendLoad, cause, confidence, sentence));
    };
    let what = format!("opening {}", first.subject);
    if let Some(finding) = crashed_or_hung(report, first, Stage::BackendLoad, &what) {
        return Some(finding);
    }
    let words = first.detail.as_str();
    let sentence =
        |line: &Line| format!("{} cannot be opened as Ollama does it: {}.", line.subject, said(line));
    let symbol = words.contains("undefined symbol") || words.contains("version `");
    let finding = if words.contains("libcuda.so") && !symbol {
        let cause = Cause::DriverNotInjected;
        Finding::new(Stage::DriverFind, cause, Likely, sentence(first))
    } else if symbol {
        Finding::new(Stage::BackendLoad, Cause::BackendUndefinedSymbol, Certain, sentence(first))
            .not(Cause::BackendRuntimeLibraryMissing, "every file that the backend needs was found.")
    } else if is_about_a_file(words) {
        Finding::new(Stage::BackendLoad, Cause::BackendRuntimeLibraryMissing, Certain, sentence(first))
            .not(Cause::BackendUndefinedSymbol, "the loader names a file, not a symbol.")
    } else {
        Finding::new(Stage::BackendLoad, Cause::Unknown, Unknown, sentence(first))
    };
    Some(there.iter().skip(1).fold(finding, |finding, line| finding.and(sentence(line))))
}

/// glibc's `elf/dl-load.c` and `elf/dl-open.c`: what it says of files that it cannot use.
fn is_about_a_file(words: &str) -> bool {
    ["cannot open shared object file", "file too short", "invalid ELF header", "wrong ELF class", "not there"]
        .iter()
        .any(|part| words.contains(part))
}

/// The staged probe of the driver: its first failing step.
pub(super) fn driver(report: &Report) -> Option<Finding> {
    let steps = [
        Probe::Open,
        Probe::Version,
        Probe::Init,
        Probe::Table,
        Probe::Count,
        Probe::Query,
        Probe::Context,
        Probe::Memory,
        Probe::Allocate,
        Probe::Code,
        Probe::Launch,
    ];
    steps
        .into_iter()
        .find_map(|probe| {
            let line = report.of(probe).find(|line| line.outcome.is_bad())?;
            Some(step(report, line))
        })
        .or_else(|| empty(report))
        .or_else(|| twins(report))
}

fn step(report: &Report, line: &Line) -> Finding {
    let (stage, function) = match line.probe {
        Probe::Open => return not_opened(report, line),
        Probe::Version => (Stage::DriverVersion, "cuDriverGetVersion"),
        Probe::Init => (Stage::DriverInit, "cuInit"),
        Probe::Table => (Stage::Handshake, "cuGetExportTable"),
        Probe::Count => (Stage::Enumerate, "cuDeviceGetCount"),
        Probe::Query => (Stage::Enumerate, "a device query"),
        Probe::Context => (Stage::Context, "cuDevicePrimaryCtxRetain"),
        Probe::Memory => (Stage::Context, "cuMemGetInfo"),
        Probe::Allocate => (Stage::Allocate, "cuMemAlloc"),
        Probe::Code => (Stage::Compute, "cuModuleLoadData"),
        _ => (Stage::Compute, "cuLaunchKernel"),
    };
    let subject = line.subject.as_str();
    let name = if subject.is_empty() || subject == function {
        function.to_owned()
    } else {
        format!("{function} ({subject})")
    };
    let what = format!("the preflight called {name}");
    if let Some(finding) = crashed_or_hung(report, line, stage, &what) {
        return finding;
    }
    if line.outcome == Outcome::Absent {
        let cause = match line.probe {
            Probe::Table => Cause::ExportTableMissing,
            Probe::Version | Probe::Init => Cause::SymbolLookupBroken,
            Probe::Count | Probe::Query => Cause::DeviceQueryFailed,
            _ => Cause::ApiNotProvided,
        };
        return Finding::new(stage, cause, Certain, format!("the driver has no {function}."));
    }
    let first = format!("{what}: {}.", said(line));
    let finding = |cause, confidence| Finding::new(stage, cause, confidence, first.clone());
    let code = match line.outcome {
        Outcome::Code(code) => i32::try_from(code).unwrap_or(i32::MAX),
        _ => return finding(Cause::Unknown, Unknown),
    };
    match line.probe {
        Probe::Version | Probe::Init => init(report, code, &finding),
        Probe::Table => {
            finding(Cause::ExportTableRefused, Certain).not(Cause::DriverInitFailed, "cuInit returned 0.")
        }
        Probe::Count | Probe::Query => finding(Cause::DeviceQueryFailed, Likely),
        Probe::Context if code == code::OUT_OF_MEMORY => finding(Cause::NoRoomForContext, Likely),
        Probe::Context if code == code::NOT_SUPPORTED => finding(Cause::VgpuProfileUnsupported, Likely),
        Probe::Context => finding(Cause::ContextFailed, Likely),
        Probe::Memory => finding(Cause::MemoryInfoWrong, Likely),
        Probe::Allocate if code == code::OUT_OF_MEMORY => finding(Cause::NoRoomForContext, Likely)
            .and("a single mebibyte could not be had, although a context exists."),
        Probe::Code | Probe::Launch if matches!(code, 200 | 209) => {
            finding(Cause::ArchitectureNotInBuild, Likely)
        }
        Probe::Code if matches!(code, 221 | 222) => finding(Cause::PtxJitUnavailable, Likely),
        _ => finding(Cause::ComputeFailed, Likely),
    }
}

fn not_opened(report: &Report, line: &Line) -> Finding {
    let first = format!("{} cannot be opened: {}.", line.subject, said(line));
    // What is on the path and is no driver is another matter than nothing on the path.
    let files: Vec<&str> = report
        .of(Probe::Driver)
        .filter(|line| line.outcome == Outcome::Ok)
        .map(|line| line.subject.as_str())
        .collect();
    if let Some(finding) =
        crashed_or_hung(report, line, Stage::DriverFind, &format!("opening {}", line.subject))
    {
        return finding;
    }
    if files.is_empty() {
        return Finding::new(Stage::DriverFind, Cause::DriverNotInjected, Likely, first)
            .and("no file named libcuda.so.1 lies on the loader's path.");
    }
    Finding::new(Stage::DriverFind, Cause::DriverLibraryNotFound, Certain, first)
        .and(format!("on the loader's path lie {}.", files.join(", ")))
}

/// What a code of `cuInit` stands for, with what was found around it.
fn init(report: &Report, number: i32, finding: &dyn Fn(Cause, Confidence) -> Finding) -> Finding {
    let misplaced = report.of(Probe::Driver).chain(report.of(Probe::Open)).find(|line| {
        let folder = |path: &str| path.split('/').any(|part| matches!(part, "compat" | "stubs"));
        line.outcome == Outcome::Ok && (folder(line.subject.as_str()) || folder(line.detail.as_str()))
    });
    match number {
        code::STUB_LIBRARY | code::COMPAT_NOT_SUPPORTED | code::SYSTEM_DRIVER_MISMATCH => match misplaced {
            Some(line) => finding(Cause::CompatOrStubDriver, Certain)
                .and(format!("{} {} lies in a directory for other uses.", line.subject, line.detail)),
            None if number == code::SYSTEM_DRIVER_MISMATCH => mismatch(report, finding),
            None => finding(Cause::CompatOrStubDriver, Likely),
        },
        code::SYSTEM_NOT_READY => finding(Cause::FabricNotReady, Likely),
        code::NO_DEVICE if hidden(report).is_some() => {
            let sentence = hidden(report).unwrap_or_default();
            finding(Cause::HiddenByEnv, Certain).and(sentence)
        }
        code::NO_DEVICE | code::UNKNOWN | code::OPERATING_SYSTEM => nodes(report, number, finding),
        _ => finding(Cause::DriverInitFailed, Likely),
    }
}

fn mismatch(report: &Report, finding: &dyn Fn(Cause, Confidence) -> Finding) -> Finding {
    let nvml = report.of(Probe::Nvml).any(|line| line.outcome == Outcome::Code(NVML_MISMATCH));
    let confidence = if nvml { Certain } else { Likely };
    let mut found = finding(Cause::DriverUserKernelMismatch, confidence);
    if nvml {
        found = found.and("NVML says the same with code 18: library and kernel module differ.");
    }
    for line in report.of(Probe::Module).filter(|line| line.outcome == Outcome::Ok) {
        found = found.and(format!("the kernel module is {}.", line.detail));
    }
    found
}

/// A variable of the container that hides every device from CUDA.
fn hidden(report: &Report) -> Option<String> {
    report
        .of(Probe::Environment)
        .find(|line| line.subject.as_str() == VISIBLE && hides_all(line.detail.as_str()))
        .map(|line| {
            format!("the container has {VISIBLE}={:?}, which hides the devices.", line.detail.as_str())
        })
}

/// 100, 304 and 999: the device nodes decide, where the driver needs some.
fn nodes(report: &Report, number: i32, finding: &dyn Fn(Cause, Confidence) -> Finding) -> Finding {
    let lines: Vec<&Line> =
        report.of(Probe::Device).filter(|line| line.outcome != Outcome::Skipped).collect();
    let (unified, others): (Vec<&Line>, Vec<&Line>) =
        lines.iter().partition(|line| line.subject.as_str() == UVM);
    let missing = |line: &&&Line| matches!(line.outcome, Outcome::Absent | Outcome::Errno(ENOENT));
    let forbidden = |line: &&&Line| matches!(line.outcome, Outcome::Errno(EPERM | EACCES));
    let names = |lines: &[&Line]| -> String {
        lines.iter().map(|line| line.subject.as_str()).collect::<Vec<_>>().join(", ")
    };
    let gone: Vec<&Line> = others.iter().filter(missing).copied().collect();
    if number == code::NO_DEVICE && !gone.is_empty() {
        return finding(Cause::DriverNotInjected, Certain)
            .and(format!("{} is not in the container.", names(&gone)));
    }
    let locked: Vec<&Line> = others.iter().filter(forbidden).copied().collect();
    if !locked.is_empty() {
        return finding(Cause::CgroupDeviceLost, Likely)
            .and(format!("{} is there and may not be opened (EPERM).", names(&locked)));
    }
    let fine = !others.is_empty() && others.iter().all(|line| line.outcome == Outcome::Ok);
    if let Some(line) = unified.iter().find(|line| line.outcome.is_bad())
        && fine
        && number != code::OPERATING_SYSTEM
    {
        return finding(Cause::UvmDeviceMissing, Certain)
            .and(format!("{UVM}: {}.", said(line)))
            .not(Cause::DriverNotInjected, "the other device nodes are there and can be opened.");
    }
    finding(Cause::DriverInitFailed, Likely)
}

/// The driver came up and has no device.
fn empty(report: &Report) -> Option<Finding> {
    let none = report.of(Probe::Count).any(|line| line.outcome == Outcome::Ok && line.detail.as_str() == "0");
    if !none {
        return None;
    }
    let first = "the driver lists 0 devices to the preflight.".to_owned();
    Some(match hidden(report) {
        Some(sentence) => Finding::new(Stage::Enumerate, Cause::HiddenByEnv, Certain, first).and(sentence),
        None => Finding::new(Stage::Enumerate, Cause::Unknown, Unknown, first),
    })
}

/// Two devices with one identity.
fn twins(report: &Report) -> Option<Finding> {
    let devices: Vec<&Line> = report
        .of(Probe::Query)
        .filter(|line| line.outcome == Outcome::Ok && !line.detail.is_empty())
        .collect();
    let (first, second) = devices.iter().enumerate().find_map(|(index, one)| {
        let other = devices
            .iter()
            .skip(index + 1)
            .find(|other| same_identity(one.detail.as_str(), other.detail.as_str()))?;
        Some((one, other))
    })?;
    let sentence = format!(
        "two devices say that they are the same: {} ({}) and {} ({}).",
        first.subject, first.detail, second.subject, second.detail
    );
    Some(Finding::new(Stage::Filter, Cause::DeviceIdentityInconsistent, Certain, sentence))
}

/// Whether one of the words of an identity (`GPU-…`, a PCI id) stands in the other one, too.
fn same_identity(one: &str, other: &str) -> bool {
    one.split(' ')
        .filter(|word| word.starts_with("GPU-") || word.contains(':'))
        .any(|word| other.split(' ').any(|same| same == word))
}

/// The driver came up, and the runtime did not.
pub(super) fn runtime(report: &Report) -> Option<Finding> {
    let counts: Vec<&Line> =
        report.of(Probe::RuntimeCount).filter(|line| line.outcome != Outcome::Skipped).collect();
    if counts.is_empty() || counts.iter().any(|line| line.outcome == Outcome::Ok) {
        return None;
    }
    let line =
        counts.iter().find(|line| line.outcome == Outcome::Code(INTEGRITY)).or_else(|| counts.first())?;
    let what = format!("cudaGetDeviceCount of {}", line.subject);
    if let Some(finding) = crashed_or_hung(report, line, Stage::Handshake, &what) {
        return Some(finding);
    }
    let version = report.of(Probe::Version).find_map(|line| line.detail.as_str().parse::<u64>().ok());
    let first = format!("{what} returned {}.", said(line));
    let listed = report.of(Probe::Count).any(|line| line.outcome == Outcome::Ok);
    Some(match (line.outcome, version) {
        (Outcome::Code(INTEGRITY), _) if listed => {
            Finding::new(Stage::Handshake, Cause::IntegrityCheckFailed, Certain, first)
                .and("the driver itself lists its devices without an error.")
        }
        (Outcome::Code(35), Some(version)) if !reaches(version, line.subject.as_str()) => {
            Finding::new(Stage::DriverVersion, Cause::DriverTooOld, Certain, first)
                .and(format!("the driver speaks CUDA {}.", crate::step::say_version(version)))
                .not(Cause::DriverInitFailed, "cuInit returns 0.")
        }
        _ => Finding::new(Stage::Handshake, Cause::Unknown, Unknown, first)
            .and("the driver itself came up without an error."),
    })
}

/// Whether a driver of this version satisfies the runtime of this file name.
fn reaches(version: u64, path: &str) -> bool {
    let digits = path.rsplit_once("libcudart.so.").map_or("", |(_, rest)| rest);
    let major: u64 = digits.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    version / 1000 >= major
}
