//! What was annotated while the webhook was away is told when it is back, and what the Event advises helps.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use firstlight_contract::names::{annotation, event};
use firstlight_e2e::harness::install;
use firstlight_e2e::harness::scenario::{PATIENCE, scenario, then_always};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{OLLAMA, annotated, ollama, ollama_pod, pod};
use serde_json::{Value, json};

const ASKED: [(&str, &str); 1] = [(annotation::GPU, "simulated")];
/// From the webhook's return to the Event and the metric.
const SAID: Duration = Duration::from_mins(1);

/// The command in an Event's text, up to `end`.
fn advice(note: &str, end: char) -> Result<Vec<&str>> {
    let (_, command) = note.split_once("kubectl ").with_context(|| format!("no command in: {note}"))?;
    Ok(command.split(end).next().unwrap_or_default().split_whitespace().collect())
}

#[test]
#[ignore = "needs the local cluster"]
fn what_was_annotated_while_the_webhook_was_away_is_said_when_it_is_back_and_can_be_cured() -> Result<()> {
    scenario(|s| {
        s.create(&ollama("later", OLLAMA))?;
        s.ready_pod("later")?;
        let meanwhile = || {
            install::webhook_replicas(0)?;
            s.run(["annotate", "deployment", "later", "firstlight.dev/gpu=simulated"])?;
            s.create(&annotated(ollama("created", OLLAMA), &ASKED))?;
            s.create(&annotated(pod("missed", &ollama_pod(OLLAMA)), &ASKED))?;
            s.ready_pod("missed").map(drop)
        };
        then_always(meanwhile, || install::webhook_replicas(2))?;

        let back = Instant::now();
        let of_pod = s.event("missed", event::NOT_INJECTED)?;
        let of_deployments = ["later", "created"]
            .map(|name| s.event(name, event::NOT_INJECTED))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        s.not_injected("Pod", 1)?;
        s.not_injected("Deployment", 2)?;
        let took = back.elapsed();
        assert!(took <= SAID, "said after {:.0} s", took.as_secs_f64());

        // Once each, although two replicas know it.
        let events =
            s.kubectl.get(["-n", &s.namespace, "events", "--field-selector", "reason=NotInjected"])?;
        assert_eq!(events["items"].as_array().map(Vec::len), Some(3), "{events}");

        for note in &of_deployments {
            s.kubectl.run(advice(note, '\n')?)?;
        }
        s.not_injected("Deployment", 0)?;
        for name in ["later", "created"] {
            let injected = |pod: &Value| pod["metadata"]["annotations"][annotation::INJECTED].is_string();
            let pod = s.pod_where(name, "injected", injected)?;
            s.gpu_ready(&pod, "True")?;
        }
        s.kubectl.run(advice(&of_pod, ')')?)?;
        s.not_injected("Pod", 0)?;
        s.create(&annotated(pod("missed", &ollama_pod(OLLAMA)), &ASKED))?;
        s.gpu_ready("missed", "True").map(drop)
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_pod_of_a_controller_is_made_anew_as_the_event_advises() -> Result<()> {
    scenario(|s| {
        let mut deployment = ollama("ollama", OLLAMA);
        deployment["spec"]["template"]["metadata"]["annotations"] = json!({annotation::GPU: "simulated"});
        let meanwhile = || {
            install::webhook_replicas(0)?;
            s.create(&deployment)?;
            s.ready_pod("ollama")
        };
        let missed = then_always(meanwhile, || install::webhook_replicas(2))?;
        let note = s.event(&missed, event::NOT_INJECTED)?;
        assert!(note.contains("its ReplicaSet ollama-"), "{note}");
        s.kubectl.run(advice(&note, '\n')?)?;
        let anew = wait_for("another pod", PATIENCE, || {
            let pod = s.ready_pod("ollama")?;
            Ok(if pod == missed { Progress::Waiting(pod) } else { Progress::Done(pod) })
        })?;
        s.gpu_ready(&anew, "True").map(drop)
    })
}
