//! A report for people.

use crate::output::{table, wrap};
use firstlight_diagnosis::Stage;
use firstlight_diagnosis::report::{ProcessReport, Report, TimelineEntry, VerdictReport};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const WIDTH: usize = 110;
const LABEL: usize = 11;

/// The verdict, in the order in which it is read: what, why, what not, what to do.
pub(crate) fn verdict(verdict: &VerdictReport) -> String {
    let mut text = String::new();
    let head = format!(
        "{} · {} · {} · S{} {}",
        verdict.outcome, verdict.cause, verdict.confidence, verdict.stage_number, verdict.stage
    );
    line(&mut text, "verdict", &head);
    line(&mut text, "", &verdict.summary);
    labelled(&mut text, "evidence", verdict.evidence.iter().cloned());
    let ruled_out = verdict.ruled_out.iter().map(|out| format!("{}: {}", out.cause, out.why));
    labelled(&mut text, "ruled out", ruled_out);
    if verdict.outcome != "success" {
        line(&mut text, "fix", &verdict.fix);
    }
    text
}

/// What is used of quotas, a line each.
pub(crate) fn memory(sentences: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    labelled(&mut text, "memory", sentences);
    text
}

/// How much of a report is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The end of the timeline, which is where it went wrong, if it did.
    Tail,
    /// Everything.
    Whole,
}

/// Steps in the tail of a timeline.
const TAIL: usize = 20;
/// Names that the driver did not know, before the others are only counted.
const NAMES: usize = 6;

/// Whether a process did more than to start: shells and helpers do not.
fn is_telling(process: &ProcessReport) -> bool {
    process.driver.is_some() || process.stage != Stage::Process.as_str()
}

