use super::*;
use crate::inventory::nvidia::Nvidia;
use crate::inventory::nvidia::cdi::Specs;
use crate::inventory::nvidia::fixture::{FakeNode, VERSION, place, uuid};
use crate::inventory::{Driver, Inventory as _, Snapshot};
use crate::prober::knowledge::Knowledge;
use firstlight_contract::pools::Pools;
use firstlight_contract::prober::{ComputeMode, Failure, FailureKind, Look, Message, Xid};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

const POOL: &str = "- {name: tenth, kind: whole, mig: 1g.10gb}";

fn mig(number: u32) -> String {
    format!("MIG-00000000-0000-5000-8000-{number:012}")
}

/// A node whose first card has the instances 3/0, 4/0 and 9/0, with their device nodes.
fn node(cards: u32) -> FakeNode {
    let node = FakeNode::with_cards(cards);
    node.driver("usr/lib/x86_64-linux-gnu", VERSION);
    for gi in [3, 4, 9] {
        node.instance(0, gi, 0);
    }
    node
}

fn instance(number: u32, gi: u32, profile: &str) -> prober::Instance {
    prober::Instance { uuid: mig(number), gi, ci: 0, profile: profile.to_owned(), memory: None }
}

/// Two of 1g.10gb, and one of 3g.40gb.
fn instances() -> Vec<prober::Instance> {
    vec![instance(3, 3, "1g.10gb"), instance(4, 4, "1g.10gb"), instance(9, 9, "3g.40gb")]
}

fn card(number: u32, mig: Option<bool>, instances: Option<Vec<prober::Instance>>) -> prober::Card {
    prober::Card { uuid: uuid(number), mig, instances, ..prober::Card::default() }
}

fn hear(knowledge: &Knowledge, cards: Vec<prober::Card>) {
    let look = Look { driver: VERSION.to_owned(), cards, nameless: Vec::new() };
    knowledge.hear(Message::Look(look), Instant::now());
}

fn prober() -> Arc<Knowledge> {
    let knowledge = Arc::new(Knowledge::default());
    hear(&knowledge, vec![card(0, Some(true), Some(instances()))]);
    knowledge
}

/// The first pool of a configuration on a node.
fn pool(node: &FakeNode, yaml: &str, knowledge: &Arc<Knowledge>) -> Nvidia {
    let pools = Pools::parse(&format!("pools:\n{yaml}\n")).unwrap().pools;
    Nvidia::new(&pools[0], pools[0].cards().unwrap(), &pools, node.root.clone(), Arc::clone(knowledge))
}

fn healthy(snapshot: &Snapshot) -> Vec<&str> {
    let healthy = snapshot.devices.iter().filter(|device| device.health.is_healthy());
    healthy.flat_map(|device| &device.units).map(|unit| unit.id.as_str()).collect()
}

fn fault(snapshot: &Snapshot, ordinal: usize) -> (HealthReason, &str) {
    match &snapshot.devices[ordinal].health {
        Health::Unhealthy(fault) => (fault.reason, &fault.sentence),
        Health::Healthy => panic!("{ordinal} is healthy"),
    }
}

