//! The life of a pod as the agent sees it: allocated, identified, observed, told, gone.
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

use firstlight_contract::metrics::{MetricKind, table};
use firstlight_contract::record::Role;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::node::{Node, Process, RESOURCE, eventually};

const LABELS: &str = "namespace=\"default\",pod=\"ollama\",container=\"ollama\",kind=\"simulated\"";

fn outcome(outcome: &str, count: u32) -> String {
    format!("firstlight_cuda_init_total{{{LABELS},outcome=\"{outcome}\"}} {count}")
}

/// Every sample is of a metric of the table, with its type, help and labels: docs/metrics.md is made from it.
fn assert_described(text: &str) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let is_this = |stem: &str| {
            stem == name
                || name.strip_prefix(stem).is_some_and(|end| matches!(end, "_bucket" | "_sum" | "_count"))
        };
        let metric = table::ALL.iter().find(|metric| is_this(metric.name));
        let metric = metric.unwrap_or_else(|| panic!("{name} is not in the table"));
        let found: BTreeSet<&str> = labels
            .split("\",")
            .filter_map(|pair| Some(pair.split_once('=')?.0))
            .filter(|label| *label != "le" || metric.kind != MetricKind::Histogram)
            .collect();
        assert_eq!(found, metric.labels.iter().copied().collect(), "{line}");
        assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{line}");
        assert!(text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.as_str())), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_comes_up_is_told_everywhere() {
    let node = Node::ready().await;
    let grant = node.pod("ollama", "sim-0::0").await;
    eventually("series are born at 0", || node.metric(&outcome("success", 0))).await;
    assert!(node.metric(&outcome("failure", 0)) && node.metric(&outcome("unknown", 0)));
    let mut process = Process::start(&grant, 42, Role::GpuDiscover);
    process.comes_up();
    eventually("the metric", || node.metric(&outcome("success", 1))).await;
    eventually("the condition", || {
        node.api.conditions("ollama") == [("True".to_owned(), "SimulatedGpu".to_owned())]
    })
    .await;
    eventually("the Event", || node.api.events() == ["CudaReady"]).await;
    let (code, report) = node.get("/reports/default/ollama");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((code, &report["containers"][0]["container"]), (200, &Value::from("ollama")));
    assert_eq!(report["containers"][0]["report"]["verdict"]["outcome"], "success");
    let (code, pools) = node.get("/pools");
    let pools: Value = serde_json::from_str(&pools).unwrap();
    assert_eq!((code, &pools["pools"][0]["driver"]), (200, &Value::from("simulator")), "{pools}");
    let quota = format!("firstlight_memory_quota_bytes{{{LABELS},device=\"GPU-");
    let metrics = node.get("/metrics").1;
    assert!(
        metrics.lines().any(|line| line.starts_with(&quota) && line.ends_with(" 25769803776")),
        "{metrics}"
    );
    assert_described(&metrics);
    let series = metrics.lines().filter(|line| line.contains("pod=\"ollama\"")).count();
    assert!(series <= 8 + 2, "{series} series");
    assert!(
        node.api.shared.lock().unwrap().selectors.iter().all(|selector| selector == "spec.nodeName=node-a")
    );
}

