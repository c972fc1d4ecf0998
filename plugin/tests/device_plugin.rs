//! The device plugin against a kubelet: registration, lists, Allocate, and everything that breaks between them.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "a test fails by panicking, and uses its part of the support"
)]

mod support {
    pub mod api_server;
    pub mod kubelet;
    pub mod node;
}

use firstlight_plugin::registration::socket_prefix;
use std::time::{Duration, Instant};
use support::node::{Node, RESOURCE, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_is_registered_with_all_its_slices() {
    let node = Node::ready().await;
    assert_eq!(node.kubelet.healthy(RESOURCE), ["sim-0::0", "sim-0::1", "sim-1::0", "sim-1::1"]);
    eventually("ready", || node.get("/readyz").0 == 200).await;
    assert!(node.metric("firstlight_registered{pool=\"simulated\"} 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kubelet_restart_the_pool_is_back_within_a_second() {
    let mut node = Node::ready().await;
    for _ in 0..3 {
        node.kubelet.stop().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let started = Instant::now();
        node.kubelet.start();
        eventually("registered again", || node.kubelet.healthy(RESOURCE).len() == 4).await;
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_registration_has_a_socket_of_its_own_and_leaves_no_other() {
    let mut node = Node::ready().await;
    for round in 2..5 {
        node.kubelet.drop_streams().await;
        eventually("registered again", || {
            node.kubelet.endpoints().len() == round && node.kubelet.healthy(RESOURCE).len() == 4
        })
        .await;
    }
    let mut endpoints = node.kubelet.endpoints();
    endpoints.sort();
    endpoints.dedup();
    assert_eq!(endpoints.len(), 4);
    let files = std::fs::read_dir(&node.kubelet.dir).unwrap().count();
    assert_eq!(files, 2, "the kubelet's socket and one of ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_kubelet_drops_is_back_at_once() {
    let mut node = Node::ready().await;
    let started = Instant::now();
    node.kubelet.drop_streams().await;
    eventually("registered again", || {
        node.kubelet.endpoints().len() == 2 && node.kubelet.healthy(RESOURCE).len() == 4
    })
    .await;
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_stays_while_a_later_one_goes_registers_again() {
    let node = Node::ready().await;
    // As an upgrade that is taken back: the kubelet gave the resource to the later one, and told nobody.
    let name = format!("{}0123abcd-1.sock", socket_prefix("simulated", "the-pod-of-the-upgrade"));
    let later = node.kubelet.dir.join(name);
    let listener = std::os::unix::net::UnixListener::bind(&later).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(node.kubelet.endpoints().len(), 1, "nothing is taken from it while it is there");
    drop(listener);
    std::fs::remove_file(later).unwrap();
    eventually("registered again", || node.kubelet.endpoints().len() == 2).await;
    eventually("and served", || node.kubelet.healthy(RESOURCE).len() == 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_socket_is_replaced() {
    let node = Node::ready().await;
    std::fs::remove_file(node.kubelet.dir.join(&node.kubelet.endpoints()[0])).unwrap();
    eventually("registered again", || {
        node.kubelet.endpoints().len() == 2 && node.kubelet.healthy(RESOURCE).len() == 4
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_registration_is_tried_again_with_a_fresh_socket() {
    let mut node = Node::new("pools: [{name: simulated, kind: simulated}]").await;
    node.kubelet.refuse(3);
    node.start_agent().await;
    eventually("registered", || node.kubelet.healthy(RESOURCE).len() == 1).await;
    assert!(node.metric("firstlight_registrations_total{pool=\"simulated\",result=\"error\"} 3"));
    assert!(node.kubelet.endpoints()[0].ends_with("-4.sock"), "{:?}", node.kubelet.endpoints());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_empty_list_is_ever_sent_not_even_at_shutdown() {
    let mut node = Node::ready().await;
    node.stop_agent().await;
    let lists = node.kubelet.lists(RESOURCE);
    assert!(!lists.is_empty() && lists.iter().all(|list| list.len() == 4), "{lists:?}");
    let files = std::fs::read_dir(&node.kubelet.dir).unwrap().count();
    assert_eq!(files, 1, "only the kubelet's socket is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_keep_their_ids_and_identities_across_a_kill() {
    let mut node = Node::ready().await;
    let folder = node.pod("one", "sim-1::0").await;
    let before = std::fs::read_to_string(folder.join("grant")).unwrap();
    node.kill_agent().await;
    eventually("the kubelet saw it go", || node.kubelet.healthy(RESOURCE).is_empty()).await;
    node.start_agent().await;
    eventually("registered again", || node.kubelet.healthy(RESOURCE).len() == 4).await;
    let folder = node.pod("two", "sim-1::0").await;
    let after = std::fs::read_to_string(folder.join("grant")).unwrap();
    let devices = |text: &str| {
        text.lines().filter(|line| line.starts_with("device.")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(devices(&before), devices(&after));
    assert!(devices(&before).len() >= 4, "{before}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_device_is_the_only_error_of_an_allocate() {
    let node = Node::ready().await;
    let status = node.kubelet.allocate(RESOURCE, &["sim-7::0"]).await.unwrap_err();
    assert_eq!(status.message(), "pool simulated has no device \"sim-7::0\"");
    assert!(node.kubelet.allocate(RESOURCE, &["sim-0::0"]).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_cannot_be_written_is_a_device_that_names_the_reason() {
    let node = Node::ready().await;
    let grants = node.root.path().join("state/grants");
    std::fs::remove_dir_all(&grants).unwrap();
    std::fs::write(&grants, "in the way").unwrap();
    let response = node.kubelet.allocate(RESOURCE, &["sim-0::0"]).await.unwrap();
    let device = &response.container_responses[0].devices[0].host_path;
    assert!(device.starts_with("/dev/firstlight-grant-not-written"), "{device}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_without_device_is_registered_and_not_ready_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let driver = folder.path().join("driver");
    let mut node =
        Node::new(&format!("pools: [{{name: mine, kind: custom, driver: {}}}]", driver.display())).await;
    node.start_agent().await;
    eventually("the list is there", || node.kubelet.lists("firstlight.dev/mine").len() == 1).await;
    let (code, reason) = node.get("/readyz");
    assert_eq!(code, 503);
    assert!(reason.contains("libcuda.so.1: No such file"), "{reason}");
    std::fs::create_dir(&driver).unwrap();
    std::fs::write(driver.join("libcuda.so.1"), "elf").unwrap();
    eventually("healthy", || node.kubelet.healthy("firstlight.dev/mine").len() == 1).await;
    assert_eq!(node.get("/readyz").0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_kubelet_the_agent_waits_and_says_so() {
    let mut node = Node::new("pools: [{name: simulated, kind: simulated}]").await;
    node.kubelet.stop().await;
    std::fs::remove_file(node.kubelet.dir.join("kubelet.sock")).unwrap();
    node.start_agent().await;
    eventually("it answers", || node.get("/healthz").0 == 200).await;
    assert_eq!(node.get("/readyz"), (503, "pool simulated is not registered with the kubelet\n".to_owned()));
    node.kubelet.start();
    eventually("ready", || node.get("/readyz").0 == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_gets_its_first_card_serves_it_and_a_lost_card_stays_listed() {
    const GPU: &str = "firstlight.dev/gpu";
    let mut node = Node::new("pools: [{name: gpu, kind: whole}]").await;
    node.start_agent().await;
    eventually("it answers", || node.get("/readyz").1.contains("this node has no NVIDIA card")).await;
    let uuid = node.put_card(0);
    eventually("the card is served", || node.kubelet.healthy(GPU) == [uuid.clone()]).await;
    let response = node.kubelet.allocate(GPU, &[&uuid]).await.unwrap().container_responses.remove(0);
    let card = node.root.path().join("host/dev/nvidia0").display().to_string();
    assert_eq!(
        (&response.devices[0].host_path, response.devices[0].container_path.as_str()),
        (&card, "/dev/nvidia0")
    );
    let driver =
        response.mounts.iter().find(|mount| mount.container_path == "/opt/firstlight/driver/libcuda.so.1");
    assert!(driver.unwrap().host_path.ends_with("host/usr/lib64/libcuda.so.535.104.05"), "{driver:?}");
    std::fs::remove_dir_all(node.root.path().join("host/sys/bus/pci/devices/0000:40:00.0")).unwrap();
    eventually("unhealthy", || node.kubelet.healthy(GPU).is_empty()).await;
    assert_eq!(node.kubelet.lists(GPU).last().unwrap().len(), 1, "still listed");
    let response = node.kubelet.allocate(GPU, &[&uuid]).await.unwrap().container_responses.remove(0);
    assert!(response.devices[0].host_path.starts_with("/dev/firstlight-device-not-usable"), "{response:?}");
    eventually("the Event on the node", || node.api.events() == ["DeviceUnhealthy"]).await;
    assert!(node.metric(&format!("firstlight_device_healthy{{device=\"{uuid}\",pool=\"gpu\"}} 0")));
    let reason =
        format!("firstlight_device_unhealthy_info{{device=\"{uuid}\",pool=\"gpu\",reason=\"gone\"}} 1");
    assert!(node.metric(&reason));
    node.put_card(0);
    eventually("it is trusted again", || node.kubelet.healthy(GPU) == [uuid.clone()]).await;
    assert!(!node.get("/metrics").1.contains("firstlight_device_unhealthy_info{"));
    eventually("and told", || node.api.events() == ["DeviceUnhealthy", "DeviceHealthy"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_another_vendors_plugin_real_cards_are_never_offered_and_the_other_pools_are() {
    let pools = "pools: [{name: gpu, kind: whole}, {name: vendor, kind: observer, seats: 2}, \
                 {name: simulated, kind: simulated}]";
    let mut node = Node::new(pools).await;
    let uuid = node.put_card(0);
    node.kubelet.offer("nvidia.com/gpu", &uuid);
    node.start_agent().await;
    eventually("all pools are registered", || {
        ["gpu", "vendor", "simulated"]
            .iter()
            .all(|pool| !node.kubelet.lists(&format!("firstlight.dev/{pool}")).is_empty())
    })
    .await;
    let unhealthy = vec![(uuid.clone(), "Unhealthy".to_owned())];
    assert_eq!(node.kubelet.lists("firstlight.dev/gpu"), [unhealthy], "from the first list on");
    assert_eq!(node.kubelet.healthy("firstlight.dev/vendor").len(), 2);
    assert_eq!(node.kubelet.healthy(RESOURCE).len(), 1);
    let line = format!(
        "firstlight_device_unhealthy_info{{device=\"{uuid}\",pool=\"gpu\",reason=\"foreign-plugin\"}} 1"
    );
    assert!(node.metric(&line), "{}", node.get("/metrics").1);
    let (code, reason) = node.get("/readyz");
    assert!(code == 503 && reason.contains("serves this node's NVIDIA cards as nvidia.com/gpu"), "{reason}");
    let response = node.kubelet.allocate("firstlight.dev/gpu", &[&uuid]).await.unwrap();
    let waits = &response.container_responses[0].devices[0].host_path;
    assert!(waits.starts_with("/dev/firstlight-device-not-usable-"), "{waits}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendors_plugin_that_comes_later_takes_the_cards_from_the_pool() {
    let mut node = Node::new("pools: [{name: gpu, kind: whole}]").await;
    let uuid = node.put_card(0);
    node.start_agent().await;
    eventually("the card is offered", || node.kubelet.healthy("firstlight.dev/gpu") == [uuid.clone()]).await;
    node.kubelet.hold("ns", "theirs", "c", "volcano.sh/vgpu-number", &["1"]);
    eventually("it is not any more", || node.kubelet.healthy("firstlight.dev/gpu").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_cdi_names_is_given_by_its_name() {
    const GPU: &str = "firstlight.dev/gpu";
    let mut node = Node::new("pools: [{name: gpu, kind: whole, driver: cdi, replicas: 2}]").await;
    let uuid = node.put_card(0);
    node.start_agent().await;
    eventually("it says what is missing", || node.get("/readyz").1.contains("nvidia-ctk cdi generate")).await;
    let spec = r#"{"kind": "nvidia.com/gpu", "devices": [{"name": "0", "containerEdits": {"deviceNodes": [
        {"path": "/dev/nvidia0"}]}}]}"#;
    node.put("var/run/cdi/nvidia.json", spec);
    let replicas = [0, 1].map(|replica| format!("{uuid}::r{replica}"));
    eventually("the card is offered twice", || node.kubelet.healthy(GPU) == replicas).await;
    let response = node.kubelet.allocate(GPU, &[&replicas[1]]).await.unwrap().container_responses.remove(0);
    let names: Vec<_> = response.cdi_devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!((names, response.devices.len()), (vec!["nvidia.com/gpu=0"], 0));
    assert!(response.mounts.iter().all(|mount| {
        mount.container_path.starts_with("/opt/firstlight/")
            || mount.container_path.starts_with("/run/firstlight")
    }));
    assert!(node.metric("firstlight_pool_driver_info{mode=\"cdi\",pool=\"gpu\"} 1"));
}
