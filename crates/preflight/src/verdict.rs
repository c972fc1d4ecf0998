//! What follows from a report: the diagnosis crate decides, here it becomes words.

use firstlight_contract::preflight::{Judgement, Report};
use firstlight_diagnosis::{Cause, Confidence, Stage, preflight};

/// What was concluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whether the cause is certain: only then may a pod be kept from starting.
    pub certain: bool,
    /// In words.
    pub judgement: Judgement,
}

/// What follows from this report, if anything does.
pub fn verdict(report: &Report) -> Option<Judged> {
    let found = preflight::judge(report)?;
    Some(judged(found.stage, found.cause, found.confidence, found.evidence))
}

/// The catalogue's words for a cause.
pub fn judged(stage: Stage, cause: Cause, confidence: Confidence, evidence: Vec<String>) -> Judged {
    let judgement = Judgement {
        stage: stage.as_str().to_owned(),
        cause: cause.id().to_owned(),
        confidence: confidence.as_str().to_owned(),
        evidence,
        fix: cause.row().fix.to_owned(),
    };
    Judged { certain: confidence == Confidence::Certain, judgement }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_called_so() {
        let with = |confidence| judged(Stage::DriverInit, Cause::UvmDeviceMissing, confidence, Vec::new());
        assert!(with(Confidence::Certain).certain);
        assert!(!with(Confidence::Likely).certain);
        let judgement = with(Confidence::Certain).judgement;
        assert_eq!(
            (judgement.stage.as_str(), judgement.cause.as_str()),
            ("driver-init", "uvm-device-missing")
        );
        assert!(!judgement.fix.is_empty());
    }
}
