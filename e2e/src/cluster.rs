//! A real single-node Kubernetes in network, mount and process namespaces of its own.
//!
//! ```text
//! host ── fl-host 10.77.0.1 ═ veth ═ fl-node 10.77.0.2 ── namespace "firstlight"
//!                                                         process 1 = pause; etcd, kube-apiserver, …, kubelet, pods
//! state/ is mounted over /var/lib/kubelet, /var/lib/firstlight, … in there only; /run is the namespace's own
//! ```
//!
//! A kubelet or containerd that the machine already runs is neither seen nor touched. Killing process 1 ends every
//! daemon, shim and container and takes the mounts along; what is left to remove are the network namespace, the
//! cgroups and the state folder.

mod components;
mod config;
mod node;
mod pki;
mod prometheus;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::deps::product;
use crate::harness::wait::{Progress, wait_for};
pub use components::Component;
pub use node::Node;

/// Name of the node, the network namespace and the cgroups.
pub const NAME: &str = "firstlight";
/// The node's address on the link to the host.
pub const NODE_IP: &str = "10.77.0.2";
/// The host's address on that link.
pub const HOST_IP: &str = "10.77.0.1";
/// The directory on the node that plays one with cards (`plugin.node.root` of the tests' values). containerd takes CDI
/// specifications from it, and none from the machine's own directories.
pub const NODE_WITH_CARDS: &str = "/opt/node-with-cards";
/// Where everything of a running cluster is kept.
pub const STATE: &str = "/var/lib/firstlight-cluster";
/// Where the node's Prometheus answers.
pub const PROMETHEUS: &str = "http://10.77.0.2:9090";

/// A running cluster whose node this process may enter.
#[derive(Debug)]
pub struct Cluster {
    state: PathBuf,
    node: Node,
}

impl Cluster {
    /// The cluster that is up.
    ///
    /// # Errors
    /// When there is none: the message says how to start it.
    pub fn running() -> Result<Self> {
        let state = PathBuf::from(STATE);
        let node = Node::find(&state)?.context("no cluster is up: run `make cluster-up`")?;
        Ok(Self { state, node })
    }

    /// Starts the cluster, or whatever of it is not running. Returns when its node is ready.
    pub fn up() -> Result<Self> {
        let _one_at_a_time = lock()?;
        let state = PathBuf::from(STATE);
        let node = if let Some(node) = Node::find(&state)? {
            node
        } else {
            // What an interrupted start or a restart of the machine left is ours when the state folder says so.
            if state.exists() {
                Self::remove()?;
            }
            node::refuse_what_is_in_the_way()?;
            fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
            pki::write(&state.join("pki"))?;
            Node::start(&state)?
        };
        let cluster = Self { state, node };
        config::write(&cluster.state)?;
        for component in Component::ALL {
            cluster.start(component)?;
        }
        cluster.import_pause()?;
        cluster.wait_until_ready(Duration::from_secs(90))?;
        Ok(cluster)
    }

    /// Ends the cluster and removes every trace of it. Nothing to end is fine.
    pub fn down() -> Result<()> {
        let _one_at_a_time = lock()?;
        Self::remove()
    }

    fn remove() -> Result<()> {
        let state = PathBuf::from(STATE);
        if !state.exists() {
            return Ok(());
        }
        node::remove(&state)?;
        fs::remove_dir_all(&state).with_context(|| format!("cannot remove {}", state.display()))
    }

