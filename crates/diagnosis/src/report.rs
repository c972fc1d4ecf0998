//! The report: one object, the same wherever it appears (`run --report`, the agent's HTTP endpoint,
//! `diagnose -o json`). Its JSON schema is `docs/report.schema.json`.

use crate::container::Container;
use crate::facts::Facts;
use crate::process::Process;
use crate::rules;
use crate::verdict::Verdict;
use firstlight_contract::record::Caller;

/// Steps in a report's timeline; of longer ones the last are kept.
pub const MAX_TIMELINE: usize = 400;

/// A report on one container.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Report {
    /// What is concluded.
    pub verdict: VerdictReport,
    /// What happened, in the order of time.
    pub timeline: Vec<TimelineEntry>,
    /// Who took part.
    pub processes: Vec<ProcessReport>,
}

/// The verdict, as words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct VerdictReport {
    /// `success`, `failure` or `unknown`.
    pub outcome: String,
    /// The first failing stage, or the furthest one reached: a word such as `driver-init`.
    pub stage: String,
    /// The stage's number, 0 to 18.
    pub stage_number: u8,
    /// The cause's id.
    pub cause: String,
    /// `certain`, `likely` or `unknown`.
    pub confidence: String,
    /// Status of the pod condition: `True`, `False` or `Unknown`.
    pub ready: String,
    /// Whether kernels were launched and waited for.
    pub confirmed: bool,
    /// Whether the GPU is a simulated one.
    pub simulated: bool,
    /// One sentence.
    pub summary: String,
    /// Sentences, the most telling first.
    pub evidence: Vec<String>,
    /// What was considered and does not fit.
    pub ruled_out: Vec<RuledOutReport>,
    /// What to do.
    pub fix: String,
}

/// A cause that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RuledOutReport {
    /// The cause's id.
    pub cause: String,
    /// Why not.
    pub why: String,
}

/// A line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TimelineEntry {
    /// RFC 3339, UTC, microseconds.
    pub time: String,
    /// Pid in the container.
    pub pid: u32,
    /// What the process is for.
    pub role: String,
    /// Which module called.
    pub caller: String,
    /// What happened.
    pub what: String,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProcessReport {
    /// Pid in the container.
    pub pid: u32,
    /// What it is for.
    pub role: String,
    /// Its first words.
    pub argv: String,
    /// When it started: RFC 3339, UTC.
    pub started: String,
    /// Whether every record of it has been seen.
    pub gapless: bool,
    /// The furthest stage it reached.
    pub stage: String,
    /// Path of the driver it opened.
    pub driver: Option<String>,
    /// The driver's CUDA version, `12.8`.
    pub driver_version: Option<String>,
    /// Path of the CUDA runtime that called the driver.
    pub runtime: Option<String>,
    /// Modules that called the driver: class and path.
    pub modules: Vec<String>,
    /// Names that the driver did not know.
    pub unanswered: Vec<String>,
    /// Kernel and graph launches it reported.
    pub launches: u64,
    /// Steps that are not in the timeline.
    pub steps_dropped: u64,
}

impl Report {
    /// The report on a container at this time (nanoseconds since the epoch).
    pub fn of(container: &Container, now_ns: u64, facts: &Facts) -> Self {
        let verdict = container.verdict(now_ns, facts);
        let processes: Vec<Process> =
            container.processes().iter().map(|process| process.settled().into_owned()).collect();
        let mut steps: Vec<_> = processes
            .iter()
            .flat_map(|process| process.steps.iter().map(move |step| (process, step)))
            .collect();
        steps.sort_by_key(|(process, step)| (step.at_ns, process.pid, step.sequence));
        let skipped = steps.len().saturating_sub(MAX_TIMELINE);
        let timeline = steps.into_iter().skip(skipped).map(|(process, step)| TimelineEntry {
            time: rfc3339(step.at_ns),
            pid: process.pid,
            role: process.role.as_str().to_owned(),
            caller: step.caller.as_str().to_owned(),
            what: step.line(),
        });
        Self {
            verdict: VerdictReport::of(&verdict),
            timeline: timeline.collect(),
            processes: processes.iter().map(ProcessReport::of).collect(),
        }
    }
}

impl VerdictReport {
    /// The verdict as words.
    pub fn of(verdict: &Verdict) -> Self {
        Self {
            outcome: verdict.outcome.as_str().to_owned(),
            stage: verdict.stage.as_str().to_owned(),
            stage_number: verdict.stage.number(),
            cause: verdict.cause.id().to_owned(),
            confidence: verdict.confidence.as_str().to_owned(),
            ready: verdict.ready.as_str().to_owned(),
            confirmed: verdict.confirmed,
            simulated: verdict.simulated,
            summary: verdict.headline(),
            evidence: verdict.evidence.clone(),
            ruled_out: verdict
                .ruled_out
                .iter()
                .map(|out| RuledOutReport { cause: out.cause.id().to_owned(), why: out.why.clone() })
                .collect(),
            fix: verdict.fix.clone(),
        }
    }
}

impl ProcessReport {
    fn of(process: &Process) -> Self {
        let learnt = &process.learnt;
        Self {
            pid: process.pid,
            role: process.role.as_str().to_owned(),
            argv: process.argv.clone(),
            started: rfc3339(process.started_ns),
            gapless: process.gapless,
            stage: rules::reached(process).as_str().to_owned(),
            driver: learnt.driver.clone(),
            driver_version: learnt.version.map(crate::step::say_version),
            runtime: process.runtime().map(str::to_owned),
            modules: process.modules().map(|(caller, path)| module(caller, path)).collect(),
            unanswered: learnt.unanswered.iter().fold(Vec::new(), |mut names, (name, _, _)| {
                // A name is asked for in each of its versions.
                if !name.is_empty() && !names.contains(name) {
                    names.push(name.clone());
                }
                names
            }),
            launches: process.launches(),
            steps_dropped: process.steps_dropped,
        }
    }
}

fn module(caller: Caller, path: &str) -> String {
    format!("{}: {path}", caller.as_str())
}

/// A time as RFC 3339 in UTC with microseconds, such as `2026-11-24T16:00:00.000123Z`. The calendar is Howard
/// Hinnant's `civil_from_days`.
pub fn rfc3339(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let clock = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        clock / 3_600,
        clock % 3_600 / 60,
        clock % 60,
        ns % 1_000_000_000 / 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_other_programs_write_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(951_827_696_000_123_456), "2000-02-29T12:34:56.000123Z");
        assert_eq!(rfc3339(1_700_000_000_000_000_000), "2023-11-14T22:13:20.000000Z");
        assert!(rfc3339(u64::MAX).starts_with("2554-"));
    }
}
