//! What the prober tells the agent of the cards: one line of JSON for each message, with a version and a bound.
//!
//! ```text
//! {"version":1,"asking":{"call":"nvmlDeviceGetMemoryInfo","card":"GPU-…"}}   about to ask NVML; whatever hangs now hangs here
//! {"version":1,"look":{"driver":"580.95.05","cards":[…],"nameless":[]}}      what NVML says of all cards
//! {"version":1,"xid":{"card":"GPU-…","code":79}}                             an error that the driver reported
//! {"version":1,"nothing":"NVML cannot be loaded: …"}                         there is no NVML, or it does not start
//! {"version":1,"silent":{"seconds":20,"asking":{…}}}                         NVML hangs: the prober's words, not NVML's
//! ```
//!
//! Whoever reads a line takes it from [`Message::parse`], which bounds, checks and escapes what is in it.

use crate::card;
use crate::text::printable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version that this build speaks.
pub const VERSION: u32 = 1;
/// Longest line, without its end. A card takes less than one KiB, with as many instances as it may have less than three.
pub const MAX_LINE: usize = 128 << 10;
/// Characters of a text that are kept, before they are escaped.
const MAX_TEXT: usize = 300;
/// More cards are in no machine.
pub const MAX_CARDS: usize = 64;
/// More instances are on no card: hardware divides it into seven or eight at most (NVIDIA, *MIG User Guide*).
pub const MAX_INSTANCES: usize = 16;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Message {
    /// NVML is about to be asked.
    Asking(Asking),
    /// What NVML says of all cards.
    Look(Look),
    /// An error that the driver reported.
    Xid(Xid),
    /// There is no NVML, or it does not start: why, a sentence.
    Nothing(String),
    /// NVML does not answer.
    Silent(Silent),
}

/// A question to NVML.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// The function.
    pub call: String,
    /// The card that it is about, by UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
}

/// What NVML says at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The driver's version.
    pub driver: String,
    /// The cards.
    pub cards: Vec<Card>,
    /// Cards that did not even tell who they are: a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameless: Vec<String>,
}

/// What NVML says of one card. What it does not support is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// `GPU-…`.
    pub uuid: String,
    /// PCI id, in the spelling of grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci: Option<String>,
    /// Its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Compute capability, major and minor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<(u32, u32)>,
    /// Whether it is divided by hardware (MIG).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<bool>,
    /// The instances into which it is divided, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<Vec<Instance>>,
    /// Which contexts CUDA makes on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<ComputeMode>,
    /// Error correction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecc: Option<Ecc>,
    /// Rows of memory that are replaced by spare ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,
    /// NVLinks that are up: how many lead to the device at each PCI id, which may be a switch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nvlinks: BTreeMap<String, u32>,
    /// An error that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A part of a card that hardware keeps apart (MIG), as CUDA sees it: a compute instance in a GPU instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `MIG-…`.
    pub uuid: String,
    /// Number of its GPU instance.
    pub gi: u32,
    /// Number of its compute instance in that.
    pub ci: u32,
    /// Name of its profile, such as `1g.10gb`.
    pub profile: String,
    /// Its memory, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// Which contexts CUDA makes on a card (`nvidia-smi --compute-mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeMode {
    /// Any.
    Default,
    /// Those of one process at a time.
    Exclusive,
    /// None.
    Prohibited,
    /// Something that this build does not know.
    #[serde(other)]
    Other,
}

/// A card's memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What the driver keeps for itself: nobody can allocate it.
    pub reserved: u64,
    /// What is allocated.
    pub used: u64,
}

impl Memory {
    /// What programs can have of it.
    pub fn usable(self) -> u64 {
        self.total.saturating_sub(self.reserved)
    }
}

/// A card's error correction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ecc {
    /// Whether it is on.
    pub enabled: bool,
    /// Errors since the driver was loaded that could not be corrected.
    pub uncorrected: u64,
}

/// Rows of a card's memory that are replaced by spare ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// One waits to be replaced at the next reset.
    pub pending: bool,
    /// One could not be replaced.
    pub failed: bool,
}

/// An error that a card answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What that means for the card.
    pub kind: FailureKind,
    /// The function that answered it.
    pub call: String,
    /// NVML's words.
    pub words: String,
}

/// What an error of NVML means for a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// The card cannot be reached any more.
    Lost,
    /// The card works again after a reset only.
    Reset,
    /// It may be the prober's own: nothing is known of the card.
    Other,
}

/// An error that the driver reported of a card (NVIDIA, *Xid Errors*).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xid {
    /// The card, by UUID.
    pub card: String,
    /// The number.
    pub code: u64,
}

/// NVML does not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silent {
    /// For how long.
    pub seconds: u64,
    /// The question that it was asked last, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asking: Option<Asking>,
}

