use super::*;
use crate::inventory::{Health, Inventory, Observer, PoolDevice, Simulated};
use firstlight_contract::grant::PoolKind;
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
        granted: None,
        units: vec!["custom-0".to_owned()],
    };
    (pool, Snapshot { driver: Driver::Directory { path: "/opt/mine".into(), nvml }, devices: vec![device] })
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
        golden(&response(&pool, &snapshot, &layout(), &complete())),
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
    let lines = golden(&response(&pool, &snapshot, &layout(), &complete()));
    assert!(lines.contains(&"/opt/firstlight/driver < /opt/mine".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"/usr/local/nvidia/lib64/libcuda.so.1 < B/shim/libcuda.so.1".to_owned()));
    let grant = grant(&pool, &snapshot, &ids(&["custom-0"]), "f".repeat(32)).unwrap();
    assert_eq!((grant.driver.as_deref(), grant.nvml), (Some(container::DRIVER), None));
}

#[test]
fn an_observed_container_gets_nothing_outside_our_own_folders() {
    let (pool, snapshot) = observer();
    assert_eq!(
        golden(&response(&pool, &snapshot, &layout(), &complete())),
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
    assert_eq!(grant.devices[0].uuid, snapshot.devices[0].name);
    assert_eq!(Grant::parse(grant.to_string().as_bytes()), Ok(grant));
}

#[test]
fn a_container_whose_grant_cannot_be_written_waits_and_names_the_reason() {
    for (pool, snapshot) in [simulated(), custom(true)] {
        let missing = GrantOnDisk::Missing("No space left on device (os error 28)".to_owned());
        let response = response(&pool, &snapshot, &layout(), &missing);
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
    let lines = golden(&response(&pool, &snapshot, &layout(), &GrantOnDisk::Missing("read-only".to_owned())));
    assert!(lines.iter().any(|line| line.starts_with(container::SHIM)));
    assert!(!lines.iter().any(|line| line.contains("/run/firstlight")), "{lines:#?}");
}

#[test]
fn a_grant_without_records_is_mounted_alone() {
    let (pool, snapshot) = simulated();
    let lines = golden(&response(&pool, &snapshot, &layout(), &GrantOnDisk::WithoutRecords("/g".into())));
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

#[test]
fn two_units_are_preferred_on_two_devices() {
    let (_, snapshot) = simulated();
    let available: Vec<String> = snapshot.devices.iter().flat_map(|device| device.units.clone()).collect();
    let chosen = preferred(&snapshot, &available, &[], 2);
    assert_eq!(chosen, ["sim-0::0", "sim-1::0"]);
    assert_eq!(preferred(&snapshot, &available, &ids(&["sim-0::2"]), 2), ["sim-0::2", "sim-1::0"]);
}

proptest! {
    #[test]
    fn a_preference_is_always_of_the_size_asked_for_and_available(
        picks in proptest::collection::btree_set(0usize..8, 0..8), size in 0usize..10,
    ) {
        let (_, snapshot) = simulated();
        let all: Vec<String> = snapshot.devices.iter().flat_map(|device| device.units.clone()).collect();
        let available: Vec<String> = picks.iter().map(|pick| all[*pick].clone()).collect();
        let chosen = preferred(&snapshot, &available, &[], size);
        prop_assert_eq!(chosen.len(), size.min(available.len()));
        prop_assert!(chosen.iter().all(|id| available.contains(id)));
    }

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
