//! Things restart, are upgraded, are away: running pods do not notice, new ones get what they ask for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use firstlight_contract::metrics;
use firstlight_contract::names::annotation;
use firstlight_contract::paths::node;
use firstlight_e2e::cluster::{Component, NAME};
use firstlight_e2e::command::run;
use firstlight_e2e::harness::install::{self, NAMESPACE};
use firstlight_e2e::harness::scenario::{PATIENCE, Scenario, scenario, then_always};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{BUSYBOX, OLLAMA, annotated, ollama, shell_pod};
use serde_json::Value;

const ASKED: [(&str, &str); 1] = [(annotation::GPU, "simulated")];
const RESOURCE: &str = "firstlight.dev/simulated";

#[test]
#[ignore = "needs the local cluster"]
fn a_kubelet_restart_costs_no_device_and_no_pod() -> Result<()> {
    scenario(|s| {
        let pod = running_ollama(s, "before")?;
        let before = identity(s, &pod)?;
        let devices = allocatable(s)?;
        let old_socket = kubelets_socket_born(s)?;
        s.cluster()?.restart(Component::Kubelet)?;
        // The node offers what it offered before until the kubelet says otherwise: only the socket tells a new start.
        let socket = wait_for("the kubelet to make its socket anew", PATIENCE, || {
            let now = kubelets_socket_born(s)?;
            Ok(if now > old_socket {
                Progress::Done(now)
            } else {
                Progress::Waiting(format!("made at {now}"))
            })
        })?;
        let registered = wait_for("the agent to register with it", PATIENCE, || {
            let last = last_registration(s)?;
            Ok(if last >= socket {
                Progress::Done(last)
            } else {
                Progress::Waiting(format!("last at {last}"))
            })
        })?;
        let delay = registered - socket;
        assert!(delay < 1.0, "registered {delay:.1} s after the kubelet's socket was there");
        wait_for("the node to offer the same devices again", PATIENCE, || {
            let now = allocatable(s)?;
            Ok(if now == devices { Progress::Done(()) } else { Progress::Waiting(now) })
        })?;
        let after = running_ollama(s, "after")?;
        s.gpu_ready(&after, "True")?;
        assert_eq!(identity(s, &pod)?, before, "the running pod was not touched");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_plugin_that_is_killed_comes_back_and_knows_the_running_pod() -> Result<()> {
    scenario(|s| {
        let pod = running_ollama(s, "before")?;
        let before = identity(s, &pod)?;
        let restarts = plugin_restarts(s)?;
        // The kernel keeps 15 bytes of a name.
        s.cluster()?.node().run(["pkill", "-KILL", "-x", "firstlight-plug"])?;
        wait_for("the kubelet to restart the plugin", PATIENCE, || {
            let now = plugin_restarts(s)?;
            Ok(if now > restarts { Progress::Done(()) } else { Progress::Waiting(format!("{now} restarts")) })
        })?;
        let after = running_ollama(s, "after")?;
        s.gpu_ready(&after, "True")?;
        for known in [&pod, &after] {
            s.metric(&success(s, known), |found| found.value > 0.0)?;
        }
        assert_eq!(identity(s, &pod)?, before, "the running pod was not touched");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn an_upgrade_leaves_the_running_pod_and_its_container_restarts_on_the_old_files() -> Result<()> {
    scenario(|s| {
        let pod = running_ollama(s, "before")?;
        let before = identity(s, &pod)?;
        install::chart(&["plugin.image.repository=firstlight/plugin-next"])?;
        let checks = || {
            assert_eq!(identity(s, &pod)?, before, "the running pod was not touched");
            let after = running_ollama(s, "after")?;
            s.gpu_ready(&after, "True")?;
            // The kubelet replays the Allocate response of the old plugin: its files must still be there.
            let _the_shell_dies_too = s.shell(&pod, "ollama", "kill 1");
            wait_for("the container to be started again", PATIENCE, || {
                let now = identity(s, &pod)?;
                Ok(if now.1 > before.1 { Progress::Done(()) } else { Progress::Waiting(format!("{now:?}")) })
            })?;
            s.ready_pod("before")?;
            s.logged(&pod, "library=CUDA")?;
            s.gpu_ready(&pod, "True").map(drop)
        };
        then_always(checks, || install::chart(&[]))
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn while_the_webhook_is_away_annotated_pods_start_without_a_mark_and_others_untouched() -> Result<()> {
    scenario(|s| {
        install::webhook_replicas(0)?;
        let checks = || {
            s.create(&shell_pod("other", BUSYBOX, "true"))?;
            s.create(&annotated(shell_pod("missed", BUSYBOX, "true"), &ASKED))?;
            s.ready_pod("other")?;
            let missed = s.ready_pod("missed")?;
            assert!(s.get("pod", &missed)?["metadata"]["annotations"].get(annotation::INJECTED).is_none());
            Ok(())
        };
        then_always(checks, || install::webhook_replicas(2))
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn certificates_are_rotated_while_every_annotated_pod_is_injected() -> Result<()> {
    scenario(|s| {
        install::chart(&["webhook.certificates.lifetime=1m"])?;
        let secret = || {
            let path = "jsonpath={.data.tls\\.crt}";
            s.kubectl.run(["-n", NAMESPACE, "get", "secret", "firstlight-webhook-tls", "-o", path])
        };
        let checks = || {
            let before = secret()?;
            let started = Instant::now();
            let mut made = 0;
            let mut rotated = false;
            while !(rotated && started.elapsed() > Duration::from_mins(1)) {
                assert!(started.elapsed() < Duration::from_mins(3), "the certificate has not changed");
                made += 1;
                let name = format!("pod-{made}");
                s.create(&annotated(
                    shell_pod(&name, BUSYBOX, "true"),
                    &[ASKED[0], (annotation::CONTAINERS, "shell")],
                ))?;
                let object = s.get("pod", &name)?;
                let mark = object
                    .pointer("/metadata/annotations")
                    .and_then(|notes| notes.get(annotation::INJECTED))
                    .cloned();
                assert!(
                    mark.is_some(),
                    "{name}, made {:?} after the start, lacks the mark",
                    started.elapsed()
                );
                s.run(["delete", "pod", &name, "--grace-period=0", "--force", "--wait=false"])?;
                rotated = rotated || secret()? != before;
            }
            assert!(made > 20, "only {made} pods were made");
            Ok(())
        };
        then_always(checks, || install::chart(&[]))
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_pod_that_comes_before_the_agent_waits_says_for_what_and_starts_with_it() -> Result<()> {
    scenario(|s| {
        let place = |selector: &str| {
            let patch = format!(r#"{{"spec":{{"template":{{"spec":{{"nodeSelector":{selector}}}}}}}}}"#);
            s.kubectl.run([
                "-n",
                NAMESPACE,
                "patch",
                "daemonset",
                "firstlight-plugin",
                "--type=merge",
                "-p",
                &patch,
            ])
        };
        place(r#"{"firstlight.dev/e2e":"nowhere"}"#)?;
        let checks = || {
            wait_for("the node to offer no device", PATIENCE, || {
                let now = allocatable(s)?;
                Ok(if now == "\"0\"" { Progress::Done(()) } else { Progress::Waiting(now) })
            })?;
            s.create(&annotated(ollama("early", OLLAMA), &ASKED))?;
            s.pod_where("early", "unschedulable", |pod| pod.to_string().contains("Unschedulable"))?;
            let (_, said) = s.firstlight(&["diagnose", "deployment/early"])?;
            assert!(said.contains("Insufficient firstlight.dev/simulated"), "{said}");
            Ok(())
        };
        then_always(checks, || place(r#"{"firstlight.dev/e2e":null}"#).map(drop))?;
        let pod = s.ready_pod("early")?;
        s.gpu_ready(&pod, "True").map(drop)
    })
}

/// A ready, annotated Ollama with a verdict: the pod's name.
fn running_ollama(s: &Scenario, name: &str) -> Result<String> {
    s.create(&annotated(ollama(name, OLLAMA), &ASKED))?;
    let pod = s.ready_pod(name)?;
    s.gpu_ready(&pod, "True")?;
    Ok(pod)
}

/// Container id at its first start, and restarts.
fn identity(s: &Scenario, pod: &str) -> Result<(String, u64)> {
    let object = s.get("pod", pod)?;
    let status = object.pointer("/status/containerStatuses/0").context("no container status")?;
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    let restarts = status.get("restartCount").and_then(Value::as_u64).unwrap_or_default();
    let id = status.get("containerID").and_then(Value::as_str).unwrap_or_default();
    Ok((format!("{uid} {id}"), restarts))
}

/// When the kubelet made the socket that plugins register at, in seconds since 1970; 0 while there is none.
fn kubelets_socket_born(s: &Scenario) -> Result<f64> {
    let socket = format!("{}/kubelet.sock", node::DEVICE_PLUGINS);
    let stat = s.cluster()?.node().run(["sh", "-c", &format!("stat -c %.9Y {socket} || echo 0")])?;
    Ok(stat.trim().parse()?)
}

/// When the agent last registered, by its own log, in seconds since 1970.
fn last_registration(s: &Scenario) -> Result<f64> {
    // A kubelet that has just started does not know its pods yet and answers NotFound.
    let log = wait_for("the kubelet to serve the agent's log", PATIENCE, || {
        Ok(match s.kubectl.run(["-n", NAMESPACE, "logs", "daemonset/firstlight-plugin"]) {
            Ok(log) => Progress::Done(log),
            Err(error) => Progress::Waiting(format!("{error:#}")),
        })
    })?;
    let last =
        log.lines().rfind(|line| line.contains(": registered")).context("the agent has not registered")?;
    let time = last.split_whitespace().next().unwrap_or_default();
    Ok(run("date", ["-d", time, "+%s.%N"])?.trim().parse()?)
}

fn allocatable(s: &Scenario) -> Result<String> {
    let node = s.kubectl.get(["node", NAME])?;
    let value = node.pointer("/status/allocatable").and_then(|all| all.get(RESOURCE)).cloned();
    Ok(value.unwrap_or_default().to_string())
}

fn plugin_restarts(s: &Scenario) -> Result<u64> {
    let list = s.kubectl.get(["-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=plugin"])?;
    let pods = list.pointer("/items").and_then(Value::as_array).cloned().unwrap_or_default();
    let restarts =
        |pod: &Value| pod.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64);
    Ok(pods.iter().filter_map(restarts).sum())
}

fn success(s: &Scenario, pod: &str) -> String {
    format!("{}{{namespace=\"{}\",pod=\"{pod}\",outcome=\"success\"}}", metrics::CUDA_INIT_TOTAL, s.namespace)
}
