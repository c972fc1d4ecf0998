//! One test's world: a namespace of its own, and what can be seen there.
#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for a name that it does not have")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use firstlight_contract::metrics;
use firstlight_contract::names::condition::GPU_READY;
use firstlight_testing::causes::Made;
use serde_json::{Value, json};

use super::install::{self, NAMESPACE};
use super::kubectl::Kubectl;
use super::prometheus::{self, Sample};
use super::random_name;
use super::wait::{Progress, wait_for};
use crate::cluster::{Cluster, NAME, PROMETHEUS};
use crate::command::output;

/// How long things on a busy machine may take.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Label of every namespace that a test makes.
const TEST_LABEL: &str = "firstlight.dev/e2e";

/// A pod condition as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase word.
    pub reason: String,
    /// Sentence for people.
    pub message: String,
}

/// What `diagnose` said of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Id of the cause.
    pub cause: String,
    /// `certain`, `likely` or `unknown`.
    pub confidence: String,
}

impl Said {
    /// The same for the table of causes, with how it was made to happen.
    pub fn made<'a>(&'a self, how: &'a str) -> Made<'a> {
        Made { how, cause: &self.cause, confidence: &self.confidence }
    }
}

/// A namespace of its own on a cluster where Firstlight is installed.
#[derive(Debug)]
pub struct Scenario {
    /// kubectl without a namespace.
    pub kubectl: Kubectl,
    /// Name of the namespace.
    pub namespace: String,
}

/// Runs `body` in a fresh namespace on a cluster with Firstlight; shows what is there when it fails, then cleans up.
///
/// `FIRSTLIGHT_KEEP=1` leaves the namespace of a failed test.
pub fn scenario(body: impl FnOnce(&Scenario) -> Result<()>) -> Result<()> {
    scenario_with(&[], body)
}

/// Like [`scenario`], the namespace with these labels.
pub fn scenario_with(labels: &[(&str, &str)], body: impl FnOnce(&Scenario) -> Result<()>) -> Result<()> {
    scenario_in(&format!("e2e-{}", random_name()), labels, body)
}

/// Like [`scenario_with`], the namespace with this name.
pub fn scenario_in(
    namespace: &str,
    labels: &[(&str, &str)],
    body: impl FnOnce(&Scenario) -> Result<()>,
) -> Result<()> {
    install::once()?;
    let scenario = Scenario { kubectl: kubectl()?, namespace: namespace.to_owned() };
    let mut all = json!({TEST_LABEL: "true"});
    for (key, value) in labels {
        all[*key] = json!(value);
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scenario.namespace, "labels": all}});
    wait_for("the namespace, of which an earlier one may be on its way out", PATIENCE, || {
        Ok(match scenario.kubectl.create(&namespace) {
            Ok(_) => Progress::Done(()),
            Err(error) => Progress::Waiting(format!("{error:#}")),
        })
    })?;
    wait_for("the namespace's service account", PATIENCE, || {
        Ok(match scenario.run(["get", "serviceaccount", "default"]) {
            Ok(_) => Progress::Done(()),
            Err(error) => Progress::Waiting(format!("{error:#}")),
        })
    })?;
    let result = catch_unwind(AssertUnwindSafe(|| body(&scenario)));
    let failed = !matches!(result, Ok(Ok(())));
    if failed {
        super::dump::everything(&scenario);
    }
    if !(failed && std::env::var_os("FIRSTLIGHT_KEEP").is_some()) {
        scenario.kubectl.run(["delete", "namespace", &scenario.namespace, "--wait=false"])?;
        scenario.run(["delete", "pods", "--all", "--grace-period=1", "--wait=true", "--timeout=60s"])?;
    }
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// kubectl for the cluster of `FIRSTLIGHT_KUBECONFIG`, else for the local one.
pub fn kubectl() -> Result<Kubectl> {
    match std::env::var_os("FIRSTLIGHT_KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(path) => Kubectl::new(PathBuf::from(path)),
        None => Kubectl::new(Cluster::running()?.kubeconfig()),
    }
}

