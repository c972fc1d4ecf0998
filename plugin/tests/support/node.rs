//! A node: a folder with everything that the agent finds on one, and the agent itself, in process.

use super::api_server::ApiServer;
use super::kubelet::Kubelet;
use clap::Parser as _;
use firstlight_contract::record::{Caller, Kind, MAX_ENCODED, NO_FUNCTION, Record, Role};
use firstlight_driver_api::by_symbol;
use firstlight_plugin::app;
use firstlight_plugin::args::{Args, Config};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub const RESOURCE: &str = "firstlight.dev/simulated";
/// Generous: the machine may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Node {
    pub root: tempfile::TempDir,
    pub kubelet: Kubelet,
    pub api: ApiServer,
    pub port: u16,
    agent: Option<Agent>,
}

struct Agent {
    tasks: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Node {
    /// A node with a kubelet and an API server, and without the agent.
    pub async fn new(pools: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "shim/libcuda.so.1",
            "shim/libnvidia-ml.so.1",
            "simulator/libcuda.so.1",
            "simulator/libnvidia-ml.so.1",
            "bin/firstlight-preflight",
            "bin/firstlight-preflight-dynamic",
        ] {
            let path = root.path().join("artefacts").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        fs::write(root.path().join("pools.yaml"), pools).unwrap();
        let port = firstlight_testing::free_address().port();
        let mut kubelet = Kubelet::new(root.path());
        kubelet.start();
        Self { kubelet, api: ApiServer::start().await, port, root, agent: None }
    }

    /// With the agent running and registered.
    pub async fn ready() -> Self {
        let mut node = Self::new("pools: [{name: simulated, kind: simulated, devices: 2, slices: 2}]").await;
        node.start_agent().await;
        eventually("the pool is registered", || !node.kubelet.healthy(RESOURCE).is_empty()).await;
        node
    }

    pub fn flags(&self) -> Vec<String> {
        let path = |name: &str| self.root.path().join(name).display().to_string();
        vec![
            "firstlight-plugin".to_owned(),
            format!("--config={}", path("pools.yaml")),
            "--node-name=node-a".to_owned(),
            "--pod-uid=11111111-2222-3333-4444-555555555555".to_owned(),
            format!("--artefacts={}", path("artefacts")),
            format!("--state-dir={}", path("state")),
            format!("--device-plugins-dir={}", path("device-plugins")),
            format!("--pod-resources-dir={}", path("pod-resources")),
            format!("--node-root={}", path("host")),
            format!("--host-node-root={}", path("host")),
            format!("--sysfs={}", path("host/sys")),
            format!("--procfs={}", path("host/proc")),
            format!("--listen=127.0.0.1:{}", self.port),
        ]
    }

    /// A file of the node's, below its root.
    pub fn put(&self, path: &str, text: &str) {
        let path = self.root.path().join("host").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A real card as the kernel shows it, with its driver.
    pub fn put_card(&self, minor: u32) -> String {
        self.put(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat\n",
        );
        for name in [&format!("nvidia{minor}"), "nvidiactl", "nvidia-uvm"] {
            self.put(&format!("dev/{name}"), "");
        }
        for stem in ["libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler"] {
            self.put(&format!("usr/lib64/{stem}.so.535.104.05"), "\x7fELF");
        }
        self.insert_card(minor)
    }

    /// The card is on the bus, and the module that is there has it.
    pub fn insert_card(&self, minor: u32) -> String {
        let (uuid, place) = (format!("GPU-00000000-0000-0000-0000-{minor:012}"), place(minor));
        for (name, value) in [("vendor", "0x10de"), ("class", "0x030200"), ("numa_node", "0")] {
            self.put(&format!("sys/bus/pci/devices/{place}/{name}"), value);
        }
        let text =
            format!("Model: NVIDIA A40\nGPU UUID: {uuid}\nDevice Minor: {minor}\nBus Location: {place}\n");
        self.put(&format!("proc/driver/nvidia/gpus/{place}/information"), &text);
        uuid
    }

    /// The card is gone from bus and module, as after a hot removal.
    pub fn pull_card(&self, minor: u32) {
        for folder in ["sys/bus/pci/devices", "proc/driver/nvidia/gpus"] {
            fs::remove_dir_all(self.root.path().join("host").join(folder).join(place(minor))).unwrap();
        }
    }

    pub async fn start_agent(&mut self) {
        let config = Config::try_from(Args::parse_from(self.flags())).unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = app::start(&config, &shutdown).await.unwrap();
        tasks.tell(self.api.client(), &config, &shutdown);
        self.agent = Some(Agent { tasks: tasks.set, shutdown });
    }

    /// As by SIGTERM: everything drains.
    pub async fn stop_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.shutdown.cancel();
        while let Some(ended) = agent.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
    }

    /// As by SIGKILL: nothing is tidied.
    pub async fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.tasks.shutdown().await;
    }

