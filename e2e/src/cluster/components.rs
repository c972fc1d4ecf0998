//! The node's daemons: how each is started and how one sees that it serves.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::config::{POD_CIDR, SERVICE_CIDR};
use super::{NAME, NODE_IP, Node};
use crate::command;
use crate::deps::product;
use crate::harness::prometheus;
use crate::harness::wait::Progress;

/// A daemon of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The cluster's store.
    Etcd,
    /// The API server.
    ApiServer,
    /// Controllers of workloads, service accounts, garbage.
    ControllerManager,
    /// Assigns pods to the node.
    Scheduler,
    /// Container runtime.
    Containerd,
    /// Runs the pods; the device plugin's partner.
    Kubelet,
    /// Makes service addresses work.
    Proxy,
    /// Tells Prometheus which pods to scrape.
    Discovery,
    /// Scrapes pods whose port is named `metrics`.
    Prometheus,
}

impl Component {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 9] = [
        Self::Etcd,
        Self::Containerd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::Proxy,
        Self::Discovery,
        Self::Prometheus,
    ];

    /// Name of the program and of its log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
            Self::Discovery => "discovery",
            Self::Prometheus => "prometheus",
        }
    }

    /// Program and arguments.
    pub(super) fn command(self, state: &Path) -> Result<Vec<String>> {
        let at = |path: &str| state.join(path).display().to_string();
        let program = match self {
            Self::Etcd => product("etcd")?.join("bin/etcd"),
            Self::Containerd => product("containerd")?.join("bin/containerd"),
            Self::Prometheus => "/usr/bin/prometheus".into(),
            Self::Discovery => "python3".into(),
            Self::ApiServer | Self::ControllerManager | Self::Scheduler | Self::Kubelet | Self::Proxy => {
                product("kubernetes")?.join("bin").join(self.name())
            }
        };
        let own = format!("--kubeconfig={}", at(&format!("kubeconfig/{}", self.name())));
        let arguments = match self {
            Self::Etcd => vec![
                format!("--data-dir={}", at("etcd")),
                // A test cluster does not outlive its machine.
                "--unsafe-no-fsync".into(),
                "--listen-client-urls=http://127.0.0.1:2379".into(),
                "--advertise-client-urls=http://127.0.0.1:2379".into(),
                "--listen-peer-urls=http://127.0.0.1:2380".into(),
                "--log-level=warn".into(),
            ],
            Self::ApiServer => apiserver(state),
            Self::ControllerManager => vec![
                own.clone(),
                "--use-service-account-credentials".into(),
                format!("--root-ca-file={}", at("pki/ca.crt")),
                format!("--service-account-private-key-file={}", at("pki/service-account.key")),
                "--leader-elect=false".into(),
            ],
            Self::Scheduler => vec![own.clone(), "--leader-elect=false".into()],
            Self::Containerd => vec!["--config".into(), at("config/containerd.toml")],
            Self::Kubelet => vec![
                own.clone(),
                format!("--config={}", at("config/kubelet.json")),
                format!("--hostname-override={NAME}"),
                format!("--node-ip={NODE_IP}"),
            ],
            Self::Proxy => vec![
                own.clone(),
                "--proxy-mode=nftables".into(),
                format!("--cluster-cidr={POD_CIDR}"),
                format!("--hostname-override={NAME}"),
                "--conntrack-max-per-core=0".into(),
                "--oom-score-adj=0".into(),
            ],
            Self::Discovery => vec![
                at("config/discovery.py"),
                format!("{NODE_IP}:6443"),
                at("pki/ca.crt"),
                at("pki/admin.crt"),
                at("pki/admin.key"),
                at("config/targets/pods.json"),
            ],
            Self::Prometheus => vec![
                format!("--config.file={}", at("config/prometheus.yml")),
                format!("--storage.tsdb.path={}", at("prometheus")),
                format!("--web.listen-address={NODE_IP}:9090"),
                "--log.level=warn".into(),
            ],
        };
        Ok(std::iter::once(program.display().to_string()).chain(arguments).collect())
    }

    /// Whether the daemon does its work.
    pub(super) fn serves(self, state: &Path, node: &Node) -> Result<Progress<()>> {
        let admin = format!("--kubeconfig={}", state.join("kubeconfig/admin").display());
        let mut question = match self {
            Self::ApiServer => {
                let mut kubectl = Command::new(product("kubernetes")?.join("bin/kubectl"));
                kubectl.args([&admin, "get", "--raw=/readyz", "--request-timeout=2s"]);
                kubectl
            }
            Self::Containerd => {
                let ctr = product("containerd")?.join("bin/ctr");
                node.command([ctr.as_os_str(), "version".as_ref()])
            }
            // The socket of a kubelet that ended is still there: health comes first.
            Self::Kubelet => return Ok(answers(&format!("http://{NODE_IP}:10248"), "/healthz")),
            Self::Prometheus => return Ok(answers(super::PROMETHEUS, "/-/ready")),
            Self::Discovery => {
                node.command(["test", "-s", &state.join("config/targets/pods.json").to_string_lossy()])
            }
            Self::Etcd | Self::ControllerManager | Self::Scheduler | Self::Proxy => {
                return Ok(Progress::Done(()));
            }
        };
        let output = command::output(&mut question).context("cannot ask")?;
        if output.status.success() {
            return Ok(Progress::Done(()));
        }
        Ok(Progress::Waiting(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// Whether a server answers with success.
fn answers(base: &str, path: &str) -> Progress<()> {
    let answer = prometheus::get(base, path);
    answer.map_or_else(|error| Progress::Waiting(format!("{error:#}")), |_| Progress::Done(()))
}

fn apiserver(state: &Path) -> Vec<String> {
    let pki = |name: &str| state.join("pki").join(name).display().to_string();
    vec![
        "--etcd-servers=http://127.0.0.1:2379".into(),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        format!("--advertise-address={NODE_IP}"),
        "--secure-port=6443".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--allow-privileged".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--service-account-key-file={}", pki("service-account.pub")),
        format!("--service-account-signing-key-file={}", pki("service-account.key")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--kubelet-client-certificate={}", pki("apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", pki("apiserver-kubelet.key")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        // Nobody resolves the node's name.
        "--kubelet-preferred-address-types=InternalIP".into(),
    ]
}
