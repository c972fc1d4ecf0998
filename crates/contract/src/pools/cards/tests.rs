use super::*;
use crate::pools::Pools;
use crate::pools::tests::mistakes;

const UUID: &str = "GPU-6f1c1b54-0000-5000-8000-000000000000";

fn spec(yaml: &str) -> PoolSpec {
    Pools::parse(&format!("pools:\n- {yaml}\n")).unwrap().pools.remove(0).spec
}

#[test]
fn a_pool_of_whole_cards_has_all_of_them_unless_told() {
    let cards = Cards { devices: Selection::All, driver: DriverMode::Auto };
    assert_eq!(
        spec("{name: gpu, kind: whole}"),
        PoolSpec::Whole { cards, mig: None, replicas: 1, mps: None }
    );
}

#[test]
fn cards_are_named_by_uuid_place_or_model() {
    let spec = spec(&format!(
        "{{name: gpu, kind: whole, devices: [{UUID}, \"0000:41:00.0\", \"*A40\"], driver: direct}}"
    ));
    let devices = Selection::Some(vec![
        Selector::Uuid(UUID.to_owned()),
        Selector::Pci("00000000:41:00.0".to_owned()),
        Selector::Model("*A40".to_owned()),
    ]);
    let cards = Cards { devices, driver: DriverMode::Direct };
    assert_eq!(spec, PoolSpec::Whole { cards, mig: None, replicas: 1, mps: None });
}

#[test]
fn the_driver_comes_in_one_of_four_ways() {
    for mode in DriverMode::ALL {
        for kind in ["whole", "slice, slices: 2"] {
            let pools = format!("pools:\n- {{name: gpu, kind: {kind}, driver: {}}}\n", mode.as_str());
            let pool = Pools::parse(&pools).unwrap().pools.remove(0);
            assert_eq!(pool.cards().unwrap().driver, mode);
        }
    }
}

#[test]
fn a_whole_card_may_be_given_several_times_and_a_part_may_not() {
    let replicas = |yaml| match spec(yaml) {
        PoolSpec::Whole { replicas, .. } => replicas,
        other => panic!("{other:?}"),
    };
    assert_eq!(replicas("{name: gpu, kind: whole, replicas: 64}"), 64);
    let found = mistakes(
        "pools:\n- {name: a, kind: whole, devices: [\"*A40\"], replicas: 65}\n\
         - {name: b, kind: slice, devices: [\"*T4\"], slices: 2, replicas: 4}\n",
    );
    let wanted = "pools[1].replicas: 4; replicas share a card without a quota, parts are counted by slices or sizes; \
                  replicas is for kind whole";
    assert_eq!(found, ["pools[0].replicas: 65; wanted a number from 1 to 64", wanted]);
}

#[test]
fn a_card_is_divided_equally_or_by_sizes() {
    let shares = |yaml| match spec(yaml) {
        PoolSpec::Slice { shares, memory_bytes, placement, .. } => (shares, memory_bytes, placement),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        shares("{name: half, kind: slice, slices: 2, memory: 48GiB, placement: pack}"),
        (Shares::Equal(2), Some(48 << 30), Placement::Pack)
    );
    assert_eq!(
        shares("{name: parts, kind: slice, sizes: [8GiB, 512Mi]}"),
        (Shares::Sizes(vec![8 << 30, 512 << 20]), None, Placement::Spread)
    );
}

#[test]
fn all_mistakes_come_at_once() {
    let found = mistakes(
        "pools:\n- {name: a, kind: whole, devices: [GPU-1, 7], driver: [cdi], slices: 2}\n\
         - {name: b, kind: slice, devices: [\"*H100*\"]}\n\
         - {name: c, kind: slice, devices: [\"*L4\"], slices: 2, sizes: [1GiB], placement: heap}\n\
         - {name: d, kind: slice, devices: [\"*T4\"], sizes: [8GB, 16GiB], memory: 1MiB}\n\
         - {name: e, kind: slice, devices: [\"*A10\"], sizes: [16GiB, 16GiB], memory: 24GiB, driver: magic}\n\
         - {name: f, kind: whole, devices: []}\n",
    );
    let starts = [
        "pools[0].slices: unknown key for this kind",
        "pools[0].devices[0]: \"GPU-1\"; wanted a UUID",
        "pools[0].devices[1]: 7; wanted a UUID",
        "pools[0].driver: a list; allowed are auto, direct, cdi, runtime",
        "pools[1].slices: missing; wanted a number of equal parts",
        "pools[2].sizes: stands beside slices",
        "pools[2].placement: \"heap\"; allowed are spread, pack",
        "pools[3].sizes[0]: \"8GB\"; wanted a size from 64MiB on, such as 8GiB",
        "pools[3].memory: \"1MiB\"; wanted a size",
        "pools[4].sizes: 32GiB in all; the pool's memory is 24GiB",
        "pools[4].driver: \"magic\"; allowed are",
        "pools[5].devices: an empty list; wanted all, or a list",
    ];
    for start in starts {
        assert!(found.iter().any(|mistake| mistake.starts_with(start)), "no {start:?} in {found:#?}");
    }
    assert_eq!(found.len(), starts.len(), "{found:#?}");
}

#[test]
fn two_pools_that_claim_one_card_are_named() {
    let found = mistakes(&format!(
        "pools:\n- {{name: a, kind: whole, devices: [{UUID}]}}\n\
         - {{name: b, kind: slice, slices: 2, devices: [\"*H100\", {}]}}\n",
        UUID.replace("GPU-6f1c1b54", "GPU-6F1C1B54")
    ));
    let wanted = format!(
        "pools[1].devices: {UUID} would be in the pools \"a\" and \"b\"; a card is in exactly one pool"
    );
    assert_eq!(found, [wanted]);
    let all = mistakes(
        "pools:\n- {name: a, kind: whole}\n- {name: b, kind: slice, slices: 2, devices: [\"*T4\"]}\n",
    );
    assert!(all[0].contains("all cards would be in the pools \"a\" and \"b\""), "{all:?}");
    let model = mistakes(
        "pools:\n- {name: a, kind: whole, devices: [\"*A40\"]}\n- {name: b, kind: whole, devices: [NVIDIA A40]}\n",
    );
    assert!(model[0].contains("NVIDIA A40 would be in the pools"), "{model:?}");
}

#[test]
fn pools_of_different_cards_stand_side_by_side() {
    let yaml = "pools:\n- {name: a, kind: whole, devices: [\"*H100*\"]}\n- {name: b, kind: slice, slices: 2, devices: [\"*T4\"]}\n\
                - {name: c, kind: simulated}\n";
    assert_eq!(Pools::parse(yaml).unwrap().pools.len(), 3);
}

#[test]
fn instances_are_given_once_each_and_by_the_nodes_own_driver() {
    let found = mistakes(
        "pools:\n- {name: a, kind: whole, mig: 1g.10gb, replicas: 2}\n\
         - {name: b, kind: whole, mig: 2g.20gb, driver: cdi}\n",
    );
    let replicas = "pools[0].replicas: 2; an instance is for one container, so `mig` and `replicas` are not for one pool";
    assert_eq!(found, [replicas, "pools[1].driver: cdi; instances are given with auto or direct"]);
}
