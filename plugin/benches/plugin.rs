//! Measures the agent as a process: Allocate, the way of a record to `/metrics`, resident memory, its start and its
//! answer to a card that fails. Prints each figure beside a baseline of the same run and its target; exits with 1 where
//! a target is missed. `FIRSTLIGHT_BENCH_PLUGIN` names another binary, such as the static one. `-- allocate`,
//! `-- visible`, `-- memory`, `-- start` or `-- fault` runs one part alone.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "a bench prints, fails by panicking, and uses its part of the tests' support"
)]

#[path = "plugin/cards.rs"]
mod cards;
#[path = "../tests/support"]
mod support {
    pub mod api_server;
    pub mod kubelet;
    pub mod node;
}

use firstlight_contract::record::Role;
use firstlight_plugin::api::v1beta1::Empty;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};
use support::node::{Node, Process, RESOURCE, eventually, get};

const SEATS: &str = "firstlight.dev/seats";
const GRANTS: usize = 1000;
const MIB: f64 = 1024.0 * 1024.0;

/// The agent as a process, killed at the end.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    async fn start(node: &Node) -> Self {
        let agent = Self::spawn(node);
        eventually("ready", || get(node.port, "/readyz").0 == 200).await;
        agent
    }

    fn spawn(node: &Node) -> Self {
        let kubeconfig = node.root.path().join("kubeconfig");
        let server = node.api.address;
        std::fs::write(
            &kubeconfig,
            format!(
                "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{server: \
                 'http://{server}'}}}}], contexts: [{{name: c, context: {{cluster: c, user: u}}}}], users: \
                 [{{name: u, user: {{}}}}]}}"
            ),
        )
        .unwrap();
        let binary = std::env::var_os("FIRSTLIGHT_BENCH_PLUGIN")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_firstlight-plugin")), PathBuf::from);
        let log = std::fs::File::create(node.root.path().join("log")).unwrap();
        let child = Command::new(binary)
            .args(&node.flags()[1..])
            .arg("--log=warn")
            .env("KUBECONFIG", kubeconfig)
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Resident memory in bytes: all of it, and the anonymous part.
    fn resident(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
        };
        (field("VmRSS:"), field("RssAnon:"))
    }
}

/// Whether all targets are met.
struct Results(bool);

impl Results {
    fn add(&mut self, what: &str, value: f64, unit: &str, target: f64, beside: &str) {
        let good = value <= target;
        self.0 &= good;
        let mark = if good { "ok" } else { "MISSED" };
        println!("{what:<44} {value:>8.3} {unit:<4} target {target:>6.1}  {mark:<6} {beside}");
    }
}

fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a few thousand samples"
    )]
    let index = ((times.len() as f64 * share) as usize).min(times.len() - 1);
    times[index].as_secs_f64() * 1e3
}

async fn allocate(results: &mut Results) {
    let node = Node::new("pools: [{name: simulated, kind: simulated, devices: 8, slices: 64}]").await;
    let _agent = Agent::start(&node).await;
    eventually("512 units", || node.kubelet.healthy(RESOURCE).len() == 512).await;
    let mut client = node.kubelet.state.lock().unwrap().plugins[RESOURCE].client.clone();
    let (mut times, mut baseline) = (Vec::new(), Vec::new());
    for round in 0..2000 {
        let started = Instant::now();
        client.get_device_plugin_options(Empty {}).await.unwrap();
        baseline.push(started.elapsed());
        let id = format!("sim-{}::{}", round % 8, round / 8 % 64);
        let started = Instant::now();
        node.kubelet.allocate(RESOURCE, &[&id]).await.unwrap();
        times.push(started.elapsed());
    }
    let empty = percentile(&mut baseline, 0.99);
    let median = percentile(&mut times, 0.5);
    let beside = format!("median {median:.3} ms; an empty call's p99 {empty:.3} ms");
    results.add(
        "Allocate, 8 devices x 64, p99 at the caller",
        percentile(&mut times, 0.99),
        "ms",
        1.0,
        &beside,
    );
}