/// Why a line is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// It has more bytes than [`MAX_LINE`].
    TooLong(usize),
    /// It is of another version.
    Version(u64),
    /// It is something else.
    Other(String),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(bytes) => write!(out, "a line of {bytes} bytes; wanted at most {MAX_LINE}"),
            Self::Version(version) => write!(
                out,
                "version {version}; wanted {VERSION}: agent and prober are of different releases until the upgrade has \
                 reached both"
            ),
            Self::Other(problem) => out.write_str(problem),
        }
    }
}

impl std::error::Error for WireError {}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// A message as it is written.
#[derive(Serialize, Deserialize)]
struct Line<M> {
    version: u64,
    #[serde(flatten)]
    message: M,
}

impl Message {
    /// The message as a line, without its end.
    pub fn line(&self) -> String {
        let line = Line { version: u64::from(VERSION), message: self };
        // Strings, numbers and booleans under names that are strings: there is nothing that JSON cannot say.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// Reads a line. Every text in the message is escaped and cut, every card has a name.
    pub fn parse(line: &[u8]) -> Result<Self, WireError> {
        if line.len() > MAX_LINE {
            return Err(WireError::TooLong(line.len()));
        }
        let json = |error: serde_json::Error| WireError::Other(format!("no message: {error}"));
        let Versioned { version } = serde_json::from_slice(line).map_err(json)?;
        if version != u64::from(VERSION) {
            return Err(WireError::Version(version));
        }
        let Line { message, .. } = serde_json::from_slice::<Line<Self>>(line).map_err(json)?;
        message.checked()
    }

    fn checked(self) -> Result<Self, WireError> {
        Ok(match self {
            Self::Asking(asking) => Self::Asking(asking.checked()?),
            Self::Look(look) => Self::Look(look.checked()?),
            Self::Xid(Xid { card, code }) => Self::Xid(Xid { card: uuid(&card)?, code }),
            Self::Nothing(why) => Self::Nothing(text(&why)),
            Self::Silent(Silent { seconds, asking }) => {
                Self::Silent(Silent { seconds, asking: asking.map(Asking::checked).transpose()? })
            }
        })
    }
}

impl Asking {
    fn checked(self) -> Result<Self, WireError> {
        Ok(Self { call: text(&self.call), card: self.card.as_deref().map(uuid).transpose()? })
    }
}

impl Look {
    fn checked(self) -> Result<Self, WireError> {
        let all = self.cards.len().saturating_add(self.nameless.len());
        if all > MAX_CARDS {
            return Err(WireError::Other(format!("{all} cards; wanted at most {MAX_CARDS}")));
        }
        let cards = self.cards.into_iter().map(Card::checked).collect::<Result<_, _>>()?;
        let nameless = self.nameless.iter().map(|problem| text(problem)).collect();
        Ok(Self { driver: text(&self.driver), cards, nameless })
    }
}

impl Card {
    fn checked(self) -> Result<Self, WireError> {
        let failure = self.failure.map(|failure| Failure {
            call: text(&failure.call),
            words: text(&failure.words),
            kind: failure.kind,
        });
        let nvlinks = self.nvlinks.iter().filter_map(|(pci, count)| Some((card::pci(pci)?, *count)));
        let nvlinks = nvlinks.take(MAX_CARDS).collect();
        let instances = self.instances.map(checked_instances).transpose()?;
        let pci = self.pci.as_deref().and_then(card::pci);
        Ok(Self { uuid: uuid(&self.uuid)?, pci, nvlinks, instances, failure, ..self })
    }
}

fn checked_instances(instances: Vec<Instance>) -> Result<Vec<Instance>, WireError> {
    if instances.len() > MAX_INSTANCES {
        let problem = format!("{} instances of a card; wanted at most {MAX_INSTANCES}", instances.len());
        return Err(WireError::Other(problem));
    }
    let checked = |instance: Instance| {
        let uuid = card::mig_uuid(&instance.uuid).ok_or_else(|| {
            let name = text(&instance.uuid);
            WireError::Other(format!("{name:?} is no instance's UUID; wanted MIG- and 36 characters"))
        })?;
        Ok(Instance { uuid, profile: text(&instance.profile), ..instance })
    };
    instances.into_iter().map(checked).collect()
}

fn uuid(name: &str) -> Result<String, WireError> {
    card::uuid(name).ok_or_else(|| {
        WireError::Other(format!("{:?} is no card's UUID; wanted GPU- and 36 characters", text(name)))
    })
}

/// Cut, then escaped: these are sentences, longer than a name.
fn text(text: &str) -> String {
    printable(&text.chars().take(MAX_TEXT).collect::<String>())
}

#[cfg(test)]
mod tests;
