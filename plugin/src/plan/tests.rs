use super::*;
use crate::inventory::nvidia::driver::Library;
use crate::inventory::{Direct, Fault, Inventory, Links, Observer, PoolDevice, Simulated};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::metrics::HealthReason;
use firstlight_contract::pools::Pools;
use proptest::prelude::*;

fn pool(yaml: &str) -> Pool {
    Pools::parse(&format!("pools:\n- {yaml}\n")).unwrap().pools.remove(0)
}

fn simulated() -> (Pool, Snapshot) {
    let pool = pool("{name: simulated, kind: simulated, devices: 2, slices: 4, cudart: [12, 13]}");
    (pool, Simulated::new("node-a", "simulated", 2, "SIM-A40", 4).probe())
}

fn custom(nvml: bool) -> (Pool, Snapshot) {
    let pool = pool("{name: mine, kind: custom, driver: /opt/mine}");
    let device = PoolDevice {
        name: "custom-0".to_owned(),
        health: Health::Healthy,
        numa: None,
        links: Links::default(),
        granted: None,
        nodes: Vec::new(),
        units: vec![Unit::whole("custom-0".to_owned())],
    };
    (
        pool,
        Snapshot {
            driver: Driver::Directory { path: "/opt/mine".into(), nvml },
            devices: vec![device],
            remark: None,
        },
    )
}

fn observer() -> (Pool, Snapshot) {
    (pool("{name: vendor, kind: observer, cudart: [12]}"), Observer::new(2).probe())
}

fn layout() -> Layout {
    Layout::new("/var/lib/firstlight".into(), "0123456789abcdef".to_owned())
}

