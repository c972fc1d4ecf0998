//! What the newest process that serves a model does with a GPU that came up, or was there before.

use super::{Case, Finding, RUNNER_PATIENCE_NS, UNUSED_NS, reached, who};
use crate::catalogue::Cause;
use crate::process::Process;
use crate::stage::Stage;
use crate::verdict::Confidence::{Certain, Likely, Unknown};
use crate::verdict::{Truth, Verdict};
use firstlight_contract::record::Role;

impl Case<'_> {
    /// A verdict that follows from what the process was started for rather than from what failed in it.
    pub(super) fn serving(
        &self,
        process: &Process,
        finding: Option<&Finding>,
        findings: &[Option<Finding>],
    ) -> Option<Verdict> {
        if !process.is_runner() {
            return None;
        }
        // A discovery that failed comes first, whatever is served since.
        let seen = self.usable_before(process);
        let clean = findings.iter().all(Option::is_none);
        if process.is_kept_off_gpu() && (seen || clean) {
            return Some(self.by_design(process, seen));
        }
        if process.is_for_vulkan() && clean && !process.usable() && self.waited(process, RUNNER_PATIENCE_NS) {
            return Some(self.by_vulkan(process, seen));
        }
        if finding.is_none()
            && process.usable()
            && process.role == Role::Runner
            && process.launches() == 0
            && self.waited(process, UNUSED_NS)
            && !self.facts.ended()
        {
            return Some(self.unused(process));
        }
        None
    }

    /// The order to stay off the GPU is no failure, and says nothing about the GPU.
    fn by_design(&self, process: &Process, seen: bool) -> Verdict {
        let first = format!("{} was started with the order to put 0 layers on the GPU.", who(process));
        let mut finding = Finding::new(Stage::Select, Cause::CpuByDesign, Certain, first)
            .not(Cause::NeverAttempted, "the command line says that it was meant so.");
        if seen {
            finding = finding.and("an earlier process of this container saw a usable GPU.");
        }
        let mut verdict = self.unproven(&finding);
        if seen {
            verdict.ready = Truth::True;
        }
        verdict
    }

    fn by_vulkan(&self, process: &Process, seen: bool) -> Verdict {
        let first =
            format!("{} was started with Vulkan's backend, and serves the model by it.", who(process));
        let finding = Finding::new(Stage::Serving, Cause::VulkanInsteadOfCuda, Likely, first)
            .and("no process of this container failed with CUDA.");
        let mut verdict = self.failing(&finding);
        verdict.fallback = seen;
        verdict
    }

    fn unused(&self, process: &Process) -> Verdict {
        let minutes = self.now_ns.saturating_sub(process.started_ns) / 60_000_000_000;
        let first = format!(
            "{} has held a context for {minutes} minutes and has launched no kernel; the warm-up alone launches some.",
            who(process)
        );
        let finding = Finding::new(Stage::Serving, Cause::GpuClaimedNotUsed, Likely, first)
            .not(Cause::CpuByDesign, "its command line gives no order to stay off the GPU.");
        let mut verdict = self.failing(&finding);
        verdict.fallback = true;
        verdict
    }

    /// A process serves a model and has not come up on the GPU that an earlier one saw.
    pub(super) fn left_alone(&self, process: &Process) -> Verdict {
        let waited = self.now_ns.saturating_sub(process.started_ns) / 1_000_000_000;
        let mut finding = if process.called_driver() {
            let first = format!(
                "{} has run for {waited} seconds and got only to {}.",
                who(process),
                reached(process)
            );
            Finding::new(Stage::RunnerInit, Cause::Unknown, Unknown, first)
        } else {
            let first = format!(
                "{} serves a model, has run for {waited} seconds and never called the driver: the answer comes from the CPU.",
                who(process)
            );
            Finding::new(Stage::Select, Cause::NeverAttempted, Likely, first)
        };
        if process.role == Role::Runner && !process.has_backend() {
            finding =
                finding.and("Ollama started it without a GPU backend: it had decided for the CPU before.");
        }
        let finding = finding.and("an earlier process of this container saw a usable GPU.");
        let mut verdict = self.unproven(&finding);
        verdict.ready = Truth::False;
        verdict.fallback = true;
        verdict
    }
}
