//! What is wrong with one process: its first failing stage.

use super::quota::refused;
use super::work::work_failed;
use super::{Case, Finding, HANG_NS, reached, who};
use crate::catalogue::Cause;
use crate::driver::{self, Duty};
use crate::facts::ContainerState;
use crate::process::Process;
use crate::stage::Stage;
use crate::step::say_version;
use crate::verdict::Confidence::{Certain, Likely};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::record::Caller;

/// errno of a path that does not exist.
const ENOENT: i32 = 2;
/// What is added to a signal's number for the exit code of what it ended.
const SIGNALLED: i32 = 128;
/// Exit code of a container that died by SIGSEGV.
pub(super) const SEGV_EXIT: i32 = SIGNALLED + 11;
/// Exit code of a container that died by SIGABRT.
pub(super) const ABORT_EXIT: i32 = SIGNALLED + 6;

impl Case<'_> {
    /// The first failing stage of a process; `None` if nothing is wrong with it, or not yet.
    pub(super) fn examine(&self, process: &Process) -> Option<Finding> {
        self.driver_missing(process)
            .or_else(|| self.stuck_opening(process))
            .or_else(|| self.hanging(process))
            .or_else(|| self.lookup_broken(process))
            .or_else(|| self.too_old(process))
            .or_else(|| self.init_failed(process))
            .or_else(|| self.handshake_failed(process))
            .or_else(|| self.crashed(process))
            .or_else(|| self.enumeration_failed(process))
            .or_else(|| refused(process))
            .or_else(|| self.context_failed(process))
            .or_else(|| work_failed(process, self.facts.kind))
            .or_else(|| self.api_missing(process))
    }

    fn driver_missing(&self, process: &Process) -> Option<Finding> {
        let learnt = &process.learnt;
        let (tried, error) = learnt.missing.as_ref()?;
        if learnt.driver.is_some() {
            return None;
        }
        let found = learnt.searched.iter().find(|(_, errno)| *errno != ENOENT && *errno != -1);
        let ours = matches!(self.facts.kind, PoolKind::Simulated | PoolKind::Custom);
        let (cause, confidence) = match (found, ours, self.facts.devices) {
            (Some(_), _, _) | (None, true, _) => (Cause::DriverLibraryNotFound, Certain),
            (None, false, Some(0)) => (Cause::GpuNotRequested, Likely),
            (None, false, Some(_)) => (Cause::DriverNotInjected, Likely),
            (None, false, None) => (Cause::DriverLibraryNotFound, Likely),
        };
        let first = format!("{} found no driver library in {tried} places.", who(process));
        let mut finding = Finding::new(Stage::DriverFind, cause, confidence, first);
        for (path, errno) in learnt.searched.iter().take(4) {
            let why = if *errno == ENOENT {
                "is not there".to_owned()
            } else {
                format!("cannot be used (errno {errno})")
            };
            finding = finding.and(format!("{path} {why}."));
        }
        if !error.is_empty() {
            finding = finding.and(format!("the loader said: {error}."));
        }
        Some(finding.not(Cause::DriverTooOld, "no driver was opened, so no driver told a version."))
    }

    /// The loader never came back from opening the driver.
    fn stuck_opening(&self, process: &Process) -> Option<Finding> {
        let path = process.learnt.opening.as_ref().filter(|_| self.quiet(process))?;
        let first = format!("{} was opening {path} and has done nothing since.", who(process));
        let finding = Finding::new(Stage::DriverFind, Cause::DriverLibraryNotFound, Likely, first)
            .not(Cause::DriverInitFailed, "cuInit was never called, so it cannot have failed.");
        Some(match self.facts.state {
            ContainerState::Terminated { exit_code, .. } if exit_code > SIGNALLED => {
                finding.and(format!("the container was ended by signal {}.", exit_code - SIGNALLED))
            }
            _ => finding,
        })
    }

    fn hanging(&self, process: &Process) -> Option<Finding> {
        let ((_, symbol), since) = process.learnt.open.iter().min_by_key(|(_, since)| **since)?;
        let waited = self.now_ns.saturating_sub(*since);
        if waited < HANG_NS || process.last_ns.saturating_sub(*since) >= HANG_NS {
            return None;
        }
        let stage = stage_of(driver::duty(symbol));
        let first = format!(
            "{} called {symbol} {} seconds ago and has no answer.",
            who(process),
            waited / 1_000_000_000
        );
        let finding = match self.facts.foreign_preload() {
            Some(object) => Finding::new(stage, Cause::ForeignShimFault, Likely, first)
                .and(format!("{object} is preloaded beside Firstlight's library, and may be what hangs.")),
            None => Finding::new(stage, Cause::DiscoveryTimeout, Likely, first),
        };
        Some(finding.not(Cause::DriverInitFailed, format!("{symbol} has not returned any code.")))
    }

    fn lookup_broken(&self, process: &Process) -> Option<Finding> {
        let learnt = &process.learnt;
        if learnt.init.is_some() || !self.quiet(process) {
            return None;
        }
        let name = ["cuInit", "cuDriverGetVersion", "cuGetProcAddress"]
            .into_iter()
            .find(|name| learnt.lacks(name))?;
        if let Some(finding) = self.too_old_to_ask(process, name) {
            return Some(finding);
        }
        let first = format!("{} asked the driver for {name} and got no function.", who(process));
        Some(
            Finding::new(Stage::DriverFind, Cause::SymbolLookupBroken, Certain, first)
                .and("cuInit was never called.")
                .not(Cause::DriverInitFailed, "cuInit was never called, so it cannot have failed."),
        )
    }

    /// A driver answers 1 (invalid value) to a question for a version above its own; seen of NVIDIA's 580. The first
    /// such question of a runtime since 12.0 is for the lookup function itself, before it asks for the version.
    fn too_old_to_ask(&self, process: &Process, name: &str) -> Option<Finding> {
        const INVALID_VALUE: i32 = 1;
        let asked = |(known, _, code): &&(String, u64, i32)| {
            driver::base(known) == name && *code == INVALID_VALUE && name == "cuGetProcAddress"
        };
        let (_, version, _) = process.learnt.unanswered.iter().find(asked)?;
        let first = format!(
            "{} asked the driver for {name} of CUDA {}, and the driver answered {}.",
            who(process),
            say_version(*version),
            driver::say_code(INVALID_VALUE)
        );
        // Whoever writes a driver may choose this code for what it does not know.
        let (cause, other) = match self.facts.kind {
            PoolKind::Custom => {
                (Cause::SymbolLookupBroken, "a driver that is too old for the question answers so, too.")
            }
            _ => (Cause::DriverTooOld, "a driver answers so to questions of a CUDA version above its own."),
        };
        Some(
            Finding::new(Stage::DriverFind, cause, Likely, first)
                .and(other)
                .and("the runtime stopped there: it never called cuInit.")
                .not(Cause::DriverInitFailed, "cuInit was never called, so it cannot have failed."),
        )
    }

    fn too_old(&self, process: &Process) -> Option<Finding> {
        let learnt = &process.learnt;
        let version = learnt.version?;
        // Ollama's own probe calls cuInit beside a runtime that has given up already.
        if learnt.runtime_called_init || !learnt.open.is_empty() || !self.quiet(process) {
            return None;
        }
        let asked_by_runtime =
            learnt.callers.iter().any(|caller| matches!(caller, Caller::Runtime | Caller::Unknown));
        let (needed, confidence) = match process.runtime_major() {
            Some(major) if version / 1000 < major => (format!("CUDA {major}.0"), Certain),
            // The oldest runtime that Ollama's images carry today is that of CUDA 12.
            None if asked_by_runtime && version < 12_000 => ("CUDA 12.0".to_owned(), Likely),
            _ => return None,
        };
        let first = format!(
            "the driver says that it speaks CUDA {}, and the runtime of {} needs {needed} or later.",
            say_version(version),
            who(process)
        );
        Some(
            Finding::new(Stage::DriverVersion, Cause::DriverTooOld, confidence, first)
                .and("the runtime stopped after it had asked for the version: it never called cuInit.")
                .not(Cause::DriverInitFailed, "the runtime never called cuInit, so it cannot have failed.")
                .not(Cause::SymbolLookupBroken, "the driver's functions were found and called."),
        )
    }

    fn handshake_failed(&self, process: &Process) -> Option<Finding> {
        let learnt = &process.learnt;
        if learnt.init != Some(0) || process.usable() || !self.quiet(process) {
            return None;
        }
        if learnt.lacks("cuGetExportTable") && !learnt.runtime_counted {
            let first =
                format!("{} asked the driver for cuGetExportTable and got no function.", who(process));
            return Some(
                Finding::new(Stage::Handshake, Cause::ExportTableMissing, Certain, first)
                    .and("cuInit had returned 0, and the runtime asked nothing after it.")
                    .not(Cause::DriverInitFailed, "cuInit returned 0.")
                    .not(
                        Cause::DriverTooOld,
                        "cuInit was reached, so the runtime had accepted the driver's version.",
                    ),
            );
        }
        let (uuid, code, caller) = learnt.refused.as_ref()?;
        let name = driver::table(uuid)
            .map_or_else(|| "a table unknown to Firstlight".to_owned(), |name| format!("the table {name}"));
        let confidence = if driver::table(uuid).is_some() { Certain } else { Likely };
        let first = format!(
            "the driver refused {name} (UUID {uuid}) with {} to {} in {}.",
            driver::say_code(*code),
            caller.as_str(),
            who(process)
        );
        Some(
            Finding::new(Stage::Handshake, Cause::ExportTableRefused, confidence, first)
                .and("its caller asked nothing more.")
                .not(Cause::DriverInitFailed, "cuInit returned 0.")
                .not(Cause::ExportTableMissing, "the driver has cuGetExportTable and answered it."),
        )
    }

    fn crashed(&self, process: &Process) -> Option<Finding> {
        let ContainerState::Terminated { exit_code: SEGV_EXIT, .. } = self.facts.state else { return None };
        if !process.called_driver() {
            return None;
        }
        let learnt = &process.learnt;
        // Every driver of CUDA 12 says success of names that it does not have; only a needed one tells anything.
        let fatal =
            |(name, _, code): &&(String, u64, i32)| *code == 0 && driver::is_needed(driver::base(name));
        if process.usable() {
            return None;
        }
        let Some((name, _, _)) = learnt.unanswered.iter().find(fatal) else {
            let object = self.facts.foreign_preload()?;
            let first = format!(
                "{} was the last to call the driver before the container died by a segmentation fault.",
                who(process)
            );
            return Some(
                Finding::new(reached(process), Cause::ForeignShimFault, Likely, first)
                    .and(format!("{object} is preloaded beside Firstlight's library."))
                    .not(
                        Cause::DummySymbolCrash,
                        "the driver gave every needed function that it was asked for.",
                    ),
            );
        };
        let first = format!(
            "the driver answered the question for {name}, which CUDA needs, with success and no function, and the container died by a segmentation fault.",
        );
        Some(Finding::new(reached(process), Cause::DummySymbolCrash, Likely, first))
    }
}

/// The stage to which a function belongs.
pub(super) const fn stage_of(duty: Duty) -> Stage {
    match duty {
        Duty::Version => Stage::DriverVersion,
        Duty::Init => Stage::DriverInit,
        Duty::Count | Duty::DeviceQuery | Duty::TotalMemory => Stage::Enumerate,
        Duty::Context | Duty::MemoryInfo => Stage::Context,
        Duty::Nvml => Stage::NativeProbe,
        Duty::Allocate => Stage::Allocate,
        Duty::CodeLoad | Duty::Launch | Duty::Synchronize | Duty::Other => Stage::Compute,
    }
}
