use super::*;
use crate::inventory::nvidia::fixture::{FakeNode, VERSION, place, uuid};
use firstlight_contract::pools::Pools;
use firstlight_contract::prober::{self, Look, Memory, Message, Xid};

const DEBIAN: &str = "usr/lib/x86_64-linux-gnu";
const WHOLE: &str = "- {name: gpu, kind: whole}";

fn node(cards: u32) -> FakeNode {
    let node = FakeNode::with_cards(cards);
    node.driver(DEBIAN, VERSION);
    node
}

/// The first pool of a configuration on a node.
fn pool(node: &FakeNode, yaml: &str) -> Nvidia {
    told(node, yaml, &Arc::default())
}

/// The same, where a prober speaks.
fn told(node: &FakeNode, yaml: &str, knowledge: &Arc<Knowledge>) -> Nvidia {
    let pools = Pools::parse(&format!("pools:\n{yaml}\n")).unwrap().pools;
    Nvidia::new(&pools[0], pools[0].cards().unwrap(), &pools, node.root.clone(), Arc::clone(knowledge))
}

/// A prober that sees the first card, with so much memory.
fn prober(mebibytes: u64) -> Arc<Knowledge> {
    let knowledge = Arc::new(Knowledge::default());
    let memory = Some(Memory { total: (mebibytes + 512) << 20, reserved: 512 << 20, used: 0 });
    let card = prober::Card { uuid: uuid(0), memory, ..prober::Card::default() };
    hear(
        &knowledge,
        Message::Look(Look { driver: VERSION.to_owned(), cards: vec![card], nameless: Vec::new() }),
    );
    knowledge
}

fn hear(knowledge: &Knowledge, message: Message) {
    knowledge.hear(message, Instant::now());
}

/// Why the device with this ordinal is unhealthy.
fn fault(snapshot: &Snapshot, ordinal: usize) -> &str {
    match &snapshot.devices[ordinal].health {
        Health::Unhealthy(fault) => &fault.sentence,
        Health::Healthy => panic!("{ordinal} is healthy"),
    }
}

fn ids(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.devices.iter().flat_map(|device| &device.units).map(|unit| unit.id.as_str()).collect()
}