    /// A pod with one container and one device: allocated, listed by the kubelet, known to the API server.
    /// Returns the folder of its grant.
    pub async fn pod(&self, name: &str, device: &str) -> PathBuf {
        self.api.create_pod(name, &format!("uid-of-{name}"), RESOURCE);
        let response = self.kubelet.allocate(RESOURCE, &[device]).await.unwrap();
        self.kubelet.hold("default", name, "ollama", RESOURCE, &[device]);
        let mounts = &response.container_responses[0].mounts;
        let grant = mounts.iter().find(|mount| mount.container_path == "/run/firstlight/grant").unwrap();
        PathBuf::from(&grant.host_path).parent().unwrap().to_owned()
    }

    pub fn grants(&self) -> usize {
        fs::read_dir(self.root.path().join("state/grants")).unwrap().count()
    }

    /// The body and code of an answer on the agent's port; code 0 while nobody listens.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.port, path)
    }

    pub fn metric(&self, line: &str) -> bool {
        self.get("/metrics").1.lines().any(|found| found == line)
    }
}

/// Where a card is on the bus, in Linux's spelling.
fn place(minor: u32) -> String {
    format!("0000:{:02x}:00.0", 0x40 + minor)
}

/// A blocking GET: the agent must have a thread of its own.
pub fn get(port: u16, path: &str) -> (u16, String) {
    use std::io::Read as _;
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return (0, String::new()) };
    let mut text = String::new();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    if stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut text)).is_err() {
        return (0, text);
    }
    let code = text.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (code, body.to_owned())
}

/// Waits until `true`; panics with what was waited for.
pub async fn eventually(what: &str, done: impl FnMut() -> bool) {
    within(PATIENCE, what, done).await;
}

/// Waits until `true`, for so long.
pub async fn within(patience: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < patience, "waited {patience:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn now_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// Writes records as a process in a container does.
pub struct Process {
    records: PathBuf,
    pid: u32,
    sequence: u32,
}

impl Process {
    pub fn start(grant: &std::path::Path, pid: u32, role: Role) -> Self {
        let mut process = Self { records: grant.join("records"), pid, sequence: 0 };
        process.write(Kind::Start, NO_FUNCTION, 0, (role as u64, 2), "/bin/ollama");
        process.write(Kind::DriverOpened, NO_FUNCTION, 0, (0, 0), "/opt/firstlight/driver/libcuda.so.1");
        process
    }

    pub fn call(&mut self, symbol: &str, result: i32, args: (u64, u64)) {
        let function = by_symbol(symbol).unwrap_or_else(|| panic!("no function {symbol}")).id;
        self.write(Kind::CallReturned, function, result, args, "");
    }

    /// Everything up to a usable context.
    pub fn comes_up(&mut self) {
        self.call("cuDriverGetVersion", 0, (12_080, 0));
        self.call("cuInit", 0, (0, 0));
        self.call("cuDeviceGetCount", 0, (1, 0));
        self.call("cuDevicePrimaryCtxRetain", 0, (0, 0));
        self.call("cuMemGetInfo_v2", 0, (20 << 30, 24 << 30));
    }

    fn write(&mut self, kind: Kind, function: u16, result: i32, (arg0, arg1): (u64, u64), text: &str) {
        let record = Record {
            kind,
            time_ns: now_ns(),
            pid: self.pid,
            tid: self.pid,
            process: u64::from(self.pid) * 1000,
            sequence: self.sequence,
            function,
            caller: Caller::Runtime,
            result,
            arg0,
            arg1,
        };
        self.sequence += 1;
        let mut file = fs::OpenOptions::new().append(true).open(&self.records).unwrap();
        file.write_all(record.encode(text.as_bytes(), &mut [0; MAX_ENCODED])).unwrap();
    }
}
