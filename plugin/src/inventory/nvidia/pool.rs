//! A pool of real cards, whole or in parts: which of the node's cards are in it, and which of them can be given. Pools of
//! MIG instances: [`super::mig`].

use super::cards::{Card, CardFault, Found};
use super::cdi::{Reader, Specs};
use super::driver::{self, DriverSet};
use super::mig::{self, Capability, Instances};
use super::root::NodeRoot;
use super::told::{self, Told};
use crate::foreign::Foreign;
use crate::inventory::{
    DeviceNode, Direct, Driver, Fault, Health, Inventory, Links, PoolDevice, Snapshot, Unit,
};
use crate::prober::knowledge::Knowledge;
use firstlight_contract::grant::Device;
use firstlight_contract::metrics::{DriverWay, HealthReason};
use firstlight_contract::names::label::CARDS;
use firstlight_contract::pools::cards::{Cards, DriverMode, Selection, Shares};
use firstlight_contract::pools::{Pool, PoolSpec, mps};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Device nodes that every container with a card gets; the last one is for tools only, and may be missing.
const CONTROL: [(&str, bool); 3] =
    [("/dev/nvidiactl", true), ("/dev/nvidia-uvm", true), ("/dev/nvidia-uvm-tools", false)];
/// Quotas of equal parts are whole multiples of the driver's allocation granularity.
const GRANULE: u64 = 2 << 20;

/// A pool of real cards on this node.
#[derive(Debug)]
pub struct Nvidia {
    root: NodeRoot,
    specs: Reader,
    claims: Claims,
    knowledge: Arc<Knowledge>,
    foreign: Arc<Foreign>,
    /// Every card that was ever seen: one that is gone stays in the list, because the kubelet would otherwise
    /// forget why a pod has no GPU any more.
    known: Mutex<Known>,
}

/// What was ever seen.
#[derive(Debug, Default)]
pub struct Known {
    /// Cards by UUID.
    pub cards: BTreeMap<String, Card>,
    /// Their MIG instances.
    pub instances: Instances,
}

/// What this pool and the others claim.
#[derive(Clone, Debug)]
pub struct Claims {
    pool: String,
    selection: Selection,
    parts: Parts,
    driver: DriverMode,
    /// Directory of the MPS control daemon through which containers share a card.
    mps: Option<PathBuf>,
    /// What each process is charged for its context.
    context: Option<u64>,
    /// Other pools that give the same of a card.
    others: Vec<(String, Selection)>,
}

/// How the pool gives its cards.
#[derive(Clone, Debug)]
enum Parts {
    /// So many times each.
    Whole(u32),
    Shares(Shares, Option<u64>),
    /// MIG instances with this profile.
    Instances(String),
}

/// What was seen on the node, apart from the cards.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The driver's libraries, or what is wrong with them.
    pub driver: Result<DriverSet, String>,
    /// The node's CDI specifications, where the pool may need them.
    pub specs: Specs,
    /// The device nodes that are there, such as `/dev/nvidia0`.
    pub nodes: Vec<PathBuf>,
    /// The MIG instances that the kernel module knows, by the card's minor.
    pub capabilities: BTreeMap<u32, Vec<Capability>>,
    /// What the kubelet calls the node's root.
    pub host: NodeRoot,
    /// What NVML says, through the prober.
    pub told: Told,
    /// Resources under which somebody else serves the node's cards.
    pub foreign: BTreeSet<String>,
}

impl Nvidia {
    /// A pool of these cards, among all pools of the configuration.
    pub fn new(pool: &Pool, cards: &Cards, all: &[Pool], root: NodeRoot, knowledge: Arc<Knowledge>) -> Self {
        let (parts, context) = match &pool.spec {
            PoolSpec::Slice { shares, memory_bytes, context_bytes, .. } => {
                (Parts::Shares(shares.clone(), *memory_bytes), Some(*context_bytes))
            }
            PoolSpec::Whole { mig: Some(profile), .. } => (Parts::Instances(profile.clone()), None),
            PoolSpec::Whole { replicas, .. } => (Parts::Whole(*replicas), None),
            _ => (Parts::Whole(1), None),
        };
        // Whether MIG is on decides between a card and its instances, and these go by their profile.
        let others = all.iter().filter(|other| other.name != pool.name && other.mig() == pool.mig());
        let others = others.filter_map(|other| Some((other.name.clone(), other.cards()?.devices.clone())));
        let claims = Claims {
            pool: pool.name.clone(),
            selection: cards.devices.clone(),
            parts,
            driver: cards.driver,
            mps: pool.mps().map(PathBuf::from),
            context,
            others: others.collect(),
        };
        let (specs, foreign) = (Reader::new(root.clone()), Arc::default());
        Self { root, specs, claims, knowledge, foreign, known: Mutex::default() }
    }

