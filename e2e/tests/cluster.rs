//! The cluster itself, before anything of Firstlight is on it.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use firstlight_e2e::cluster::{Cluster, Component};
use firstlight_e2e::command::run;

#[test]
#[ignore = "needs root and the built products: starts and ends the local cluster"]
fn a_cluster_comes_up_twice_and_leaves_nothing_behind() -> Result<()> {
    Cluster::down()?;
    let before = traces()?;
    let cluster = Cluster::up()?;
    assert!(Component::ALL.into_iter().all(|component| cluster.runs(component)));
    let pids: Vec<_> = Component::ALL.into_iter().map(|component| cluster.pid(component)).collect();
    let again = Cluster::up()?;
    let pids_again: Vec<_> = Component::ALL.into_iter().map(|component| again.pid(component)).collect();
    assert_eq!(pids, pids_again, "what runs is left alone");
    assert_ne!(traces()?, before, "the test sees the cluster's traces");
    Cluster::down()?;
    assert_eq!(traces()?, before);
    assert!(Cluster::running().is_err());
    Cluster::down()
}

#[test]
#[ignore = "needs root and the built products"]
fn a_component_that_died_is_started_again_by_up() -> Result<()> {
    let cluster = Cluster::up()?;
    let before = cluster.pid(Component::Scheduler);
    cluster.stop(Component::Scheduler, "KILL")?;
    assert!(!cluster.runs(Component::Scheduler));
    let cluster = Cluster::up()?;
    assert!(cluster.runs(Component::Scheduler));
    assert_ne!(cluster.pid(Component::Scheduler), before);
    Ok(())
}

#[test]
#[ignore = "needs root and the built products"]
fn the_kubelet_restarts_within_seconds() -> Result<()> {
    let cluster = Cluster::up()?;
    assert!(cluster.restart(Component::Kubelet)? < Duration::from_secs(20));
    Ok(())
}

#[test]
#[ignore = "needs root and the built products: starts and ends the local cluster"]
fn what_somebody_else_made_is_not_touched() -> Result<()> {
    Cluster::down()?;
    run("ip", ["netns", "add", "firstlight"])?;
    let refused = Cluster::up().map(drop).expect_err("the namespace is in the way").to_string();
    run("ip", ["netns", "del", "firstlight"])?;
    assert!(
        refused.contains("network namespace `firstlight` exists that this cluster did not make"),
        "{refused}"
    );
    assert!(!fs::exists(firstlight_e2e::cluster::STATE)?);
    Ok(())
}

/// Processes, mounts, links, namespaces, nft tables, cgroups and folders that could be the cluster's.
fn traces() -> Result<String> {
    let script = "ps -eo comm= | grep -xE 'kube-.*|kubelet|etcd|containerd.*|pause|discovery|prometheus';
        grep -E 'firstlight|kubelet|containerd' /proc/mounts;
        ip -o link | grep -oE 'fl-[a-z]+|veth[0-9a-f]+'; ip netns; nft list tables;
        find /sys/fs/cgroup -maxdepth 2 -name 'firstlight*';
        ls -d /var/lib/kubelet /var/lib/firstlight /var/lib/cni /var/log/containers /var/lib/firstlight-cluster /run/containerd 2>/dev/null;
        true";
    run("sh", ["-c", script])
}
