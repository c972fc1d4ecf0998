//! What was annotated and got nothing is told and counted, and nothing else is.

use anyhow::Result;
use firstlight_contract::names::{annotation, event};
use firstlight_e2e::harness::install::EXCLUDED_NAMESPACE;
use firstlight_e2e::harness::scenario::{scenario, scenario_in};
use firstlight_e2e::harness::workload::{BUSYBOX, OLLAMA, annotated, ollama, shell_pod};
use serde_json::json;

const ASKED: [(&str, &str); 1] = [(annotation::GPU, "simulated")];

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
        s.not_injected("Job", 1)?;
        s.run(["annotate", "job", "runs", "firstlight.dev/gpu-"])?;
        s.not_injected("Job", 0)
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn an_excluded_namespace_is_given_as_the_reason() -> Result<()> {
    scenario_in(EXCLUDED_NAMESPACE, &[], |s| {
        s.create(&annotated(shell_pod("passed-over", BUSYBOX, "true"), &ASKED))?;
        let note = s.event("passed-over", event::NOT_INJECTED)?;
        assert!(note.contains("is excluded from Firstlight"), "{note}");
        s.not_injected("Pod", 1)
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
        s.not_injected("Pod", 0)?;
        s.not_injected("Deployment", 0)?;
        let events =
            s.kubectl.get(["-n", &s.namespace, "events", "--field-selector", "reason=NotInjected"])?;
        assert_eq!(events["items"].as_array().map(Vec::len), Some(0), "{events}");
        Ok(())
    })
}
