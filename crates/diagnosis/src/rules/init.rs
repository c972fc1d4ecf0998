//! Failures up to the context: which cause a code stands for, and what tells it from the others.

use super::{Case, Finding, who};
use crate::catalogue::Cause;
use crate::driver::{self, Duty, NEEDED_TO_LIST};
use crate::facts::{VISIBLE, hides_all};
use crate::process::{Failure, Process};
use crate::stage::Stage;
use crate::step::Node;
use crate::verdict::Confidence::{self, Certain, Likely, Unknown};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::record::Role;

/// CUDA driver codes with rules of their own; meanings in NVIDIA's driver API reference, `CUresult`.
pub(crate) mod code {
    pub(crate) const OUT_OF_MEMORY: i32 = 2;
    pub(crate) const STUB_LIBRARY: i32 = 34;
    pub(crate) const NO_DEVICE: i32 = 100;
    pub(crate) const OPERATING_SYSTEM: i32 = 304;
    pub(crate) const NOT_SUPPORTED: i32 = 801;
    pub(crate) const SYSTEM_NOT_READY: i32 = 802;
    pub(crate) const SYSTEM_DRIVER_MISMATCH: i32 = 803;
    pub(crate) const COMPAT_NOT_SUPPORTED: i32 = 804;
    pub(crate) const UNKNOWN: i32 = 999;
}

/// The device of unified memory; the other nodes are those of the driver itself and of its cards.
const UVM: &str = "/dev/nvidia-uvm";

/// `cuInit returned 999 (…) in process 42 (runner), asked by libcudart.`
pub(super) fn said(process: &Process, failure: &Failure) -> String {
    format!(
        "{} returned {} in {}, called by {}.",
        failure.symbol,
        driver::say_code(failure.code),
        who(process),
        failure.caller.as_str()
    )
}

