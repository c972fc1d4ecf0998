//! The agent and its prober: the resource that opens NVML to it, and what becomes of what it says.
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

use firstlight_contract::prober::{Card, Instance, Look, Memory, Message, Xid};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use support::node::{Node, eventually};

const PROBER: &str = "firstlight.dev/prober";
const GPU: &str = "firstlight.dev/gpu";

/// A node with these cards, and an agent that serves them whole.
async fn node_with(cards: u32) -> (Node, Vec<String>) {
    let mut node = Node::new("pools: [{name: gpu, kind: whole}]").await;
    let uuids = (0..cards).map(|minor| node.put_card(minor)).collect();
    for name in ["ld-linux-x86-64.so.2", "libc.so.6"] {
        node.put(&format!("usr/lib64/{name}"), "\x7fELF");
    }
    node.start_agent().await;
    (node, uuids)
}

fn sockets(node: &Node) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(node.root.path().join("state/prober")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kubelet_is_offered_one_prober_that_gets_every_card() {
    let (node, _) = node_with(2).await;
    eventually("the prober's resource is registered", || node.kubelet.healthy(PROBER) == ["prober"]).await;
    let response = node.kubelet.allocate(PROBER, &["prober"]).await.unwrap();
    let container = &response.container_responses[0];
    let devices: Vec<_> = container.devices.iter().map(|device| device.container_path.as_str()).collect();
    assert_eq!(devices, ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl"]);
    let mounts: Vec<_> = container.mounts.iter().map(|mount| mount.container_path.as_str()).collect();
    let wanted = ["libnvidia-ml.so.1", "ld-linux-x86-64.so.2", "libc.so.6"];
    assert_eq!(mounts, wanted.map(|name| format!("/opt/firstlight/nvml/{name}")));
    assert_eq!(node.grants(), 0, "it is no container of a user's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_card_offers_none_and_one_without_a_pool_of_cards_does_not_listen() {
    let (node, _) = node_with(0).await;
    eventually("registered", || !node.kubelet.lists(PROBER).is_empty()).await;
    assert!(node.kubelet.lists(PROBER).iter().all(Vec::is_empty));
    let node = Node::ready().await;
    assert!(node.kubelet.lists(PROBER).is_empty() && sockets(&node).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_of_which_the_driver_reports_an_error_is_not_offered_any_more() {
    let (mut node, uuids) = node_with(2).await;
    eventually("both cards are offered", || node.kubelet.healthy(GPU).len() == 2).await;
    let card = |uuid: &String| Card { uuid: uuid.clone(), ..Card::default() };
    let look =
        Look { driver: "535".to_owned(), cards: uuids.iter().map(card).collect(), nameless: Vec::new() };
    let lines = [
        Message::Look(look),
        // An application's own, which is no reason.
        Message::Xid(Xid { card: uuids[0].clone(), code: 31 }),
        Message::Xid(Xid { card: uuids[1].clone(), code: 79 }),
    ];
    let mut agent = UnixStream::connect(&sockets(&node)[0]).unwrap();
    for line in lines {
        writeln!(agent, "{}", line.line()).unwrap();
    }
    eventually("the first card alone is offered", || node.kubelet.healthy(GPU) == uuids[..1]).await;
    let device = &uuids[1];
    let line =
        format!("firstlight_device_unhealthy_info{{device=\"{device}\",pool=\"gpu\",reason=\"xid\"}} 1");
    assert!(node.metric(&line), "{}", node.get("/metrics").1);
    node.stop_agent().await;
    assert!(sockets(&node).is_empty(), "the socket goes with the agent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_in_use_that_no_quota_counts_is_told_of_cards_in_parts_alone() {
    let uuid = |number: u32| format!("GPU-00000000-0000-0000-0000-{number:012}");
    let pools = format!(
        "pools: [{{name: parts, kind: slice, slices: 2, devices: [{}]}}, {{name: gpu, kind: whole, devices: [{}]}}]",
        uuid(0),
        uuid(1)
    );
    let mut node = Node::new(&pools).await;
    let uuids = [node.put_card(0), node.put_card(1)];
    node.start_agent().await;
    eventually("it listens", || !sockets(&node).is_empty()).await;
    let unaccounted =
        || node.get("/metrics").1.lines().filter(|line| line.starts_with("firstlight_unaccounted")).count();
    assert_eq!(unaccounted(), 0, "NVML has told nothing yet");
    let memory = Some(Memory { total: 48 << 30, reserved: 1 << 30, used: 5 << 20 });
    let card = |uuid: &String| Card { uuid: uuid.clone(), memory, ..Card::default() };
    let look = Message::Look(Look { cards: uuids.iter().map(card).collect(), ..Look::default() });
    let mut agent = UnixStream::connect(&sockets(&node)[0]).unwrap();
    writeln!(agent, "{}", look.line()).unwrap();
    let series = format!("firstlight_unaccounted_bytes{{device=\"{}\"}} 5242880", uuids[0]);
    eventually("nobody holds what is in use", || node.metric(&series)).await;
    assert_eq!(unaccounted(), 1, "whole cards have no quotas");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_the_prober_names_is_offered_and_opened_by_its_own_device_nodes() {
    const TENTH: &str = "firstlight.dev/tenth";
    let mut node = Node::new("pools: [{name: tenth, kind: whole, mig: 1g.10gb}]").await;
    let card = node.put_card(0);
    for (folder, minor) in [("gi3", 30), ("gi3/ci0", 31)] {
        let access = format!("DeviceFileMinor: {minor}\nDeviceFileMode: 256\nDeviceFileModify: 1\n");
        node.put(&format!("proc/driver/nvidia/capabilities/gpu0/mig/{folder}/access"), &access);
        node.put(&format!("dev/nvidia-caps/nvidia-cap{minor}"), "");
    }
    node.start_agent().await;
    eventually("registered", || !node.kubelet.lists(TENTH).is_empty()).await;
    assert!(node.get("/readyz").1.contains("the pool waits for the prober"), "{}", node.get("/readyz").1);
    let uuid = "MIG-00000000-0000-5000-8000-000000000003";
    let profile = "1g.10gb".to_owned();
    let instances = Some(vec![Instance { uuid: uuid.to_owned(), gi: 3, ci: 0, profile, memory: None }]);
    let cards = vec![Card { uuid: card, mig: Some(true), instances, ..Card::default() }];
    let look = Message::Look(Look { driver: "535".to_owned(), cards, nameless: Vec::new() });
    writeln!(UnixStream::connect(&sockets(&node)[0]).unwrap(), "{}", look.line()).unwrap();
    eventually("the instance is offered", || node.kubelet.healthy(TENTH) == [uuid]).await;
    let response = node.kubelet.allocate(TENTH, &[uuid]).await.unwrap();
    let container = &response.container_responses[0];
    let devices: Vec<_> = container.devices.iter().map(|device| device.container_path.as_str()).collect();
    let caps = ["/dev/nvidia-caps/nvidia-cap30", "/dev/nvidia-caps/nvidia-cap31"];
    assert_eq!(devices, ["/dev/nvidia0", caps[0], caps[1], "/dev/nvidiactl", "/dev/nvidia-uvm"]);
    assert!(container.envs.is_empty(), "the nodes decide what is seen");
}
