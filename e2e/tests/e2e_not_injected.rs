//! What was annotated and got nothing is told and counted, and what the Event advises helps.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use firstlight_contract::metrics;
use firstlight_contract::names::{annotation, event};
use firstlight_e2e::harness::install;
use firstlight_e2e::harness::scenario::{PATIENCE, Scenario, scenario, then_always};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{BUSYBOX, OLLAMA, annotated, ollama, ollama_pod, pod, shell_pod};
use serde_json::{Value, json};

const ASKED: [(&str, &str); 1] = [(annotation::GPU, "simulated")];
/// From the webhook's return to the Event and the metric.
const SAID: Duration = Duration::from_mins(1);

/// How many objects of a kind the metric counts in the namespace; `absent` answers 1 where there is no series.
fn counted(s: &Scenario, kind: &str, count: u32) -> Result<()> {
    let series = format!("{}{{namespace=\"{}\",kind=\"{kind}\"}}", metrics::NOT_INJECTED, s.namespace);
    let expression =
        if count == 0 { format!("absent({series})") } else { format!("max({series}) == {count}") };
    s.metric(&expression, |found| found.value > 0.0).map(drop)
}

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
        counted(s, "Pod", 1)?;
        counted(s, "Deployment", 2)?;
        let took = back.elapsed();
        assert!(took <= SAID, "said after {:.0} s", took.as_secs_f64());

        // Once each, although two replicas know it.
        let events =
            s.kubectl.get(["-n", &s.namespace, "events", "--field-selector", "reason=NotInjected"])?;
        assert_eq!(events["items"].as_array().map(Vec::len), Some(3), "{events}");

        for note in &of_deployments {
            s.kubectl.run(advice(note, '\n')?)?;
        }
        counted(s, "Deployment", 0)?;
        for name in ["later", "created"] {
            let injected = |pod: &Value| pod["metadata"]["annotations"][annotation::INJECTED].is_string();
            let pod = s.pod_where(name, "injected", injected)?;
            s.gpu_ready(&pod, "True")?;
        }
        s.kubectl.run(advice(&of_pod, ')')?)?;
        counted(s, "Pod", 0)?;
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

#[test]
#[ignore = "needs the local cluster"]
fn a_pod_and_a_running_job_that_are_annotated_too_late_say_so() -> Result<()> {
    scenario(|s| {
        s.create(&shell_pod("late", BUSYBOX, "true"))?;
        let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "ollama", "image": BUSYBOX, "command": ["sh", "-c", "sleep 3600"]}]});
        s.create(&json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "runs"},
            "spec": {"template": {"spec": spec}}}))?;
        s.ready_pod("late")?;
        for object in ["pod/late", "job/runs"] {
            s.run(["annotate", object, "firstlight.dev/gpu=simulated"])?;
        }
        let note = s.event("late", event::NOT_INJECTED)?;
        assert!(note.contains("the annotation was not there yet"), "{note}");
        let note = s.event("runs", event::NOT_INJECTED)?;
        assert!(note.contains("delete the Job"), "{note}");
        counted(s, "Job", 1)?;
        s.run(["annotate", "job", "runs", "firstlight.dev/gpu-"])?;
        counted(s, "Job", 0)
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn an_excluded_namespace_is_given_as_the_reason() -> Result<()> {
    scenario(|s| {
        let checks = || {
            install::chart(&[&format!("webhook.excludedNamespaces[0]={}", s.namespace)])?;
            s.create(&annotated(shell_pod("passed-over", BUSYBOX, "true"), &ASKED))?;
            let note = s.event("passed-over", event::NOT_INJECTED)?;
            assert!(note.contains("is excluded from Firstlight"), "{note}");
            counted(s, "Pod", 1)
        };
        then_always(checks, || install::chart(&[]))
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn what_is_injected_or_asks_for_nothing_is_not_among_them() -> Result<()> {
    scenario(|s| {
        s.create(&annotated(ollama("ollama", OLLAMA), &ASKED))?;
        s.create(&shell_pod("other", BUSYBOX, "true"))?;
        let pod = s.ready_pod("ollama")?;
        s.gpu_ready(&pod, "True")?;
        // The condition came seconds later than the watches saw all of them.
        counted(s, "Pod", 0)?;
        counted(s, "Deployment", 0)?;
        let events =
            s.kubectl.get(["-n", &s.namespace, "events", "--field-selector", "reason=NotInjected"])?;
        assert_eq!(events["items"].as_array().map(Vec::len), Some(0), "{events}");
        Ok(())
    })
}
