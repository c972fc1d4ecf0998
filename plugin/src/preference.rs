//! Which units the kubelet should choose for a container: a hint, and a pure function. It never fails, because an
//! error here makes the pod Failed.
//!
//! Whole cards are those that are linked best with each other ([`linked`]), on as few NUMA nodes as possible. Parts
//! of cards come from as many cards as possible (`spread`, and replicas: each has the most left of its card's time), or from as few
//! (`pack`: whole cards stay free).

mod linked;

use crate::inventory::Snapshot;
use firstlight_contract::pools::cards::Placement;
use firstlight_contract::pools::{Pool, PoolSpec};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How the units of a container lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Linked best with each other, and on as few NUMA nodes as possible.
    Linked,
    /// On as many devices as possible.
    Spread,
    /// On as few devices as possible.
    Pack,
}

impl Policy {
    /// That of a pool.
    pub fn of(pool: &Pool) -> Self {
        match pool.spec {
            // Two replicas of one card are no more than one.
            PoolSpec::Whole { replicas: 2.., .. } => Self::Spread,
            PoolSpec::Whole { .. } => Self::Linked,
            PoolSpec::Slice { placement: Placement::Pack, .. } => Self::Pack,
            _ => Self::Spread,
        }
    }
}

/// The units to prefer: all of `must`, then others that are available, `size` in all where there are so many.
pub fn preferred(
    policy: Policy,
    snapshot: &Snapshot,
    available: &[String],
    must: &[String],
    size: usize,
) -> Vec<String> {
    if policy == Policy::Linked
        && let Some(best) = linked::preferred(snapshot, available, must, size)
    {
        return best;
    }
    // By unit: the device's ordinal, and its group. One pass, because a pool may have a thousand units.
    let known: BTreeMap<&str, (usize, i64)> = snapshot
        .devices
        .iter()
        .enumerate()
        .flat_map(|(ordinal, device)| {
            let group = match policy {
                Policy::Linked => device.numa.unwrap_or(0),
                Policy::Spread | Policy::Pack => i64::try_from(ordinal).unwrap_or(i64::MAX),
            };
            device.units.iter().map(move |unit| (unit.id.as_str(), (ordinal, group)))
        })
        .collect();
    // What the pool does not know is a group of its own, behind the others.
    let place = |id: &String| known.get(id.as_str()).copied().unwrap_or((usize::MAX, i64::MAX));
    let key = |id: &String| place(id).1;
    let mut free: BTreeMap<i64, Vec<&String>> = BTreeMap::new();
    for id in available.iter().filter(|id| !must.contains(id)) {
        free.entry(key(id)).or_default().push(id);
    }
    // The last one is taken first: within a group in the order of the devices, then of the numbers of their parts.
    for units in free.values_mut() {
        units.sort_by_cached_key(|id| Reverse((place(id).0, id.len(), (*id).clone())));
    }
    let mut used: BTreeMap<i64, usize> = BTreeMap::new();
    for id in must {
        *used.entry(key(id)).or_default() += 1;
    }
    let mut chosen = must.to_vec();
    while chosen.len() < size {
        let rooms = free.iter().map(|(group, units)| (*group, units.len())).filter(|(_, room)| *room > 0);
        let next = match policy {
            Policy::Spread => emptiest(rooms, &used),
            Policy::Linked | Policy::Pack => fewest(rooms, &used, size - chosen.len()),
        };
        let Some(unit) = next.and_then(|group| Some((group, free.get_mut(&group)?.pop()?))) else { break };
        *used.entry(unit.0).or_default() += 1;
        chosen.push(unit.1.clone());
    }
    chosen
}

/// The group of which this container has least; among those the one with the most room.
fn emptiest(rooms: impl Iterator<Item = (i64, usize)>, used: &BTreeMap<i64, usize>) -> Option<i64> {
    let cost = |(group, room): &(i64, usize)| (used.get(group).copied().unwrap_or(0), Reverse(*room));
    rooms.min_by_key(cost).map(|(group, _)| group)
}

/// A group that is in use already; else the smallest that holds all the rest, so that larger ones stay whole; else
/// the largest.
fn fewest(
    rooms: impl Iterator<Item = (i64, usize)>,
    used: &BTreeMap<i64, usize>,
    wanted: usize,
) -> Option<i64> {
    let cost = |(group, room): &(i64, usize)| {
        let fits = *room >= wanted;
        (!used.contains_key(group), !fits, if fits { *room } else { usize::MAX - *room })
    };
    rooms.min_by_key(cost).map(|(group, _)| group)
}

#[cfg(test)]
mod tests;
