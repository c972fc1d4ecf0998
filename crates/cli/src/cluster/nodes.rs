//! What the nodes have: each agent is asked for its pools, through the API server's proxy.

use super::agent;
use kube::Client;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// Agents that are asked at a time.
const AT_ONCE: usize = 16;

/// One node's answer.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    name: String,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(flatten)]
    answer: Answer,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Answer {
    pools: Vec<Pool>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Pool {
    name: String,
    driver: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    driver_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
    devices: Vec<Device>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Device {
    name: String,
    units: usize,
    healthy: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Every node with an agent, by name. One that does not answer is in it, too.
pub(super) async fn ask(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<Node>> {
    let mut agents = agent::everywhere(client, namespace).await?;
    agents.reverse();
    let (mut asked, mut nodes) = (JoinSet::new(), Vec::new());
    loop {
        while asked.len() < AT_ONCE {
            let Some((node, pods)) = agents.pop() else { break };
            let client = client.clone();
            asked.spawn(async move {
                let answer = agent::first(&client, &node, &pods, "pools").await;
                let answer = answer.and_then(|text| Ok(serde_json::from_str(&text)?));
                match answer {
                    Ok(answer) => Node { name: node, problem: None, answer },
                    Err(error) => {
                        Node { name: node, problem: Some(format!("{error:#}")), answer: Answer::default() }
                    }
                }
            });
        }
        match asked.join_next().await {
            Some(node) => nodes.push(node?),
            None => break,
        }
    }
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(nodes)
}

/// A row for each device, each pool without one, and each node without an answer; wide adds sentences.
pub(super) fn table(nodes: &[Node], wide: bool) -> String {
    let mut head = vec!["NODE", "POOL", "DRIVER", "DEVICE", "UNITS", "HEALTH"];
    if wide {
        head.push("WHY");
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for node in nodes {
        if let Some(problem) = &node.problem {
            rows.push(row(&node.name, ["-", "-", "-", "-", "no answer"], Some(problem), wide));
        }
        for pool in &node.answer.pools {
            let driver = match &pool.driver_version {
                Some(version) => format!("{} {version}", pool.driver),
                None => pool.driver.clone(),
            };
            if pool.devices.is_empty() {
                let cells = [pool.name.as_str(), &driver, "-", "0", "no device"];
                rows.push(row(&node.name, cells, pool.remark.as_ref(), wide));
            }
            for device in &pool.devices {
                let health = match (&device.reason, device.healthy) {
                    (_, true) => "healthy",
                    (Some(reason), false) => reason,
                    (None, false) => "unhealthy",
                };
                let units = device.units.to_string();
                let cells = [pool.name.as_str(), &driver, &device.name, &units, health];
                rows.push(row(&node.name, cells, device.why.as_ref(), wide));
            }
        }
    }
    crate::output::table(&rows)
}

fn row(node: &str, cells: [&str; 5], why: Option<&String>, wide: bool) -> Vec<String> {
    let why = wide.then(|| why.cloned().unwrap_or_default());
    std::iter::once(node).chain(cells).map(str::to_owned).chain(why).collect()
}
