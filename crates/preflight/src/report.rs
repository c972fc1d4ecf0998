//! Findings as they come: a line for people each, and the report when all are there.

use crate::args::{Args, Mode};
use crate::verdict::Judged;
use firstlight_contract::preflight::{Document, Finding, MAX_BYTES, Report};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// Where the kubelet looks for an init container's last words, if the pod does not say otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// What was found so far.
#[derive(Debug)]
pub struct Findings {
    report: Report,
    aloud: bool,
}

impl Findings {
    /// None yet; `aloud`: each is printed when it comes.
    pub fn new(aloud: bool) -> Self {
        Self { report: Report::default(), aloud }
    }

    /// One more.
    pub fn add(&mut self, finding: Finding) {
        if self.aloud {
            say(&line(&finding));
        }
        self.report.findings.push(finding);
    }

    /// Some more.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.add(finding);
        }
    }

    /// All of them.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// A finding for people.
fn line(finding: &Finding) -> String {
    let Finding { probe, outcome, millis, subject, detail } = finding;
    let time = if *millis == 0 { String::new() } else { format!("{millis} ms") };
    let line = format!("{:<13}  {:<9}  {time:>8}  {subject}  {detail}", probe.as_str(), outcome.to_string());
    line.trim_end().to_owned()
}

fn say(text: &str) {
    // A closed pipe is the reader's decision; the report is written all the same.
    let _ = writeln!(io::stdout(), "{text}");
}

/// Says and leaves what was found, and what follows.
pub fn publish(args: &Args, report: &Report, judged: Option<&Judged>) {
    if args.json {
        let document = Document::new(report, judged.map(|judged| judged.judgement.clone()));
        if let Ok(text) = serde_json::to_string(&document) {
            say(&text);
        }
    } else {
        say(&conclusion(judged));
    }
    let text = report.encode(MAX_BYTES);
    if args.mode.is_some() {
        // Where it is not there or not ours, the container's log still has every line.
        let _ = leave(Path::new(TERMINATION_LOG), &text, false);
    }
    if let Some(path) = &args.report
        && let Err(error) = leave(path, &text, true)
    {
        let _ = writeln!(io::stderr(), "cannot write the report to {}: {error}", path.display());
    }
}

fn conclusion(judged: Option<&Judged>) -> String {
    let Some(Judged { judgement, .. }) = judged else {
        return "verdict        none: nothing that was found is a cause by itself".to_owned();
    };
    let evidence = judgement.evidence.iter().fold(String::new(), |text, line| format!("{text}\n  {line}"));
    let (cause, confidence, stage) = (&judgement.cause, &judgement.confidence, &judgement.stage);
    format!("verdict        {cause} · {confidence} · {stage}{evidence}\n  fix: {}", judgement.fix)
}

fn leave(path: &Path, text: &str, create: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(create).truncate(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// 1 where the pod shall not start, else 0.
pub fn exit_code(mode: Option<Mode>, judged: Option<&Judged>) -> u8 {
    let blocked = mode == Some(Mode::Block) && judged.is_some_and(|judged| judged.certain);
    u8::from(blocked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::preflight::{Judgement, Outcome, Probe};
    use std::time::Duration;

    fn judged(certain: bool) -> Judged {
        let word = |word: &str| word.to_owned();
        let judgement = Judgement {
            stage: word("driver-init"),
            cause: word("uvm-device-missing"),
            confidence: word(if certain { "certain" } else { "likely" }),
            evidence: vec![word("one"), word("two")],
            fix: word("load nvidia-uvm"),
        };
        Judged { certain, judgement }
    }

    #[test]
    fn only_a_certain_cause_blocks_and_only_where_that_was_asked() {
        let code = |mode, judged: Option<Judged>| exit_code(mode, judged.as_ref());
        assert_eq!(code(Some(Mode::Block), Some(judged(true))), 1);
        assert_eq!(code(Some(Mode::Block), Some(judged(false))), 0);
        assert_eq!(code(Some(Mode::Block), None), 0);
        assert_eq!(code(Some(Mode::Report), Some(judged(true))), 0);
        assert_eq!(code(None, Some(judged(true))), 0);
    }

    #[test]
    fn a_finding_is_a_line() {
        let finding =
            Finding::new(Probe::Init, Outcome::Code(999)).on("cuInit").after(Duration::from_millis(3));
        assert_eq!(line(&finding), "init           code:999       3 ms  cuInit");
        assert_eq!(line(&Finding::new(Probe::Count, Outcome::Skipped)), "count          skipped");
    }

    #[test]
    fn the_conclusion_names_cause_evidence_and_fix() {
        let text = conclusion(Some(&judged(true)));
        assert!(
            text.contains("uvm-device-missing · certain") && text.contains("\n  two\n  fix: load"),
            "{text}"
        );
        assert!(conclusion(None).contains("none"));
    }

    #[test]
    fn a_termination_log_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(leave(&path, "text", false).is_err() && !path.exists());
        leave(&path, "longer text", true).unwrap();
        leave(&path, "text", false).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "text");
    }
}
