//! The catalogue of causes: one table. Metric labels, condition reasons, command-line texts and
//! `docs/causes.md` come from it.

mod rows;

pub use rows::Cause;

use crate::stage::Stage;
use std::fmt;

/// What is said about a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name for people and labels, kebab-case.
    pub id: &'static str,
    /// Reason of the pod condition, CamelCase.
    pub reason: &'static str,
    /// The first stage that fails.
    pub stage: Stage,
    /// One sentence for an operator who does not know CUDA, without the full stop.
    pub what: &'static str,
    /// What must have been seen.
    pub evidence: &'static str,
    /// What looks the same, and how it is told apart.
    pub alike: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// For which Ollama versions it applies.
    pub era: &'static str,
    /// Who can see the evidence.
    pub seen_by: &'static str,
    /// Public reports and sources.
    pub references: &'static [&'static str],
}

impl Cause {
    /// Name for people and labels.
    pub fn id(self) -> &'static str {
        self.row().id
    }

    /// Reason of the pod condition.
    pub fn reason(self) -> &'static str {
        self.row().reason
    }

    /// The cause with this id.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.id() == id)
    }

    /// Whether the id stands for a failure, rather than for success or missing evidence.
    pub fn is_failure(self) -> bool {
        !matches!(
            self,
            Self::Ok | Self::Unknown | Self::NeverAttempted | Self::RecorderNotLoaded | Self::CpuByDesign
        )
    }
}

impl Cause {
    /// Whether it is the driver that does something wrong, so that a simulated one may have been told to. What is wrong
    /// with the container or with the workload is wrong in a simulation, too.
    pub(crate) fn is_the_drivers(self) -> bool {
        !matches!(
            self,
            Self::NotInjected
                | Self::HiddenByEnv
                | Self::DeploymentDrift
                | Self::OllamaFilesModified
                | Self::SecureModeLoader
                | Self::PreloadObjectBroken
                | Self::LibcInterposerPresent
                | Self::ForeignShimFault
                | Self::BackendUndefinedSymbol
                | Self::BackendRuntimeLibraryMissing
                | Self::RuntimeSubstituted
                | Self::VulkanInsteadOfCuda
                | Self::GpuClaimedNotUsed
                | Self::QuotaExceeded
                | Self::QuotaUnavailable
                | Self::LoadTooSlow
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_is_the_id_in_camel_case() {
        for cause in Cause::ALL {
            let kebab = cause.reason().chars().fold(String::new(), |kebab, letter| {
                let dash = if letter.is_uppercase() && !kebab.is_empty() { "-" } else { "" };
                kebab + dash + &letter.to_lowercase().to_string()
            });
            assert_eq!(kebab, cause.id());
        }
    }

    #[test]
    fn every_id_names_one_cause() {
        let ids: BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.id()).collect();
        assert_eq!(ids.len(), Cause::ALL.len());
        assert!(Cause::ALL.iter().all(|cause| Cause::from_id(cause.id()) == Some(*cause)));
    }

    #[test]
    fn every_row_is_complete_and_says_what_to_do() {
        for cause in Cause::ALL {
            let row = cause.row();
            for (name, text) in [
                ("what", row.what),
                ("evidence", row.evidence),
                ("fix", row.fix),
                ("alike", row.alike),
                ("era", row.era),
                ("seen_by", row.seen_by),
            ] {
                assert!(text.len() >= 3, "{cause}: {name} is empty");
                assert!(!text.ends_with('.'), "{cause}: {name} ends with a full stop");
            }
        }
    }
}
