//! What the annotations ask for, and every mistake in them.

use super::object::Text;
use firstlight_contract::fault;
use firstlight_contract::grant::PoolKind;
use firstlight_contract::names::{DEFAULT_POOL, annotation};
use firstlight_contract::pools::{Pool, PoolSpec, Pools};

/// Values of the annotations that people write, in the order of [`annotation::ASKS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks<'a>([Option<&'a str>; annotation::ASKS.len()]);

/// What is asked for, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The pool.
    pub pool: &'a Pool,
    /// Devices for each chosen container, at least 1.
    pub count: u32,
    /// The containers that were named; `None` leaves the choice to us.
    pub containers: Option<Vec<&'a str>>,
    /// Faults on order, in the grammar of [`fault`].
    pub simulate: Option<&'a str>,
    /// Whether the pod's readiness waits for a usable GPU.
    pub gate: bool,
    /// Whether, and how, the GPU is probed before the containers start.
    pub preflight: Option<Mode>,
}

/// What a preflight does with what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It says so.
    Report,
    /// It says so, and fails on a certain cause: the containers do not start.
    Block,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 2] = [Self::Report, Self::Block];

    /// The annotation's value, and the program's argument.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Block => "block",
        }
    }
}

/// A mistake: a sentence for the author, and the annotations that could cure it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The annotations it follows from. A request that changed none of them is not refused.
    pub keys: &'static [&'static str],
    /// Annotation, value and what is allowed.
    pub sentence: String,
}

impl<'a> Asks<'a> {
    /// Picks them from annotations.
    pub fn of(annotations: &'a [(Text<'_>, Text<'_>)]) -> Self {
        let find = |key: &str| annotations.iter().find(|(name, _)| name.as_str() == key);
        Self(annotation::ASKS.map(|key| find(key).map(|(_, value)| value.as_str())))
    }

    /// The value of one of [`annotation::ASKS`].
    pub fn get(&self, key: &str) -> Option<&'a str> {
        annotation::ASKS.iter().zip(self.0).find(|(ask, _)| **ask == key).and_then(|(_, value)| value)
    }

    /// The same with one value replaced.
    #[must_use]
    pub fn with(mut self, key: &str, value: Option<&'a str>) -> Self {
        for (ask, slot) in annotation::ASKS.iter().zip(&mut self.0) {
            if *ask == key {
                *slot = value;
            }
        }
        self
    }

    /// Whether a GPU is asked for at all.
    pub fn anything(&self) -> bool {
        self.get(annotation::GPU).is_some()
    }
}

/// What [`read`] found.
#[derive(Debug, Default)]
pub struct Reading<'a> {
    /// The ask, where nothing is wrong.
    pub ask: Option<Ask<'a>>,
    /// All mistakes.
    pub mistakes: Vec<Mistake>,
}

/// Reads what a set of annotations asks for; expects that it asks for something.
pub fn read<'a>(asks: &Asks<'a>, pools: &'a Pools) -> Reading<'a> {
    let mut reading = Reading::default();
    let pool = pool(asks, pools, &mut reading.mistakes);
    let count = count(asks, pool, &mut reading.mistakes);
    let containers = containers(asks, &mut reading.mistakes);
    let simulate = simulate(asks, pool, &mut reading.mistakes);
    let gate = word(asks, &[annotation::GATE], &["off", "ready"], &mut reading.mistakes) == Some("ready");
    let preflight = word(asks, &[annotation::PREFLIGHT], &["off", "report", "block"], &mut reading.mistakes);
    let preflight = preflight.and_then(|word| Mode::ALL.into_iter().find(|mode| mode.as_str() == word));
    if let (Some(pool), true) = (pool, reading.mistakes.is_empty()) {
        reading.ask = Some(Ask { pool, count, containers, simulate, gate, preflight });
    }
    reading
}

/// The value of an annotation that is one of a few words.
fn word<'a>(
    asks: &Asks<'a>,
    keys: &'static [&'static str; 1],
    words: &[&str],
    mistakes: &mut Vec<Mistake>,
) -> Option<&'a str> {
    let [key] = keys;
    let value = asks.get(key)?;
    if words.contains(&value) {
        return Some(value);
    }
    let sentence = format!("{key} is {value:?}; allowed are {}", words.join(", "));
    mistakes.push(Mistake { keys, sentence });
    None
}

