//! Which cards the node has: the PCI bus as sysfs shows it, joined with what NVIDIA's kernel module says.

use super::kernel::{self, Information};
use super::root::NodeRoot;
use firstlight_contract::card;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

const VENDOR: &str = "0x10de";
/// The kernel driver whose cards we serve.
const DRIVER: &str = "nvidia";
/// Classes of graphics cards: with a display (`VGA compatible`), and without one (`3D controller`). The other
/// functions of a card, such as sound, are of other classes.
const CLASSES: [&str; 2] = ["0x0300", "0x0302"];

/// A card whose identity is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// `GPU-…`: the same after a restart, a reboot and in another slot.
    pub uuid: String,
    /// PCI id, in the spelling of grants.
    pub pci: String,
    /// Model.
    pub model: String,
    /// Number of the device node; may be another one after a reboot.
    pub minor: Option<u32>,
    /// NUMA node, where the machine has several.
    pub numa: Option<i64>,
    /// The PCI port of the processor that it hangs from.
    pub port: Option<String>,
    /// Why the card cannot be used although it is there.
    pub fault: Option<CardFault>,
}

/// Why a card cannot be used although it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardFault {
    /// Its PCI registers answer nothing.
    OffTheBus,
    /// The administrator excluded it from the driver.
    Excluded,
}

/// What is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Version of the kernel module, where it is loaded.
    pub module: Option<String>,
    /// Cards whose identity is known, by PCI id.
    pub cards: Vec<Card>,
    /// PCI ids of cards on the bus that have no identity yet.
    pub nameless: Vec<String>,
    /// Cards that another kernel driver has: PCI id and driver.
    pub foreign: Vec<(String, String)>,
}

/// A function on the PCI bus that is a graphics card of NVIDIA's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// PCI id, in the spelling of grants.
    pub pci: String,
    /// The kernel driver that has it.
    pub driver: Option<String>,
    /// NUMA node.
    pub numa: Option<i64>,
    /// The PCI port of the processor that it hangs from.
    pub port: Option<String>,
    /// Whether its registers answer.
    pub answers: bool,
}

impl Found {
    /// Looks at the node now.
    pub fn read(root: &NodeRoot) -> Self {
        let nvidia = root.procfs.join("driver/nvidia");
        let module = text(&nvidia.join("version")).as_deref().and_then(kernel::version);
        let known = folders(&nvidia.join("gpus")).into_iter().filter_map(|(name, folder)| {
            let mut known = kernel::information(&text(&folder.join("information"))?);
            // Old drivers do not write the place into the file; the folder is always named after it.
            known.pci = known.pci.or_else(|| card::pci(&name));
            Some(known)
        });
        join(module, functions(root), known)
    }

    /// Why there is no card to serve: a sentence. `None` if there is one.
    pub fn nothing(&self) -> Option<String> {
        if !self.cards.is_empty() {
            return None;
        }
        let places = self.nameless.join(", ");
        let foreign: Vec<String> =
            self.foreign.iter().map(|(pci, driver)| format!("{pci} ({driver})")).collect();
        Some(match (&self.module, self.nameless.len()) {
            (_, 0) if !foreign.is_empty() => format!(
                "another kernel driver has this node's NVIDIA cards: {}; give them to the driver nvidia, or leave them to \
                 virtual machines",
                foreign.join(", ")
            ),
            (_, 0) => {
                "this node has no NVIDIA card: no PCI device of vendor 0x10de and class 0x0300 or 0x0302"
                    .to_owned()
            }
            (None, _) => format!(
                "NVIDIA's kernel module is not loaded, but there are cards ({places}): /proc/driver/nvidia/version is \
                 missing; install NVIDIA's driver on the node, or load it (modprobe nvidia)"
            ),
            (Some(_), _) => self.unnamed().unwrap_or_default(),
        })
    }