async fn visible(results: &mut Results) {
    let node = Node::new("pools: [{name: simulated, kind: simulated, devices: 8, slices: 64}]").await;
    let _agent = Agent::start(&node).await;
    let mut pods = Vec::new();
    for index in 0..200 {
        let id = format!("sim-{}::{}", index % 8, index / 8);
        let name = format!("p{index}");
        pods.push((node.pod(&name, &id).await, name));
    }
    eventually("all are known", || {
        let text = node.get("/metrics").1;
        pods.iter().all(|(_, name)| text.contains(&format!("pod=\"{name}\"")))
    })
    .await;
    let mut times = Vec::new();
    let mut scrapes = Vec::new();
    for (grant, name) in &pods {
        let wanted =
            format!("pod=\"{name}\",container=\"ollama\",kind=\"simulated\",outcome=\"success\"}} 1");
        let mut process = Process::start(grant, 42, Role::GpuDiscover);
        process.comes_up();
        let started = Instant::now();
        loop {
            let scrape = Instant::now();
            let text = get(node.port, "/metrics").1;
            scrapes.push(scrape.elapsed());
            if text.contains(&wanted) {
                break;
            }
        }
        times.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let beside = format!(
        "median {:.1} ms; one scrape's p99 {:.1} ms",
        percentile(&mut times, 0.5),
        percentile(&mut scrapes, 0.99)
    );
    results.add(
        "last record -> /metrics, p99 of 200 pods",
        percentile(&mut times, 0.99),
        "ms",
        100.0,
        &beside,
    );
}

async fn memory(results: &mut Results) {
    let node = Node::new("pools: [{name: seats, kind: observer, seats: 1024}]").await;
    let agent = Agent::start(&node).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (resident, anonymous) = agent.resident();
    let beside = format!("anonymous {:.2} MiB", anonymous / MIB);
    results.add("resident memory, idle", resident / MIB, "MiB", 10.0, &beside);
    for index in 0..GRANTS {
        let (name, id) = (format!("p{index}"), format!("seat-{index}"));
        node.api.create_pod(&name, &format!("uid-of-{name}"), SEATS);
        let response = node.kubelet.allocate(SEATS, &[&id]).await.unwrap();
        node.kubelet.hold("default", &name, "ollama", SEATS, &[&id]);
        let mounts = &response.container_responses[0].mounts;
        let grant = mounts.iter().find(|mount| mount.container_path == "/run/firstlight/grant").unwrap();
        let grant = PathBuf::from(&grant.host_path).parent().unwrap().to_owned();
        // A cold start of Ollama: serve, and two discoveries that come up.
        Process::start(&grant, 1, Role::Serve);
        for pid in [20, 30] {
            Process::start(&grant, pid, Role::GpuDiscover).comes_up();
        }
    }
    let up = || {
        let text = node.get("/metrics").1;
        text.lines().filter(|line| line.ends_with(",outcome=\"success\"} 1")).count()
    };
    let started = Instant::now();
    while up() < GRANTS {
        assert!(started.elapsed() < Duration::from_mins(1), "{} of {GRANTS} have come up", up());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Quiet containers are forgotten after a minute.
    tokio::time::sleep(Duration::from_secs(75)).await;
    let (resident, anonymous) = agent.resident();
    let beside = format!("anonymous {:.2} MiB", anonymous / MIB);
    results.add("resident memory, 1,000 grants", resident / MIB, "MiB", 10.0, &beside);
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut results = Results(true);
    // Cargo adds `--bench`.
    let parts: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|name| name == part);
    runtime.block_on(async {
        if wanted("allocate") {
            allocate(&mut results).await;
        }
        if wanted("visible") {
            visible(&mut results).await;
        }
        if wanted("memory") {
            memory(&mut results).await;
        }
        if wanted("start") {
            cards::start(&mut results).await;
        }
        if wanted("fault") {
            cards::fault(&mut results).await;
        }
    });
    ExitCode::from(u8::from(!results.0))
}