    /// The same, on a node where other device plugins are looked for.
    #[must_use]
    pub fn beside(self, foreign: Arc<Foreign>) -> Self {
        Self { foreign, ..self }
    }

    fn surroundings(&self, found: &Found) -> Surroundings {
        let driver = match &found.module {
            Some(version) => driver::find(&self.root, version),
            None => Err("NVIDIA's kernel module is not loaded: /proc/driver/nvidia/version is missing; load it on the \
                         node (modprobe nvidia), or install NVIDIA's driver there"
                .to_owned()),
        };
        let minors = || found.cards.iter().filter_map(|card| card.minor);
        let capabilities: BTreeMap<u32, Vec<Capability>> =
            minors().map(|minor| (minor, mig::capabilities(&self.root, minor))).collect();
        let cards = minors().map(|minor| format!("/dev/nvidia{minor}"));
        let parts = capabilities.values().flatten().flat_map(Capability::nodes);
        let wanted = CONTROL.iter().map(|(name, _)| (*name).to_owned()).chain(cards).chain(parts);
        let wanted = wanted.map(PathBuf::from).chain(self.claims.mps_control());
        // Seen, not opened: the device cgroup forbids that, and nothing here needs it.
        let nodes = wanted.filter(|node| self.root.seen(node).symlink_metadata().is_ok()).collect();
        if found.module.is_none() {
            self.knowledge.driver_gone();
        }
        let told = self.knowledge.told(Instant::now());
        let specs = match self.claims.driver {
            DriverMode::Cdi => self.specs.read(),
            DriverMode::Auto if driver.is_err() => self.specs.read(),
            _ => Specs::default(),
        };
        let foreign = self.foreign.resources();
        Surroundings { driver, specs, nodes, capabilities, host: self.root.clone(), told, foreign }
    }
}

impl Inventory for Nvidia {
    fn probe(&self) -> Snapshot {
        let found = Found::read(&self.root);
        let surroundings = self.surroundings(&found);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for card in &found.cards {
            known.cards.insert(card.uuid.clone(), card.clone());
        }
        known.instances.hear(&surroundings.told);
        judge(&self.claims, &known, &found, &surroundings)
    }
}

/// What the pool has now; pure.
pub fn judge(claims: &Claims, known: &Known, found: &Found, surroundings: &Surroundings) -> Snapshot {
    let selected = |card: &&Card| claims.selection.holds(&card.uuid, &card.pci, &card.model);
    let mut cards: Vec<&Card> = known.cards.values().filter(selected).collect();
    cards.sort_by(|one, other| (&one.pci, &one.uuid).cmp(&(&other.pci, &other.uuid)));
    let (driver, devices, none) = if let Parts::Instances(profile) = &claims.parts {
        // A CDI specification and NVIDIA's runtime name cards.
        let driver = Driver::Direct(surroundings.direct());
        let fault = |card: &Card| claims.fault(card, &driver, found, surroundings);
        let devices = mig::devices(profile, &cards, &known.instances, surroundings, fault);
        (driver, devices, mig::remark(profile, &cards, &surroundings.told))
    } else {
        let driver = way(claims.driver, &cards, found, surroundings);
        let device = |card| device(claims, card, &driver, found, surroundings);
        let devices: Vec<PoolDevice> = cards.into_iter().map(device).collect();
        (driver, devices, None)
    };
    let remark = match (devices.is_empty(), found.nothing().or(none)) {
        (true, Some(nothing)) => Some(nothing),
        (true, None) => Some(format!(
            "none of this node's cards is in the pool's devices; there are {}",
            found.cards.iter().map(shown).collect::<Vec<_>>().join(", ")
        )),
        (false, _) => found.unnamed(),
    };
    Snapshot { driver, devices, remark }
}

