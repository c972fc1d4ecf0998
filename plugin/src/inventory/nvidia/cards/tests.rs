use super::*;
use crate::inventory::nvidia::fixture::{FakeNode, place, uuid};
use proptest::prelude::*;

#[test]
fn two_cards_are_found_with_their_places_and_nodes() {
    let node = FakeNode::with_cards(2);
    let found = Found::read(&node.root);
    assert_eq!(found.module.as_deref(), Some("535.104.05"));
    let seen: Vec<_> = found
        .cards
        .iter()
        .map(|card| (card.uuid.clone(), card.pci.as_str(), card.minor, card.numa))
        .collect();
    assert_eq!(
        seen,
        [(uuid(0), "00000000:41:00.0", Some(0), Some(0)), (uuid(1), "00000000:42:00.0", Some(1), Some(1))]
    );
    assert_eq!((found.nothing(), found.nameless.len()), (None, 0));
}

#[test]
fn a_sound_function_and_another_vendors_card_are_no_cards() {
    let node = FakeNode::with_cards(1);
    node.function("0000:41:00.1", "0x10de", "0x040300", 0);
    node.function("0000:01:00.0", "0x1002", "0x030000", 0);
    let found = Found::read(&node.root);
    assert_eq!((found.cards.len(), found.nameless.len()), (1, 0));
}

#[test]
fn a_node_without_a_card_says_so() {
    let node = FakeNode::empty();
    let sentence = Found::read(&node.root).nothing().unwrap();
    assert!(sentence.starts_with("this node has no NVIDIA card"), "{sentence}");
}

#[test]
fn a_card_without_its_kernel_module_says_what_to_install() {
    let node = FakeNode::with_cards(1);
    node.unload();
    let sentence = Found::read(&node.root).nothing().unwrap();
    assert!(sentence.contains("0000:41:00.0") && sentence.contains("modprobe nvidia"), "{sentence}");
}

#[test]
fn a_card_that_nobody_opened_yet_waits_for_its_name() {
    let node = FakeNode::with_cards(1);
    node.information("0000:41:00.0", 0, "GPU-????????-????-????-????-????????????");
    let found = Found::read(&node.root);
    assert_eq!(found.cards, []);
    assert!(found.nothing().unwrap().contains("nvidia-persistenced"));
}

#[test]
fn a_card_that_fell_off_the_bus_is_known_by_its_registers() {
    let node = FakeNode::with_cards(2);
    node.config("0000:42:00.0", &[0xff; 64]);
    let faults: Vec<_> = Found::read(&node.root).cards.iter().map(|card| card.fault).collect();
    assert_eq!(faults, [None, Some(CardFault::OffTheBus)]);
}

#[test]
fn a_card_that_was_pulled_is_not_there_any_more() {
    let node = FakeNode::with_cards(2);
    node.pull("0000:41:00.0");
    let found = Found::read(&node.root);
    assert_eq!((found.cards.len(), found.cards[0].uuid.clone()), (1, uuid(1)));
}

#[test]
fn a_card_that_a_virtual_machine_has_is_not_waited_for() {
    let node = FakeNode::with_cards(2);
    let driver = |number: u32, name: &str| {
        let link = node.path(&format!("sys/bus/pci/devices/{}/driver", place(number)));
        std::os::unix::fs::symlink(format!("../../../../bus/pci/drivers/{name}"), link).unwrap();
    };
    driver(0, "vfio-pci");
    let found = Found::read(&node.root);
    assert_eq!((found.cards.len(), found.nameless.len(), found.nothing()), (1, 0, None));
    driver(1, "nouveau");
    let sentence = Found::read(&node.root).nothing().unwrap();
    assert!(sentence.contains("00000000:42:00.0 (nouveau)"), "{sentence}");
}

#[test]
fn a_sleeping_card_is_not_asked() {
    let node = FakeNode::with_cards(1);
    node.config("0000:41:00.0", &[0xff; 64]);
    node.write("sys/bus/pci/devices/0000:41:00.0/power/runtime_status", "suspended\n");
    assert_eq!(Found::read(&node.root).cards[0].fault, None);
}

#[test]
fn two_cards_behind_one_switch_hang_from_one_port() {
    let node = FakeNode::with_cards(3);
    let port = |number: u32, way: &str| {
        let (bus, real) = (node.path("sys/bus/pci/devices"), node.path("sys/devices").join(way));
        fs::create_dir_all(&real).unwrap();
        fs::rename(bus.join(place(number)), real.join(place(number))).unwrap();
        std::os::unix::fs::symlink(real.join(place(number)), bus.join(place(number))).unwrap();
    };
    port(0, "pci0000:40/0000:40:01.1/0000:45:00.0/0000:46:00.0");
    port(1, "pci0000:40/0000:40:01.1/0000:45:00.0/0000:46:01.0");
    port(2, "pci0000:00");
    let ports: Vec<_> = Found::read(&node.root).cards.into_iter().map(|card| card.port).collect();
    assert_eq!(ports, [Some("00000000:40:01.1".to_owned()), Some("00000000:40:01.1".to_owned()), None]);
}

proptest! {
    #[test]
    fn whatever_the_order_and_the_minors_the_identities_are_the_same(
        minors in Just([0_u32, 1, 2, 3]).prop_shuffle(), order in Just([0_usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let pci = |index: usize| format!("00000000:4{index}:00.0");
        let functions = (0..4).map(|index| Function {
            pci: pci(index), driver: None, numa: None, port: None, answers: true,
        }).collect();
        let known = order.map(|index| Information {
            uuid: Some(uuid(u32::try_from(index).unwrap())),
            minor: Some(minors[index]),
            pci: Some(pci(index)),
            ..Information::default()
        });
        let found = join(Some("535.104.05".to_owned()), functions, known);
        let ids: Vec<_> = found.cards.iter().map(|card| card.uuid.clone()).collect();
        prop_assert_eq!(ids, (0..4).map(uuid).collect::<Vec<_>>());
    }

    #[test]
    fn two_cards_never_have_one_name(numbers in proptest::collection::vec(0_u32..3, 0..6)) {
        let pci = |index: usize| format!("00000000:4{index}:00.0");
        let functions = (0..numbers.len()).map(|index| Function {
            pci: pci(index), driver: None, numa: None, port: None, answers: true,
        });
        let known: Vec<_> = numbers.iter().enumerate().map(|(index, number)| Information {
            uuid: Some(uuid(*number)), pci: Some(pci(index)), ..Information::default()
        }).collect();
        let found = join(Some("1.2".to_owned()), functions.collect(), known);
        let names: BTreeSet<_> = found.cards.iter().map(|card| &card.uuid).collect();
        prop_assert_eq!(names.len(), found.cards.len());
        prop_assert_eq!(found.cards.len() + found.nameless.len(), numbers.len());
    }
}
