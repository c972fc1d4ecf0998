use super::*;
use crate::inventory::{Driver, Health, Inventory as _, Links, PoolDevice, Simulated, Unit};
use firstlight_contract::pools::Pools;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Devices on these NUMA nodes, each in so many parts.
fn devices(nodes: &[i64], parts: usize) -> Snapshot {
    let device = |(index, node): (usize, &i64)| PoolDevice {
        name: format!("card-{index}"),
        health: Health::Healthy,
        numa: Some(*node),
        links: Links::default(),
        granted: None,
        nodes: Vec::new(),
        units: (0..parts).map(|part| Unit::whole(format!("card-{index}::{part}"))).collect(),
    };
    let devices = nodes.iter().enumerate().map(device).collect();
    Snapshot { driver: Driver::Foreign, devices, remark: None }
}

fn units(snapshot: &Snapshot) -> Vec<String> {
    snapshot.devices.iter().flat_map(|device| &device.units).map(|unit| unit.id.clone()).collect()
}

fn chosen_by(ids: &[String], mask: usize) -> Vec<String> {
    ids.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, id)| id.clone()).collect()
}

/// Compares every request of up to eight units with the best of all answers, by the number of groups.
fn is_the_best(policy: Policy, snapshot: &Snapshot, group: impl Fn(usize) -> i64) {
    let ids = units(snapshot);
    let count = ids.len();
    let masks = 1_usize << count;
    let groups: Vec<usize> = (0..masks)
        .map(|mask| {
            let of: BTreeSet<i64> = (0..count).filter(|bit| mask & (1 << bit) != 0).map(&group).collect();
            of.len()
        })
        .collect();
    for available in 0..masks {
        // None must be in it, one, or two.
        let two = (0..count).flat_map(|one| (one..count).map(move |other| (1 << one) | (1 << other)));
        for must in std::iter::once(0).chain(two).filter(|must| must & available == *must) {
            for size in must.count_ones()..=available.count_ones() {
                let chosen = preferred(
                    policy,
                    snapshot,
                    &chosen_by(&ids, available),
                    &chosen_by(&ids, must),
                    size as usize,
                );
                let mask = chosen
                    .iter()
                    .fold(0, |mask, id| mask | 1 << ids.iter().position(|one| one == id).unwrap());
                assert_eq!(chosen.len(), size as usize);
                assert_eq!((mask & available, mask & must), (mask, must), "{chosen:?}");
                let answers = (0..masks).filter(|answer| {
                    answer & available == *answer && answer & must == must && answer.count_ones() == size
                });
                let best = match policy {
                    Policy::Spread => answers.map(|answer| groups[answer]).max(),
                    _ => answers.map(|answer| groups[answer]).min(),
                };
                assert_eq!(Some(groups[mask]), best, "{available:08b} {must:08b} {size}: {chosen:?}");
            }
        }
    }
}

#[test]
fn whole_cards_come_from_as_few_numa_nodes_as_any_answer() {
    for nodes in
        [&[0, 0, 0, 0, 1, 1, 1, 1][..], &[0, 1, 2, 0, 1, 2, 0], &[0, 0, 1, 1, 2, 2], &[0, 0, 0, 1, 2]]
    {
        let snapshot = devices(nodes, 1);
        is_the_best(Policy::Linked, &snapshot, |unit| nodes[unit]);
    }
    // Several units of a card: by groups.
    let nodes = [0, 1, 0, 2];
    is_the_best(Policy::Linked, &devices(&nodes, 2), |unit| nodes[unit / 2]);
}

#[test]
fn parts_are_packed_on_as_few_cards_and_spread_over_as_many_as_any_answer() {
    let card = |unit: usize| i64::try_from(unit / 2).unwrap();
    let snapshot = devices(&[0, 0, 0], 2);
    is_the_best(Policy::Pack, &snapshot, card);
    is_the_best(Policy::Spread, &snapshot, card);
}

#[test]
fn a_card_that_fits_leaves_larger_nodes_whole() {
    let snapshot = devices(&[0, 0, 0, 1, 1], 1);
    assert_eq!(preferred(Policy::Linked, &snapshot, &units(&snapshot), &[], 2), ["card-3::0", "card-4::0"]);
}

#[test]
fn two_units_are_preferred_on_two_devices() {
    let snapshot = Simulated::new("node-a", "simulated", 2, "SIM-A40", 4).probe();
    let available = units(&snapshot);
    assert_eq!(preferred(Policy::Spread, &snapshot, &available, &[], 2), ["sim-0::0", "sim-1::0"]);
    let must = ["sim-0::2".to_owned()];
    assert_eq!(preferred(Policy::Spread, &snapshot, &available, &must, 2), ["sim-0::2", "sim-1::0"]);
}

#[test]
fn replicas_come_from_different_cards() {
    let pool = Pools::parse("pools: [{name: gpu, kind: whole, replicas: 2}]").unwrap().pools.remove(0);
    let snapshot = devices(&[0, 0], 2);
    let chosen = preferred(Policy::of(&pool), &snapshot, &units(&snapshot), &[], 2);
    assert_eq!(chosen, ["card-0::0", "card-1::0"]);
    let must = ["card-1::1".to_owned()];
    assert_eq!(
        preferred(Policy::of(&pool), &snapshot, &units(&snapshot), &must, 2),
        ["card-1::1", "card-0::0"]
    );
}

proptest! {
    #[test]
    fn a_preference_is_always_of_the_size_asked_for_and_available(
        picks in proptest::collection::btree_set(0usize..12, 0..12), size in 0usize..14, policy in 0_usize..3,
    ) {
        let snapshot = devices(&[0, 1], 4);
        let mut all = units(&snapshot);
        all.extend((0..4).map(|number| format!("unknown-{number}")));
        let available: Vec<String> = picks.iter().map(|pick| all[*pick].clone()).collect();
        let policy = [Policy::Linked, Policy::Spread, Policy::Pack][policy];
        let chosen = preferred(policy, &snapshot, &available, &[], size);
        prop_assert_eq!(chosen.len(), size.min(available.len()));
        prop_assert!(chosen.iter().all(|id| available.contains(id)));
    }
}
