//! Pool configuration: one YAML file, read by the plugin (which serves the pools), the webhook (which checks
//! annotations against them) and tools.
//!
//! ```yaml
//! pools:
//!   - name: simulated        # resource firstlight.dev/simulated
//!     kind: simulated
//!     devices: 2             # 1–16, default 1
//!     model: SIM-A40         # see `models`
//!     slices: 1              # parts of each device, 1–64, default 1; each has its share of the memory
//!     cudart: [12, 13]       # NVIDIA's runtime libraries to mount, default none
//!   - name: vendor
//!     kind: observer
//!     seats: 32              # containers at a time, 1–1024, default 32
//!   - name: mine
//!     kind: custom
//!     driver: /opt/my-driver # directory on the node with libcuda.so.1 (and libnvidia-ml.so.1)
//!     devices: 1             # containers at a time, 1–64, default 1
//!   - name: gpu
//!     kind: whole            # a real card for one container at a time
//!     devices: all           # or a list of UUIDs, PCI ids and models ("*A40"); a card is in exactly one pool
//!     driver: auto           # direct (the node's libraries, mounted by us), cdi, runtime, or what fits the node
//!     replicas: 1            # containers at a time on each card, 1–64, with nothing between them
//!   - name: tenth
//!     kind: whole
//!     mig: 1g.10gb           # MIG instances with this profile, of the cards in `devices` that have MIG on
//!   - name: shared
//!     kind: slice
//!     devices: ["*L4"]
//!     slices: 4              # equal parts of each card; or sizes: [8GiB, 16GiB]
//!     memory: 24GiB          # of each card, for equal parts
//!     contextMemory: 256MiB  # what each process is charged for its context on a card
//!     placement: spread      # or pack: where several parts for one container come from
//! ```
//!
//! Every mistake is reported, with its path and what is allowed.

use crate::grant::PoolKind;
use crate::models;
use crate::names::{PROBER, RESOURCE_PREFIX};
use std::collections::BTreeSet;
use std::fmt;

pub mod cards;
mod context;
pub mod mig;
pub mod mps;
mod node;

use cards::{Cards, Placement, Shares};
use node::Node;

/// A checked configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// The pools, in the order of the file; names are unique.
    pub pools: Vec<Pool>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The part of the resource name after the slash.
    pub name: String,
    /// What stands behind it.
    pub spec: PoolSpec,
    /// Major versions of NVIDIA's runtime to mount into containers.
    pub cudart: BTreeSet<CudartMajor>,
}

/// What stands behind a pool, with the settings of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolSpec {
    /// GPUs that do not exist.
    Simulated {
        /// Number of devices on each node.
        devices: u32,
        /// Name of the model.
        model: String,
        /// Parts of each device.
        slices: u32,
    },
    /// The shim beside another vendor's device plugin.
    Observer {
        /// Containers at a time on each node.
        seats: u32,
    },
    /// Real cards, undivided.
    Whole {
        /// Which.
        cards: Cards,
        /// Containers at a time on each; from 2 on they share it without a quota.
        replicas: u32,
        /// Directory on the node of the MPS control daemon through which they share it.
        mps: Option<String>,
        /// In place of the cards, their MIG instances with this profile.
        mig: Option<String>,
    },
    /// Real cards in parts, each with a memory quota.
    Slice {
        /// Which.
        cards: Cards,
        /// The parts of each.
        shares: Shares,
        /// Memory of each card, where the configuration says it.
        memory_bytes: Option<u64>,
        /// What each process is charged for its context on a card.
        context_bytes: u64,
        /// Where several parts for one container come from.
        placement: Placement,
    },
    /// The operator's own driver.
    Custom {
        /// Directory on the node.
        driver: String,
        /// Containers at a time on each node.
        devices: u32,
    },
}

/// A major version of NVIDIA's CUDA runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CudartMajor {
    /// `libcudart.so.12`
    V12,
    /// `libcudart.so.13`
    V13,
}

impl CudartMajor {
    /// All versions.
    pub const ALL: [Self; 2] = [Self::V12, Self::V13];

    /// The library's SONAME.
    pub const fn soname(self) -> &'static str {
        match self {
            Self::V12 => "libcudart.so.12",
            Self::V13 => "libcudart.so.13",
        }
    }
}

impl Pool {
    /// The kind.
    pub const fn kind(&self) -> PoolKind {
        match self.spec {
            PoolSpec::Simulated { .. } => PoolKind::Simulated,
            PoolSpec::Observer { .. } => PoolKind::Observer,
            PoolSpec::Custom { .. } => PoolKind::Custom,
            PoolSpec::Whole { .. } => PoolKind::Whole,
            PoolSpec::Slice { .. } => PoolKind::Slice,
        }
    }