    /// What to do about cards without an identity, where the kernel module is loaded.
    pub fn unnamed(&self) -> Option<String> {
        let unnamed = self.module.is_some() && !self.nameless.is_empty();
        unnamed.then(|| {
            format!(
                "the driver has not opened these cards yet, and names no UUID: {}; start nvidia-persistenced on the \
                 node, or run nvidia-smi there once",
                self.nameless.join(", ")
            )
        })
    }
}

/// Joins the bus with what the module says; pure.
pub fn join(
    module: Option<String>,
    functions: Vec<Function>,
    known: impl IntoIterator<Item = Information>,
) -> Found {
    // Without the module what is left of its files says nothing.
    let known = known.into_iter().filter(|_| module.is_some());
    let mut by_pci: BTreeMap<String, Information> =
        known.filter_map(|known| Some((known.pci.clone()?, known))).collect();
    let (mut cards, mut nameless, mut foreign) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for function in functions {
        if let Some(driver) = function.driver.filter(|driver| driver != DRIVER) {
            foreign.push((function.pci, driver));
            continue;
        }
        let known = by_pci.remove(&function.pci).unwrap_or_default();
        // Two cards never share a UUID; a second one would be given to two containers under one name.
        let Some(uuid) = known.uuid.filter(|uuid| seen.insert(uuid.clone())) else {
            nameless.push(function.pci);
            continue;
        };
        cards.push(Card {
            uuid,
            pci: function.pci,
            model: known.model.unwrap_or_else(|| "unknown model".to_owned()),
            minor: known.minor,
            numa: function.numa,
            port: function.port,
            fault: match (function.answers, known.excluded) {
                (false, _) => Some(CardFault::OffTheBus),
                (_, true) => Some(CardFault::Excluded),
                _ => None,
            },
        });
    }
    cards.sort_by(|one, other| one.pci.cmp(&other.pci));
    Found { module, cards, nameless, foreign }
}

fn functions(root: &NodeRoot) -> Vec<Function> {
    let devices = folders(&root.sysfs.join("bus/pci/devices"));
    let functions = devices.into_iter().filter_map(|(name, folder)| {
        let attribute = |name: &str| text(&folder.join(name)).map(|text| text.trim().to_owned());
        let class = attribute("class")?;
        let card = attribute("vendor")? == VENDOR && CLASSES.iter().any(|wanted| class.starts_with(wanted));
        let pci = card::pci(&name).filter(|_| card)?;
        // −1: the machine has one node, or its firmware does not say.
        let numa = attribute("numa_node").and_then(|node| node.parse().ok()).filter(|node| *node >= 0);
        // Asking a sleeping card would wake it up.
        let asleep = attribute("power/runtime_status").is_some_and(|status| status == "suspended");
        let driver = fs::read_link(folder.join("driver")).ok();
        let driver = driver.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
        let port = fs::canonicalize(&folder).ok().and_then(|real| port(&real));
        Some(Function { pci, driver, numa, port, answers: asleep || answers(&folder.join("config")) })
    });
    let mut functions: Vec<Function> = functions.collect();
    functions.sort_by(|one, other| one.pci.cmp(&other.pci));
    functions
}

/// The first function below the host bridge on a device's way in sysfs, such as `0000:40:01.1` in
/// `…/devices/pci0000:40/0000:40:01.1/0000:41:00.0/0000:42:08.0/0000:43:00.0`: the port that a switch is plugged into.
/// A device straight at a host bridge has none.
fn port(real: &Path) -> Option<String> {
    let mut names = real.iter().map(|name| name.to_string_lossy());
    names.find(|name| name.starts_with("pci"))?;
    let (port, _below) = (names.next()?, names.next()?);
    card::pci(&port)
}

/// Whether a card's registers answer: one that has fallen off the bus reads as ones. A file that cannot be read
/// says nothing against the card.
fn answers(config: &Path) -> bool {
    let mut vendor = [0; 2];
    let read = fs::File::open(config).and_then(|mut file| file.read_exact(&mut vendor));
    read.is_err() || vendor != [0xff, 0xff]
}

/// A small file of the kernel's.
fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(16 * 1024).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn folders(path: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
}

#[cfg(test)]
mod tests;