/// How the driver gets into the pool's containers, the same for all cards of a node.
fn way(mode: DriverMode, cards: &[&Card], found: &Found, surroundings: &Surroundings) -> Driver {
    let names = || -> BTreeMap<String, String> {
        let name = |card: &&Card| Some((card.uuid.clone(), surroundings.cdi_name(card, found).ok()?));
        cards.iter().filter_map(name).collect()
    };
    match mode {
        DriverMode::Runtime => Driver::Runtime,
        DriverMode::Cdi => Driver::Cdi(names()),
        DriverMode::Auto if surroundings.driver.is_err() => {
            let names = names();
            if names.is_empty() { Driver::Direct(surroundings.direct()) } else { Driver::Cdi(names) }
        }
        DriverMode::Auto | DriverMode::Direct => Driver::Direct(surroundings.direct()),
    }
}

fn device(
    claims: &Claims,
    card: &Card,
    driver: &Driver,
    found: &Found,
    surroundings: &Surroundings,
) -> PoolDevice {
    let told = &surroundings.told;
    let (units, divided) = claims.units(card, told.memory(&card.uuid));
    let fault = claims
        .fault(card, driver, found, surroundings)
        .or_else(|| surroundings.divided(card).then(|| told::divided(card, &shown(card))))
        .or_else(|| claims.without_mps(card, surroundings))
        .or_else(|| told.refuses(card, &shown(card), claims.shared() && claims.mps.is_none()))
        .or(divided);
    PoolDevice {
        name: card.uuid.clone(),
        health: fault.map_or(Health::Healthy, Health::Unhealthy),
        numa: card.numa,
        links: Links { port: card.port.clone(), nvlinks: told.nvlinks(&card.uuid, found.cards.iter()) },
        granted: Some(Device {
            uuid: card.uuid.clone(),
            pci: Some(card.pci.clone()),
            context_bytes: claims.context,
            ..Device::default()
        }),
        nodes: surroundings.of_card(card).collect(),
        units,
    }
}

pub(super) fn shown(card: &Card) -> String {
    format!("{} ({}, {})", card.uuid, card.model, card.pci)
}

/// Why a card that was seen once is not there now.
fn gone(card: &Card, found: &Found) -> Option<Fault> {
    let there = found.cards.iter().any(|now| now.uuid == card.uuid);
    (!there && found.module.is_some()).then(|| {
        let sentence = format!(
            "{} is gone: it was there since the agent's start, and is not on the bus any more; see the node's kernel log, \
             and reboot the node",
            shown(card)
        );
        Fault::new(HealthReason::Gone, sentence)
    })
}

impl Claims {
    /// Whether several containers have one card at a time.
    fn shared(&self) -> bool {
        match &self.parts {
            Parts::Shares(Shares::Equal(count), _) => *count > 1,
            Parts::Shares(Shares::Sizes(sizes), _) => sizes.len() > 1,
            Parts::Whole(replicas) => *replicas > 1,
            Parts::Instances(_) => false,
        }
    }

    /// What is there while the MPS control daemon runs.
    fn mps_control(&self) -> Option<PathBuf> {
        Some(self.mps.as_ref()?.join(mps::PIPE).join(mps::CONTROL))
    }

    /// Without its daemon CUDA would go on beside MPS, and say nothing.
    fn without_mps(&self, card: &Card, surroundings: &Surroundings) -> Option<Fault> {
        let control = self.mps_control().filter(|control| !surroundings.nodes.contains(control))?;
        let folder = self.mps.as_ref()?.display();
        let sentence = format!(
            "{} is missing, so no MPS control daemon shares {}: start one on the node (CUDA_MPS_PIPE_DIRECTORY={folder}/{} \
             nvidia-cuda-mps-control -d, with {folder}/{} as its /dev/shm), or leave `mps` out of the pool {:?}",
            control.display(),
            shown(card),
            mps::PIPE,
            mps::SHM,
            self.pool
        );
        Some(Fault::new(HealthReason::Mps, sentence))
    }

    /// Why nothing of a card can be given, whatever the pool gives of it.
    fn fault(
        &self,
        card: &Card,
        driver: &Driver,
        found: &Found,
        surroundings: &Surroundings,
    ) -> Option<Fault> {
        gone(card, found)
            .or_else(|| self.contested(card))
            .or_else(|| surroundings.served(&self.pool))
            .or_else(|| surroundings.fault(card, driver, found))
            .or_else(|| surroundings.told.fault(card, &shown(card)))
    }