/// The value of the one series that begins so.
fn value(node: &Node, series: &str) -> Option<f64> {
    let metrics = node.get("/metrics").1;
    metrics.lines().find_map(|line| line.strip_prefix(series)?.rsplit(' ').next()?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_container_uses_of_its_quota_is_told_while_the_process_lives() {
    let node = Node::ready().await;
    let grant = node.pod("ollama", "sim-0::0").await;
    eventually("identified", || node.metric(&outcome("success", 0))).await;
    let used = format!("firstlight_memory_used_bytes{{{LABELS},device=\"GPU-");
    assert_eq!(value(&node, &used), Some(0.0));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/hold.c");
    let program = firstlight_testing::compiled(&source, &[], Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let mut process = Command::new(program)
        .arg(grant.join("ledger"))
        .arg((3u64 << 30).to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "held\n");
    assert_eq!(value(&node, &used), Some(f64::from(3u32 << 30)));
    Process::start(&grant, 42, Role::Runner);
    let report: Value = serde_json::from_str(&node.get("/reports/default/ollama").1).unwrap();
    let memory = &report["containers"][0]["memory"][0];
    assert_eq!(
        (&memory["quota_bytes"], &memory["used_bytes"]),
        (&(24u64 << 30).into(), &(3u64 << 30).into())
    );
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(value(&node, &used), Some(0.0), "what the dead held is not counted");
    assert_described(&node.get("/metrics").1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_names_its_cause_in_metric_condition_and_event() {
    let node = Node::ready().await;
    let grant = node.pod("ollama", "sim-0::0").await;
    let mut process = Process::start(&grant, 42, Role::GpuDiscover);
    process.call("cuDriverGetVersion", 0, (12_080, 0));
    process.call("cuInit", 100, (0, 0));
    eventually("the metric", || node.metric(&outcome("failure", 1))).await;
    let info = format!("firstlight_cuda_init_failure_info{{{LABELS},cause=\"");
    assert!(node.get("/metrics").1.lines().any(|line| line.starts_with(&info)));
    eventually("the condition", || {
        // On a busy machine the silence before the first record was told, too.
        node.api.conditions("ollama").last().is_some_and(|(status, _)| status == "False")
    })
    .await;
    eventually("the Event", || node.api.events() == ["CudaInitFailed"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_visible_within_a_tenth_of_a_second() {
    let node = Node::ready().await;
    let grant = node.pod("ollama", "sim-0::0").await;
    eventually("identified", || node.metric(&outcome("success", 0))).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut process = Process::start(&grant, 42, Role::GpuDiscover);
    process.comes_up();
    let started = Instant::now();
    while !node.metric(&outcome("success", 1)) {
        assert!(started.elapsed() < Duration::from_secs(1), "not within a second");
    }
    assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_and_grant_go_with_the_pod_and_never_with_an_allocate() {
    let node = Node::ready().await;
    node.pod("ollama", "sim-0::0").await;
    eventually("identified", || node.metric(&outcome("success", 0))).await;
    node.kubelet.allocate(RESOURCE, &["sim-0::0"]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(node.metric(&outcome("success", 0)), "an Allocate takes nothing away");
    assert_eq!(node.grants(), 2);
    node.api.delete_pod("ollama");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(node.grants(), 2, "the kubelet still lists it");
    node.kubelet.release("ollama");
    eventually("collected, with its successor of the same ids", || node.grants() == 0).await;
    assert!(!node.get("/metrics").1.contains("pod=\"ollama\""));
    assert_eq!(node.get("/reports/default/ollama").0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agent_finds_verdicts_again_and_tells_nothing_twice() {
    let mut node = Node::ready().await;
    let grant = node.pod("ollama", "sim-0::0").await;
    let mut process = Process::start(&grant, 42, Role::GpuDiscover);
    process.comes_up();
    eventually("the Event", || node.api.events() == ["CudaReady"]).await;
    eventually("the owner is kept", || grant.join("owner").exists()).await;
    node.kill_agent().await;
    node.start_agent().await;
    eventually("the metric is back", || node.metric(&outcome("success", 1))).await;
    assert!(node.metric("firstlight_node_cuda_init_total{outcome=\"success\"} 0"), "counted before the kill");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(node.api.events(), ["CudaReady"]);
    assert_eq!(node.grants(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_build_stays_on_the_node_while_a_pod_may_replay_it() {
    let mut node = Node::ready().await;
    node.pod("ollama", "sim-0::0").await;
    eventually("identified", || node.metric(&outcome("success", 0))).await;
    let builds = |node: &Node| {
        let state = std::fs::read_dir(node.root.path().join("state")).unwrap();
        state.flatten().filter(|entry| entry.file_name().len() == 16).count()
    };
    node.stop_agent().await;
    std::fs::write(node.root.path().join("artefacts/shim/libcuda.so.1"), "a newer shim").unwrap();
    node.start_agent().await;
    eventually("both are there", || builds(&node) == 2).await;
    eventually("pods are known", || node.metric(&outcome("success", 0))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(builds(&node), 2);
    node.api.delete_pod("ollama");
    node.kubelet.release("ollama");
    eventually("collected", || node.grants() == 0).await;
    assert_eq!(builds(&node), 2, "another instance may still use the older one");
    for build in std::fs::read_dir(node.root.path().join("state")).unwrap().flatten() {
        let long_ago = std::time::SystemTime::now() - Duration::from_mins(20);
        std::fs::File::open(build.path()).unwrap().set_modified(long_ago).unwrap();
    }
    node.stop_agent().await;
    node.start_agent().await;
    eventually("the older one is gone", || builds(&node) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_another_instance_made_is_found_on_the_disk() {
    let mut node = Node::ready().await;
    let grant = node.pod("ollama", "sim-0::0").await;
    eventually("the owner is kept", || grant.join("owner").exists()).await;
    let beside = node.root.path().join("beside");
    node.kill_agent().await;
    std::fs::rename(&grant, &beside).unwrap();
    node.start_agent().await;
    eventually("ready", || node.get("/readyz").0 == 200).await;
    assert!(!node.get("/metrics").1.contains("pod=\"ollama\""));
    std::fs::rename(&beside, &grant).unwrap();
    support::node::within(Duration::from_secs(40), "found", || node.metric(&outcome("success", 0))).await;
}
