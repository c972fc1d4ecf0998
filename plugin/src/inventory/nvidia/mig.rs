//! A pool of MIG instances: parts of a card that hardware keeps apart. The prober tells which there are, by their UUIDs;
//! the kernel module tells, without any privilege, which two device nodes open each. Of several CUDA uses one in a process.
//!
//! ```text
//! prober:  MIG-6f1c… = 3/0 of GPU-00d1…, 1g.10gb ─┐
//! kernel:  3 → nvidia-cap30, 3/0 → nvidia-cap31  ──┴─► /dev/nvidia0, /dev/nvidia-caps/nvidia-cap30, …-cap31
//! ```

use super::cards::Card;
use super::kernel;
use super::pool::{Surroundings, shown};
use super::root::NodeRoot;
use super::told::Told;
use crate::inventory::{DeviceNode, Fault, Health, Links, PoolDevice, Unit};
use firstlight_contract::card;
use firstlight_contract::grant::Device;
use firstlight_contract::metrics::HealthReason;
use firstlight_contract::names::label::CARDS;
use firstlight_contract::prober;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where the device nodes of capabilities lie.
pub const NODES: &str = "/dev/nvidia-caps";

/// An instance as the kernel module knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Number of the GPU instance.
    pub gi: u32,
    /// Number of the compute instance in it.
    pub ci: u32,
    /// Numbers of the device nodes that open the two.
    pub minors: [u32; 2],
}

impl Capability {
    /// The device nodes.
    pub fn nodes(&self) -> impl Iterator<Item = String> + use<> {
        self.minors.into_iter().map(node)
    }
}

/// The device node of a capability.
pub fn node(minor: u32) -> String {
    format!("{NODES}/nvidia-cap{minor}")
}

/// The instances of a card that the kernel module knows.
pub fn capabilities(root: &NodeRoot, card: u32) -> Vec<Capability> {
    let folder = root.procfs.join(format!("driver/nvidia/capabilities/gpu{card}/mig"));
    let mut found = Vec::new();
    for gi in numbered(&folder, "gi") {
        let instance = folder.join(format!("gi{gi}"));
        for ci in numbered(&instance, "ci") {
            let minors = (minor(&instance), minor(&instance.join(format!("ci{ci}"))));
            if let (Some(of_gi), Some(of_ci)) = minors {
                found.push(Capability { gi, ci, minors: [of_gi, of_ci] });
            }
        }
    }
    found
}

/// The number of the device node that a capability's folder names.
pub fn minor(folder: &Path) -> Option<u32> {
    kernel::capability(&fs::read_to_string(folder.join("access")).ok()?)
}

/// The numbers of the folders that are called so, in order.
fn numbered(folder: &Path, prefix: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    card::numbered(entries.map(|entry| entry.file_name()), prefix)
}

/// Every instance that NVML ever named: one that is gone stays in the list, as a card does.
#[derive(Debug, Default)]
pub struct Instances(BTreeMap<String, Named>);

/// An instance that NVML has named.
#[derive(Debug)]
struct Named {
    instance: prober::Instance,
    /// UUID of its card.
    card: String,
    /// Whether NVML named it when it was asked last.
    there: bool,
}

impl Instances {
    /// Takes what counts now. A card of which nothing is told keeps what it had.
    pub fn hear(&mut self, told: &Told) {
        for (uuid, look) in told.cards.iter().filter_map(|(uuid, card)| Some((uuid, card.look.as_ref()?))) {
            let now = match (look.mig, &look.instances) {
                (Some(true), Some(instances)) => instances.as_slice(),
                (Some(false), _) => &[],
                _ => continue,
            };
            self.0.values_mut().filter(|known| known.card == *uuid).for_each(|known| known.there = false);
            for instance in now {
                let named = Named { instance: instance.clone(), card: uuid.clone(), there: true };
                self.0.insert(instance.uuid.clone(), named);
            }
        }
    }
}

/// The instances with a profile of these cards; `fault`: why nothing of a card can be given.
pub fn devices(
    profile: &str,
    cards: &[&Card],
    known: &Instances,
    surroundings: &Surroundings,
    fault: impl Fn(&Card) -> Option<Fault>,
) -> Vec<PoolDevice> {
    let of_card = |card: &Card| {
        let mut ours: Vec<&Named> = known
            .0
            .values()
            .filter(|named| named.card == card.uuid && named.instance.profile == profile)
            .collect();
        ours.sort_by_key(|named| (named.instance.gi, named.instance.ci));
        ours
    };
    let all = cards.iter().flat_map(|card| of_card(card).into_iter().map(|named| (*card, named)));
    all.map(|(card, named)| device(card, named, surroundings, fault(card))).collect()
}

