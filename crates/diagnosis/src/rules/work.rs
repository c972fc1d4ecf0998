//! Failures after the context: memory, code, launches, missing functions.

use super::examine::stage_of;
use super::init::{code, said};
use super::{Case, Finding, say_launches, who};
use crate::catalogue::Cause;
use crate::driver::{self, Duty, NEEDED_TO_RUN};
use crate::process::{Failure, Process};
use crate::stage::Stage;
use crate::step::say_bytes;
use crate::verdict::Confidence::{Certain, Likely};
use firstlight_contract::grant::PoolKind;

impl Case<'_> {
    pub(super) fn api_missing(&self, process: &Process) -> Option<Finding> {
        let learnt = &process.learnt;
        if process.launches() > 0 || learnt.init != Some(0) || !self.quiet(process) {
            return None;
        }
        let called = learnt.exports_missing.iter().find(|(name, _)| driver::duty(name) != Duty::Nvml);
        let (first, confidence) = if let Some((name, code)) = called {
            let first = format!(
                "{} called {name}, which the driver lacks, and got {}.",
                who(process),
                driver::say_code(*code)
            );
            (first, Certain)
        } else {
            let name = NEEDED_TO_RUN.into_iter().find(|name| learnt.lacks(name))?;
            (format!("{} asked the driver for {name} and got no function.", who(process)), Likely)
        };
        let stage = if process.usable() { Stage::Compute } else { Stage::Context };
        Some(
            Finding::new(stage, Cause::ApiNotProvided, confidence, first)
                .and("no kernel has been launched since.")
                .not(Cause::ExportTableMissing, "the driver's private tables were handed out."),
        )
    }
}

fn out_of_memory(process: &Process, failure: &Failure, kind: PoolKind) -> Finding {
    let first = said(process, failure);
    let size = say_bytes(failure.bytes);
    let finding = match process.learnt.free_memory {
        // A call that came again with the same code tells no size.
        _ if failure.bytes == 0 => Finding::new(Stage::Allocate, Cause::OutOfMemoryAtLoad, Likely, first),
        Some((free, total)) if failure.bytes > free => {
            Finding::new(Stage::Allocate, Cause::OutOfMemoryAtLoad, Certain, first).and(format!(
                "it asked for {size}, and {} of {} were free.",
                say_bytes(free),
                say_bytes(total)
            ))
        }
        Some((free, _)) => Finding::new(Stage::Allocate, Cause::OutOfMemoryAtLoad, Likely, first)
            .and(format!("it asked for {size}, although {} were said to be free.", say_bytes(free))),
        None => Finding::new(Stage::Allocate, Cause::OutOfMemoryAtLoad, Likely, first)
            .and(format!("it asked for {size}.")),
    }
    .not(Cause::NoRoomForContext, "the context had been created.");
    match kind {
        PoolKind::Slice => {
            finding.not(Cause::QuotaExceeded, "the quota let the request pass: the driver refused it.")
        }
        _ => finding,
    }
}

/// What failed after the context, if the process did not get over it.
pub(super) fn work_failed(process: &Process, kind: PoolKind) -> Option<Finding> {
    let failure = process.learnt.work_failure.as_ref()?;
    if process.learnt.got_over(failure) {
        return None;
    }
    let stage = stage_of(failure.duty);
    let stage = if failure.launches_before > 0 { Stage::Health } else { stage };
    let finding = |cause, confidence| Finding::new(stage, cause, confidence, said(process, failure));
    let lost = failure.code == code::UNKNOWN || failure.code == code::NO_DEVICE;
    let finding = match failure.code {
        code::OUT_OF_MEMORY if failure.duty == Duty::Allocate => out_of_memory(process, failure, kind),
        200 | 209 => finding(Cause::ArchitectureNotInBuild, Likely),
        221 | 222 => finding(Cause::PtxJitUnavailable, Likely).not(
            Cause::ArchitectureNotInBuild,
            "the code for this GPU is made at first use, and the maker is missing or too old.",
        ),
        700 | 702 | 710 | 714..=719 => finding(Cause::DeviceErrorSticky, Likely)
            .and("after this code the driver answers every call of the process with an error."),
        _ if lost && failure.launches_before > 0 => {
            let confidence = if process.learnt.nvml_lost { Certain } else { Likely };
            finding(Cause::GpuLostAfterStart, confidence).and(format!(
                "{} of this process had gone well before.",
                say_launches(failure.launches_before)
            ))
        }
        _ => finding(Cause::ComputeFailed, Likely),
    };
    Some(finding.not(Cause::DriverInitFailed, "the driver initialised and a context exists."))
}
