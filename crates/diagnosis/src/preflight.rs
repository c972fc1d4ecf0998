//! What a preflight's report says about the cause, without any record: the first failing probe decides.
//!
//! The preflight tries in the order of the stages, in the container's own image, user and environment. It sees what
//! the shim cannot: the loader's words, files, permissions. It cannot see the past.

mod stages;

use crate::catalogue::Cause;
use crate::driver;
use crate::stage::Stage;
use crate::verdict::Confidence::{self, Certain, Likely, Unknown};
use firstlight_contract::preflight::{Finding as Line, Outcome, Probe, Report};

/// What is wrong, as far as a preflight can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The first failing stage.
    pub stage: Stage,
    /// The cause.
    pub cause: Cause,
    /// How sure it is.
    pub confidence: Confidence,
    /// Sentences, the most telling first. Never empty.
    pub evidence: Vec<String>,
    /// What does not fit, and why not.
    pub ruled_out: Vec<(Cause, String)>,
}

impl Finding {
    fn new(stage: Stage, cause: Cause, confidence: Confidence, first: String) -> Self {
        Self { stage, cause, confidence, evidence: vec![first], ruled_out: Vec::new() }
    }

    fn and(mut self, sentence: impl Into<String>) -> Self {
        self.evidence.push(sentence.into());
        self
    }

    fn not(mut self, cause: Cause, why: impl Into<String>) -> Self {
        self.ruled_out.push((cause, why.into()));
        self
    }
}

/// The first thing that is wrong; `None` where all that was tried went well.
pub fn judge(report: &Report) -> Option<Finding> {
    let found = preload_broken(report)
        .or_else(|| stages::backend(report))
        .or_else(|| stages::driver(report))
        .or_else(|| stages::runtime(report));
    let found = match found {
        // A driver that comes up here did not come up in a privileged program, which has no preload.
        None => privileged(report),
        found => found,
    };
    found.map(|finding| interposed(report, finding))
}

/// Whether the staged probe came all the way: a kernel was launched.
pub fn came_up(report: &Report) -> bool {
    report.of(Probe::Launch).any(|line| line.outcome == Outcome::Ok) && judge(report).is_none()
}

/// What a report says of Ollama and the C library: for a reader, and for the era.
pub fn provenance(report: &Report) -> Vec<String> {
    let mut said = Vec::new();
    for line in report.of(Probe::Ollama).filter(|line| line.outcome == Outcome::Ok) {
        said.push(format!("the preflight found {}, version {}.", line.subject, line.detail));
    }
    for line in report.of(Probe::Libc) {
        said.push(format!("the image's C library is {} {}.", line.subject, line.detail).replace(" .", "."));
    }
    said
}

fn preload_broken(report: &Report) -> Option<Finding> {
    let line =
        report.of(Probe::Preload).find(|line| line.outcome.is_bad() && line.outcome != Outcome::Absent)?;
    let first = format!("the preloaded object {} cannot be loaded: {}.", line.subject, said(line));
    Some(
        Finding::new(Stage::Process, Cause::PreloadObjectBroken, Certain, first)
            .and("the loader ends every dynamic program of the container because of it."),
    )
}

fn privileged(report: &Report) -> Option<Finding> {
    let line = report.of(Probe::Privileges).find(|line| line.outcome.is_bad())?;
    let first =
        format!("{} is privileged ({}): the loader ignores LD_PRELOAD for it.", line.subject, line.detail);
    Some(Finding::new(Stage::Process, Cause::SecureModeLoader, Likely, first))
}

/// Another preloaded object puts every other finding in doubt, and is the cause of what nothing else explains.
fn interposed(report: &Report, finding: Finding) -> Finding {
    let interposes = |line: &&Line| line.outcome == Outcome::Ok && !line.detail.is_empty();
    let Some(line) = report.of(Probe::Preload).find(interposes) else { return finding };
    if finding.confidence == Certain {
        return finding;
    }
    let sentence = format!("{} is preloaded, too, and replaces {}.", line.subject, line.detail);
    if finding.cause == Cause::Unknown {
        return Finding::new(Stage::Process, Cause::LibcInterposerPresent, Likely, sentence)
            .and(finding.evidence.join(" "));
    }
    finding.and(sentence)
}

/// Why a probe failed, in words.
fn said(line: &Line) -> String {
    let detail = |before: String| {
        if line.detail.is_empty() { before } else { format!("{before}: {}", line.detail) }
    };
    match line.outcome {
        Outcome::Ok => "it went well".to_owned(),
        Outcome::Absent => "it is not there".to_owned(),
        Outcome::Errno(errno) => detail(format!("errno {errno}")),
        Outcome::Code(code) if line.probe == Probe::Nvml => {
            driver::say_nvml_code(i32::try_from(code).unwrap_or(i32::MAX))
        }
        Outcome::Code(code) if line.probe == Probe::RuntimeCount => detail(code.to_string()),
        Outcome::Code(code) => driver::say_code(i32::try_from(code).unwrap_or(i32::MAX)),
        Outcome::Failed if line.detail.is_empty() => "it failed".to_owned(),
        Outcome::Failed => line.detail.to_string(),
        Outcome::Signal(signal) => detail(format!("the process died by signal {signal}")),
        Outcome::TimedOut => format!("no answer after {} ms", line.millis),
        Outcome::Skipped => detail("it was not tried".to_owned()),
    }
}

/// A probe that ended the probing process, or never came back.
fn crashed_or_hung(report: &Report, line: &Line, stage: Stage, what: &str) -> Option<Finding> {
    let other = report.of(Probe::Preload).find(|line| line.outcome == Outcome::Ok);
    let first = format!("{what}: {}.", said(line));
    match (line.outcome, other) {
        (Outcome::Signal(_) | Outcome::TimedOut, Some(other)) => Some(
            Finding::new(stage, Cause::ForeignShimFault, Likely, first)
                .and(format!("{} is preloaded beside Firstlight's library.", other.subject)),
        ),
        (Outcome::TimedOut, None) => Some(
            Finding::new(stage, Cause::DiscoveryTimeout, Likely, first)
                .not(Cause::ForeignShimFault, "no other library is preloaded."),
        ),
        (Outcome::Signal(_), None) => Some(Finding::new(stage, Cause::Unknown, Unknown, first)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