    /// Why a card is not this pool's alone.
    fn contested(&self, card: &Card) -> Option<Fault> {
        let holds =
            |(_, selection): &&(String, Selection)| selection.holds(&card.uuid, &card.pci, &card.model);
        let others: Vec<String> =
            self.others.iter().filter(holds).map(|(name, _)| format!("{name:?}")).collect();
        (!others.is_empty()).then(|| {
            let sentence = format!(
                "{} is claimed by the pools {:?} and {}; a card is in exactly one pool: leave it out of the `devices` of \
                 the others",
                shown(card),
                self.pool,
                others.join(" and ")
            );
            Fault::new(HealthReason::Contested, sentence)
        })
    }

    /// What the kubelet hands out of a card, and why it cannot be divided so. `real` is the memory that programs
    /// can have, as NVML says it.
    fn units(&self, card: &Card, real: Option<u64>) -> (Vec<Unit>, Option<Fault>) {
        let unit = |index: usize, quota_bytes| Unit { id: format!("{}::{index}", card.uuid), quota_bytes };
        match &self.parts {
            Parts::Whole(1) | Parts::Instances(_) => (vec![Unit::whole(card.uuid.clone())], None),
            Parts::Whole(replicas) => {
                let replica = |number| Unit::whole(format!("{}::r{number}", card.uuid));
                ((0..*replicas).map(replica).collect(), None)
            }
            Parts::Shares(Shares::Sizes(sizes), _) => {
                let all = sizes.iter().fold(0_u64, |all, size| all.saturating_add(*size));
                let units = sizes.iter().enumerate().map(|(index, size)| unit(index, Some(*size)));
                (units.collect(), self.exceeded(card, all, real))
            }
            Parts::Shares(Shares::Equal(count), memory) => {
                let quota = memory.or(real).map(|memory| memory / u64::from(*count) / GRANULE * GRANULE);
                let fault = match memory {
                    Some(memory) => self.exceeded(card, *memory, real),
                    None => real.is_none().then(|| self.unknown(card)),
                };
                let fault = fault.or_else(|| self.narrow(card, quota?));
                ((0..*count as usize).map(|index| unit(index, quota)).collect(), fault)
            }
        }
    }

    fn unknown(&self, card: &Card) -> Fault {
        let sentence = format!(
            "the memory of {} is not known: no prober has told it; see whether the pod of the DaemonSet …-prober runs on \
             this node ({CARDS}=true on the node brings it there), or write `memory` into the pool {:?} (such as 24GiB), \
             or `sizes` in place of `slices`",
            shown(card),
            self.pool
        );
        Fault::new(HealthReason::MemoryUnknown, sentence)
    }

    /// Why no process could come up in equal parts: there is no room for more than its context.
    fn narrow(&self, card: &Card, part: u64) -> Option<Fault> {
        let context = self.context.filter(|context| part <= *context)?;
        let sentence = format!(
            "the pool {:?} divides {} into parts of {} MiB, of which the context of one process takes {} MiB \
             (`contextMemory`): no process could ever come up in one; make fewer `slices`, or take the card out of the \
             pool's devices",
            self.pool,
            shown(card),
            part >> 20,
            context >> 20
        );
        Some(Fault::new(HealthReason::MemoryExceeded, sentence))
    }

    /// Why a card cannot be divided into parts of so much memory in all.
    fn exceeded(&self, card: &Card, all: u64, real: Option<u64>) -> Option<Fault> {
        let real = real.filter(|real| all > *real)?;
        let sentence = format!(
            "the pool {:?} divides {} MiB of {}, of which programs can have {} MiB; make its `sizes` or `memory` smaller, or \
             take the card out of the pool's devices",
            self.pool,
            all >> 20,
            shown(card),
            real >> 20
        );
        Some(Fault::new(HealthReason::MemoryExceeded, sentence))
    }
}

impl Surroundings {
    /// Whether hardware divides a card: NVML says so, or the kernel module knows instances of it.
    fn divided(&self, card: &Card) -> bool {
        let knows = |minor| self.capabilities.get(&minor).is_some_and(|known| !known.is_empty());
        self.told.look(&card.uuid).is_some_and(|look| look.mig == Some(true)) || card.minor.is_some_and(knows)
    }