    /// Which cards, in pools of real ones.
    pub const fn cards(&self) -> Option<&Cards> {
        match &self.spec {
            PoolSpec::Whole { cards, .. } | PoolSpec::Slice { cards, .. } => Some(cards),
            _ => None,
        }
    }

    /// The MPS control daemon's directory on the node, in pools that share cards through it.
    pub fn mps(&self) -> Option<&str> {
        match &self.spec {
            PoolSpec::Whole { mps, .. } => mps.as_deref(),
            _ => None,
        }
    }

    /// The profile, in pools of MIG instances.
    pub fn mig(&self) -> Option<&str> {
        match &self.spec {
            PoolSpec::Whole { mig, .. } => mig.as_deref(),
            _ => None,
        }
    }

    /// The extended resource that the pool serves.
    pub fn resource(&self) -> String {
        format!("{RESOURCE_PREFIX}{}", self.name)
    }
}

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where: `pools[1].devices`.
    pub path: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

/// All mistakes of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsError(pub Vec<Mistake>);

impl fmt::Display for PoolsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> =
            self.0.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.problem)).collect();
        out.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for PoolsError {}

impl Pools {
    /// Parses and checks a configuration.
    pub fn parse(yaml: &str) -> Result<Self, PoolsError> {
        let mut mistakes = Mistakes::default();
        let pools = match serde_saphyr::from_str::<Node>(yaml) {
            Ok(root) => read_root(&root, &mut mistakes),
            Err(error) => {
                mistakes.add("configuration", format!("not YAML: {error}"));
                Vec::new()
            }
        };
        if mistakes.0.is_empty() { Ok(Self { pools }) } else { Err(PoolsError(mistakes.0)) }
    }

    /// The pool with this name.
    pub fn find(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }
}

#[derive(Default)]
struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn add(&mut self, path: &str, problem: impl Into<String>) {
        self.0.push(Mistake { path: path.to_owned(), problem: problem.into() });
    }
}

fn read_root(root: &Node, mistakes: &mut Mistakes) -> Vec<Pool> {
    let Node::Map(entries) = root else {
        mistakes.add("configuration", format!("{root}; wanted a map with the key pools"));
        return Vec::new();
    };
    for (key, _) in entries.iter().filter(|(key, _)| key != "pools") {
        mistakes.add(key, "unknown key; allowed is pools");
    }
    let Some(Node::List(items)) = root.get("pools") else {
        mistakes.add("pools", "missing or no list; wanted a list of pools");
        return Vec::new();
    };
    let mut names = BTreeSet::new();
    let mut pools = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let mut fields = Fields { path: format!("pools[{index}]"), node: item, mistakes };
        let Some(pool) = fields.pool() else { continue };
        if names.insert(pool.name.clone()) {
            pools.push((index, pool));
        } else {
            fields.wrong("name", format!("{:?} is the name of an earlier pool; names are unique", pool.name));
        }
    }
    cards::overlaps(&pools, mistakes);
    pools.into_iter().map(|(_, pool)| pool).collect()
}

struct Fields<'a> {
    path: String,
    node: &'a Node,
    mistakes: &'a mut Mistakes,
}

