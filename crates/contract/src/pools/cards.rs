//! Pools of real cards: which cards, in which shares, with whose driver.

use super::node::Node;
use super::{Fields, Mistakes, Pool, PoolSpec};
use crate::bytes::{self, Bytes};
use crate::card;

/// Most shares of a card, and most replicas.
pub const MAX_SHARES: u32 = 64;
/// Smaller contexts and shares are on no card.
const SMALLEST: u64 = 64 << 20;

/// Keys that people may write for kind slice, too, and why they do not go with parts.
const OF_WHOLE: [(&str, &str); 3] = [
    ("replicas", "replicas share a card without a quota, parts are counted by slices or sizes"),
    ("mps", "MPS has limits of its own, parts have a quota each"),
    ("mig", "hardware has divided a card with MIG on already"),
];

/// Which cards of a node are in a pool, and how their driver gets into containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cards {
    /// Which cards.
    pub devices: Selection,
    /// How the driver gets into containers.
    pub driver: DriverMode,
}

/// Which cards of a node are in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those that one of these names.
    Some(Vec<Selector>),
}

/// A card, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The card of this UUID.
    Uuid(String),
    /// The card in this place, in the spelling of grants.
    Pci(String),
    /// Cards of this model; `*` stands for anything.
    Model(String),
}

/// How NVIDIA's driver gets into a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverMode {
    /// `Direct` where the node's libraries are in order, else `Cdi` where a specification names the cards.
    Auto,
    /// We mount the node's libraries.
    Direct,
    /// The container runtime injects it by a CDI specification on the node.
    Cdi,
    /// NVIDIA's container runtime injects it.
    Runtime,
}

impl DriverMode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Direct, Self::Cdi, Self::Runtime];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Cdi => "cdi",
            Self::Runtime => "runtime",
        }
    }
}

/// How a card is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shares {
    /// Into so many equal ones.
    Equal(u32),
    /// Into shares of these sizes, bytes.
    Sizes(Vec<u64>),
}

/// Where a container's shares come from when it asks for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// From as many cards as possible.
    Spread,
    /// From as few cards as possible.
    Pack,
}

impl Selection {
    /// Whether a card is selected; `pci` in the spelling of grants.
    pub fn holds(&self, uuid: &str, pci: &str, model: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(selectors) => selectors.iter().any(|selector| match selector {
                Selector::Uuid(wanted) => wanted == uuid,
                Selector::Pci(wanted) => wanted == pci,
                Selector::Model(pattern) => card::matches_model(pattern, model),
            }),
        }
    }

    /// What both select on every node that has it, in words; what depends on the node's cards is seen there.
    fn common(&self, other: &Self) -> Option<String> {
        let (Self::Some(ours), Self::Some(theirs)) = (self, other) else {
            return Some("all cards".to_owned());
        };
        let both = |one: &Selector, other: &Selector| match (one, other) {
            (Selector::Model(one), Selector::Model(other)) => {
                let pattern_of =
                    |pattern: &str, model: &str| !model.contains('*') && card::matches_model(pattern, model);
                one == other || pattern_of(one, other) || pattern_of(other, one)
            }
            (one, other) => one == other,
        };
        let found = ours.iter().find(|one| theirs.iter().any(|other| both(one, other)))?;
        let (Selector::Uuid(name) | Selector::Pci(name) | Selector::Model(name)) = found;
        Some(name.clone())
    }
}

/// A card is in exactly one pool: what two of them certainly both claim is a mistake, with both names. Instances are
/// apart: whether MIG is on decides whether a card is given itself or its instances, and these go by their profile.
pub(super) fn overlaps(pools: &[(usize, Pool)], mistakes: &mut Mistakes) {
    let claims: Vec<(usize, &Pool, &Selection)> =
        pools.iter().filter_map(|(index, pool)| Some((*index, pool, &pool.cards()?.devices))).collect();
    for (position, (index, pool, selection)) in claims.iter().enumerate() {
        for (_, earlier, other) in claims.iter().take(position) {
            let common = selection.common(other).filter(|_| pool.mig() == earlier.mig());
            if let Some(common) = common {
                let rule = match pool.mig() {
                    None => "a card is in exactly one pool".to_owned(),
                    Some(profile) => {
                        format!("a card's instances of the profile {profile} are in exactly one pool")
                    }
                };
                let problem =
                    format!("{common} would be in the pools {:?} and {:?}; {rule}", earlier.name, pool.name);
                mistakes.add(&format!("pools[{index}].devices"), problem);
            }
        }
    }
}