    pub(super) fn of_card(&self, card: &Card) -> impl Iterator<Item = DeviceNode> + use<> {
        card.minor.map(|minor| self.node(Path::new(&format!("/dev/nvidia{minor}")))).into_iter()
    }

    pub(super) fn node(&self, name: &Path) -> DeviceNode {
        DeviceNode { host: self.host.host(name), container: name.to_string_lossy().into_owned() }
    }

    pub(super) fn there(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node == Path::new(name))
    }

    /// Why no card is this plugin's to give.
    fn served(&self, pool: &str) -> Option<Fault> {
        let names: Vec<&str> = self.foreign.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| {
            let sentence = format!(
                "another device plugin serves this node's NVIDIA cards as {}, and the pool {pool:?} would give them a second \
                 time; take that plugin off the node (NVIDIA's GPU operator: kubectl label node NAME \
                 nvidia.com/gpu.deploy.device-plugin=false), or use a pool of kind observer beside it; if it serves other \
                 things than the pools' cards, name the resource in plugin.ignoredResources",
                names.join(", ")
            );
            Fault::new(HealthReason::ForeignPlugin, sentence)
        })
    }

    /// The node's own driver.
    fn direct(&self) -> Direct {
        let control = CONTROL.iter().map(|(name, _)| Path::new(name));
        let control = control.filter(|name| self.nodes.iter().any(|node| node == name));
        Direct { set: self.driver.clone().ok(), control: control.map(|name| self.node(name)).collect() }
    }

    /// Under which name a container runtime knows the card, or why under none.
    fn cdi_name(&self, card: &Card, found: &Found) -> Result<String, String> {
        // NVML numbers the cards that it can open in the order of their places; with others between them ours may differ.
        let all = found.nameless.is_empty() && found.cards.iter().all(|card| card.fault.is_none());
        let index = found.cards.iter().position(|known| known.uuid == card.uuid).filter(|_| all);
        self.specs.name_of(card, index, found.module.as_deref())
    }

    /// Why a card that is there cannot be used.
    fn fault(&self, card: &Card, driver: &Driver, found: &Found) -> Option<Fault> {
        let shown = shown(card);
        match card.fault {
            Some(CardFault::OffTheBus) => {
                let sentence = format!(
                    "{shown} has fallen off the bus: its PCI registers answer nothing; drain the node and reboot it, and \
                     look for Xid 79 in its kernel log"
                );
                return Some(Fault::new(HealthReason::OffTheBus, sentence));
            }
            Some(CardFault::Excluded) => {
                let sentence = format!(
                    "{shown} is excluded from the driver (NVreg_ExcludedGpus); leave it out of the pool's devices, or \
                     take it back in"
                );
                return Some(Fault::new(HealthReason::Excluded, sentence));
            }
            None => {}
        }
        if let (Err(sentence), true) =
            (&self.driver, found.module.is_none() || driver.way() == Some(DriverWay::Direct))
        {
            // With `auto` either would do.
            let neither = self.specs.is_some().then(|| self.cdi_name(card, found).err()).flatten();
            let neither = neither.map(|why| format!("; nor by CDI: {why}")).unwrap_or_default();
            return Some(Fault::new(HealthReason::Driver, format!("{sentence}{neither}")));
        }
        match driver {
            Driver::Cdi(_) => {
                return self.cdi_name(card, found).err().map(|why| Fault::new(HealthReason::Cdi, why));
            }
            Driver::Runtime => return None,
            _ => {}
        }
        let Some(minor) = card.minor else {
            let sentence = format!("{shown} has no device node: the kernel module names no minor for it");
            return Some(Fault::new(HealthReason::DeviceNode, sentence));
        };
        let node = format!("/dev/nvidia{minor}");
        let control = CONTROL.iter().filter(|(_, required)| *required).map(|(name, _)| (*name).to_owned());
        let missing = std::iter::once(node).chain(control).find(|node| !self.there(node))?;
        let make = if missing.ends_with("uvm") { "nvidia-modprobe -u -c=0" } else { "nvidia-modprobe -c=0" };
        let sentence =
            format!("{missing} is missing; make it on the node ({make}), or start nvidia-persistenced there");
        Some(Fault::new(HealthReason::DeviceNode, sentence))
    }
}

#[cfg(test)]
mod tests;