/// Processes, and what the driver did not know; those that only started are counted, if others did more.
pub(crate) fn processes(processes: &[ProcessReport], extent: Extent) -> String {
    let any = processes.iter().any(is_telling);
    let shown: Vec<&ProcessReport> =
        processes.iter().filter(|process| extent == Extent::Whole || !any || is_telling(process)).collect();
    let mut rows = vec![
        ["PID", "ROLE", "STAGE", "LAUNCHES", "GAPLESS", "DRIVER", "RUNTIME"].map(str::to_owned).to_vec(),
    ];
    for process in &shown {
        rows.push(vec![
            process.pid.to_string(),
            process.role.clone(),
            process.stage.clone(),
            process.launches.to_string(),
            if process.gapless { "yes" } else { "no" }.to_owned(),
            process.driver_version.clone().unwrap_or_else(|| "-".to_owned()),
            process.runtime.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let mut text = table(&rows);
    let left_out = processes.len() - shown.len();
    if left_out > 0 {
        let _ = writeln!(text, "and {left_out} that called no driver");
    }
    // Processes of one container mostly load the same backend and ask the same questions.
    let mut asked: Vec<(&[String], Vec<String>)> = Vec::new();
    for process in shown.iter().filter(|process| !process.unanswered.is_empty()) {
        match asked.iter_mut().find(|(names, _)| *names == process.unanswered.as_slice()) {
            Some((_, pids)) => pids.push(process.pid.to_string()),
            None => asked.push((&process.unanswered, vec![process.pid.to_string()])),
        }
    }
    for (names, pids) in asked {
        let (who, pids) = (if pids.len() == 1 { "process" } else { "processes" }, pids.join(", "));
        let most = if extent == Extent::Whole { names.len() } else { NAMES.min(names.len()) };
        let (first, rest) = names.split_at(most);
        let more =
            if rest.is_empty() { String::new() } else { format!(" and {} more (-o wide)", rest.len()) };
        let sentence = format!("{who} {pids}: the driver did not know {}{more}", first.join(", "));
        let _ = writeln!(text, "{}", wrap(&sentence, WIDTH, 2));
    }
    text
}

/// The timeline, one line a step; the tail is of the processes that did more than to start.
pub(crate) fn timeline(report: &Report, extent: Extent) -> String {
    let telling: BTreeSet<u32> =
        report.processes.iter().filter(|process| is_telling(process)).map(|process| process.pid).collect();
    let steps: Vec<&TimelineEntry> = report
        .timeline
        .iter()
        .filter(|step| extent == Extent::Whole || telling.is_empty() || telling.contains(&step.pid))
        .collect();
    let skipped = if extent == Extent::Whole { 0 } else { steps.len().saturating_sub(TAIL) };
    let rows: Vec<Vec<String>> = steps
        .iter()
        .skip(skipped)
        .map(|step| {
            let clock = step.time.get(11..26).unwrap_or(&step.time);
            let who = format!("{} {}", step.pid, step.role);
            vec![clock.to_owned(), who, step.caller.clone(), step.what.clone()]
        })
        .collect();
    let before = match skipped {
        0 => String::new(),
        some => format!("… {some} earlier steps; -o wide shows all\n"),
    };
    before + &table(&rows)
}

/// Verdict, processes, timeline; without records, the verdict alone.
pub(crate) fn report(report: &Report, extent: Extent) -> String {
    let mut text = verdict(&report.verdict);
    if !report.processes.is_empty() {
        let _ = write!(text, "\nprocesses\n{}", indent(&processes(&report.processes, extent)));
    }
    if !report.timeline.is_empty() {
        let _ = write!(text, "\ntimeline (UTC)\n{}", indent(&timeline(report, extent)));
    }
    text
}

fn indent(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| format!("{all}  {line}\n"))
}

fn labelled(text: &mut String, label: &str, sentences: impl Iterator<Item = String>) {
    for (index, sentence) in sentences.enumerate() {
        line(text, if index == 0 { label } else { "" }, &sentence);
    }
}

fn line(text: &mut String, label: &str, sentence: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{label:LABEL$}{}", wrap(sentence, WIDTH, LABEL));
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::grant::PoolKind;
    use firstlight_diagnosis::{Container, Facts};

    fn process(pid: u32, stage: Stage) -> ProcessReport {
        ProcessReport {
            pid,
            role: "other".to_owned(),
            argv: "sh".to_owned(),
            started: String::new(),
            gapless: true,
            stage: stage.as_str().to_owned(),
            driver: None,
            driver_version: None,
            runtime: None,
            modules: Vec::new(),
            unanswered: Vec::new(),
            launches: 0,
            steps_dropped: 0,
        }
    }

    fn long() -> Report {
        let step = |pid: u32| TimelineEntry {
            time: "2026-11-24T16:00:00.000123Z".to_owned(),
            pid,
            role: "other".to_owned(),
            caller: "runtime".to_owned(),
            what: "cuInit returned 0".to_owned(),
        };
        Report {
            timeline: (0..50).map(|index| step(1 + index % 2)).collect(),
            processes: vec![process(1, Stage::Process), process(2, Stage::Context)],
            ..Container::new().report(0, &Facts::of(PoolKind::Simulated))
        }
    }

    #[test]
    fn the_tail_is_of_those_that_did_something_and_says_what_it_leaves_out() {
        let text = report(&long(), Extent::Tail);
        assert!(text.contains("and 1 that called no driver"), "{text}");
        assert!(text.contains("… 5 earlier steps; -o wide shows all"), "{text}");
        assert_eq!(text.matches("cuInit returned 0").count(), TAIL);
        assert!(!text.contains("  1 other"), "{text}");
    }

    #[test]
    fn the_whole_leaves_nothing_out() {
        let text = report(&long(), Extent::Whole);
        assert_eq!(text.matches("cuInit returned 0").count(), 50);
        assert!(!text.contains("earlier") && !text.contains("called no driver"), "{text}");
    }

    #[test]
    fn where_nobody_did_anything_all_are_shown() {
        let mut quiet = long();
        quiet.processes.pop();
        assert!(report(&quiet, Extent::Tail).contains("  1 other"));
    }
}
