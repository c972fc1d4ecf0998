//! A pod that asks for the gate gets no traffic before a usable GPU was seen in it, and none after it was lost.
#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for a name that it does not have")]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use firstlight_contract::names::annotation;
use firstlight_contract::names::condition::GPU_READY;
use firstlight_e2e::harness::scenario::{PATIENCE, Scenario, scenario};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{OLLAMA, annotated, ollama, ollama_pod, pod};
use serde_json::{Value, json};

const ASKED: (&str, &str) = (annotation::GPU, "simulated");
const GATED: (&str, &str) = (annotation::GATE, "ready");

/// From the start of a runner that falls back to the end of traffic.
const TRAFFIC_ENDS: Duration = Duration::from_secs(30);

/// Status of a condition.
fn status(object: &Value, kind: &str) -> String {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.map_or("missing", |condition| condition["status"].as_str().unwrap_or_default()).to_owned()
}

/// An Ollama that starts some time after its container, which has no probe: the container is ready before it.
fn late_ollama(asks: &[(&str, &str)]) -> Value {
    let mut spec = ollama_pod(OLLAMA);
    spec["containers"][0]["readinessProbe"] = Value::Null;
    spec["containers"][0]["command"] = json!(["sh", "-c", "sleep 15; exec ollama serve"]);
    annotated(pod("late", &spec), asks)
}

/// Waits until the containers of a pod are ready.
fn containers_ready(s: &Scenario, pod: &str) -> Result<Value> {
    wait_for(&format!("the containers of {pod} to be ready"), PATIENCE, || {
        let object = s.get("pod", pod)?;
        Ok(match status(&object, "ContainersReady").as_str() {
            "True" => Progress::Done(object),
            _ => Progress::Waiting(object["status"].to_string()),
        })
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_gated_pod_becomes_ready_with_its_gpu_and_not_before() -> Result<()> {
    scenario(|s| {
        s.create(&late_ollama(&[ASKED, GATED]))?;
        let object = containers_ready(s, "late")?;
        assert_eq!(object["spec"]["readinessGates"], json!([{"conditionType": GPU_READY}]));
        assert_eq!(status(&object, "Ready"), "False", "nothing has asked for the GPU yet: {object}");
        wait_for("the gated pod to be ready", PATIENCE, || {
            let object = s.get("pod", "late")?;
            let (ready, gpu) = (status(&object, "Ready"), status(&object, GPU_READY));
            assert!(ready != "True" || gpu == "True", "ready without a GPU: {object}");
            Ok(if ready == "True" {
                Progress::Done(())
            } else {
                Progress::Waiting(object["status"].to_string())
            })
        })
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_pod_without_the_annotation_has_no_gate_and_is_ready_without_a_gpu() -> Result<()> {
    scenario(|s| {
        s.create(&late_ollama(&[ASKED, (annotation::SIMULATE, "init-returns=999")]))?;
        s.ready_pod("late")?;
        assert!(s.get("pod", "late")?["spec"]["readinessGates"].is_null());
        s.gpu_ready("late", "False")?;
        assert_eq!(status(&s.get("pod", "late")?, "Ready"), "True");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_gated_pod_whose_driver_fails_never_becomes_ready_and_says_why() -> Result<()> {
    scenario(|s| {
        s.create(&annotated(
            ollama("ollama", OLLAMA),
            &[ASKED, GATED, (annotation::SIMULATE, "init-returns=999")],
        ))?;
        let running = |pod: &Value| status(pod, "ContainersReady") == "True";
        let pod = s.pod_where("ollama", "serving", running)?;
        let condition = s.gpu_ready(&pod, "False")?;
        assert_eq!(condition.reason, "DriverInitFailed", "{condition:?}");
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            let object = s.get("pod", &pod)?;
            assert_ne!(status(&object, "Ready"), "True", "{object}");
            thread::sleep(Duration::from_millis(500));
        }
        let said =
            s.run(["get", "pod", &pod, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].message}"])?;
        assert!(said.contains(GPU_READY), "the kubelet names the gate: {said}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_gpu_that_is_lost_later_ends_the_traffic_within_30_seconds() -> Result<()> {
    scenario(|s| {
        let asks = [ASKED, GATED, (annotation::SIMULATE, "lost-after-launches=5")];
        s.create(&annotated(ollama("ollama", OLLAMA), &asks))?;
        s.create(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ollama"},
            "spec": {"selector": {"app": "ollama"}, "ports": [{"port": 11434}]}}))?;
        let pod = s.ready_pod("ollama")?;
        traffic(s, true)?;
        let started = Instant::now();
        let ended = thread::scope(|scope| {
            // Whether Ollama falls back or answers with an error is Ollama's business.
            let request = scope.spawn(|| s.generate(&pod));
            let ended = traffic(s, false).map(|()| started.elapsed());
            request.join().map(drop).map_err(|_| anyhow!("the request panicked"))?;
            ended
        })?;
        assert!(ended <= TRAFFIC_ENDS, "the endpoint left after {:.1} s", ended.as_secs_f64());
        s.gpu_ready(&pod, "False").map(drop)
    })
}

/// Waits until the Service has an endpoint that takes traffic, or none.
fn traffic(s: &Scenario, wanted: bool) -> Result<()> {
    let selector = "kubernetes.io/service-name=ollama";
    wait_for(&format!("the Service to take traffic: {wanted}"), PATIENCE, || {
        let slices = s.kubectl.get(["-n", &s.namespace, "endpointslices", "-l", selector])?;
        let slices = slices["items"].as_array().cloned().unwrap_or_default();
        let mut endpoints = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
        let takes = endpoints.any(|endpoint| endpoint["conditions"]["ready"] == true);
        Ok(if takes == wanted { Progress::Done(()) } else { Progress::Waiting(format!("{slices:?}")) })
    })
}