    /// Path of the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig/admin")
    }

    /// The node: enter it, read its files.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where a component writes its log.
    pub fn log(&self, component: Component) -> PathBuf {
        self.state.join("log").join(format!("{}.log", component.name()))
    }

    /// Whether a component runs.
    pub fn runs(&self, component: Component) -> bool {
        self.pid(component).is_some()
    }

    /// Process id of a running component, as the node sees it.
    pub fn pid(&self, component: Component) -> Option<u32> {
        let recorded = fs::read_to_string(self.pid_file(component)).ok()?;
        let pid = recorded.trim().parse().ok()?;
        let name = fs::read_to_string(self.node.path(format!("/proc/{pid}/comm"))).ok()?;
        // The kernel keeps 15 bytes of a name. The others are what starts the daemon, for a moment.
        let ours =
            component.name().starts_with(name.trim()) || matches!(name.trim(), "sh" | "setsid" | "python3");
        ours.then_some(pid)
    }

    /// Starts a component and waits until it serves. One that runs is left alone.
    pub fn start(&self, component: Component) -> Result<()> {
        if self.runs(component) {
            return Ok(());
        }
        let log = self.log(component);
        let words = component.command(&self.state)?;
        let pid = self.node.spawn(&words, &log)?;
        fs::write(self.pid_file(component), pid.to_string())?;
        wait_for(&format!("{} to serve", component.name()), Duration::from_mins(1), || {
            if !self.runs(component) {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let end: Vec<_> = said.lines().rev().take(15).collect();
                bail!(
                    "{} ended; {} says:\n{}",
                    component.name(),
                    log.display(),
                    end.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            component.serves(&self.state, &self.node)
        })
    }

    /// Sends a signal (`TERM`, `KILL`, …) to a component and waits until it is gone.
    pub fn stop(&self, component: Component, signal: &str) -> Result<()> {
        let Some(pid) = self.pid(component) else { return Ok(()) };
        self.node.run(["kill", &format!("-{signal}"), &pid.to_string()])?;
        wait_for(&format!("{} to end", component.name()), Duration::from_secs(30), || {
            Ok(if self.runs(component) {
                Progress::waiting(format!("process {pid} is there"))
            } else {
                Progress::Done(())
            })
        })
    }

    /// Stops a component by SIGTERM and starts it again; returns how long it was away.
    pub fn restart(&self, component: Component) -> Result<Duration> {
        let before = Instant::now();
        self.stop(component, "TERM")?;
        self.start(component)?;
        Ok(before.elapsed())
    }

    /// Imports an OCI archive into the node's containerd; returns false where the same image is there already.
    pub fn import(&self, archive: &Path) -> Result<bool> {
        let ctr = product("containerd")?.join("bin/ctr");
        if let Some((name, digest)) = crate::image::name_and_digest(archive) {
            let known = self.node.run([
                ctr.as_os_str(),
                "-n".as_ref(),
                "k8s.io".as_ref(),
                "images".as_ref(),
                "ls".as_ref(),
            ])?;
            if known.lines().any(|line| line.starts_with(&format!("{name} ")) && line.contains(&digest)) {
                return Ok(false);
            }
        }
        // Absolute: the node's working folder is another.
        let archive =
            fs::canonicalize(archive).with_context(|| format!("no image at {}", archive.display()))?;
        let words = ["-n", "k8s.io", "images", "import", "--local"].map(AsRef::as_ref);
        let words = std::iter::once(ctr.as_os_str()).chain(words).chain([archive.as_os_str()]);
        self.node.run(words).with_context(|| format!("cannot import {}", archive.display()))?;
        Ok(true)
    }

    fn import_pause(&self) -> Result<()> {
        let ctr = product("containerd")?.join("bin/ctr");
        let ctr = ctr.to_str().context("the cache path is not UTF-8")?;
        if self.node.run([ctr, "-n", "k8s.io", "images", "ls", "-q"])?.contains(config::SANDBOX_IMAGE) {
            return Ok(());
        }
        let archive = self.state.join("pause.tar");
        crate::image::pause(config::SANDBOX_IMAGE)?.write(&archive)?;
        self.import(&archive)?;
        // Unpinned, the kubelet's garbage collection could take it, and no registry has it.
        self.node
            .run([
                ctr,
                "-n",
                "k8s.io",
                "images",
                "label",
                config::SANDBOX_IMAGE,
                "io.cri-containerd.pinned=pinned",
            ])
            .map(drop)
    }

    fn wait_until_ready(&self, patience: Duration) -> Result<()> {
        let kubectl = crate::harness::kubectl::Kubectl::new(self.kubeconfig())?;
        wait_for("the node to be ready", patience, || {
            let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}: {.status.conditions[?(@.type=='Ready')].message}";
            match kubectl.run(["get", "node", NAME, "-o", path]) {
                Ok(text) if text.starts_with("True") => Ok(Progress::Done(())),
                Ok(text) => Ok(Progress::Waiting(text)),
                Err(error) => Ok(Progress::Waiting(format!("{error:#}"))),
            }
        })?;
        // Pods of a fresh namespace are refused until the controller manager has made its service account.
        wait_for("the default service account", patience, || {
            Ok(match kubectl.run(["get", "serviceaccount", "default", "-n", "default"]) {
                Ok(_) => Progress::Done(()),
                Err(error) => Progress::Waiting(format!("{error:#}")),
            })
        })
    }

    fn pid_file(&self, component: Component) -> PathBuf {
        self.state.join("pid").join(component.name())
    }
}

/// Held while the cluster is started or ended; a second caller waits.
fn lock() -> Result<fs::File> {
    const PATH: &str = "/run/lock/firstlight-cluster";
    fs::create_dir_all("/run/lock")?;
    let file = fs::File::create(PATH).with_context(|| format!("cannot create {PATH}"))?;
    file.lock().with_context(|| format!("cannot lock {PATH}"))?;
    Ok(file)
}
