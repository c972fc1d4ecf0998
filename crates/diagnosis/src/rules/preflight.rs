//! What a preflight adds to what the records say: words of the loader, files, permissions.

use super::{Case, Finding};
use crate::catalogue::Cause;
use crate::preflight;
use crate::stage::Stage;
use crate::verdict::{Confidence, RuledOut, Verdict};
use firstlight_contract::metrics::Outcome;

impl Case<'_> {
    /// The verdict with what a preflight found. A GPU that came up is not talked away, and what is certain stays.
    pub(super) fn with_preflight(&self, verdict: Verdict) -> Verdict {
        let Some(told) = &self.facts.preflight else { return verdict };
        if verdict.outcome == Outcome::Success || verdict.cause == Cause::CpuByDesign {
            return verdict;
        }
        let tried = self.processes.iter().any(|process| process.called_driver());
        if let Some(found) = preflight::judge(&told.report) {
            return self.weighed(verdict, found, tried);
        }
        // Ollama looks once. What fails later, in a runner, is not about its start.
        let newest = self.processes.iter().map(|process| process.started_ns).max();
        let later = newest.is_some_and(|started| told.at_ns > started);
        if verdict.outcome == Outcome::Failure
            && verdict.stage <= Stage::Context
            && later
            && preflight::came_up(&told.report)
        {
            return self.too_early(verdict);
        }
        verdict
    }

    fn weighed(&self, mut verdict: Verdict, mut found: preflight::Finding, tried: bool) -> Verdict {
        let silent = verdict.cause == Cause::RecorderNotLoaded;
        if found.cause == Cause::SecureModeLoader {
            // A privileged program explains silence, and nothing else.
            if !silent {
                return verdict;
            }
            found.confidence = Confidence::Certain;
        }
        if found.cause == verdict.cause {
            verdict.confidence = verdict.confidence.max(found.confidence);
            verdict.evidence.extend(self.spoken(&found));
            return verdict;
        }
        let settled = verdict.outcome == Outcome::Failure;
        let better = match found.confidence {
            // It was said before the container's programs ran, or was found in what runs: time does not unsay it.
            Confidence::Certain => true,
            // The container's own programs have not tried, or said nothing that fits: what is likely waits for them.
            Confidence::Likely => !settled && tried,
            Confidence::Unknown => false,
        };
        if !better {
            verdict.evidence.extend(self.spoken(&found).into_iter().take(1));
            return verdict;
        }
        let mut finding = Finding::new(found.stage, found.cause, found.confidence, String::new());
        finding.evidence = found.evidence.iter().map(|sentence| prefixed(sentence)).collect();
        finding.ruled_out = found.ruled_out;
        let mut better = self.failing(&finding);
        better.fallback = verdict.fallback;
        if settled {
            let why = format!(
                "it was {} from the records, and the preflight found what leads to it.",
                verdict.confidence.as_str()
            );
            better.ruled_out.push(RuledOut { cause: verdict.cause, why: self.voice().say(&why) });
        }
        better.evidence.extend(verdict.evidence.into_iter().take(2));
        better
    }

    fn too_early(&self, verdict: Verdict) -> Verdict {
        let first =
            "a probe in the same container came up now, from the driver to a launched kernel.".to_owned();
        let finding =
            Finding::new(verdict.stage, Cause::DiscoveryBeforeDriverReady, Confidence::Certain, first)
                .and("what Ollama started before had failed:")
                .not(verdict.cause, "it is over: the probe found nothing of it.");
        let mut early = self.failing(&finding);
        early.fallback = verdict.fallback;
        early.evidence.extend(verdict.evidence.into_iter().take(2));
        early
    }

    fn spoken(&self, found: &preflight::Finding) -> Vec<String> {
        found.evidence.iter().map(|sentence| self.voice().say(&prefixed(sentence))).collect()
    }
}

/// Says where a sentence comes from, unless it does so itself.
fn prefixed(sentence: &str) -> String {
    if sentence.contains("the preflight") {
        sentence.to_owned()
    } else {
        format!("the preflight found: {sentence}")
    }
}
