use super::*;
use crate::inventory::{Custom, Fault, Links, Unit};
use firstlight_contract::paths::library;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::Mutex;

#[test]
fn a_failed_device_is_trusted_again_after_three_good_looks() {
    let node = tempfile::tempdir().unwrap();
    let library = node.path().join(library::CUDA);
    std::fs::write(&library, "elf").unwrap();
    let inventory = Box::new(Custom::new(node.path().to_owned(), 1));
    let metrics = Arc::new(Metrics::new().unwrap());
    let (mut prober, snapshot) =
        Prober::new("mine", "firstlight.dev/mine".into(), inventory, Arc::default(), metrics);
    let healthy = || snapshot.borrow().devices[0].health.is_healthy();
    assert!(healthy());
    std::fs::remove_file(&library).unwrap();
    prober.look();
    assert!(!healthy());
    std::fs::write(&library, "elf").unwrap();
    let looks: Vec<bool> = (0..3)
        .map(|_| {
            prober.look();
            healthy()
        })
        .collect();
    assert_eq!(looks, [false, false, true]);
    assert!(prober.book.lock().unhealthy["firstlight.dev/mine"].is_empty());
    let told: Vec<bool> = prober.book.changes.all().iter().map(|change| change.unhealthy.is_some()).collect();
    assert_eq!(told, [true, false], "failed once, works again once");
}

/// A card in two parts that works or does not, as a script says.
#[derive(Debug)]
struct Scripted(Mutex<VecDeque<bool>>);

impl Inventory for Scripted {
    fn probe(&self) -> Snapshot {
        let works = self.0.lock().unwrap().pop_front().unwrap_or(true);
        let fault = Fault::new(HealthReason::OffTheBus, "it fell off the bus");
        let device = PoolDevice {
            name: "GPU-1".to_owned(),
            health: if works { Health::Healthy } else { Health::Unhealthy(fault) },
            numa: Some(1),
            links: Links::default(),
            granted: None,
            nodes: Vec::new(),
            units: ["GPU-1::0", "GPU-1::1"].map(|id| Unit::whole(id.to_owned())).into(),
        };
        Snapshot { driver: Driver::Simulator, devices: vec![device], remark: None }
    }
}

/// Of each part at each look: whether the kubelet is told that it is healthy.
fn told(script: &[bool]) -> Vec<Vec<bool>> {
    let inventory = Box::new(Scripted(Mutex::new(script.iter().copied().collect())));
    let metrics = Arc::new(Metrics::new().unwrap());
    let (mut prober, snapshot) =
        Prober::new("s", "firstlight.dev/s".into(), inventory, Arc::default(), metrics);
    let parts = || {
        let list = crate::pool::list(&snapshot.borrow());
        assert!(list.devices.iter().all(|device| device.topology.as_ref().unwrap().nodes[0].id == 1));
        list.devices.iter().map(|device| device.health == "Healthy").collect::<Vec<_>>()
    };
    let mut seen = vec![parts()];
    for _ in 1..script.len() {
        prober.look();
        seen.push(parts());
    }
    seen
}

/// A pool whose driver comes in another way at each look.
#[derive(Debug)]
struct Ways(Mutex<VecDeque<Driver>>);

impl Inventory for Ways {
    fn probe(&self) -> Snapshot {
        let driver = self.0.lock().unwrap().pop_front().unwrap();
        Snapshot { driver, devices: Vec::new(), remark: None }
    }
}

#[test]
fn one_way_of_the_driver_stands_at_a_time_and_none_for_what_is_not_nvidias() {
    let ways = [Driver::Runtime, Driver::Cdi(BTreeMap::new()), Driver::Foreign];
    let inventory = Box::new(Ways(Mutex::new(ways.into())));
    let metrics = Arc::new(Metrics::new().unwrap());
    let (mut prober, _snapshot) =
        Prober::new("s", "firstlight.dev/s".into(), inventory, Arc::default(), Arc::clone(&metrics));
    let said = || {
        let mut text = Vec::new();
        metrics.encode(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("firstlight_pool_driver_info"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(said(), ["firstlight_pool_driver_info{mode=\"runtime\",pool=\"s\"} 1"]);
    prober.look();
    assert_eq!(said(), ["firstlight_pool_driver_info{mode=\"cdi\",pool=\"s\"} 1"]);
    prober.look();
    assert!(said().is_empty());
}

proptest! {
    #[test]
    fn a_device_is_healthy_while_it_never_failed_or_was_good_three_times_since(
        script in proptest::collection::vec(proptest::bool::weighted(0.7), 1..40),
    ) {
        for (look, parts) in told(&script).into_iter().enumerate() {
            let last_bad = script[..=look].iter().rposition(|works| !works);
            let healthy = last_bad.is_none_or(|bad| look - bad >= GOOD_LOOKS as usize);
            prop_assert_eq!(parts, [healthy, healthy], "at look {} of {:?}", look, &script);
        }
    }
}