fn pool<'a>(asks: &Asks<'_>, pools: &'a Pools, mistakes: &mut Vec<Mistake>) -> Option<&'a Pool> {
    let value = asks.get(annotation::GPU)?;
    let name = if value == "true" { DEFAULT_POOL } else { value };
    let found = pools.find(name);
    if found.is_none() {
        let known: Vec<&str> = pools.pools.iter().map(|pool| pool.name.as_str()).collect();
        let problem = match value {
            "true" => format!("asks for the pool {name:?}, which this cluster does not have"),
            _ => "no pool has this name".to_owned(),
        };
        let allowed = match known.as_slice() {
            [] => "no pools are configured".to_owned(),
            known => format!("allowed are {}", known.join(", ")),
        };
        let sentence = format!("{} is {value:?}: {problem}; {allowed}", annotation::GPU);
        mistakes.push(Mistake { keys: &[annotation::GPU], sentence });
    }
    found
}

/// Devices or shares that one node has of a pool; `None` where that is as many as the node has cards.
fn capacity(pool: &Pool) -> Option<u32> {
    match pool.spec {
        PoolSpec::Simulated { devices, slices, .. } => Some(devices.saturating_mul(slices)),
        PoolSpec::Observer { seats } => Some(seats),
        PoolSpec::Custom { devices, .. } => Some(devices),
        PoolSpec::Whole { .. } | PoolSpec::Slice { .. } => None,
    }
}

fn count(asks: &Asks<'_>, pool: Option<&Pool>, mistakes: &mut Vec<Mistake>) -> u32 {
    let Some(value) = asks.get(annotation::COUNT) else { return 1 };
    let most = pool.and_then(capacity);
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|number| digits && *number >= 1);
    let profile = pool.and_then(Pool::mig);
    match (number, most, pool) {
        (Some(2..), _, Some(pool)) if profile.is_some() => {
            let sentence = format!(
                "{} is {value:?}, but the pool {:?} gives MIG instances ({}), of which CUDA uses one in a process; allowed \
                 is 1, or a pool of a larger profile",
                annotation::COUNT,
                pool.name,
                profile.unwrap_or_default()
            );
            mistakes.push(Mistake { keys: &[annotation::COUNT, annotation::GPU], sentence });
        }
        (Some(number), Some(most), Some(pool)) if number > most => {
            let sentence = format!(
                "{} is {value:?}, but a node has {most} of the pool {:?}; allowed are 1 to {most}",
                annotation::COUNT,
                pool.name
            );
            mistakes.push(Mistake { keys: &[annotation::COUNT, annotation::GPU], sentence });
        }
        (Some(number), ..) => return number,
        (None, most, _) => {
            let upper = most.map_or_else(String::new, |most| format!(" to {most}"));
            let sentence = format!("{} is {value:?}; allowed is a number from 1{upper}", annotation::COUNT);
            mistakes.push(Mistake { keys: &[annotation::COUNT], sentence });
        }
    }
    1
}

fn containers<'a>(asks: &Asks<'a>, mistakes: &mut Vec<Mistake>) -> Option<Vec<&'a str>> {
    let value = asks.get(annotation::CONTAINERS)?;
    let names: Vec<&str> = value.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        let sentence = format!(
            "{} is {value:?}; allowed are names of containers, separated by commas",
            annotation::CONTAINERS
        );
        mistakes.push(Mistake { keys: &[annotation::CONTAINERS], sentence });
        return None;
    }
    Some(names)
}

fn simulate<'a>(asks: &Asks<'a>, pool: Option<&Pool>, mistakes: &mut Vec<Mistake>) -> Option<&'a str> {
    let value = asks.get(annotation::SIMULATE)?;
    match fault::parse(value) {
        Err(error) => {
            let sentence = format!("{} is {value:?}: {error}", annotation::SIMULATE);
            mistakes.push(Mistake { keys: &[annotation::SIMULATE], sentence });
            None
        }
        Ok(faults) if faults.is_empty() => None,
        Ok(_) => match pool {
            Some(pool) if pool.kind() != PoolKind::Simulated => {
                let sentence = format!(
                    "{} is {value:?}, but the pool {:?} is of kind {}; faults are for simulated pools only",
                    annotation::SIMULATE,
                    pool.name,
                    pool.kind().as_str()
                );
                mistakes.push(Mistake { keys: &[annotation::SIMULATE, annotation::GPU], sentence });
                None
            }
            _ => Some(value),
        },
    }
}

