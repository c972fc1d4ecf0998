//! The report as one JSON document, with what was concluded from it: what the preflight prints with `--json`, and
//! what a caller of it in a running container reads.

use super::{Finding, MAX_FINDINGS, Outcome, Probe, Report};
use crate::text::ForeignText;
use serde::{Deserialize, Serialize};

/// The document. It comes out of a container: whoever reads it takes [`Document::report`] and
/// [`Document::verdict`], which are cut and escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// What was found, in the order in which it was tried.
    pub findings: Vec<Line>,
    /// What follows from it, if anything does.
    #[serde(default)]
    pub verdict: Option<Judgement>,
}

/// One finding; the words are those of the report's line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What was tried.
    pub probe: String,
    /// What came of it.
    pub outcome: String,
    /// How long it took, milliseconds.
    pub millis: u32,
    /// On what.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// More words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What follows from a report, in words of the catalogue of causes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Word of the stage.
    pub stage: String,
    /// Id of the cause.
    pub cause: String,
    /// `certain`, `likely` or `unknown`.
    pub confidence: String,
    /// Sentences.
    pub evidence: Vec<String>,
    /// What to do.
    pub fix: String,
}

/// Sentences that are taken from a foreign judgement.
const MAX_EVIDENCE: usize = 16;

impl Document {
    /// The document of a report.
    pub fn new(report: &Report, verdict: Option<Judgement>) -> Self {
        Self { findings: report.findings.iter().map(Line::from).collect(), verdict }
    }

    /// The report in it; what no reader of this version understands is counted.
    pub fn report(&self) -> Report {
        let mut report = Report::default();
        for line in &self.findings {
            match line.finding() {
                Some(finding) if report.findings.len() < MAX_FINDINGS => report.findings.push(finding),
                _ => report.foreign_lines = report.foreign_lines.saturating_add(1),
            }
        }
        report
    }

    /// What was concluded, cut and escaped.
    pub fn verdict(&self) -> Option<Judgement> {
        let Judgement { stage, cause, confidence, evidence, fix } = self.verdict.as_ref()?;
        let clean = |text: &String| ForeignText::new(text.as_bytes()).as_str().to_owned();
        // Sentences are longer than what is kept of one foreign text; what they hold was foreign once.
        let sentence = |text: &String| crate::text::printable(&text.chars().take(512).collect::<String>());
        Some(Judgement {
            stage: clean(stage),
            cause: clean(cause),
            confidence: clean(confidence),
            evidence: evidence.iter().take(MAX_EVIDENCE).map(sentence).collect(),
            fix: sentence(fix),
        })
    }
}

impl Line {
    fn finding(&self) -> Option<Finding> {
        Some(Finding {
            probe: Probe::from_word(&self.probe)?,
            outcome: Outcome::parse(&self.outcome)?,
            millis: self.millis,
            subject: ForeignText::new(self.subject.as_bytes()),
            detail: ForeignText::new(self.detail.as_bytes()),
        })
    }
}

impl From<&Finding> for Line {
    fn from(finding: &Finding) -> Self {
        Self {
            probe: finding.probe.as_str().to_owned(),
            outcome: finding.outcome.to_string(),
            millis: finding.millis,
            subject: finding.subject.as_str().to_owned(),
            detail: finding.detail.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(probe: &str, detail: &str) -> Line {
        let (probe, detail) = (probe.to_owned(), detail.to_owned());
        Line { probe, outcome: "code:999".to_owned(), millis: 3, subject: "cuInit".to_owned(), detail }
    }

    #[test]
    fn a_report_is_read_back_from_its_document() {
        let finding = Finding::new(Probe::Init, Outcome::Code(999)).on("cuInit").saying("CUDA_ERROR_UNKNOWN");
        let report = Report { findings: vec![finding], foreign_lines: 0 };
        assert_eq!(Document::new(&report, None).report(), report);
    }

    #[test]
    fn what_a_container_says_is_escaped_and_what_nobody_understands_is_counted() {
        let judgement = Judgement {
            stage: "driver-init".to_owned(),
            cause: "\u{1b}[2J".to_owned(),
            confidence: "certain".to_owned(),
            evidence: vec!["\u{202e}evil".to_owned(); 99],
            fix: "x".repeat(9999),
        };
        let findings = vec![line("init", "\u{1b}[2J"), line("teleport", "")];
        let document = Document { findings, verdict: Some(judgement) };
        let report = document.report();
        assert_eq!((report.findings.len(), report.foreign_lines), (1, 1));
        assert_eq!(report.findings[0].detail.as_str(), "\\u{1b}[2J");
        let verdict = document.verdict().unwrap();
        assert_eq!(verdict.cause, "\\u{1b}[2J");
        assert_eq!((verdict.evidence.len(), verdict.fix.len()), (16, 512));
        assert_eq!(verdict.evidence[0], "\\u{202e}evil");
    }
}
