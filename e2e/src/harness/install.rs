//! Firstlight on the cluster, installed once for all tests of a program.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::cards::NodeWithCards;
use super::scenario::{PATIENCE, kubectl};
use super::wait::{Progress, wait_for};
use crate::cluster::{Cluster, NODE_WITH_CARDS};
use crate::deps::digest_file;

/// Where the tests install the chart.
pub const NAMESPACE: &str = "firstlight-system";
/// The release's name.
pub const RELEASE: &str = "firstlight";
/// The folder of the node with the driver of the tests' custom pool; it is gone with the cluster.
pub const CUSTOM_DRIVER: &str = "/opt/my-virtual-gpu";
/// A namespace in which the tests' installation injects nothing.
pub const EXCLUDED_NAMESPACE: &str = "e2e-passed-over";

/// Brings the local cluster up, imports `build/images` and installs the chart; later calls do nothing.
///
/// On a foreign cluster (`FIRSTLIGHT_KUBECONFIG`) only the chart is installed. `FIRSTLIGHT_INSTALLED=1`: what is
/// installed is taken as it is.
pub fn once() -> Result<()> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(|| prepare().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

fn prepare() -> Result<()> {
    if std::env::var_os("FIRSTLIGHT_INSTALLED").is_some() {
        return Ok(());
    }
    if is_local() {
        let cluster = Cluster::up()?;
        custom_driver(&cluster)?;
        NodeWithCards::lay_out(&cluster)?;
        let folder = root().join("build/images");
        let items = fs::read_dir(&folder)
            .with_context(|| format!("no images in {}: run `make images`", folder.display()))?;
        for archive in items.filter_map(|item| Some(item.ok()?.path())) {
            if archive.extension().is_some_and(|extension| extension == "tar") {
                cluster.import(&archive)?;
            }
        }
    }
    chart(&[])
}

/// Whether the tests run on the local cluster, whose node they may enter.
pub(super) fn is_local() -> bool {
    std::env::var_os("FIRSTLIGHT_KUBECONFIG").is_none()
}

/// Puts the simulator where the tests' custom pool has its driver: the agent is ready when every pool is.
pub fn custom_driver(cluster: &Cluster) -> Result<()> {
    simulator(&cluster.node().path(CUSTOM_DRIVER))
}

/// Puts the simulator into a folder, as somebody else's driver.
pub fn simulator(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for library in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        let (new, from) = (folder.join(".new"), root().join("build/simulator").join(library));
        fs::copy(&from, &new).with_context(|| format!("cannot copy {}", from.display()))?;
        fs::rename(&new, folder.join(library)).context("cannot place the driver")?;
    }
    Ok(())
}

/// Installs or upgrades the chart with the tests' values and these settings (`key=value`); returns when it is ready.
pub fn chart(settings: &[&str]) -> Result<()> {
    upgrade(settings, &["--wait", "--timeout", "120s"])?;
    for object in ["deployment/firstlight-webhook", "daemonset/firstlight-plugin"] {
        kubectl()?.run(["-n", NAMESPACE, "rollout", "status", object, "--timeout=120s"])?;
    }
    // A replica on its way out still answers, by the old settings.
    wait_for("the webhook's old replicas to be gone", PATIENCE, || {
        let pods = kubectl()?.get(["-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=webhook"])?;
        let items = pods.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let leaving = items.iter().filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_some()).count();
        Ok(if leaving == 0 {
            Progress::Done(())
        } else {
            Progress::Waiting(format!("{leaving} are leaving"))
        })
    })
}

/// Upgrades the chart with settings with which it does not become ready; returns at once.
pub fn chart_that_is_never_ready(settings: &[&str]) -> Result<()> {
    upgrade(settings, &[])
}

fn upgrade(settings: &[&str], waiting: &[&str]) -> Result<()> {
    let path = root();
    // The custom pool's driver lies on the local node.
    let values = path.join(if is_local() { "e2e/tests/values.yaml" } else { "e2e/demo/values.yaml" });
    let chart = path.join("charts/firstlight");
    let mut words: Vec<String> = ["upgrade", "--install", RELEASE].map(str::to_owned).to_vec();
    words.push(chart.display().to_string());
    words.extend(["--namespace", NAMESPACE, "--create-namespace", "--values"].map(str::to_owned));
    words.push(values.display().to_string());
    words.extend(waiting.iter().map(|word| (*word).to_owned()));
    words.extend(built(&path)?);
    let excluded = format!("webhook.excludedNamespaces={{kube-system,kube-node-lease,{EXCLUDED_NAMESPACE}}}");
    words.extend(["--set".to_owned(), excluded]);
    if is_local() {
        words.extend(["--set".to_owned(), format!("plugin.node.root={NODE_WITH_CARDS}")]);
    }
    words.extend(settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]));
    kubectl()?.helm(words).map(drop)
}

/// Says in the pods of which bytes their images are: the tag stays the same, and only a changed pod is replaced.
fn built(root: &Path) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for part in ["plugin", "webhook"] {
        let archive = root.join(format!("build/images/{part}.tar"));
        if archive.exists() {
            words.push("--set-string".to_owned());
            let digest =
                digest_file(&archive).with_context(|| format!("cannot read {}", archive.display()))?;
            // As many digits as the demo takes: going from one to the other replaces nothing.
            let short = digest.get(..16).unwrap_or(&digest);
            words.push(format!("{part}.podAnnotations.built={short}"));
            if part == "plugin" {
                // The same image.
                words.extend(["--set-string".to_owned(), format!("prober.podAnnotations.built={short}")]);
            }
        }
    }
    Ok(words)
}

/// Scales the webhook; returns when so many pods are ready, or none is left.
pub fn webhook_replicas(count: u32) -> Result<()> {
    let kubectl = kubectl()?;
    let ours = |words: &[&str]| kubectl.run(["-n", NAMESPACE].iter().chain(words));
    ours(&["scale", "deployment", "firstlight-webhook", &format!("--replicas={count}")])?;
    ours(&["rollout", "status", "deployment", "firstlight-webhook", "--timeout=90s"])?;
    wait_for("the webhook's pods to come or go", PATIENCE, || {
        let pods = ours(&["get", "pods", "-l", "app.kubernetes.io/component=webhook", "-o", "name"])?;
        let now = pods.lines().count();
        Ok(if u32::try_from(now) == Ok(count) { Progress::Done(()) } else { Progress::Waiting(pods) })
    })
}

/// The repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