/// One warning for each annotation of our domain that nobody reads.
pub fn unknown<'a>(annotations: &'a [(Text<'_>, Text<'_>)]) -> impl Iterator<Item = String> + 'a {
    const MARKS: [&str; 3] = [annotation::PROPAGATED, annotation::INJECTED, annotation::INJECTION];
    annotations
        .iter()
        .map(|(key, _)| key.as_str())
        .filter(|key| !annotation::ASKS.contains(key) && !MARKS.contains(key))
        .map(|key| format!("{key} is no annotation of Firstlight; known are {}", annotation::ASKS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOLS: &str = "pools:\n- {name: simulated, kind: simulated, devices: 2, slices: 2}\n- {name: vendor, kind: observer}\n";

    fn mistakes(asks: &[(&str, &str)]) -> Vec<String> {
        let pools = Pools::parse(POOLS).unwrap();
        let asks = asks.iter().fold(Asks::default(), |all, (key, value)| all.with(key, Some(value)));
        let reading = read(&asks, &pools);
        assert_eq!(reading.ask.is_none(), !reading.mistakes.is_empty());
        reading.mistakes.into_iter().map(|mistake| mistake.sentence).collect()
    }

    #[test]
    fn an_unknown_pool_is_answered_with_the_pools() {
        assert_eq!(
            mistakes(&[(annotation::GPU, "slice")]),
            ["firstlight.dev/gpu is \"slice\": no pool has this name; allowed are simulated, vendor"]
        );
    }

    #[test]
    fn how_many_real_cards_there_are_only_the_nodes_know() {
        let pools = Pools::parse("pools: [{name: gpu, kind: whole}]").unwrap();
        let asks = Asks::default().with(annotation::GPU, Some("true")).with(annotation::COUNT, Some("16"));
        assert_eq!(read(&asks, &pools).mistakes.len(), 0);
    }

    #[test]
    fn of_mig_instances_a_container_gets_one() {
        let pools = Pools::parse("pools: [{name: tenth, kind: whole, mig: 1g.10gb}]").unwrap();
        let asks = Asks::default().with(annotation::GPU, Some("tenth"));
        assert_eq!(read(&asks.with(annotation::COUNT, Some("1")), &pools).mistakes.len(), 0);
        let asks = asks.with(annotation::COUNT, Some("2"));
        let found: Vec<_> =
            read(&asks, &pools).mistakes.into_iter().map(|mistake| mistake.sentence).collect();
        let wanted = "firstlight.dev/count is \"2\", but the pool \"tenth\" gives MIG instances (1g.10gb), of which CUDA uses \
                      one in a process; allowed is 1, or a pool of a larger profile";
        assert_eq!(found, [wanted]);
    }

    #[test]
    fn true_asks_for_the_default_pool() {
        let found = mistakes(&[(annotation::GPU, "true")]);
        assert!(
            found[0].contains("asks for the pool \"gpu\", which this cluster does not have"),
            "{found:?}"
        );
    }

    #[test]
    fn a_count_is_a_number_that_a_node_can_serve() {
        let count = |value| mistakes(&[(annotation::GPU, "simulated"), (annotation::COUNT, value)]);
        assert!(count("4").is_empty());
        for bad in ["0", "-1", "+1", "two", "", "1.5", "99999999999"] {
            assert_eq!(
                count(bad),
                [format!("firstlight.dev/count is {bad:?}; allowed is a number from 1 to 4")]
            );
        }
        assert!(count("5")[0].ends_with("a node has 4 of the pool \"simulated\"; allowed are 1 to 4"));
    }

    #[test]
    fn a_fault_on_order_needs_a_simulated_pool() {
        let found = mistakes(&[(annotation::GPU, "vendor"), (annotation::SIMULATE, "init-returns=999")]);
        assert!(found[0].contains("\"vendor\" is of kind observer"), "{found:?}");
    }

    #[test]
    fn an_unknown_fault_is_answered_with_the_faults() {
        let found = mistakes(&[(annotation::GPU, "simulated"), (annotation::SIMULATE, "explode")]);
        assert!(found[0].contains("init-returns=CODE") && found[0].contains("explode"), "{found:?}");
    }

    #[test]
    fn all_mistakes_are_said_at_once() {
        let found = mistakes(&[
            (annotation::GPU, "x"),
            (annotation::COUNT, "x"),
            (annotation::CONTAINERS, " , "),
            (annotation::GATE, "x"),
            (annotation::PREFLIGHT, "x"),
            (annotation::SIMULATE, "x"),
        ]);
        assert_eq!(found.len(), 6, "{found:#?}");
    }

    #[test]
    fn a_gate_is_asked_for_by_the_word_ready_and_no_other() {
        let pools = Pools::parse(POOLS).unwrap();
        let asks = Asks::default().with(annotation::GPU, Some("simulated"));
        let gate = |value| read(&asks.with(annotation::GATE, value), &pools).ask.map(|ask| ask.gate);
        assert_eq!(gate(Some("ready")), Some(true));
        assert_eq!([gate(Some("off")), gate(None)], [Some(false); 2]);
        assert_eq!(gate(Some("true")), None);
        assert_eq!(
            mistakes(&[(annotation::GPU, "simulated"), (annotation::GATE, "true")]),
            ["firstlight.dev/gate is \"true\"; allowed are off, ready"]
        );
    }
}
