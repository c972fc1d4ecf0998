//! Whole cards that are linked best with each other: every answer is compared, because there are few.

use crate::inventory::{PoolDevice, Snapshot};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Answers that are compared. The 8 of 16 cards are chosen in 12,870 ways.
const MOST_ANSWERS: usize = 20_000;

/// What an answer costs; the first difference decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// NVLinks straight between its cards: the fastest way.
    nvlinks: Reverse<u64>,
    /// NUMA nodes that it is on.
    nodes: usize,
    /// Pairs of its cards behind one PCIe switch.
    switches: Reverse<usize>,
    /// What it takes from the containers after it: NVLinks, switches and NUMA nodes that lead from it to cards that
    /// stay free.
    cut: (u64, usize, usize),
}

/// The best of all answers that hold `must`; the first of several. `None` where they are too many to compare, where
/// two units are of one card, and where the pool does not know a unit: the choice by groups is for those.
pub(super) fn preferred(
    snapshot: &Snapshot,
    available: &[String],
    must: &[String],
    size: usize,
) -> Option<Vec<String>> {
    let mut by_unit: BTreeMap<&str, (usize, &PoolDevice)> = BTreeMap::new();
    for (ordinal, device) in snapshot.devices.iter().enumerate() {
        by_unit.extend(device.units.iter().map(|unit| (unit.id.as_str(), (ordinal, device))));
    }
    let place = |id: &String| by_unit.get(id.as_str()).copied();
    let taken = must.iter().map(place).collect::<Option<Vec<_>>>()?;
    let free = available.iter().filter(|id| !must.contains(id));
    let mut free = free.map(|id| Some((place(id)?, id))).collect::<Option<Vec<_>>>()?;
    free.sort_by_key(|((ordinal, _), _)| *ordinal);
    let cards: Vec<(usize, &PoolDevice)> =
        taken.iter().chain(free.iter().map(|(card, _)| card)).copied().collect();
    let mut ordinals: Vec<usize> = cards.iter().map(|(ordinal, _)| *ordinal).collect();
    ordinals.sort_unstable();
    if ordinals.windows(2).any(|pair| pair.first() == pair.last()) {
        return None;
    }
    let wanted = size.saturating_sub(taken.len()).min(free.len());
    if answers(free.len(), wanted)? > MOST_ANSWERS {
        return None;
    }

    let cards: Vec<&PoolDevice> = cards.into_iter().map(|(_, card)| card).collect();
    let best = combinations(free.len(), wanted).min_by_key(|picks| {
        let chosen: Vec<usize> =
            (0..taken.len()).chain(picks.iter().map(|pick| pick + taken.len())).collect();
        cost(&cards, &chosen)
    })?;
    let picked = best.iter().filter_map(|pick| free.get(*pick)).map(|(_, id)| (*id).clone());
    Some(must.iter().cloned().chain(picked).collect())
}