fn complete() -> GrantOnDisk {
    GrantOnDisk::Complete("/var/lib/firstlight/grants/ID".into())
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// One line a mount: `container < host`, with the build folder as `B` and the grant folder as `G`.
fn golden(response: &ContainerAllocateResponse) -> Vec<String> {
    let line = |mount: &Mount| {
        let host = mount
            .host_path
            .replace("/var/lib/firstlight/0123456789abcdef", "B")
            .replace("/var/lib/firstlight/grants/ID", "G");
        format!("{} < {host}{}", mount.container_path, if mount.read_only { "" } else { " rw" })
    };
    assert!(response.envs.is_empty(), "no environment at all");
    response.mounts.iter().map(line).collect()
}

#[test]
fn a_simulated_container_gets_shim_simulator_grant_and_the_names_that_clients_open() {
    let (pool, snapshot) = simulated();
    assert_eq!(
        golden(&response(&pool, &snapshot, &[], &layout(), &complete())),
        [
            "/opt/firstlight/lib < B/frames/lib",
            "/opt/firstlight/lib/libcuda.so.1 < B/shim/libcuda.so.1",
            "/opt/firstlight/lib/libnvidia-ml.so.1 < B/shim/libnvidia-ml.so.1",
            "/opt/firstlight/driver < B/frames/driver",
            "/opt/firstlight/driver/libcuda.so.1 < B/simulator/libcuda.so.1",
            "/opt/firstlight/driver/libnvidia-ml.so.1 < B/simulator/libnvidia-ml.so.1",
            "/opt/firstlight/bin < B/bin",
            "/run/firstlight < B/frames/run",
            "/run/firstlight/grant < G/grant",
            "/run/firstlight/records < G/records rw",
            "/usr/local/nvidia/lib64/libcuda.so.1 < B/shim/libcuda.so.1",
            "/usr/local/nvidia/lib64/libcuda.so < B/shim/libcuda.so.1",
            "/usr/local/nvidia/lib64/libnvidia-ml.so.1 < B/shim/libnvidia-ml.so.1",
            "/usr/lib/x86_64-linux-gnu/libcuda.so.1 < B/shim/libcuda.so.1",
            "/usr/lib/x86_64-linux-gnu/libcuda.so < B/shim/libcuda.so.1",
            "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1 < B/shim/libnvidia-ml.so.1",
            "/opt/firstlight/cudart/12 < B/frames/12",
            "/opt/firstlight/cudart/12/libcudart.so.12 < B/cudart/libcudart.so.12",
            "/usr/local/nvidia/lib64/libcudart.so.12 < B/cudart/libcudart.so.12",
            "/opt/firstlight/cudart/13 < B/frames/13",
            "/opt/firstlight/cudart/13/libcudart.so.13 < B/cudart/libcudart.so.13",
            "/usr/local/nvidia/lib64/libcudart.so.13 < B/cudart/libcudart.so.13",
        ]
    );
}

#[test]
fn a_custom_container_gets_the_operators_directory_as_its_driver() {
    let (pool, snapshot) = custom(false);
    let lines = golden(&response(&pool, &snapshot, &[], &layout(), &complete()));
    assert!(lines.contains(&"/opt/firstlight/driver < /opt/mine".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"/usr/local/nvidia/lib64/libcuda.so.1 < B/shim/libcuda.so.1".to_owned()));
    let grant = grant(&pool, &snapshot, &ids(&["custom-0"]), "f".repeat(32)).unwrap();
    assert_eq!((grant.driver.as_deref(), grant.nvml), (Some(container::DRIVER), None));
}

fn cards() -> (Pool, Snapshot) {
    let pool = pool("{name: shared, kind: slice, sizes: [8GiB, 16GiB], memory: 24GiB}");
    let node = |name: &str| DeviceNode { host: name.into(), container: name.to_owned() };
    let library = |host: &str, soname: &str| Library { host: host.into(), soname: soname.to_owned() };
    let card = |index: usize| {
        let uuid = format!("GPU-00000000-0000-0000-0000-00000000000{index}");
        let unit = |part, quota: u64| Unit { id: format!("{uuid}::{part}"), quota_bytes: Some(quota << 30) };
        PoolDevice {
            name: uuid.clone(),
            health: Health::Healthy,
            numa: None,
            links: Links::default(),
            granted: Some(Device { uuid: uuid.clone(), ..Device::default() }),
            nodes: vec![node(&format!("/dev/nvidia{index}"))],
            units: vec![unit(0, 8), unit(1, 16)],
        }
    };
    let set = DriverSet {
        version: "535.104.05".to_owned(),
        main: vec![
            library("/n/libcuda.so.535.104.05", "libcuda.so.1"),
            library("/n/libnvidia-ml.so.535.104.05", "libnvidia-ml.so.1"),
        ],
        helpers: vec![library("/n/libnvidia-ptxjitcompiler.so.535.104.05", "libnvidia-ptxjitcompiler.so.1")],
    };
    let direct = Direct { set: Some(set), control: vec![node("/dev/nvidiactl"), node("/dev/nvidia-uvm")] };
    (pool, Snapshot { driver: Driver::Direct(direct), devices: vec![card(0), card(1)], remark: None })
}

/// The same cards, whose driver somebody else brings.
fn injected(driver: &str) -> (Pool, Snapshot) {
    let pool =
        pool(&format!("{{name: shared, kind: slice, sizes: [8GiB, 16GiB], driver: {driver}, cudart: [12]}}"));
    let (_, mut snapshot) = cards();
    snapshot.driver = match driver {
        "cdi" => {
            let name = |(index, device): (usize, &PoolDevice)| {
                (device.name.clone(), format!("nvidia.com/gpu={index}"))
            };
            Driver::Cdi(snapshot.devices.iter().enumerate().map(name).collect())
        }
        _ => Driver::Runtime,
    };
    (pool, snapshot)
}

#[test]
fn where_somebody_else_brings_the_driver_we_bring_the_shim_and_the_quota() {
    for driver in ["cdi", "runtime"] {
        let (pool, snapshot) = injected(driver);
        let ids = [unit(0, 1), unit(1, 0), unit(0, 0)];
        let mut response = response(&pool, &snapshot, &ids, &layout(), &complete());
        let names: Vec<_> = response.cdi_devices.iter().map(|device| device.name.as_str()).collect();
        let visible = response.envs.remove("NVIDIA_VISIBLE_DEVICES");
        if driver == "cdi" {
            assert_eq!(
                (names, visible),
                (vec!["nvidia.com/gpu=0", "nvidia.com/gpu=1"], None),
                "each card once"
            );
        } else {
            let uuids = format!("{},{}", snapshot.devices[0].name, snapshot.devices[1].name);
            assert_eq!((names, visible), (vec![], Some(uuids)));
        }
        assert!(response.devices.is_empty());
        assert_eq!(
            golden(&response),
            [
                "/opt/firstlight/lib < B/frames/lib",
                "/opt/firstlight/lib/libcuda.so.1 < B/shim/libcuda.so.1",
                "/opt/firstlight/lib/libnvidia-ml.so.1 < B/shim/libnvidia-ml.so.1",
                "/opt/firstlight/bin < B/bin",
                "/run/firstlight < B/frames/run",
                "/run/firstlight/grant < G/grant",
                "/run/firstlight/records < G/records rw",
                "/run/firstlight/ledger < G/ledger rw",
            ]
        );
        let grant = grant(&pool, &snapshot, &ids, "f".repeat(32)).unwrap();
        assert_eq!((grant.driver, grant.nvml), (None, None), "the shim finds it");
        let quotas: Vec<_> = grant.devices.iter().map(|device| device.quota_bytes.unwrap() >> 30).collect();
        assert_eq!(quotas, [24, 8]);
    }
}

#[test]
fn without_a_grant_or_a_name_nobody_elses_driver_is_given() {
    let missing = GrantOnDisk::Missing("read-only".to_owned());
    for driver in ["cdi", "runtime"] {
        let (pool, mut snapshot) = injected(driver);
        let waits = response(&pool, &snapshot, &[unit(0, 0)], &layout(), &missing);
        assert!(waits.devices[0].host_path.contains("grant-not-written"), "{waits:?}");
        assert!(waits.cdi_devices.is_empty() && waits.envs.is_empty());
        snapshot.devices[0].health = Health::Unhealthy(Fault::new(HealthReason::Gone, "GPU-0 is gone"));
        let waits = response(&pool, &snapshot, &[unit(0, 0)], &layout(), &complete());
        assert!(waits.devices[0].host_path.ends_with("/GPU-0-is-gone"), "{waits:?}");
    }
    let (pool, mut snapshot) = injected("cdi");
    snapshot.driver = Driver::Cdi(BTreeMap::new());
    let waits = response(&pool, &snapshot, &[unit(0, 0)], &layout(), &complete());
    assert!(waits.devices[0].host_path.ends_with("-has-no-CDI-name-any-more"), "{waits:?}");
}

#[test]
fn two_replicas_of_a_card_are_that_card_once() {
    let (_, mut snapshot) = cards();
    let pool = pool("{name: gpu, kind: whole, replicas: 2}");
    for device in &mut snapshot.devices {
        device.units = (0..2).map(|replica| Unit::whole(format!("{}::r{replica}", device.name))).collect();
    }
    let ids: Vec<String> = snapshot.devices[0].units.iter().map(|unit| unit.id.clone()).collect();
    let grant = grant(&pool, &snapshot, &ids, "f".repeat(32)).unwrap();
    assert_eq!((grant.devices.len(), grant.ledger), (1, None));
    let nodes = response(&pool, &snapshot, &ids, &layout(), &complete()).devices;
    assert_eq!(nodes.len(), 3, "its device node once, and those of all: {nodes:?}");
}

#[test]
fn clients_of_mps_find_its_daemon_where_cuda_looks() {
    let shared = pool("{name: gpu, kind: whole, replicas: 2, mps: /run/nvidia/mps}");
    let mounts = golden(&response(&shared, &cards().1, &[unit(0, 0)], &layout(), &complete()));
    for wanted in ["/tmp/nvidia-mps < /run/nvidia/mps/pipe rw", "/dev/shm < /run/nvidia/mps/shm rw"] {
        assert!(mounts.iter().any(|line| line == wanted), "no {wanted} in {mounts:#?}");
    }
}

fn unit(card: usize, part: usize) -> String {
    format!("GPU-00000000-0000-0000-0000-00000000000{card}::{part}")
}

#[test]
fn a_container_with_a_card_gets_the_nodes_driver_behind_the_shim() {
    let (pool, snapshot) = cards();
    let response = response(&pool, &snapshot, &[unit(1, 0)], &layout(), &complete());
    let lines = golden(&response);
    for line in [
        "/opt/firstlight/driver < B/frames/driver",
        "/opt/firstlight/driver/libcuda.so.1 < /n/libcuda.so.535.104.05",
        "/opt/firstlight/driver/libnvidia-ml.so.1 < /n/libnvidia-ml.so.535.104.05",
        "/usr/local/nvidia/lib64/libcuda.so.1 < B/shim/libcuda.so.1",
        "/usr/local/nvidia/lib64/libnvidia-ptxjitcompiler.so.1 < /n/libnvidia-ptxjitcompiler.so.535.104.05",
        "/usr/lib/x86_64-linux-gnu/libnvidia-ptxjitcompiler.so.1 < /n/libnvidia-ptxjitcompiler.so.535.104.05",
    ] {
        assert!(lines.contains(&line.to_owned()), "no {line} in {lines:#?}");
    }
    let devices: Vec<_> =
        response.devices.iter().map(|node| (&*node.host_path, &*node.permissions)).collect();
    assert_eq!(devices, [("/dev/nvidia1", "rw"), ("/dev/nvidiactl", "rw"), ("/dev/nvidia-uvm", "rw")]);
    let places: std::collections::BTreeSet<_> = lines.iter().map(|line| line.split(' ').next()).collect();
    assert_eq!(places.len(), lines.len(), "two mounts in one place");
}

#[test]
fn two_instances_of_a_card_have_its_node_in_common() {
    let (_, mut snapshot) = cards();
    let node = |name: &str| DeviceNode { host: name.into(), container: name.to_owned() };
    for (index, device) in snapshot.devices.iter_mut().enumerate() {
        let uuid = format!("MIG-00000000-0000-5000-8000-00000000000{index}");
        device.granted = Some(Device { uuid: uuid.clone(), ..Device::default() });
        device.nodes = vec![node("/dev/nvidia0"), node(&format!("/dev/nvidia-caps/nvidia-cap{index}"))];
        device.units = vec![Unit::whole(uuid)];
    }
    let pool = pool("{name: tenth, kind: whole, mig: 1g.10gb}");
    let both = [0, 1].map(|index| format!("MIG-00000000-0000-5000-8000-00000000000{index}"));
    let response = response(&pool, &snapshot, &both, &layout(), &complete());
    let devices: Vec<_> = response.devices.iter().map(|node| node.container_path.as_str()).collect();
    let caps = ["/dev/nvidia-caps/nvidia-cap0", "/dev/nvidia-caps/nvidia-cap1"];
    assert_eq!(devices, ["/dev/nvidia0", caps[0], caps[1], "/dev/nvidiactl", "/dev/nvidia-uvm"]);
    let grant = grant(&pool, &snapshot, &both[..1], "f".repeat(32)).unwrap();
    assert_eq!((grant.devices[0].uuid.as_str(), grant.ledger.as_ref()), (both[0].as_str(), None));
    assert_eq!(Grant::parse(grant.to_string().as_bytes()), Ok(grant));
}

#[test]
fn parts_of_two_cards_are_two_devices_each_with_its_own_quota() {
    let (pool, snapshot) = cards();
    let ids = [unit(0, 0), unit(0, 1), unit(1, 0)];
    let grant = grant(&pool, &snapshot, &ids, "f".repeat(32)).unwrap();
    let quotas: Vec<_> = grant.devices.iter().map(|device| device.quota_bytes.unwrap() >> 30).collect();
    assert_eq!(quotas, [24, 8]);
    assert_eq!(grant.ledger.as_deref(), Some(container::LEDGER));
    assert_eq!(
        (grant.driver.as_deref(), grant.nvml.as_deref()),
        (Some(container::DRIVER), Some(container::DRIVER_NVML))
    );
    assert_eq!(response(&pool, &snapshot, &ids, &layout(), &complete()).devices.len(), 4);
}

#[test]
fn a_part_has_a_ledger_that_it_may_write_and_a_whole_device_has_none() {
    let ledger = |(pool, snapshot): &(Pool, Snapshot), id: &str, disk: &GrantOnDisk| {
        let granted = grant(pool, snapshot, &ids(&[id]), "f".repeat(32)).unwrap().ledger.is_some();
        let lines = golden(&response(pool, snapshot, &ids(&[id]), &layout(), disk));
        let mounted = lines.contains(&"/run/firstlight/ledger < G/ledger rw".to_owned());
        assert_eq!(granted, mounted, "{lines:#?}");
        mounted
    };
    let without_records = GrantOnDisk::WithoutRecords("/var/lib/firstlight/grants/ID".into());
    for disk in [complete(), without_records] {
        assert!(ledger(&simulated(), "sim-0::0", &disk));
        assert!(ledger(&cards(), &unit(0, 1), &disk));
        let whole = Simulated::new("node-a", "simulated", 1, "SIM-A40", 1).probe();
        assert!(!ledger(&(simulated().0, whole), "sim-0::0", &disk));
        assert!(!ledger(&custom(true), "custom-0", &disk));
        assert!(!ledger(&observer(), "seat-0", &disk));
    }
}

#[test]
fn a_card_that_vanished_since_the_kubelet_chose_it_makes_the_container_wait() {
    let (pool, mut snapshot) = cards();
    snapshot.devices[1].health = Health::Unhealthy(Fault::new(HealthReason::Gone, "GPU-1 is gone"));
    let waits = response(&pool, &snapshot, &[unit(1, 0)], &layout(), &complete());
    assert!(waits.devices[0].host_path.ends_with("/GPU-1-is-gone"), "{waits:?}");
    assert!(waits.mounts.is_empty());
    assert!(!response(&pool, &snapshot, &[unit(0, 0)], &layout(), &complete()).mounts.is_empty());
}

#[test]
fn a_part_of_a_card_without_a_grant_waits() {
    let (pool, snapshot) = cards();
    let missing = GrantOnDisk::Missing("No space left on device (os error 28)".to_owned());
    let waits = response(&pool, &snapshot, &[unit(0, 0)], &layout(), &missing);
    assert!(waits.devices[0].host_path.contains("grant-not-written"), "{waits:?}");
}

#[test]
fn an_observed_container_gets_nothing_outside_our_own_folders() {
    let (pool, snapshot) = observer();
    assert_eq!(
        golden(&response(&pool, &snapshot, &[], &layout(), &complete())),
        [
            "/opt/firstlight/lib < B/frames/lib",
            "/opt/firstlight/lib/libcuda.so.1 < B/shim/libcuda.so.1",
            "/opt/firstlight/lib/libnvidia-ml.so.1 < B/shim/libnvidia-ml.so.1",
            "/opt/firstlight/bin < B/bin",
            "/run/firstlight < B/frames/run",
            "/run/firstlight/grant < G/grant",
            "/run/firstlight/records < G/records rw",
        ]
    );
    let grant = grant(&pool, &snapshot, &ids(&["seat-1"]), "f".repeat(32)).unwrap();
    assert_eq!((grant.kind, grant.driver, grant.devices), (PoolKind::Observer, None, vec![]));
}

#[test]
fn two_slices_of_one_device_are_one_device_with_their_memory() {
    let (pool, snapshot) = simulated();
    let grant = grant(&pool, &snapshot, &ids(&["sim-1::3", "sim-0::0", "sim-1::0"]), "f".repeat(32)).unwrap();
    let memory: Vec<_> = grant.devices.iter().map(|device| device.memory_bytes.unwrap() >> 30).collect();
    assert_eq!(memory, [12, 24]);
    let quotas: Vec<_> = grant.devices.iter().map(|device| device.quota_bytes.unwrap() >> 30).collect();
    assert_eq!(quotas, memory, "the simulator tells what the quota allows");
    assert_eq!(grant.devices[0].uuid, snapshot.devices[0].name);
    assert_eq!(Grant::parse(grant.to_string().as_bytes()), Ok(grant));
}

#[test]
fn a_container_whose_grant_cannot_be_written_waits_and_names_the_reason() {
    for (pool, snapshot) in [simulated(), custom(true)] {
        let missing = GrantOnDisk::Missing("No space left on device (os error 28)".to_owned());
        let response = response(&pool, &snapshot, &[], &layout(), &missing);
        assert!(response.mounts.is_empty());
        assert!(
            response.devices[0].host_path.ends_with("/No-space-left-on-device--os-error-28-"),
            "{response:?}"
        );
    }
}

#[test]
fn an_observed_container_whose_grant_cannot_be_written_goes_on_without_records() {
    let (pool, snapshot) = observer();
    let lines =
        golden(&response(&pool, &snapshot, &[], &layout(), &GrantOnDisk::Missing("read-only".to_owned())));
    assert!(lines.iter().any(|line| line.starts_with(container::SHIM)));
    assert!(!lines.iter().any(|line| line.contains("/run/firstlight")), "{lines:#?}");
}

#[test]
fn a_grant_without_records_is_mounted_alone() {
    let (pool, snapshot) = simulated();
    let lines =
        golden(&response(&pool, &snapshot, &[], &layout(), &GrantOnDisk::WithoutRecords("/g".into())));
    assert!(lines.contains(&"/run/firstlight/grant < /g/grant".to_owned()));
    assert!(!lines.iter().any(|line| line.contains("records")), "{lines:#?}");
}

#[test]
fn only_a_bad_request_is_an_error() {
    let (pool, snapshot) = simulated();
    assert_eq!(grant(&pool, &snapshot, &[], String::new()), Err(RequestError::Empty));
    let error = grant(&pool, &snapshot, &ids(&["sim-9::0"]), String::new()).unwrap_err();
    assert_eq!(error.to_string(), "pool simulated has no device \"sim-9::0\"");
}

proptest! {
    #[test]
    fn no_request_panics_or_gives_more_memory_than_there_is(
        wanted in proptest::collection::vec("sim-[0-3]::[0-5]|[a-z]{0,3}", 0..12),
    ) {
        let (pool, snapshot) = simulated();
        let unique: std::collections::BTreeSet<String> = wanted.into_iter().collect();
        let unique: Vec<String> = unique.into_iter().collect();
        if let Ok(grant) = grant(&pool, &snapshot, &unique, "0".repeat(32)) {
            prop_assert!(grant.devices.iter().all(|device| device.memory_bytes.unwrap() <= 48 << 30));
        }
    }
}
