//! What the prober told of the cards, as it counts at one moment, and which of it keeps a card from being given.
//! Pure. What was not told, or too long ago, is held against no card.

use super::cards::Card;
use crate::inventory::Fault;
use firstlight_contract::metrics::HealthReason;
use firstlight_contract::prober::{self, ComputeMode, FailureKind, Silent};
use std::collections::BTreeMap;

/// Errors of the driver after which a card works again when it was reset, and their names (NVIDIA, *Xid Errors*).
const UNTIL_RESET: [(u64, &str); 9] = [
    (48, "double-bit ECC error"),
    (62, "internal micro-controller halt"),
    (64, "row remapping failure"),
    (79, "fallen off the bus"),
    (95, "uncontained ECC error"),
    (119, "GSP RPC timeout"),
    (120, "GSP error"),
    (140, "unrecovered ECC error"),
    (143, "initialisation failure"),
];

/// What counts now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// By UUID.
    pub cards: BTreeMap<String, ToldCard>,
    /// NVML hangs, and not at one card.
    pub hangs: Option<Silent>,
}

/// What counts of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldCard {
    /// Memory that programs can have of it. Stays when the prober is gone: a card's memory does not change.
    pub memory_bytes: Option<u64>,
    /// What NVML says, unless that is too old.
    pub look: Option<prober::Card>,
    /// An error of the driver that still counts.
    pub xid: Option<u64>,
    /// NVML hangs at this card.
    pub hangs: Option<Silent>,
}

/// Whether a card is unhealthy until it was reset, after this error.
pub fn until_reset(xid: u64) -> bool {
    UNTIL_RESET.iter().any(|(code, _)| *code == xid)
}

/// An error's number, with its name where it is one of ours.
pub fn named(xid: u64) -> String {
    let name = UNTIL_RESET.iter().find(|(code, _)| *code == xid);
    name.map_or_else(|| format!("Xid {xid}"), |(_, name)| format!("Xid {xid} ({name})"))
}

impl Told {
    /// Memory of a card that programs can have, if it was ever told.
    pub fn memory(&self, uuid: &str) -> Option<u64> {
        self.cards.get(uuid)?.memory_bytes
    }

    /// How many NVLinks lead from a card straight to each of the others, by UUID; those to a switch lead everywhere
    /// and prefer nobody.
    pub fn nvlinks<'a>(&self, uuid: &str, cards: impl Iterator<Item = &'a Card>) -> BTreeMap<String, u32> {
        let Some(look) = self.look(uuid).filter(|look| !look.nvlinks.is_empty()) else {
            return BTreeMap::new();
        };
        let to = |card: &Card| Some((card.uuid.clone(), *look.nvlinks.get(&card.pci)?));
        cards.filter_map(to).collect()
    }

    /// Why a card cannot be given, from what was told; `shown` is its name in sentences.
    pub fn fault(&self, card: &Card, shown: &str) -> Option<Fault> {
        let told = self.cards.get(&card.uuid);
        let hangs = told.and_then(|told| told.hangs.as_ref()).or(self.hangs.as_ref());
        if let Some(silent) = hangs {
            return Some(hanging(silent, shown));
        }
        let told = told?;
        let look = told.look.as_ref();
        look.and_then(|look| lost(look, shown))
            .or_else(|| told.xid.map(|code| reported(code, shown)))
            .or_else(|| look.and_then(|look| memory_errors(look, shown)))
    }

    /// What NVML says of a card now.
    pub fn look(&self, uuid: &str) -> Option<&prober::Card> {
        self.cards.get(uuid)?.look.as_ref()
    }

    /// Why CUDA makes no context on a card; `shared`: the pool gives it to several containers at a time.
    pub fn refuses(&self, card: &Card, shown: &str, shared: bool) -> Option<Fault> {
        let (mode, whom) = match self.look(&card.uuid)?.compute? {
            ComputeMode::Prohibited => ("PROHIBITED", "every process"),
            ComputeMode::Exclusive if shared => {
                ("EXCLUSIVE_PROCESS", "every process but one, and the pool shares it")
            }
            _ => return None,
        };
        let sentence = format!(
            "the compute mode of {shown} is {mode}: CUDA refuses {whom} (46, devices unavailable); set it back (nvidia-smi \
             -i {} -c DEFAULT)",
            card.pci
        );
        Some(Fault::new(HealthReason::ComputeMode, sentence))
    }
}

/// Why a card is not given itself while hardware divides it.
pub fn divided(card: &Card, shown: &str) -> Fault {
    let sentence = format!(
        "MIG is on: {shown} is divided by hardware; give its instances by a pool with the key `mig` (such as `mig: \
         1g.10gb`), turn it off (nvidia-smi -i {} -mig 0), or leave the card out of the pool's devices",
        card.pci
    );
    Fault::new(HealthReason::Mig, sentence)
}

const RESET: &str = "drain the node, then reset the card (nvidia-smi --gpu-reset) or reboot the node";

fn hanging(silent: &Silent, shown: &str) -> Fault {
    let call = silent.asking.as_ref().map_or("a question", |asking| asking.call.as_str());
    let sentence = format!(
        "NVML hangs: {call} has not returned for {} s, so nobody knows whether {shown} works; see the node's kernel log, \
         drain the node and reboot it",
        silent.seconds
    );
    Fault::new(HealthReason::NvmlHangs, sentence)
}

fn lost(look: &prober::Card, shown: &str) -> Option<Fault> {
    let failure = look.failure.as_ref()?;
    let answer = format!("NVML answers {}: {}", failure.call, failure.words);
    let sentence = match failure.kind {
        FailureKind::Lost => format!(
            "{shown} is lost ({answer}); drain the node and reboot it, and look for Xid 79 in its kernel log"
        ),
        FailureKind::Reset => format!("{shown} needs a reset ({answer}); {RESET}"),
        // It may be the prober's own: the agent's log has it.
        FailureKind::Other => return None,
    };
    Some(Fault::new(HealthReason::Lost, sentence))
}

fn reported(code: u64, shown: &str) -> Fault {
    let sentence = if until_reset(code) {
        format!(
            "the driver reported {} of {shown}; {RESET}, and delete the agent's pod there if the node was not rebooted",
            named(code)
        )
    } else {
        format!(
            "the driver reported {} of {shown}; it is given again after a minute without another one; see the node's \
             kernel log (NVRM: Xid)",
            named(code)
        )
    };
    Fault::new(HealthReason::Xid, sentence)
}

fn memory_errors(look: &prober::Card, shown: &str) -> Option<Fault> {
    let rows = look.rows.unwrap_or_default();
    let sentence = if rows.failed {
        format!("a row of the memory of {shown} is broken and no spare one is left; have the card replaced")
    } else if let Some(ecc) = look.ecc.filter(|ecc| ecc.enabled && ecc.uncorrected > 0) {
        format!(
            "the memory of {shown} had errors that cannot be corrected ({} since the driver was loaded); {RESET}",
            ecc.uncorrected
        )
    } else if rows.pending {
        format!("a broken row of the memory of {shown} waits for a reset to be replaced; {RESET}")
    } else {
        return None;
    };
    Some(Fault::new(HealthReason::Ecc, sentence))
}

#[cfg(test)]
mod tests;
