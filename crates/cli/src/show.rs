//! A report for people.

use crate::output::{table, wrap};
use firstlight_diagnosis::report::{ProcessReport, Report, TimelineEntry, VerdictReport};
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

/// Processes, and what the driver did not know.
pub(crate) fn processes(processes: &[ProcessReport]) -> String {
    let mut rows = vec![
        ["PID", "ROLE", "STAGE", "LAUNCHES", "GAPLESS", "DRIVER", "RUNTIME"].map(str::to_owned).to_vec(),
    ];
    for process in processes {
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
    for process in processes.iter().filter(|process| !process.unanswered.is_empty()) {
        let names = process.unanswered.join(", ");
        let sentence = format!("process {}: the driver did not know {names}", process.pid);
        let _ = writeln!(text, "{}", wrap(&sentence, WIDTH, 2));
    }
    text
}

/// The timeline, one line a step.
pub(crate) fn timeline(steps: &[TimelineEntry]) -> String {
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|step| {
            let clock = step.time.get(11..26).unwrap_or(&step.time);
            let who = format!("{} {}", step.pid, step.role);
            vec![clock.to_owned(), who, step.caller.clone(), step.what.clone()]
        })
        .collect();
    table(&rows)
}

/// All of it; without records, the verdict alone.
pub(crate) fn report(report: &Report) -> String {
    let mut text = verdict(&report.verdict);
    if !report.processes.is_empty() {
        let _ = write!(text, "\nprocesses\n{}", indent(&processes(&report.processes)));
    }
    if !report.timeline.is_empty() {
        let _ = write!(text, "\ntimeline (UTC)\n{}", indent(&timeline(&report.timeline)));
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