/// What these of the cards cost, while the others stay free.
pub(super) fn cost(cards: &[&PoolDevice], chosen: &[usize]) -> Cost {
    let (mut within, mut cut) = ((0, 0, 0), (0, 0, 0));
    let (inside, outside): (Vec<_>, Vec<_>) =
        cards.iter().enumerate().partition(|(index, _)| chosen.contains(index));
    for (place, (_, one)) in inside.iter().enumerate() {
        for (_, other) in inside.iter().skip(place + 1) {
            add(&mut within, one, other);
        }
        for (_, other) in &outside {
            add(&mut cut, one, other);
        }
    }
    let mut nodes: Vec<i64> = inside.iter().map(|(_, card)| card.numa.unwrap_or(0)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    Cost { nvlinks: Reverse(within.0), nodes: nodes.len(), switches: Reverse(within.1), cut }
}

fn add(sum: &mut (u64, usize, usize), one: &PoolDevice, other: &PoolDevice) {
    // Both ends tell of a link, unless one of them was not asked.
    let links = |from: &PoolDevice, to: &PoolDevice| from.links.nvlinks.get(&to.name).copied().unwrap_or(0);
    sum.0 += u64::from(links(one, other).max(links(other, one)));
    sum.1 += usize::from(one.links.port.is_some() && one.links.port == other.links.port);
    sum.2 += usize::from(one.numa.unwrap_or(0) == other.numa.unwrap_or(0));
}

/// In how many ways so many of them can be chosen; `None` if that is no number any more.
fn answers(of: usize, wanted: usize) -> Option<usize> {
    (0..wanted).try_fold(1_usize, |ways, step| Some(ways.checked_mul(of - step)? / (step + 1)))
}

/// All choices of so many numbers below `of`, each ascending, in lexicographic order.
fn combinations(of: usize, wanted: usize) -> impl Iterator<Item = Vec<usize>> {
    let first = (wanted <= of).then(|| (0..wanted).collect::<Vec<_>>());
    std::iter::successors(first, move |now| {
        // The last number that can still grow; those after it follow it closely.
        let place =
            (0..wanted).rev().find(|place| now.get(*place).is_some_and(|n| *n < of - wanted + place))?;
        let start = now.get(place)? + 1;
        let kept = now.iter().copied().take(place);
        Some(kept.chain((start..).take(wanted - place)).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Driver, Health, Links, Unit};
    use proptest::prelude::*;

    /// A card: NUMA node, port, and NVLinks to others by ordinal.
    type Made<'a> = (i64, Option<u32>, &'a [(usize, u32)]);

    fn machine(cards: &[Made<'_>]) -> Snapshot {
        let device = |(ordinal, (numa, port, nvlinks)): (usize, &Made<'_>)| PoolDevice {
            name: format!("card-{ordinal}"),
            health: Health::Healthy,
            numa: Some(*numa),
            links: Links {
                port: port.map(|port| format!("port-{port}")),
                nvlinks: nvlinks.iter().map(|(to, count)| (format!("card-{to}"), *count)).collect(),
            },
            granted: None,
            nodes: Vec::new(),
            units: vec![Unit::whole(ordinal.to_string())],
        };
        let devices = cards.iter().enumerate().map(device).collect();
        Snapshot { driver: Driver::Foreign, devices, remark: None }
    }

    fn chosen(snapshot: &Snapshot, available: &str, must: &str, size: usize) -> String {
        let ids = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        let mut chosen = preferred(snapshot, &ids(available), &ids(must), size).unwrap();
        chosen.sort();
        chosen.concat()
    }

    #[test]
    fn two_cards_with_a_bridge_of_nvlinks_come_together_even_across_nodes() {
        let snapshot = machine(&[
            (0, None, &[(2, 4)]),
            (0, None, &[(3, 4)]),
            (1, None, &[(0, 4)]),
            (1, None, &[(1, 4)]),
        ]);
        assert_eq!(chosen(&snapshot, "0123", "", 2), "02");
        assert_eq!(chosen(&snapshot, "0123", "3", 2), "13");
        // Without a partner left, one node.
        assert_eq!(chosen(&snapshot, "013", "", 2), "13");
    }

    #[test]
    fn cards_without_nvlinks_come_from_one_switch_on_one_node() {
        let snapshot = machine(&[(0, Some(1), &[]), (0, Some(2), &[]), (0, Some(1), &[]), (1, Some(3), &[])]);
        assert_eq!(chosen(&snapshot, "0123", "", 2), "02");
        assert_eq!(chosen(&snapshot, "123", "", 2), "12");
    }

    #[test]
    fn a_single_card_breaks_no_pair_while_there_is_another() {
        let snapshot = machine(&[(0, None, &[(1, 2)]), (0, None, &[(0, 2)]), (0, None, &[])]);
        assert_eq!(chosen(&snapshot, "012", "", 1), "2");
        let switches = machine(&[(0, Some(1), &[]), (0, Some(1), &[]), (0, Some(2), &[])]);
        assert_eq!(chosen(&switches, "012", "", 1), "2");
    }

    #[test]
    fn sixteen_cards_are_compared_and_forty_are_not() {
        let ids = |count: usize| (0..count).map(|id| id.to_string()).collect::<Vec<_>>();
        let many = machine(&vec![(0, None, &[][..]); 40]);
        assert_eq!(preferred(&many, &ids(16), &[], 8).unwrap().len(), 8);
        assert_eq!(preferred(&many, &ids(40), &[], 20), None);
        assert_eq!(preferred(&many, &["stranger".to_owned()], &[], 1), None);
    }

    proptest! {
        #[test]
        fn no_other_answer_costs_less(
            cards in proptest::collection::vec((0_i64..3, proptest::option::of(0_u32..3)), 1..=8),
            links in proptest::collection::vec((0_usize..8, 0_usize..8, 1_u32..5), 0..12),
            available in any::<u8>(), must in any::<u8>(), size in 0_usize..=8,
        ) {
            let count = cards.len();
            let nvlinks: Vec<Vec<(usize, u32)>> = (0..count)
                .map(|card| links.iter().filter(move |link| link.0 == card && link.1 != card && link.1 < count))
                .map(|links| links.map(|link| (link.1, link.2)).collect())
                .collect();
            let made: Vec<Made<'_>> =
                cards.iter().zip(&nvlinks).map(|((numa, port), links)| (*numa, *port, links.as_slice())).collect();
            let snapshot = machine(&made);
            let bits = |mask: usize| (0..count).filter(move |bit| mask & (1 << bit) != 0);
            let ids = |mask: usize| bits(mask).map(|bit| bit.to_string()).collect::<Vec<_>>();
            let available = usize::from(available) & ((1 << count) - 1);
            let must = usize::from(must) & available;
            let size = size.clamp(must.count_ones() as usize, available.count_ones() as usize);

            let answer = preferred(&snapshot, &ids(available), &ids(must), size).unwrap();
            let all: Vec<&PoolDevice> = bits(available).map(|bit| &snapshot.devices[bit]).collect();
            let cost_of = |mask: usize| {
                let places = bits(available).enumerate().filter(|(_, bit)| mask & (1 << bit) != 0);
                cost(&all, &places.map(|(place, _)| place).collect::<Vec<_>>())
            };
            let mask = answer.iter().fold(0, |mask, id| mask | 1 << id.parse::<usize>().unwrap());
            prop_assert_eq!((answer.len(), mask & must, mask & available), (size, must, mask));
            let others = (0..1_usize << count)
                .filter(|other| other & available == *other && other & must == must)
                .filter(|other| other.count_ones() as usize == size);
            prop_assert_eq!(Some(cost_of(mask)), others.map(cost_of).min());
        }
    }
}