impl Case<'_> {
    pub(super) fn init_failed(&self, process: &Process) -> Option<Finding> {
        let failure = process.learnt.init_failure.as_ref()?;
        if !matches!(failure.duty, Duty::Init | Duty::Version) || process.usable() {
            return None;
        }
        let first = said(process, failure);
        let stage = if process.is_runner() && self.usable_before(process) {
            Stage::RunnerInit
        } else if failure.duty == Duty::Version {
            Stage::DriverVersion
        } else {
            Stage::DriverInit
        };
        let finding = |cause, confidence| Finding::new(stage, cause, confidence, first.clone());
        if failure.duty == Duty::Version {
            // NVIDIA's stub answers so to every question, and the runtime asks for the version first.
            return Some(match failure.code {
                code::STUB_LIBRARY => library_mismatch(process, failure.code, &finding),
                _ => finding(Cause::Unknown, Unknown),
            });
        }
        let finding = match failure.code {
            code::STUB_LIBRARY | code::COMPAT_NOT_SUPPORTED | code::SYSTEM_DRIVER_MISMATCH => {
                library_mismatch(process, failure.code, &finding)
            }
            code::SYSTEM_NOT_READY => finding(Cause::FabricNotReady, Likely),
            code::NO_DEVICE | code::OPERATING_SYSTEM | code::UNKNOWN => {
                self.device_gone(process, failure, &finding)
            }
            _ => finding(Cause::DriverInitFailed, Likely),
        };
        Some(finding.not(
            Cause::DriverTooOld,
            "cuInit was reached, so the runtime had accepted the driver's version.",
        ))
    }

    /// 100, 304 and 999 have many causes; history and surroundings decide, not the code.
    fn device_gone(
        &self,
        process: &Process,
        failure: &Failure,
        finding: &dyn Fn(Cause, Confidence) -> Finding,
    ) -> Finding {
        if failure.code == code::NO_DEVICE
            && let Some((name, value)) = self.facts.hiding_variable()
        {
            return finding(Cause::HiddenByEnv, Certain)
                .and(format!("the pod declares {name}={value:?}, which hides the devices."));
        }
        let learnt = &process.learnt;
        if failure.code == code::NO_DEVICE
            && let Some(found) = self.filtered(process, finding)
        {
            return found;
        }
        if failure.code == code::NO_DEVICE
            && let Some(value) = learnt.visible.as_deref().filter(|value| hides_all(value))
        {
            // Ollama sets the variable for its own children.
            let confidence = if process.role == Role::Other { Certain } else { Likely };
            return finding(Cause::HiddenByEnv, confidence)
                .and(format!("the process has {VISIBLE}={value:?}, which hides the devices."))
                .and("no such value is declared for the container: it comes from the image, a reference or the program.");
        }
        if !self.usable_before(process)
            && let Some(found) = self.nodes_missing(process, failure.code, finding)
        {
            return found;
        }
        let launched = self.earlier(process).find(|other| other.launches() > 0);
        if let Some(other) = launched
            && !self.simulated()
            && self.facts.devices_healthy != Some(false)
        {
            return finding(Cause::CgroupDeviceLost, Likely)
                .and(format!("{} of the same container had launched kernels before.", who(other)));
        }
        if self.usable_before(process) || process.learnt.nvml_lost {
            return finding(Cause::GpuLostAfterStart, Likely).and(if process.learnt.nvml_lost {
                "NVML says that the GPU is lost (code 15)."
            } else {
                "an earlier process of this container saw a usable GPU."
            });
        }
        let mut finding = finding(Cause::DriverInitFailed, Likely)
            .not(Cause::CgroupDeviceLost, "no earlier process of this container had launched kernels.");
        finding.evidence.extend(learnt.nodes.iter().filter_map(Node::trouble).map(|trouble| trouble + "."));
        if let Some(value) = &learnt.visible {
            finding = finding.and(format!("the process has {VISIBLE}={value:?}."));
        }
        if !learnt.nodes.is_empty() && learnt.nodes.iter().all(|node| node.trouble().is_none()) {
            finding = finding.not(
                Cause::UvmDeviceMissing,
                "the device nodes are there and may be opened by their permissions.",
            );
        }
        if failure.code == code::NO_DEVICE && !self.facts.environment.is_empty() {
            return finding.not(Cause::HiddenByEnv, "no variable that the pod declares hides devices.");
        }
        finding
    }

    /// Ollama's second pass names the device that the first one listed, and a MIG device has another name.
    fn filtered(&self, process: &Process, finding: &dyn Fn(Cause, Confidence) -> Finding) -> Option<Finding> {
        let value = process.learnt.visible.as_deref()?;
        let listed = self.earlier(process).find(|other| other.learnt.init_ok_ns.is_some())?;
        (process.is_second_pass() && value.starts_with("GPU-")).then(|| {
            finding(Cause::MigDeviceFiltered, Likely)
                .and(format!("Ollama set {VISIBLE}={value:?} for it: its second look at a device."))
                .and(format!(
                    "{} had listed {} device(s) before.",
                    who(listed),
                    listed.learnt.count.unwrap_or(0)
                ))
        })
    }

    /// Device nodes that NVIDIA's driver needs and that the process did not find. A driver of somebody's own may need
    /// none.
    fn nodes_missing(
        &self,
        process: &Process,
        code: i32,
        finding: &dyn Fn(Cause, Confidence) -> Finding,
    ) -> Option<Finding> {
        // Windows' kernel has one device for every card, `/dev/dxg`.
        let other_kernel = process.driver().is_some_and(|path| path.contains("/wsl/"));
        if other_kernel || matches!(self.facts.kind, PoolKind::Simulated | PoolKind::Custom) {
            return None;
        }
        let (unified, others): (Vec<_>, Vec<_>) =
            process.learnt.nodes.iter().partition(|node| node.path == UVM);
        let missing: Vec<_> =
            others.iter().filter(|node| node.is_missing()).filter_map(|node| node.trouble()).collect();
        if !missing.is_empty() && code == code::NO_DEVICE {
            let (cause, confidence) = match self.facts.devices {
                Some(0) => (Cause::GpuNotRequested, Likely),
                Some(_) => (Cause::DriverNotInjected, Certain),
                None => (Cause::DriverNotInjected, Likely),
            };
            return Some(finding(cause, confidence).and(format!("{}.", missing.join(", and "))));
        }
        if code == code::OPERATING_SYSTEM {
            return None;
        }
        let trouble = unified.iter().find_map(|node| node.trouble())?;
        let fine = others.iter().all(|node| node.trouble().is_none()) && !others.is_empty();
        fine.then(|| {
            finding(Cause::UvmDeviceMissing, Certain)
                .and(format!("{trouble}."))
                .not(Cause::DriverNotInjected, "the other device nodes are there and may be opened.")
        })
    }

    pub(super) fn enumeration_failed(&self, process: &Process) -> Option<Finding> {
        let learnt = &process.learnt;
        if process.usable() {
            return None;
        }
        if let Some(failure) = learnt.init_failure.as_ref()
            && matches!(failure.duty, Duty::Count | Duty::DeviceQuery | Duty::TotalMemory)
        {
            let first = said(process, failure);
            let finding =
                |cause, confidence| Finding::new(Stage::Enumerate, cause, confidence, first.clone());
            if failure.code == code::NO_DEVICE
                && let Some((name, value)) = self.facts.hiding_variable()
            {
                return Some(
                    finding(Cause::HiddenByEnv, Certain)
                        .and(format!("the pod declares {name}={value:?}, which hides the devices.")),
                );
            }
            if learnt.init != Some(0) {
                return Some(finding(Cause::DeviceQueryFailed, Likely));
            }
            return Some(
                finding(Cause::DeviceQueryFailed, Likely)
                    .and("cuInit had returned 0 before.")
                    .not(Cause::DriverInitFailed, "cuInit returned 0."),
            );
        }
        if learnt.count == Some(0) && !learnt.count_ok {
            let first = format!("the driver lists 0 devices to {}.", who(process));
            return Some(match self.facts.hiding_variable() {
                Some((name, value)) => Finding::new(Stage::Enumerate, Cause::HiddenByEnv, Certain, first)
                    .and(format!("the pod declares {name}={value:?}, which hides the devices.")),
                None => Finding::new(Stage::Enumerate, Cause::Unknown, Unknown, first)
                    .and("no variable is known that hides devices."),
            });
        }
        self.query_missing(process).or_else(|| self.query_empty(process))
    }

    /// Success and nothing said: a placeholder answered.
    fn query_empty(&self, process: &Process) -> Option<Finding> {
        let learnt = &process.learnt;
        if !learnt.memoryless || learnt.total_memory > 0 || !self.quiet(process) {
            return None;
        }
        let first = format!("the driver told {} of a device with 0 bytes of memory.", who(process));
        Some(
            Finding::new(Stage::Enumerate, Cause::DeviceQueryFailed, Likely, first)
                .and("no GPU has none: a function that does nothing and says success answers so.")
                .and("no context was asked for since.")
                .not(Cause::DriverInitFailed, "cuInit returned 0."),
        )
    }

    fn query_missing(&self, process: &Process) -> Option<Finding> {
        let learnt = &process.learnt;
        if learnt.init != Some(0) || !self.quiet(process) {
            return None;
        }
        let name = NEEDED_TO_LIST.into_iter().find(|name| learnt.lacks(name))?;
        let first = format!("{} asked the driver for {name} and got no function.", who(process));
        Some(
            Finding::new(Stage::Enumerate, Cause::DeviceQueryFailed, Certain, first)
                .and("cuInit had returned 0, and no context was asked for since.")
                .not(Cause::DriverInitFailed, "cuInit returned 0."),
        )
    }

    pub(super) fn context_failed(&self, process: &Process) -> Option<Finding> {
        let learnt = &process.learnt;
        let failure = learnt.init_failure.as_ref()?;
        let unanswered = match failure.duty {
            Duty::Context => !process.usable(),
            // A context may exist and the device's size be known, and still nobody can be told what is free.
            Duty::MemoryInfo => learnt.free_memory.is_none() && process.launches() == 0,
            _ => false,
        };
        if !unanswered {
            return None;
        }
        let (cause, confidence) = match (failure.duty, failure.code) {
            (_, code::OUT_OF_MEMORY) => (Cause::NoRoomForContext, Likely),
            (Duty::Context, code::NOT_SUPPORTED) => (Cause::VgpuProfileUnsupported, Likely),
            (Duty::MemoryInfo, _) => (Cause::MemoryInfoWrong, Likely),
            (_, code::NO_DEVICE | code::UNKNOWN) if self.usable_before(process) => {
                (Cause::GpuLostAfterStart, Likely)
            }
            _ => (Cause::ContextFailed, Likely),
        };
        let devices = learnt.count.unwrap_or(0);
        let mut finding = Finding::new(Stage::Context, cause, confidence, said(process, failure))
            .and(format!("before that the driver had listed {devices} device(s)."))
            .not(Cause::DriverInitFailed, "cuInit returned 0.");
        if devices > 0 {
            finding = finding.not(Cause::DeviceQueryFailed, "the devices were listed without an error.");
        }
        Some(finding)
    }
}

fn library_mismatch(process: &Process, code: i32, finding: &dyn Fn(Cause, Confidence) -> Finding) -> Finding {
    let path = process.driver().unwrap_or_default();
    let misplaced = path.split('/').any(|folder| matches!(folder, "compat" | "stubs"));
    match code {
        _ if misplaced => finding(Cause::CompatOrStubDriver, Certain)
            .and(format!("the library lies in a directory for other uses: {path}.")),
        code::SYSTEM_DRIVER_MISMATCH if process.learnt.nvml_mismatch => {
            finding(Cause::DriverUserKernelMismatch, Certain)
                .and("NVML says the same with code 18: library and kernel module differ.")
        }
        code::SYSTEM_DRIVER_MISMATCH => finding(Cause::DriverUserKernelMismatch, Likely).not(
            Cause::CompatOrStubDriver,
            format!("the library lies in no directory named compat or stubs: {path}."),
        ),
        _ => finding(Cause::CompatOrStubDriver, Likely),
    }
}
