//! Memory that the quota refused, if the process did not get over it.

use super::examine::stage_of;
use super::{Finding, who};
use crate::catalogue::Cause;
use crate::driver::Duty;
use crate::process::{Process, Refused};
use crate::stage::Stage;
use crate::step::say_bytes;
use crate::verdict::Confidence::{self, Certain, Likely};
use firstlight_contract::record::Refusal;

/// The shim says itself that it refused, and why: the driver was not asked, so its code tells nothing.
pub(super) fn refused(process: &Process) -> Option<Finding> {
    let refused = process.learnt.quota_refused.as_ref()?;
    if process.learnt.got_over_refusal(refused) {
        return None;
    }
    let stage = if refused.duty == Duty::Context { stage_of(refused.duty) } else { Stage::Allocate };
    let finding = match refused.why {
        Some(Refusal::Full) => Finding::new(stage, Cause::QuotaExceeded, Certain, used_up(process, refused)),
        why => {
            let (reason, confidence) = unavailable(refused, why);
            let first = format!("{} in {} was refused: {reason}.", call(refused), who(process));
            Finding::new(stage, Cause::QuotaUnavailable, confidence, first)
                .and("a quota that cannot be counted is not exceeded: the driver was not asked.")
                .not(Cause::QuotaExceeded, "nothing says that the quota is used up.")
        }
    };
    let (alike, why) = match refused.duty {
        Duty::Context => {
            (Cause::NoRoomForContext, "the quota refused before the driver was asked for a context.")
        }
        _ => (Cause::OutOfMemoryAtLoad, "the quota refused before the driver was asked for memory."),
    };
    Some(finding.not(alike, why))
}

/// `cuMemAlloc_v2 of 8.0 GiB`
pub(super) fn call(refused: &Refused) -> String {
    format!("{} of {}", refused.symbol, say_bytes(refused.asked))
}

fn used_up(process: &Process, refused: &Refused) -> String {
    let first = format!("{} in {} was refused by the quota", call(refused), who(process));
    let mut numbers = refused.detail.split(' ').map(str::parse::<u64>);
    match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(used)), Some(Ok(others)), Some(Ok(quota)), None) => format!(
            "{first} of {} for device {}: the process uses {}, others of the container use {}.",
            say_bytes(quota),
            refused.device,
            say_bytes(used),
            say_bytes(others)
        ),
        _ => format!("{first} for device {}, which is used up ({}).", refused.device, refused.detail),
    }
}

fn unavailable(refused: &Refused, why: Option<Refusal>) -> (String, Confidence) {
    match why {
        Some(Refusal::Busy) => {
            ("another process of the container held the quota's ledger for seconds".to_owned(), Certain)
        }
        Some(Refusal::Away) if refused.detail.is_empty() => {
            ("the quota's ledger cannot be used".to_owned(), Certain)
        }
        Some(Refusal::Away) => (format!("the quota's ledger cannot be used ({})", refused.detail), Certain),
        // A newer shim knows more reasons than this reader.
        _ => (format!("the quota gave a reason unknown here ({})", refused.detail), Likely),
    }
}
