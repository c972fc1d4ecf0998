//! Configuration files of the node's daemons.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::{NAME, NODE_IP, NODE_WITH_CARDS, pki};
use crate::deps::product;

/// The image of a pod's first container. No registry has it: it is imported and pinned.
pub(super) const SANDBOX_IMAGE: &str = "localhost/pause:1";
/// Pods' addresses.
pub(super) const POD_CIDR: &str = "10.244.0.0/24";
/// Services' addresses.
pub(super) const SERVICE_CIDR: &str = "10.96.0.0/16";

/// Writes every file that a component reads. Same state folder, same bytes.
pub(super) fn write(state: &Path) -> Result<()> {
    for folder in ["config/cni", "kubeconfig", "log", "pid", "pods", "volume-plugins", "etcd", "containerd"] {
        fs::create_dir_all(state.join(folder))?;
    }
    for (name, _) in pki::CLIENTS {
        let text = serde_json::to_string_pretty(&kubeconfig(state, name))?;
        fs::write(state.join("kubeconfig").join(name), text)?;
    }
    let put = |name: &str, text: String| {
        let path = state.join("config").join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    put("containerd.toml", containerd(state)?)?;
    put("kubelet.json", serde_json::to_string_pretty(&kubelet(state))?)?;
    put("cni/10-firstlight.conflist", serde_json::to_string_pretty(&cni())?)?;
    put("resolv.conf", "options timeout:1 attempts:1\n".to_owned())?;
    fs::create_dir_all(state.join("config/targets"))?;
    put("discovery.py", super::prometheus::DISCOVERY.to_owned())?;
    put("prometheus.yml", super::prometheus::config(&state.join("config/targets/pods.json")))
}

fn kubeconfig(state: &Path, name: &str) -> serde_json::Value {
    let pki = state.join("pki");
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "firstlight",
        "clusters": [{"name": "firstlight", "cluster": {
            "server": format!("https://{NODE_IP}:6443"),
            "certificate-authority": pki.join("ca.crt"),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate": pki.join(format!("{name}.crt")),
            "client-key": pki.join(format!("{name}.key")),
        }}],
        "contexts": [{"name": "firstlight", "context": {"cluster": "firstlight", "user": name}}],
    })
}

fn kubelet(state: &Path) -> serde_json::Value {
    let pki = state.join("pki");
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki.join("kubelet-server.crt"),
        "tlsPrivateKeyFile": pki.join("kubelet-server.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        // cgroup v1 machines are still to be found, and the recipe must run on them.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{NAME}"),
        "failSwapOn": false,
        // Without CAP_SYS_RESOURCE nobody may lower the score.
        "oomScoreAdj": 0,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "podLogsDir": state.join("pods"),
        "volumePluginDir": state.join("volume-plugins"),
        "resolvConf": state.join("config/resolv.conf"),
        // Nobody answers there: no test needs names, and without the setting each pod carries a warning Event.
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        // Where the host can ask.
        "healthzBindAddress": NODE_IP,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
    })
}

fn containerd(state: &Path) -> Result<String> {
    let root = state.join("containerd");
    let cni = product("cni")?.join("bin");
    let runc = product("runc")?.join("bin/runc");
    Ok(format!(
        r"version = 3
root = '{root}'
state = '/run/containerd'
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.internal.v1.opt']

[grpc]
  address = '/run/containerd/containerd.sock'

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  enable_cdi = true
  cdi_spec_dirs = ['{NODE_WITH_CARDS}/etc/cdi']
  netns_mounts_under_state_dir = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['{cni}']
  conf_dir = '{config}/cni'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '{runc}'
  SystemdCgroup = false

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{SANDBOX_IMAGE}'
",
        root = root.display(),
        cni = cni.display(),
        config = state.join("config").display(),
        runc = runc.display(),
    ))
}

fn cni() -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": NAME,
        "plugins": [
            {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_CIDR}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}, "backend": "nftables"},
        ],
    })
}
