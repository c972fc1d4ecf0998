//! Causes that only a cluster can make happen, beside their look-alikes; and ends of a container that are none.

use anyhow::{Context, Result};
use firstlight_contract::names::annotation;
use firstlight_e2e::harness::scenario::{PATIENCE, scenario};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{BUSYBOX, OLLAMA, annotated, ollama_pod, pod, shell_pod};
use firstlight_testing::causes::{Made, row};
use serde_json::{Value, json};

const ASKED: (&str, &str) = (annotation::GPU, "simulated");

#[test]
#[ignore = "needs the local cluster"]
fn a_pod_without_the_webhooks_mark_is_told_from_one_that_has_it_and_leaves_no_record() -> Result<()> {
    scenario(|s| {
        s.create(&shell_pod("late", BUSYBOX, "true"))?;
        s.ready_pod("late")?;
        s.run(["annotate", "pod", "late", "firstlight.dev/gpu=simulated"])?;
        // The shell is static: no preload reaches it.
        s.create(&annotated(shell_pod("silent", BUSYBOX, "true"), &[ASKED]))?;
        let (late, silent) =
            (s.diagnosed("late", "not-injected")?, s.diagnosed("silent", "recorder-not-loaded")?);
        let made = late.made("a pod that is annotated after its creation");
        let twin = silent.made("an injected pod whose program is static");
        row(env!("CARGO_TARGET_TMPDIR"), "not-injected", &made, "recorder-not-loaded", &twin)
            .context("the row")
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_discovery_that_came_too_early_is_told_from_a_driver_that_still_fails() -> Result<()> {
    scenario(|s| {
        // The fault is in Ollama's environment only: a probe finds a driver that is ready by now.
        let mut early = ollama_pod(OLLAMA);
        early["containers"][0]["command"] =
            json!(["sh", "-c", "FIRSTLIGHT_SIMULATE=init-returns=3 exec ollama serve"]);
        s.create(&annotated(pod("early", &early), &[ASKED]))?;
        let asks = [ASKED, (annotation::SIMULATE, "init-returns=3")];
        s.create(&annotated(pod("broken", &ollama_pod(OLLAMA)), &asks))?;
        s.diagnosed("early", "driver-init-failed")?;
        let broken = s.diagnosed("broken", "driver-init-failed")?;

        let probed = |pod: &str| -> Result<Value> {
            let (_, text) = s.firstlight(&["diagnose", pod, "--probe", "--output", "json"])?;
            serde_json::from_str(&text).with_context(|| text.clone())
        };
        let found = probed("early")?;
        let word = |name: &str| found["probe"]["conclusion"][name].as_str().unwrap_or_default().to_owned();
        let (cause, confidence) = (word("cause"), word("confidence"));
        let how = "Ollama found a driver that was not ready; a probe finds it ready";
        let made = Made { how, cause: &cause, confidence: &confidence };
        assert!(probed("broken")?["probe"]["conclusion"].is_null(), "the driver still fails");
        let twin = broken.made("the probe finds the driver as Ollama did");
        row(env!("CARGO_TARGET_TMPDIR"), "discovery-before-driver-ready", &made, "driver-init-failed", &twin)
            .with_context(|| format!("{found:#}"))
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_container_that_used_up_its_memory_says_so_and_blames_no_driver() -> Result<()> {
    scenario(|s| {
        let mut spec = ollama_pod(OLLAMA);
        let container = &mut spec["containers"][0];
        // It grows while the driver is asked, beyond what the container may have.
        container["command"] = json!(["sh", "-c", "ollama serve & sleep 3; exec tail /dev/zero"]);
        container["resources"] = json!({"limits": {"memory": "300Mi"}});
        container["readinessProbe"] = Value::Null;
        let asks = [ASKED, (annotation::SIMULATE, "hang=cuInit:60")];
        s.create(&annotated(pod("grows", &spec), &asks))?;
        let report = wait_for("the diagnosis to name the end", PATIENCE, || {
            let (_, text) = s.firstlight(&["diagnose", "grows", "--output", "json"])?;
            let report: Value = serde_json::from_str(&text).unwrap_or_default();
            let named = report["verdict"]["evidence"].to_string().contains("OOMKilled");
            Ok(if named { Progress::Done(report) } else { Progress::Waiting(text) })
        })?;
        let verdict = &report["verdict"];
        assert_eq!(
            (&verdict["cause"], &verdict["outcome"]),
            (&json!("unknown"), &json!("unknown")),
            "{verdict:#}"
        );
        Ok(())
    })
}
