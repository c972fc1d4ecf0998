//! The webhook as a process, as in its container.

use super::api_server::ApiServer;
use super::client::get;
use firstlight_testing::free_address;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Generous: the machine may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const POOLS: &str = "pools: [{name: simulated, kind: simulated}]";

/// Killed at the end.
#[derive(Debug)]
pub struct Webhook {
    pub child: Child,
    pub admission: SocketAddr,
    pub metrics: SocketAddr,
    pub folder: tempfile::TempDir,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command() -> Command {
    let binary = std::env::var_os("FIRSTLIGHT_BENCH_WEBHOOK")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_firstlight-webhook")), PathBuf::from);
    let mut command = Command::new(binary);
    command.env_clear();
    command
}

impl Webhook {
    pub fn start(api: &ApiServer, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), api.kubeconfig()).unwrap();
        std::fs::write(folder.path().join("pools.yaml"), POOLS).unwrap();
        let (admission, metrics) = (free_address(), free_address());
        // The environment is the chart's.
        let child = command()
            .env("KUBECONFIG", folder.path().join("kubeconfig"))
            .env("FIRSTLIGHT_CONFIG", folder.path().join("pools.yaml"))
            .env("POD_NAMESPACE", "ns")
            .env("FIRSTLIGHT_SERVICE", "hook")
            .env("FIRSTLIGHT_SECRET", "hook-tls")
            .env("FIRSTLIGHT_DEPLOYMENT", "hook")
            .env("FIRSTLIGHT_WEBHOOK_CONFIGURATION", "firstlight")
            .arg(format!("--listen={admission}"))
            .arg(format!("--metrics-listen={metrics}"))
            .args(flags)
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, admission, metrics, folder }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub async fn ready(&self) {
        eventually(|| match get(self.metrics, "/readyz") {
            (200, _) => Ok(()),
            (_, why) => Err(format!("not ready: {why}\n{}", self.log())),
        })
        .await;
    }

    /// The value of a metric without labels, or with exactly these.
    pub fn metric(&self, series: &str) -> f64 {
        let text = get(self.metrics, "/metrics").1;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }

    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "still running: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Waits for something to be true, and says what it last saw when it does not become so.
pub async fn eventually<T>(mut check: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match check() {
            Ok(value) => return value,
            Err(last) => assert!(started.elapsed() < PATIENCE, "{last}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