fn device(card: &Card, named: &Named, surroundings: &Surroundings, fault: Option<Fault>) -> PoolDevice {
    let instance = &named.instance;
    let capability = card.minor.and_then(|minor| {
        let known = surroundings.capabilities.get(&minor)?;
        known.iter().find(|known| (known.gi, known.ci) == (instance.gi, instance.ci))
    });
    let capability = capability.filter(|_| named.there);
    let fault = fault
        .or_else(|| capability.is_none().then(|| gone(card, instance)))
        .or_else(|| Some(missing(&capability?.nodes().find(|node| !surroundings.there(node))?, card)))
        .or_else(|| surroundings.told.refuses(card, &shown(card), false));
    let parts = capability.into_iter().flat_map(Capability::nodes);
    let nodes = surroundings.of_card(card).chain(parts.map(|node| surroundings.node(Path::new(&node))));
    PoolDevice {
        name: instance.uuid.clone(),
        health: fault.map_or(Health::Healthy, Health::Unhealthy),
        numa: card.numa,
        links: Links::default(),
        granted: Some(Device {
            uuid: instance.uuid.clone(),
            pci: Some(card.pci.clone()),
            ..Device::default()
        }),
        nodes: nodes.collect::<Vec<DeviceNode>>(),
        units: vec![Unit::whole(instance.uuid.clone())],
    }
}

fn gone(card: &Card, instance: &prober::Instance) -> Fault {
    let sentence = format!(
        "the MIG instance {} ({}, GPU instance {}, compute instance {}) of {} is gone: it was there since the agent's start; \
         see nvidia-smi -L on the node, and delete the agent's pod there to take it off the list",
        instance.uuid,
        instance.profile,
        instance.gi,
        instance.ci,
        shown(card)
    );
    Fault::new(HealthReason::Gone, sentence)
}

fn missing(node: &str, card: &Card) -> Fault {
    let sentence = format!(
        "{node} is missing, which opens a MIG instance of {}; nvidia-smi -L, run by root on the node, makes it",
        shown(card)
    );
    Fault::new(HealthReason::DeviceNode, sentence)
}

/// Why these cards have no instance with a profile: a sentence; `None` without a card.
pub fn remark(profile: &str, cards: &[&Card], told: &Told) -> Option<String> {
    let silent: Vec<String> =
        cards.iter().filter(|card| told.look(&card.uuid).is_none()).map(|card| shown(card)).collect();
    if !silent.is_empty() {
        return Some(format!(
            "the pool waits for the prober: nobody has told which MIG instances there are on {}; see whether the pod of the \
             DaemonSet …-prober runs on this node ({CARDS}=true on the node brings it there)",
            silent.join(", ")
        ));
    }
    let looks = cards.iter().filter_map(|card| Some((*card, told.look(&card.uuid)?)));
    let has: Vec<String> = looks.map(|(card, look)| format!("{}: {}", shown(card), has(look))).collect();
    (!has.is_empty()).then(|| {
        format!(
            "no card of the pool has a MIG instance of the profile {profile} ({}); make some on the node (nvidia-smi -i CARD \
             -mig 1, then nvidia-smi mig -i CARD -cgi {profile} -C), or name a profile that there is",
            has.join("; ")
        )
    })
}

fn has(look: &prober::Card) -> String {
    match (look.mig, &look.instances) {
        (None, _) => "cannot be divided".to_owned(),
        (Some(false), _) => "MIG is off".to_owned(),
        (Some(true), None) => {
            let failure = look.failure.as_ref();
            failure.map_or_else(
                || "NVML does not tell its instances".to_owned(),
                |failure| format!("NVML does not tell its instances: {}: {}", failure.call, failure.words),
            )
        }
        (Some(true), Some(instances)) if instances.is_empty() => "MIG is on, without an instance".to_owned(),
        (Some(true), Some(instances)) => {
            let names: Vec<&str> = instances.iter().map(|instance| instance.profile.as_str()).collect();
            names.join(", ")
        }
    }
}

#[cfg(test)]
mod tests;