impl Fields<'_> {
    pub(super) fn whole(&mut self) -> Option<PoolSpec> {
        self.only(&["name", "kind", "cudart", "devices", "driver", "replicas", "mig", "mps"]);
        let (cards, replicas, mig) = (self.cards(), self.number("replicas", 1, MAX_SHARES), self.mig());
        let (cards, replicas, mig) = (cards?, replicas?, mig.ok()?);
        let mps = self.mps(replicas, mig.is_some()).ok()?;
        if mig.is_some() {
            self.instances(&cards, replicas)?;
        }
        Some(PoolSpec::Whole { cards, mig, replicas, mps })
    }

    /// What does not go with MIG instances.
    fn instances(&mut self, cards: &Cards, replicas: u32) -> Option<()> {
        if replicas > 1 {
            let problem = format!(
                "{replicas}; an instance is for one container, so `mig` and `replicas` are not for one pool"
            );
            self.wrong("replicas", problem);
            return None;
        }
        if matches!(cards.driver, DriverMode::Cdi | DriverMode::Runtime) {
            let problem = format!("{}; instances are given with auto or direct", cards.driver.as_str());
            self.wrong("driver", problem);
            return None;
        }
        Some(())
    }

    pub(super) fn slice(&mut self) -> Option<PoolSpec> {
        for (key, why) in OF_WHOLE {
            if let Some(found) = self.node.get(key) {
                self.wrong(key, format!("{found}; {why}; {key} is for kind whole"));
            }
        }
        let keys = [
            "name",
            "kind",
            "cudart",
            "devices",
            "driver",
            "slices",
            "sizes",
            "memory",
            "contextMemory",
            "placement",
        ];
        // What is wrong with these has been said.
        self.only(&[&keys[..], &OF_WHOLE.map(|(key, _)| key)].concat());
        let (cards, placement) = (self.cards(), self.placement());
        let (shares, memory, context) = (self.shares(), self.memory(), self.context());
        if let (Some(Shares::Sizes(sizes)), Ok(Some(memory))) = (&shares, memory) {
            let all = sizes.iter().fold(0_u64, |all, size| all.saturating_add(*size));
            if all > memory {
                let problem = format!("{} in all; the pool's memory is {}", Bytes(all), Bytes(memory));
                self.wrong("sizes", problem);
                return None;
            }
        }
        let (shares, memory_bytes, context_bytes) = (shares?, memory.ok()?, context?);
        self.room(&shares, memory_bytes, context_bytes).then_some(())?;
        Some(PoolSpec::Slice { cards: cards?, shares, memory_bytes, context_bytes, placement: placement? })
    }

    fn cards(&mut self) -> Option<Cards> {
        let (devices, driver) = (self.selection(), self.driver_mode());
        Some(Cards { devices: devices?, driver: driver? })
    }

    fn selection(&mut self) -> Option<Selection> {
        const WANTED: &str = "all, or a list of UUIDs (GPU-…), PCI ids (0000:41:00.0) and models (\"*A40\")";
        match self.node.get("devices") {
            None | Some(Node::Null) => Some(Selection::All),
            Some(Node::Text(word)) if word == "all" => Some(Selection::All),
            Some(Node::List(items)) if !items.is_empty() => {
                let mut selectors = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    if let Some(selector) = selector(item) {
                        selectors.push(selector);
                    } else {
                        let wanted = "a UUID (GPU-…), a PCI id (0000:41:00.0) or a model (\"*A40\")";
                        self.wrong(&format!("devices[{index}]"), format!("{item}; wanted {wanted}"));
                    }
                }
                (selectors.len() == items.len()).then_some(Selection::Some(selectors))
            }
            Some(Node::List(_)) => {
                self.wrong("devices", format!("an empty list; wanted {WANTED}"));
                None
            }
            Some(other) => {
                self.wrong("devices", format!("{other}; wanted {WANTED}"));
                None
            }
        }
    }

    fn driver_mode(&mut self) -> Option<DriverMode> {
        let found = match self.node.get("driver") {
            None | Some(Node::Null) => return Some(DriverMode::Auto),
            Some(found) => found,
        };
        let mode = DriverMode::ALL
            .into_iter()
            .find(|mode| matches!(found, Node::Text(word) if word == mode.as_str()));
        if mode.is_none() {
            self.wrong(
                "driver",
                format!("{found}; allowed are {}", DriverMode::ALL.map(DriverMode::as_str).join(", ")),
            );
        }
        mode
    }

    fn shares(&mut self) -> Option<Shares> {
        let given = |node: Option<&Node>| node.is_some_and(|node| *node != Node::Null);
        match (given(self.node.get("slices")), given(self.node.get("sizes"))) {
            (true, false) => self.number("slices", 1, MAX_SHARES).map(Shares::Equal),
            (false, true) => self.sizes().map(Shares::Sizes),
            (true, true) => {
                self.wrong("sizes", "stands beside slices; wanted one of them");
                None
            }
            (false, false) => {
                let wanted = "a number of equal parts from 1 to 64, or sizes: a list such as [8GiB, 16GiB]";
                self.wrong("slices", format!("missing; wanted {wanted}"));
                None
            }
        }
    }

    fn sizes(&mut self) -> Option<Vec<u64>> {
        let most = MAX_SHARES as usize;
        let Some(Node::List(items)) = self.node.get("sizes") else {
            let found = self.node.get("sizes").map(ToString::to_string).unwrap_or_default();
            self.wrong("sizes", format!("{found}; wanted a list such as [8GiB, 16GiB]"));
            return None;
        };
        if items.is_empty() || items.len() > most {
            self.wrong("sizes", format!("{} of them; wanted 1 to {most}", items.len()));
            return None;
        }
        let sizes: Vec<Option<u64>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.bytes(&format!("sizes[{index}]"), item))
            .collect();
        sizes.into_iter().collect()
    }

    /// `Err` is a mistake that has been said.
    fn memory(&mut self) -> Result<Option<u64>, ()> {
        match self.node.get("memory") {
            None | Some(Node::Null) => Ok(None),
            Some(node) => self.bytes("memory", node).map(Some).ok_or(()),
        }
    }

    pub(super) fn bytes(&mut self, key: &str, node: &Node) -> Option<u64> {
        let found = match node {
            Node::Text(text) => bytes::parse(text).filter(|bytes| *bytes >= SMALLEST),
            _ => None,
        };
        if found.is_none() {
            self.wrong(
                key,
                format!("{node}; wanted a size from {} on, such as 8GiB or 512MiB", Bytes(SMALLEST)),
            );
        }
        found
    }

    fn placement(&mut self) -> Option<Placement> {
        match self.node.get("placement") {
            None | Some(Node::Null) => Some(Placement::Spread),
            Some(Node::Text(word)) if word == "spread" => Some(Placement::Spread),
            Some(Node::Text(word)) if word == "pack" => Some(Placement::Pack),
            Some(other) => {
                self.wrong("placement", format!("{other}; allowed are spread, pack"));
                None
            }
        }
    }
}

fn selector(node: &Node) -> Option<Selector> {
    let Node::Text(text) = node else { return None };
    if text.starts_with("GPU-") {
        return card::uuid(text).map(Selector::Uuid);
    }
    if text.contains(':') {
        return card::pci(text).map(Selector::Pci);
    }
    let model = text.trim();
    (!model.is_empty() && !model.chars().any(char::is_control)).then(|| Selector::Model(model.to_owned()))
}

#[cfg(test)]
mod tests;