impl Scenario {
    /// kubectl in the namespace.
    pub fn run<'a>(&'a self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let namespace: [&str; 2] = ["-n", &self.namespace];
        let words: Vec<&str> = namespace.into_iter().chain(arguments).collect();
        self.kubectl.run(words)
    }

    /// Expects a refusal of `object`; returns its text.
    pub fn refused(&self, object: &Value) -> Result<String> {
        match self.create(object) {
            Ok(said) => bail!("it was not refused: {said}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// Creates an object; returns what kubectl said, warnings included.
    pub fn create(&self, object: &Value) -> Result<String> {
        self.kubectl.stdin(["-n", &self.namespace, "create", "-f", "-"], object)
    }

    /// An object as JSON.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        self.kubectl.get(["-n", &self.namespace, kind, name])
    }

    /// The newest pod of an app that is not on its way out, once it is ready.
    pub fn ready_pod(&self, app: &str) -> Result<String> {
        self.pod_where(app, "ready", |pod| {
            let conditions =
                pod.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        })
    }

    /// The newest pod of an app that is not on its way out, once `wanted` says so.
    pub fn pod_where(&self, app: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<String> {
        wait_for(&format!("a pod of {app} to be {what}"), PATIENCE, || {
            let list = self.kubectl.get([
                "-n",
                &self.namespace,
                "pods",
                "-l",
                &format!("app={app}"),
                "--sort-by=.metadata.creationTimestamp",
            ])?;
            let pods = list["items"].as_array().cloned().unwrap_or_default();
            let alive = pods.iter().rev().find(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
            Ok(match alive {
                Some(pod) if wanted(pod) => {
                    Progress::Done(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
                }
                Some(pod) => Progress::Waiting(pod["status"].to_string()),
                None => Progress::waiting("no pod"),
            })
        })
    }

    /// Our condition on a pod.
    pub fn condition(&self, pod: &str) -> Result<Option<Condition>> {
        let object = self.get("pod", pod)?;
        let conditions =
            object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |condition: &Value, field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        Ok(conditions.iter().find(|condition| condition["type"] == GPU_READY).map(|condition| Condition {
            status: text(condition, "status"),
            reason: text(condition, "reason"),
            message: text(condition, "message"),
        }))
    }

    /// Waits until a pod's condition has this status; returns it.
    pub fn gpu_ready(&self, pod: &str, status: &str) -> Result<Condition> {
        wait_for(&format!("{GPU_READY}={status} on pod {pod}"), PATIENCE, || {
            Ok(match self.condition(pod)? {
                Some(condition) if condition.status == status => Progress::Done(condition),
                other => Progress::Waiting(format!("{other:?}")),
            })
        })
    }

    /// Waits for an Event of this reason on a pod; returns its message.
    pub fn event(&self, pod: &str, reason: &str) -> Result<String> {
        let selector = format!("involvedObject.name={pod}");
        wait_for(&format!("the Event {reason} on pod {pod}"), PATIENCE, || {
            let list = self.kubectl.get(["-n", &self.namespace, "events", "--field-selector", &selector])?;
            let events = list["items"].as_array().cloned().unwrap_or_default();
            let found = events.iter().find(|event| event["reason"] == reason);
            let reasons: Vec<_> = events.iter().map(|event| event["reason"].to_string()).collect();
            Ok(found.map_or_else(
                || Progress::Waiting(reasons.join(" ")),
                |event| Progress::Done(event["message"].as_str().unwrap_or_default().to_owned()),
            ))
        })
    }

    /// What a pod has logged.
    pub fn logs(&self, pod: &str) -> Result<String> {
        self.run(["logs", pod, "--all-containers"])
    }

    /// Waits until the log of a pod holds `text`; returns the line.
    pub fn logged(&self, pod: &str, text: &str) -> Result<String> {
        wait_for(&format!("{text:?} in the log of {pod}"), PATIENCE, || {
            let log = self.logs(pod)?;
            let end: Vec<_> = log.lines().rev().take(3).collect();
            Ok(log
                .lines()
                .find(|line| line.contains(text))
                .map_or_else(|| Progress::Waiting(end.join(" | ")), |line| Progress::Done(line.to_owned())))
        })
    }

    /// Runs a line of shell in a container of a pod.
    pub fn shell(&self, pod: &str, container: &str, line: &str) -> Result<String> {
        self.run(["exec", pod, "-c", container, "--", "sh", "-c", line])
    }

    /// `GET` of an Ollama's API.
    pub fn ollama_get(&self, pod: &str, path: &str) -> Result<Value> {
        let text = self.kubectl.run(["get", "--raw", &self.proxy(pod, path)])?;
        serde_json::from_str(&text).with_context(|| format!("Ollama did not answer with JSON: {text}"))
    }

    /// Makes the tiny model known to an Ollama and lets it generate; returns the answer.
    pub fn generate(&self, pod: &str) -> Result<Value> {
        self.shell(
            pod,
            "ollama",
            "printf 'FROM /models/tiny.gguf\\n' >/tmp/Modelfile && ollama create tiny -f /tmp/Modelfile 2>&1",
        )?;
        let question =
            json!({"model": "tiny", "prompt": "hello", "stream": false, "options": {"num_predict": 8}});
        let text = self
            .kubectl
            .stdin(["create", "--raw", &self.proxy(pod, "/api/generate"), "-f", "-"], &question)?;
        serde_json::from_str(&text).with_context(|| format!("Ollama did not answer with JSON: {text}"))
    }

    /// Lets a llama.cpp server generate; returns the answer.
    pub fn complete(&self, pod: &str) -> Result<Value> {
        let question = json!({"prompt": "hello", "n_predict": 8, "ignore_eos": true});
        let text =
            self.kubectl.stdin(["create", "--raw", &self.proxy(pod, "/completion"), "-f", "-"], &question)?;
        serde_json::from_str(&text).with_context(|| format!("the server did not answer with JSON: {text}"))
    }

    fn proxy(&self, pod: &str, path: &str) -> String {
        format!("/api/v1/namespaces/{}/pods/{pod}:11434/proxy{path}", self.namespace)
    }

    /// Waits until an expression has an answer that `wanted` accepts; returns it.
    pub fn metric(&self, expression: &str, wanted: impl Fn(&Sample) -> bool) -> Result<Sample> {
        let base = std::env::var("FIRSTLIGHT_PROMETHEUS").unwrap_or_else(|_| PROMETHEUS.to_owned());
        wait_for(&format!("Prometheus to answer {expression}"), PATIENCE, || {
            let samples = prometheus::query(&base, expression)?;
            Ok(match samples.iter().find(|sample| wanted(sample)) {
                Some(sample) => Progress::Done(sample.clone()),
                None => Progress::Waiting(format!("{samples:?}")),
            })
        })
    }

    /// Runs `kubectl-firstlight` in the namespace; returns its exit code and what it printed.
    pub fn firstlight(&self, words: &[&str]) -> Result<(Option<i32>, String)> {
        let mut command = Command::new(install::root().join("build/bin/kubectl-firstlight"));
        command
            .args(words)
            .args(["--namespace", &self.namespace])
            .env("KUBECONFIG", self.kubectl.kubeconfig());
        let done = output(&mut command)?;
        Ok((done.status.code(), String::from_utf8(done.stdout)?))
    }

    /// Waits until `diagnose` names this cause for a pod.
    pub fn diagnosed(&self, pod: &str, cause: &str) -> Result<Said> {
        wait_for(&format!("{pod} to be diagnosed as {cause}"), PATIENCE, || {
            let (_, text) = self.firstlight(&["diagnose", pod, "--output", "json"])?;
            let report: Value = serde_json::from_str(&text).unwrap_or_default();
            let word = |name: &str| report["verdict"][name].as_str().unwrap_or_default().to_owned();
            let said = Said { cause: word("cause"), confidence: word("confidence") };
            Ok(if said.cause == cause { Progress::Done(said) } else { Progress::Waiting(text) })
        })
    }

    /// Waits until the metric counts so many objects of a kind in the namespace that are annotated and not injected.
    pub fn not_injected(&self, kind: &str, count: u32) -> Result<()> {
        let series = format!("{}{{namespace=\"{}\",kind=\"{kind}\"}}", metrics::NOT_INJECTED, self.namespace);
        // A kind of which there is none has no series; then `absent` answers 1.
        let expression =
            if count == 0 { format!("absent({series})") } else { format!("max({series}) == {count}") };
        self.metric(&expression, |found| found.value > 0.0).map(drop)
    }

    /// Waits until the node offers so many devices of a pool.
    pub fn offered(&self, pool: &str, wanted: &str) -> Result<()> {
        wait_for(&format!("the node to offer {wanted} of {pool}"), PATIENCE, || {
            let node = self.kubectl.get(["node", NAME])?;
            let now = node["status"]["allocatable"][format!("firstlight.dev/{pool}")].clone();
            Ok(if now == wanted { Progress::Done(()) } else { Progress::Waiting(now.to_string()) })
        })
    }

    /// Waits until the prober has logged something.
    pub fn prober_says(&self, text: &str) -> Result<()> {
        let words = ["-n", NAMESPACE, "logs", "-l", "app.kubernetes.io/component=prober", "--tail=-1"];
        wait_for(&format!("the prober to say {text:?}"), PATIENCE, || {
            Ok(match self.kubectl.run(words) {
                Ok(log) if log.contains(text) => Progress::Done(()),
                // While its pod is replaced there may be no log.
                Ok(other) => Progress::Waiting(other),
                Err(error) => Progress::Waiting(format!("{error:#}")),
            })
        })
    }

    /// The local cluster's node.
    ///
    /// # Errors
    /// On a foreign cluster, whose node nobody may enter.
    pub fn cluster(&self) -> Result<Cluster> {
        if !install::is_local() {
            bail!("this test enters the node: it needs the local cluster, not FIRSTLIGHT_KUBECONFIG");
        }
        Cluster::running()
    }

    /// Folders of the grants on the node.
    pub fn grants(&self) -> Result<Vec<PathBuf>> {
        let folder = self.cluster()?.node().path(firstlight_contract::paths::node::GRANTS);
        let Ok(items) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
        Ok(items.filter_map(|item| Some(item.ok()?.path())).collect())
    }
}

/// Runs `body`, then `undo` whatever became of it, a panic included.
pub fn then_always<T>(body: impl FnOnce() -> Result<T>, undo: impl FnOnce() -> Result<()>) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(body));
    let undone = undo();
    let value = result.unwrap_or_else(|panic| resume_unwind(panic))?;
    undone.map(|()| value)
}