#[test]
fn a_pool_has_the_instances_of_its_profile_each_with_its_card_and_its_two_capabilities() {
    let (node, knowledge) = (node(2), prober());
    hear(&knowledge, vec![card(0, Some(true), Some(instances())), card(1, Some(false), None)]);
    let snapshot = pool(&node, POOL, &knowledge).probe();
    assert_eq!(healthy(&snapshot), [mig(3), mig(4)]);
    let device = &snapshot.devices[1];
    let nodes: Vec<_> = device.nodes.iter().map(|node| node.container.as_str()).collect();
    assert_eq!(nodes, ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap40", "/dev/nvidia-caps/nvidia-cap41"]);
    let granted = device.granted.as_ref().unwrap();
    assert_eq!((granted.uuid.clone(), granted.pci.as_deref()), (mig(4), Some("00000000:41:00.0")));
    assert_eq!((granted.quota_bytes, granted.context_bytes, device.numa), (None, None, Some(0)));
    let Driver::Direct(direct) = &snapshot.driver else { panic!("{snapshot:?}") };
    assert_eq!(direct.control.len(), 3);
    let other = pool(&node, "- {name: half, kind: whole, mig: 3g.40gb}", &knowledge).probe();
    assert_eq!(healthy(&other), [mig(9)]);
}

#[test]
fn a_card_that_is_divided_is_given_itself_by_no_other_pool_even_without_a_prober() {
    let node = node(2);
    for knowledge in [prober(), Arc::default()] {
        for yaml in ["- {name: gpu, kind: whole}", "- {name: s, kind: slice, sizes: [8GiB]}"] {
            let snapshot = pool(&node, &format!("{yaml}\n{POOL}"), &knowledge).probe();
            let (reason, sentence) = fault(&snapshot, 0);
            assert_eq!(reason, HealthReason::Mig, "{sentence}");
            assert!(sentence.contains("a pool with the key `mig`"), "{sentence}");
            assert!(snapshot.devices[1].health.is_healthy(), "the other one has no instance: {snapshot:?}");
        }
        let slices = "- {name: s, kind: slice, sizes: [8GiB]}";
        assert_eq!(healthy(&pool(&node, &format!("{POOL}\n{slices}"), &prober()).probe()).len(), 2);
    }
}

#[test]
fn an_instance_that_nvml_or_the_kernel_does_not_know_any_more_is_gone_and_stays_in_the_list() {
    let (node, knowledge) = (node(1), prober());
    let pool = pool(&node, POOL, &knowledge);
    assert_eq!(healthy(&pool.probe()).len(), 2);
    // Another one in the same place.
    hear(
        &knowledge,
        vec![card(0, Some(true), Some(vec![instance(7, 3, "1g.10gb"), instance(4, 4, "1g.10gb")]))],
    );
    let snapshot = pool.probe();
    assert_eq!(healthy(&snapshot), [mig(7), mig(4)]);
    let (reason, sentence) = fault(&snapshot, 0);
    assert_eq!(reason, HealthReason::Gone);
    let wanted = format!("the MIG instance {} (1g.10gb, GPU instance 3, compute instance 0) of GPU-", mig(3));
    assert!(sentence.starts_with(&wanted), "{sentence}");
    node.remove("proc/driver/nvidia/capabilities/gpu0/mig/gi4");
    assert_eq!(healthy(&pool.probe()), [mig(7)]);
    hear(&knowledge, vec![card(0, Some(false), None)]);
    let snapshot = pool.probe();
    assert_eq!((snapshot.devices.len(), healthy(&snapshot).len()), (3, 0));
}

#[test]
fn instances_of_which_nothing_is_told_any_more_are_as_the_kernel_knows_them() {
    let node = node(1);
    let surroundings = |told: Told| Surroundings {
        specs: Specs::default(),
        foreign: BTreeSet::new(),
        driver: Err("not asked".to_owned()),
        nodes: ["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap30", "/dev/nvidia-caps/nvidia-cap31"]
            .map(Into::into)
            .to_vec(),
        capabilities: BTreeMap::from([(0, capabilities(&node.root, 0))]),
        host: node.root.clone(),
        told,
    };
    let (knowledge, begun) = (prober(), Instant::now());
    let mut known = Instances::default();
    known.hear(&knowledge.told(begun));
    let late = knowledge.told(begun + Duration::from_mins(1));
    assert_eq!(late.look(&uuid(0)), None);
    known.hear(&late);
    let found = super::super::cards::Found::read(&node.root);
    let cards: Vec<&Card> = found.cards.iter().collect();
    let devices = devices("1g.10gb", &cards, &known, &surroundings(late), |_| None);
    assert_eq!(devices[0].health, Health::Healthy);
    let Health::Unhealthy(fault) = &devices[1].health else { panic!("{devices:?}") };
    assert_eq!(fault.reason, HealthReason::DeviceNode);
    assert!(
        fault.sentence.starts_with("/dev/nvidia-caps/nvidia-cap40 is missing, which opens"),
        "{}",
        fault.sentence
    );
}

#[test]
fn what_is_wrong_with_the_card_is_wrong_with_its_instances() {
    let (node, knowledge) = (node(1), prober());
    let pool = pool(&node, POOL, &knowledge);
    let mut look = card(0, Some(true), Some(instances()));
    look.compute = Some(ComputeMode::Exclusive);
    hear(&knowledge, vec![look.clone()]);
    assert_eq!(healthy(&pool.probe()).len(), 2, "an instance has one container");
    look.compute = Some(ComputeMode::Prohibited);
    hear(&knowledge, vec![look]);
    assert_eq!(fault(&pool.probe(), 0).0, HealthReason::ComputeMode);
    knowledge.hear(Message::Xid(Xid { card: uuid(0), code: 79 }), Instant::now());
    assert_eq!(fault(&pool.probe(), 1).0, HealthReason::Xid);
    node.pull(&place(0));
    assert_eq!(fault(&pool.probe(), 0).0, HealthReason::Gone);
}

#[test]
fn a_pool_without_an_instance_says_what_it_waits_for() {
    let node = node(1);
    let remark = |knowledge: Arc<Knowledge>| pool(&node, POOL, &knowledge).probe().unusable().unwrap();
    let waits = remark(Arc::default());
    assert!(
        waits.starts_with("the pool waits for the prober: nobody has told which MIG instances"),
        "{waits}"
    );
    let told = |card: prober::Card| {
        let knowledge = Arc::new(Knowledge::default());
        hear(&knowledge, vec![card]);
        remark(knowledge)
    };
    let off = told(card(0, Some(false), None));
    assert!(off.starts_with("no card of the pool has a MIG instance of the profile 1g.10gb (GPU-"), "{off}");
    assert!(off.contains(": MIG is off); make some on the node (nvidia-smi -i CARD -mig 1"), "{off}");
    let others = told(card(0, Some(true), Some(vec![instance(9, 9, "3g.40gb"), instance(8, 8, "2g.20gb")])));
    assert!(others.contains(": 3g.40gb, 2g.20gb); make some"), "{others}");
    assert!(told(card(0, Some(true), Some(Vec::new()))).contains(": MIG is on, without an instance)"));
    assert!(told(card(0, None, None)).contains(": cannot be divided)"));
    let call = "nvmlDeviceGetHandleByUUID".to_owned();
    let failure = Some(Failure { kind: FailureKind::Other, call, words: "no permission".to_owned() });
    let refused = told(prober::Card { failure, ..card(0, Some(true), None) });
    assert!(refused.contains("ByUUID: no permission); make"), "{refused}");
}

#[test]
fn two_pools_of_one_profile_contest_a_card_and_two_of_different_ones_do_not() {
    let (node, knowledge) = (node(1), prober());
    let again = "- {name: again, kind: whole, mig: 1g.10gb, devices: [\"*A40\"]}";
    let named = format!("- {{name: tenth, kind: whole, mig: 1g.10gb, devices: [{}]}}", uuid(0));
    let snapshot = pool(&node, &format!("{named}\n{again}"), &knowledge).probe();
    assert_eq!(fault(&snapshot, 0).0, HealthReason::Contested);
    let half = "- {name: half, kind: whole, mig: 3g.40gb}";
    assert_eq!(healthy(&pool(&node, &format!("{POOL}\n{half}"), &knowledge).probe()).len(), 2);
}
