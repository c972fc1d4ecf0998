//! A node with 16 cards in 64 parts each, as a directory of kernel files: how long after its start the agent has told the
//! kubelet all of them, and how long after a card is gone, or back, the kubelet knows.

use super::support::node::{Node, eventually};
use super::{Agent, Results, percentile};
use std::time::{Duration, Instant};

const RESOURCE: &str = "firstlight.dev/cards";
const POOL: &str = "pools: [{name: cards, kind: slice, slices: 64, memory: 48GiB}]";
const CARDS: u32 = 16;
const PARTS: usize = 64;
const ALL: usize = CARDS as usize * PARTS;
/// The agent looks every 2 s: so many moments between two looks.
const MOMENTS: u32 = 8;
const STARTS: usize = 5;

async fn node_with_cards() -> Node {
    let node = Node::new(POOL).await;
    for minor in 0..CARDS {
        node.put_card(minor);
    }
    node
}

/// Starts the agent; the time from then until the kubelet has its first list, which must have so many healthy units.
async fn listed(node: &Node, resource: &str, units: usize) -> (Agent, Duration) {
    node.kubelet.state.lock().unwrap().plugins.clear();
    let started = Instant::now();
    let agent = Agent::spawn(node);
    eventually("the first list", || !node.kubelet.lists(resource).is_empty()).await;
    let took = started.elapsed();
    let first = &node.kubelet.lists(resource)[0];
    let healthy = first.iter().filter(|(_, health)| health == "Healthy").count();
    assert_eq!((first.len(), healthy), (units, units), "the first list of {resource}");
    (agent, took)
}

/// The same several times, each agent killed as by SIGKILL.
async fn starts(node: &Node, resource: &str, units: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let (agent, took) = listed(node, resource, units).await;
        times.push(took);
        drop(agent);
        let open = || node.kubelet.state.lock().unwrap().plugins.values().any(|plugin| plugin.stream_open);
        eventually("the kubelet sees that the agent is gone", || !open()).await;
    }
    times
}

fn add_starts(results: &mut Results, what: &str, mut times: Vec<Duration>, baseline: f64) {
    let beside =
        format!("median {:.3} s; of a pool with one unit {baseline:.3} s", percentile(&mut times, 0.5) / 1e3);
    results.add(what, percentile(&mut times, 1.0) / 1e3, "s", 2.0, &beside);
}

pub async fn start(results: &mut Results) {
    let small = Node::new("pools: [{name: seats, kind: observer, seats: 1}]").await;
    let baseline = percentile(&mut starts(&small, super::SEATS, 1).await, 0.5) / 1e3;
    let node = node_with_cards().await;
    let times = starts(&node, RESOURCE, ALL).await;
    add_starts(results, "start -> first list, 16 x 64, slowest of 5", times, baseline);

    let (agent, _) = listed(&node, RESOURCE, ALL).await;
    for (index, id) in node.kubelet.healthy(RESOURCE).iter().enumerate() {
        let name = format!("p{index}");
        node.api.create_pod(&name, &format!("uid-of-{name}"), RESOURCE);
        node.kubelet.allocate(RESOURCE, &[id]).await.unwrap();
        node.kubelet.hold("default", &name, "ollama", RESOURCE, &[id]);
    }
    let owned = format!("firstlight_grants{{state=\"owned\"}} {ALL}");
    eventually("all grants have an owner", || node.metric(&owned)).await;
    drop(agent);
    let times = starts(&node, RESOURCE, ALL).await;
    assert_eq!(node.grants(), ALL);
    add_starts(results, "- with 1,024 grants on the disk", times, baseline);
}

pub async fn fault(results: &mut Results) {
    let node = node_with_cards().await;
    let (_agent, _) = listed(&node, RESOURCE, ALL).await;
    // From now until the kubelet has a list with so many healthy units.
    let until = async |healthy: usize| {
        let started = Instant::now();
        eventually("the list", || node.kubelet.healthy(RESOURCE).len() == healthy).await;
        started.elapsed()
    };
    let (mut gone, mut back) = (Vec::new(), Vec::new());
    for moment in 0..MOMENTS {
        // What was told last was told right after a look.
        let after_a_look = Duration::from_secs(2) * moment / MOMENTS;
        tokio::time::sleep(after_a_look).await;
        node.pull_card(moment);
        gone.push(until(ALL - PARTS).await);
        assert_eq!(node.kubelet.lists(RESOURCE).last().unwrap().len(), ALL, "it stays in the list");
        tokio::time::sleep(after_a_look).await;
        node.insert_card(moment);
        back.push(until(ALL).await);
    }
    let mut add = |what: &str, mut times: Vec<Duration>, bar: f64| {
        let beside = format!("median {:.2} s", percentile(&mut times, 0.5) / 1e3);
        results.add(what, percentile(&mut times, 1.0) / 1e3, "s", bar, &beside);
    };
    add("a card is gone -> Unhealthy, slowest of 8", gone, 5.0);
    add("it is back -> Healthy, slowest of 8", back, 7.0);
}