impl Fields<'_> {
    fn pool(&mut self) -> Option<Pool> {
        if !matches!(self.node, Node::Map(_)) {
            self.mistakes.add(&self.path, format!("{}; wanted a map with name and kind", self.node));
            return None;
        }
        let name = self.name();
        let spec = self.spec();
        let cudart = self.cudart();
        Some(Pool { name: name?, spec: spec?, cudart: cudart? })
    }

    fn wrong(&mut self, key: &str, problem: impl Into<String>) {
        self.mistakes.add(&format!("{}.{key}", self.path), problem);
    }

    fn name(&mut self) -> Option<String> {
        const WANTED: &str = "1–63 of a–z, 0–9 and \"-\", beginning and ending with a letter or digit";
        match self.node.get("name") {
            Some(Node::Text(name)) if name == PROBER => {
                self.wrong(
                    "name",
                    format!("{name:?} is the name of our own prober's resource; wanted another"),
                );
                None
            }
            Some(Node::Text(name)) if is_name(name) => Some(name.clone()),
            Some(other) => {
                self.wrong("name", format!("{other}; wanted {WANTED}"));
                None
            }
            None => {
                self.wrong("name", format!("missing; wanted {WANTED}"));
                None
            }
        }
    }

    fn spec(&mut self) -> Option<PoolSpec> {
        const WANTED: &str = "whole, slice, simulated, observer, custom";
        let kind = match self.node.get("kind") {
            Some(Node::Text(word)) => {
                PoolKind::from_word(word).ok_or_else(|| format!("{word:?}; allowed are {WANTED}"))
            }
            Some(other) => Err(format!("{other}; allowed are {WANTED}")),
            None => Err(format!("missing; allowed are {WANTED}")),
        };
        match kind {
            Ok(PoolKind::Simulated) => {
                self.only(&["name", "kind", "cudart", "devices", "model", "slices"]);
                let (devices, slices) =
                    (self.number("devices", 1, models::MAX_DEVICES), self.number("slices", 1, 64));
                let model = self.model();
                Some(PoolSpec::Simulated { devices: devices?, model: model?, slices: slices? })
            }
            Ok(PoolKind::Observer) => {
                self.only(&["name", "kind", "cudart", "seats"]);
                Some(PoolSpec::Observer { seats: self.number("seats", 32, 1024)? })
            }
            Ok(PoolKind::Custom) => {
                self.only(&["name", "kind", "cudart", "devices", "driver"]);
                let (devices, driver) = (self.number("devices", 1, 64), self.driver());
                Some(PoolSpec::Custom { driver: driver?, devices: devices? })
            }
            Ok(PoolKind::Whole) => self.whole(),
            Ok(PoolKind::Slice) => self.slice(),
            Err(problem) => {
                self.wrong("kind", problem);
                None
            }
        }
    }

    fn only(&mut self, allowed: &[&str]) {
        let Node::Map(entries) = self.node else { return };
        for (key, _) in entries {
            if !allowed.contains(&key.as_str()) {
                self.wrong(key, format!("unknown key for this kind; allowed are {}", allowed.join(", ")));
            }
        }
    }

    fn number(&mut self, key: &str, default: u32, most: u32) -> Option<u32> {
        let number = match self.node.get(key) {
            None | Some(Node::Null) => return Some(default),
            Some(Node::Integer(number)) => {
                u32::try_from(*number).ok().filter(|number| (1..=most).contains(number))
            }
            Some(_) => None,
        };
        if number.is_none() {
            let found = self.node.get(key).map(ToString::to_string).unwrap_or_default();
            self.wrong(key, format!("{found}; wanted a number from 1 to {most}"));
        }
        number
    }

    fn model(&mut self) -> Option<String> {
        let names = || models::MODELS.map(|model| model.name).join(", ");
        match self.node.get("model") {
            None | Some(Node::Null) => Some(models::DEFAULT_MODEL.to_owned()),
            Some(Node::Text(name)) if models::by_name(name).is_some() => Some(name.clone()),
            Some(other) => {
                self.wrong("model", format!("{other}; allowed are {}", names()));
                None
            }
        }
    }

    fn driver(&mut self) -> Option<String> {
        match self.node.get("driver") {
            Some(Node::Text(path)) if path.starts_with('/') && !path.split('/').any(|part| part == "..") => {
                Some(path.trim_end_matches('/').to_owned())
            }
            Some(other) => {
                self.wrong("driver", format!("{other}; wanted the absolute path of a directory on the node"));
                None
            }
            None => {
                self.wrong("driver", "missing; wanted the absolute path of a directory on the node");
                None
            }
        }
    }

    fn cudart(&mut self) -> Option<BTreeSet<CudartMajor>> {
        let versions = match self.node.get("cudart") {
            None | Some(Node::Null) => Some(BTreeSet::new()),
            Some(Node::List(items)) => items.iter().map(cudart_major).collect(),
            Some(_) => None,
        };
        if versions.is_none() {
            let found = self.node.get("cudart").map(ToString::to_string).unwrap_or_default();
            self.wrong("cudart", format!("{found}; wanted a list of 12 and 13"));
        }
        versions
    }
}

fn cudart_major(node: &Node) -> Option<CudartMajor> {
    match node {
        Node::Integer(12) => Some(CudartMajor::V12),
        Node::Integer(13) => Some(CudartMajor::V13),
        Node::Text(text) if text == "12" => Some(CudartMajor::V12),
        Node::Text(text) if text == "13" => Some(CudartMajor::V13),
        _ => None,
    }
}

/// A DNS label: it becomes the part of an extended resource name after the slash.
pub fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 63
        && name.bytes().all(|byte| good(byte) || byte == b'-')
        && name.bytes().next().is_some_and(good)
        && name.bytes().next_back().is_some_and(good)
}

#[cfg(test)]
mod tests;
