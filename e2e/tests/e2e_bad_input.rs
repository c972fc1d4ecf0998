//! What a pod's author can do to the records, and what comes of it: a verdict on that pod or none, never on another.
#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for a name that it does not have")]

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use firstlight_contract::names::annotation;
use firstlight_contract::paths::{container, node};
use firstlight_e2e::command::run;
use firstlight_e2e::harness::scenario::{PATIENCE, Scenario, scenario};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{BUSYBOX, OLLAMA, annotated, ollama, shell_pod};

const ASKED: [(&str, &str); 1] = [(annotation::GPU, "simulated")];

/// A pod that runs this line of shell beside a healthy Ollama; both names.
fn beside_a_healthy_one(s: &Scenario, line: &str) -> Result<(String, String)> {
    s.create(&annotated(ollama("healthy", OLLAMA), &ASKED))?;
    let healthy = s.ready_pod("healthy")?;
    s.gpu_ready(&healthy, "True")?;
    s.create(&annotated(shell_pod("hostile", BUSYBOX, line), &ASKED))?;
    Ok((healthy, s.ready_pod("hostile")?))
}

/// How often the agent was started anew.
fn agent_restarts(s: &Scenario) -> Result<u64> {
    let list =
        s.kubectl.get(["-n", "firstlight-system", "pods", "-l", "app.kubernetes.io/component=plugin"])?;
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    Ok(pods.iter().filter_map(|pod| pod.pointer("/status/containerStatuses/0/restartCount")?.as_u64()).sum())
}

#[test]
#[ignore = "needs the local cluster"]
fn forged_and_broken_records_never_speak_of_another_pod() -> Result<()> {
    scenario(|s| {
        let before = agent_restarts(s)?;
        let records = container::RECORDS;
        // Noise, escapes for a terminal, and a megabyte of one letter.
        let line = format!(
            "head -c 200000 /dev/urandom >>{records}; printf '\\033[2J\\033]0;owned\\007' >>{records}; \
             head -c 1048576 /dev/zero | tr '\\0' A >>{records}; head -c 77 /dev/urandom >>{records}"
        );
        let (healthy, hostile) = beside_a_healthy_one(s, &line)?;
        let said = wait_for("the agent to have read the noise", PATIENCE, || {
            let (_, said) = s.firstlight(&["diagnose", &hostile])?;
            Ok(if said.contains("unknown") { Progress::Done(said) } else { Progress::Waiting(said) })
        })?;
        assert!(!said.contains('\u{1b}') && !said.contains('\u{7}'), "{said:?}");
        assert_eq!(s.condition(&healthy)?.context("the healthy one's condition")?.status, "True");
        assert!(s.condition(&hostile)?.is_none_or(|condition| condition.status != "True"));
        assert_eq!(agent_restarts(s)?, before, "the agent went on");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn gibibytes_in_a_record_file_are_given_back_at_once_and_others_lose_nothing() -> Result<()> {
    scenario(|s| {
        // 20 GiB, or half of what the node's disk has left.
        let folder = s.cluster()?.node().path(node::ROOT);
        let left: u64 = run("df", [OsStr::new("--output=avail"), OsStr::new("-B1"), folder.as_os_str()])?
            .lines()
            .next_back()
            .unwrap_or_default()
            .trim()
            .parse()?;
        let size = (left / 2).min(20 << 30);
        let line = format!("fallocate -l {size} {}", container::RECORDS);
        let (healthy, hostile) = beside_a_healthy_one(s, "true")?;
        let begun = Instant::now();
        s.shell(&hostile, "shell", &line)?;
        let largest = || -> Result<u64> {
            let sizes = s
                .grants()?
                .into_iter()
                .filter_map(|grant| Some(grant.join("records").metadata().ok()?.blocks() * 512));
            Ok(sizes.max().unwrap_or(0))
        };
        wait_for("the blocks to be given back", PATIENCE, || {
            let bytes = largest()?;
            Ok(if bytes <= 1 << 20 {
                Progress::Done(())
            } else {
                Progress::Waiting(format!("{bytes} bytes"))
            })
        })?;
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{:?}: fallocate and kubectl exec included",
            begun.elapsed()
        );
        let answer = s.generate(&healthy)?;
        assert_eq!(answer["eval_count"], 8, "{answer}");
        let series = format!("firstlight_gpu_in_use{{namespace=\"{}\",pod=\"{healthy}\"}}", s.namespace);
        s.metric(&series, |found| found.value > 0.0).map(drop)
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_probe_that_ends_the_container_while_the_driver_is_asked_is_named() -> Result<()> {
    scenario(|s| {
        let asks = [ASKED[0], (annotation::SIMULATE, "hang=cuInit:60")];
        let mut deployment = annotated(ollama("ollama", OLLAMA), &asks);
        deployment["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = serde_json::json!({
            "httpGet": {"path": "/", "port": "http"}, "periodSeconds": 2, "failureThreshold": 3
        });
        s.create(&deployment)?;
        let pod = s.pod_where("ollama", "started again", |pod| {
            pod.pointer("/status/containerStatuses/0/restartCount").and_then(serde_json::Value::as_u64)
                >= Some(1)
        })?;
        let condition = s.gpu_ready(&pod, "False")?;
        assert_eq!(condition.reason, "DiscoveryTimeout", "{condition:?}");
        Ok(())
    })
}