#[test]
fn whole_cards_are_healthy_devices_under_their_uuids() {
    let node = node(2);
    let snapshot = pool(&node, WHOLE).probe();
    assert_eq!(ids(&snapshot), [uuid(0), uuid(1)]);
    assert!(snapshot.devices.iter().all(|device| device.health.is_healthy()), "{snapshot:?}");
    assert_eq!(snapshot.devices[1].nodes[0].container, "/dev/nvidia1");
    let Driver::Direct(direct) = &snapshot.driver else { panic!("{snapshot:?}") };
    let control: Vec<_> = direct.control.iter().map(|node| node.container.as_str()).collect();
    assert_eq!(control, ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"]);
}

#[test]
fn a_reboot_that_swaps_the_minors_changes_no_id() {
    let node = node(2);
    let before = pool(&node, WHOLE).probe();
    node.information(&place(0), 1, &uuid(0));
    node.information(&place(1), 0, &uuid(1));
    let after = pool(&node, WHOLE).probe();
    assert_eq!(ids(&before), ids(&after));
    assert_eq!(after.devices[0].nodes[0].container, "/dev/nvidia1");
}

#[test]
fn a_node_without_a_card_says_so_and_finds_one_later() {
    let node = FakeNode::empty();
    let pool = pool(&node, WHOLE);
    assert!(pool.probe().unusable().unwrap().starts_with("this node has no NVIDIA card"));
    node.load(VERSION);
    node.driver(DEBIAN, VERSION);
    node.function(&place(0), "0x10de", "0x030000", 0);
    node.information(&place(0), 0, &uuid(0));
    for name in ["nvidia0", "nvidiactl", "nvidia-uvm"] {
        node.write(&format!("dev/{name}"), "");
    }
    assert_eq!(pool.probe().unusable(), None);
}

#[test]
fn a_card_that_is_gone_stays_in_the_list_unhealthy() {
    let node = node(2);
    let pool = pool(&node, WHOLE);
    pool.probe();
    node.pull(&place(1));
    let snapshot = pool.probe();
    assert_eq!(ids(&snapshot), [uuid(0), uuid(1)]);
    assert!(snapshot.devices[0].health.is_healthy());
    assert!(fault(&snapshot, 1).contains("is gone"), "{}", fault(&snapshot, 1));
}

#[test]
fn an_unloaded_module_makes_all_cards_unhealthy_with_the_reason() {
    let node = node(2);
    let pool = pool(&node, WHOLE);
    pool.probe();
    node.unload();
    let snapshot = pool.probe();
    assert_eq!(snapshot.devices.len(), 2);
    assert!(fault(&snapshot, 0).contains("modprobe nvidia"), "{}", fault(&snapshot, 0));
}

#[test]
fn a_missing_device_node_names_the_command_that_makes_it() {
    let node = node(2);
    node.remove("dev/nvidia1");
    let snapshot = pool(&node, WHOLE).probe();
    assert!(snapshot.devices[0].health.is_healthy());
    assert!(fault(&snapshot, 1).starts_with("/dev/nvidia1 is missing; make it on the node (nvidia-modprobe"));
    node.remove("dev/nvidia-uvm");
    assert!(fault(&pool(&node, WHOLE).probe(), 0).contains("nvidia-modprobe -u"));
}

#[test]
fn a_driver_of_another_version_is_every_cards_fault() {
    let node = node(1);
    node.load("550.54.15");
    let snapshot = pool(&node, WHOLE).probe();
    assert!(fault(&snapshot, 0).contains("libcuda.so.550.54.15"), "{}", fault(&snapshot, 0));
}

#[test]
fn a_pool_has_the_cards_it_names_and_says_when_there_are_none() {
    let node = node(3);
    let named = format!("- {{name: gpu, kind: whole, devices: [{}, \"0000:41:00.0\"]}}", uuid(2));
    assert_eq!(ids(&pool(&node, &named).probe()), [uuid(0), uuid(2)]);
    let other = pool(&node, "- {name: gpu, kind: whole, devices: [\"*H100*\"]}").probe().unusable().unwrap();
    assert!(
        other.starts_with("none of this node's cards is in the pool's devices; there are GPU-"),
        "{other}"
    );
}

#[test]
fn a_card_that_two_pools_claim_on_this_node_is_given_by_neither() {
    let node = node(2);
    let yaml = format!(
        "- {{name: a, kind: whole, devices: [\"*A40\"]}}\n- {{name: b, kind: whole, devices: [{}]}}",
        uuid(1)
    );
    let snapshot = pool(&node, &yaml).probe();
    assert!(snapshot.devices[0].health.is_healthy());
    assert!(fault(&snapshot, 1).contains("claimed by the pools \"a\" and \"b\""), "{}", fault(&snapshot, 1));
}

#[test]
fn a_card_is_divided_into_units_with_quotas_that_share_its_health() {
    let node = node(1);
    let slice = "- {name: s, kind: slice, slices: 3, memory: 48GiB}";
    let snapshot = pool(&node, slice).probe();
    assert_eq!(ids(&snapshot), [0, 1, 2].map(|index| format!("{}::{index}", uuid(0))));
    assert!(snapshot.devices[0].units.iter().all(|unit| unit.quota_bytes == Some(16 << 30)));
    let sizes = pool(&node, "- {name: s, kind: slice, sizes: [8GiB, 16GiB]}").probe();
    let quotas: Vec<_> = sizes.devices[0].units.iter().map(|unit| unit.quota_bytes.unwrap() >> 30).collect();
    assert_eq!(quotas, [8, 16]);
    assert!(sizes.devices[0].health.is_healthy());
    assert!(ids(&snapshot).iter().all(|id| id.len() <= 63));
}

#[test]
fn equal_parts_of_an_unknown_memory_are_not_guessed() {
    let node = node(1);
    let snapshot = pool(&node, "- {name: s, kind: slice, slices: 2}").probe();
    let sentence = fault(&snapshot, 0);
    assert!(sentence.contains("write `memory` into the pool \"s\""), "{sentence}");
}

#[test]
fn equal_parts_are_those_of_the_memory_that_nvml_tells() {
    let node = node(2);
    let slice = "- {name: s, kind: slice, slices: 3}";
    let snapshot = told(&node, slice, &prober(46_068)).probe();
    assert!(snapshot.devices[0].health.is_healthy(), "{snapshot:?}");
    // 15,356 MiB, which are whole granules.
    assert!(
        snapshot.devices[0].units.iter().all(|unit| unit.quota_bytes == Some(15_356 << 20)),
        "{snapshot:?}"
    );
    assert!(fault(&snapshot, 1).contains("no prober has told it"), "{}", fault(&snapshot, 1));
}

#[test]
fn what_the_pool_says_of_the_memory_counts_unless_it_is_more_than_there_is() {
    let node = node(1);
    let slice = |memory: &str| format!("- {{name: s, kind: slice, slices: 2, memory: {memory}}}");
    let less = told(&node, &slice("24GiB"), &prober(46_068)).probe();
    assert!(less.devices[0].units.iter().all(|unit| unit.quota_bytes == Some(12 << 30)), "{less:?}");
    assert!(less.devices[0].health.is_healthy());
    for parts in [slice("48GiB"), "- {name: s, kind: slice, sizes: [24GiB, 24GiB]}".to_owned()] {
        let more = told(&node, &parts, &prober(46_068)).probe();
        let wanted = "the pool \"s\" divides 49152 MiB of GPU-";
        assert!(fault(&more, 0).starts_with(wanted), "{}", fault(&more, 0));
        assert!(fault(&more, 0).contains("can have 46068 MiB; make its `sizes` or `memory` smaller"));
    }
}

#[test]
fn an_error_that_the_driver_reports_takes_one_card_from_the_pool_until_the_driver_is_gone() {
    let node = node(2);
    let knowledge = prober(46_068);
    let pool = told(&node, WHOLE, &knowledge);
    assert!(pool.probe().devices.iter().all(|device| device.health.is_healthy()));
    hear(&knowledge, Message::Xid(Xid { card: uuid(0), code: 79 }));
    let snapshot = pool.probe();
    assert!(fault(&snapshot, 0).contains("Xid 79"), "{}", fault(&snapshot, 0));
    assert!(snapshot.devices[1].health.is_healthy());
    node.unload();
    pool.probe();
    node.load(VERSION);
    for number in [0, 1] {
        node.information(&place(number), number, &uuid(number));
    }
    assert!(pool.probe().devices[0].health.is_healthy());
}

const CDI: &str = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n\
    - {name: \"0\", containerEdits: {deviceNodes: [{path: /dev/nvidia0}]}}\n";

fn way(snapshot: &Snapshot) -> &'static str {
    snapshot.driver.way().unwrap().as_str()
}

#[test]
fn a_card_that_cdi_names_is_given_by_that_name_and_needs_no_driver_of_the_node() {
    let node = FakeNode::with_cards(2);
    let pool = pool(&node, "- {name: gpu, kind: whole, driver: cdi}");
    let none = pool.probe();
    assert!(
        fault(&none, 0).starts_with("no CDI specification of the kind nvidia.com/gpu lies in /etc/cdi or")
    );
    node.write("etc/cdi/nvidia.yaml", CDI);
    let snapshot = pool.probe();
    assert!(snapshot.devices[0].health.is_healthy(), "{snapshot:?}");
    let names = BTreeMap::from([(uuid(0), "nvidia.com/gpu=0".to_owned())]);
    assert_eq!(snapshot.driver, Driver::Cdi(names), "what has no name is not in it");
    let Health::Unhealthy(fault) = &snapshot.devices[1].health else { panic!("{snapshot:?}") };
    assert_eq!(fault.reason, HealthReason::Cdi);
    let start = format!("{} (NVIDIA A40, 00000000:42:00.0) has no CDI name: /etc/cdi/nvidia.yaml", uuid(1));
    assert!(fault.sentence.starts_with(&start), "{}", fault.sentence);
}

#[test]
fn by_itself_a_pool_takes_the_nodes_driver_then_cdi_and_says_what_is_wrong_with_both() {
    let node = FakeNode::with_cards(1);
    let (whole, direct) = (pool(&node, WHOLE), pool(&node, "- {name: gpu, kind: whole, driver: direct}"));
    let neither = whole.probe();
    assert_eq!((way(&neither), fault(&neither, 0).contains("nor by CDI")), ("direct", false));
    node.write("etc/cdi/other.yaml", "kind: acme.org/card");
    assert!(fault(&whole.probe(), 0).contains("; nor by CDI: no CDI specification"));
    node.write("etc/cdi/nvidia.yaml", CDI);
    let cdi = whole.probe();
    assert_eq!((way(&cdi), cdi.unusable()), ("cdi", None));
    assert!(direct.probe().unusable().is_some(), "that was not asked for");
    node.driver(DEBIAN, VERSION);
    assert_eq!(way(&whole.probe()), "direct");
    assert_eq!(direct.probe().unusable(), None);
}

#[test]
fn nvidias_runtime_needs_the_kernel_module_alone() {
    let node = FakeNode::with_cards(1);
    let pool = pool(&node, "- {name: shared, kind: slice, slices: 2, memory: 24GiB, driver: runtime}");
    node.remove("dev");
    let snapshot = pool.probe();
    assert_eq!((snapshot.unusable(), &snapshot.driver), (None, &Driver::Runtime));
    assert_eq!(snapshot.devices[0].units[0].quota_bytes, Some(12 << 30), "a quota holds whoever injects");
    node.unload();
    assert!(fault(&pool.probe(), 0).contains("modprobe nvidia"));
}

#[test]
fn beside_another_device_plugin_no_card_is_given_until_it_is_gone() {
    let node = node(2);
    let foreign = Arc::new(Foreign::default());
    let pool = pool(&node, WHOLE).beside(Arc::clone(&foreign));
    assert_eq!(pool.probe().unusable(), None);
    let start = Instant::now();
    foreign.hear(["nvidia.com/gpu", "nvidia.com/mig-1g.5gb"], start);
    let snapshot = pool.probe();
    for device in &snapshot.devices {
        let Health::Unhealthy(fault) = &device.health else { panic!("{snapshot:?}") };
        assert_eq!(fault.reason, HealthReason::ForeignPlugin);
        let wanted = "another device plugin serves this node's NVIDIA cards as nvidia.com/gpu, nvidia.com/mig-1g.5gb, and the \
                      pool \"gpu\" would give them a second time; take that plugin off the node";
        assert!(fault.sentence.starts_with(wanted), "{}", fault.sentence);
    }
    foreign.hear([], start + std::time::Duration::from_secs(61));
    assert_eq!(pool.probe().unusable(), None);
}

#[test]
fn a_card_that_is_given_several_times_has_a_unit_for_each() {
    let node = node(1);
    let snapshot = pool(&node, "- {name: gpu, kind: whole, replicas: 3}").probe();
    assert_eq!(ids(&snapshot), ["r0", "r1", "r2"].map(|end| format!("{}::{end}", uuid(0))));
    assert!(snapshot.devices[0].units.iter().all(|unit| unit.quota_bytes.is_none() && unit.id.len() <= 63));
}

#[test]
fn equal_parts_without_room_beside_a_context_are_given_to_nobody() {
    let node = node(1);
    let slice = |keys: &str| format!("- {{name: s, kind: slice, {keys}}}");
    let snapshot = told(&node, &slice("slices: 32"), &prober(8192)).probe();
    let sentence = fault(&snapshot, 0);
    assert!(sentence.starts_with("the pool \"s\" divides GPU-"), "{sentence}");
    assert!(
        sentence.contains("into parts of 256 MiB, of which the context of one process takes 256 MiB"),
        "{sentence}"
    );
    let snapshot = told(&node, &slice("slices: 32, contextMemory: 192MiB"), &prober(8192)).probe();
    assert!(snapshot.devices[0].health.is_healthy(), "{snapshot:?}");
    assert_eq!(snapshot.devices[0].granted.as_ref().unwrap().context_bytes, Some(192 << 20));
}

#[test]
fn a_card_for_one_process_alone_is_not_shared() {
    let node = node(1);
    let compute = |yaml: &str, mode| {
        let knowledge = Arc::new(Knowledge::default());
        let card = prober::Card { uuid: uuid(0), compute: Some(mode), ..prober::Card::default() };
        let look = Look { driver: VERSION.to_owned(), cards: vec![card], nameless: Vec::new() };
        hear(&knowledge, Message::Look(look));
        told(&node, yaml, &knowledge).probe().devices[0].health.clone()
    };
    let refused = |health: Health| match health {
        Health::Unhealthy(fault) => Some(fault.reason),
        Health::Healthy => None,
    };
    let (exclusive, one) = (prober::ComputeMode::Exclusive, "- {name: s, kind: slice, sizes: [8GiB]}");
    let two = "- {name: s, kind: slice, sizes: [8GiB, 8GiB]}";
    assert_eq!(refused(compute(two, exclusive)), Some(HealthReason::ComputeMode));
    assert_eq!([refused(compute(one, exclusive)), refused(compute(WHOLE, exclusive))], [None; 2]);
    assert_eq!(refused(compute(WHOLE, prober::ComputeMode::Prohibited)), Some(HealthReason::ComputeMode));
}

#[test]
fn cards_that_mps_shares_need_its_daemon_and_may_be_for_one_process() {
    let node = node(1);
    let yaml = "- {name: gpu, kind: whole, replicas: 2, mps: /run/nvidia/mps}";
    let snapshot = pool(&node, yaml).probe();
    let sentence = fault(&snapshot, 0);
    let wanted = "/run/nvidia/mps/pipe/control is missing, so no MPS control daemon shares GPU-";
    assert!(sentence.starts_with(wanted), "{sentence}");
    node.write("run/nvidia/mps/pipe/control", "");
    let knowledge = Arc::new(Knowledge::default());
    let compute = Some(prober::ComputeMode::Exclusive);
    let card = prober::Card { uuid: uuid(0), compute, ..prober::Card::default() };
    hear(
        &knowledge,
        Message::Look(Look { driver: VERSION.to_owned(), cards: vec![card], nameless: Vec::new() }),
    );
    assert_eq!(told(&node, yaml, &knowledge).probe().unusable(), None);
    let beside = "- {name: gpu, kind: whole, replicas: 2}";
    assert!(fault(&told(&node, beside, &knowledge).probe(), 0).contains("EXCLUSIVE_PROCESS"));
}
