//! What the API server says to somebody who annotates wrongly.

use anyhow::Result;
use firstlight_contract::names::annotation;
use firstlight_e2e::harness::scenario::{Scenario, scenario};
use firstlight_e2e::harness::workload::{OLLAMA, annotated, ollama, ollama_pod, pod};

/// Deployment and pod are both refused, by a sentence with all of `words`.
fn refused(s: &Scenario, annotations: &[(&str, &str)], words: &[&str]) -> Result<()> {
    for object in [
        annotated(ollama("wrong", OLLAMA), annotations),
        annotated(pod("wrong", &ollama_pod(OLLAMA)), annotations),
    ] {
        let said = s.refused(&object)?;
        for word in words {
            assert!(said.contains(word), "{word:?} is missing in: {said}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs the local cluster"]
fn an_unknown_pool_is_refused_and_the_known_ones_are_named() -> Result<()> {
    scenario(|s| refused(s, &[(annotation::GPU, "nonesuch")], &[annotation::GPU, "nonesuch", "simulated"]))
}

#[test]
#[ignore = "needs the local cluster"]
fn a_count_that_is_none_is_refused() -> Result<()> {
    scenario(|s| {
        for count in ["0", "-1", "two", "1.5", ""] {
            refused(
                s,
                &[(annotation::GPU, "simulated"), (annotation::COUNT, count)],
                &[annotation::COUNT, count],
            )?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn an_unknown_fault_is_refused_and_the_known_ones_are_named() -> Result<()> {
    scenario(|s| {
        let asks = [(annotation::GPU, "simulated"), (annotation::SIMULATE, "gremlins")];
        refused(s, &asks, &[annotation::SIMULATE, "gremlins", "no-export-table"])
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_container_that_the_pod_does_not_have_is_refused() -> Result<()> {
    scenario(|s| {
        let asks = [(annotation::GPU, "simulated"), (annotation::CONTAINERS, "olama")];
        refused(s, &asks, &[annotation::CONTAINERS, "olama", "ollama"])
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn an_annotation_that_turns_wrong_later_is_refused_and_the_old_one_stays() -> Result<()> {
    scenario(|s| {
        s.create(&annotated(ollama("ollama", OLLAMA), &[(annotation::GPU, "simulated")]))?;
        let words = [
            "-n",
            &s.namespace,
            "annotate",
            "--overwrite",
            "deployment",
            "ollama",
            "firstlight.dev/gpu=nonesuch",
        ];
        let said = s.kubectl.refused(words)?;
        assert!(said.contains("nonesuch") && said.contains("simulated"), "{said}");
        assert_eq!(s.get("deployment", "ollama")?["metadata"]["annotations"][annotation::GPU], "simulated");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_second_pass_over_an_injected_pod_changes_nothing() -> Result<()> {
    scenario(|s| {
        s.create(&annotated(pod("once", &ollama_pod(OLLAMA)), &[(annotation::GPU, "simulated")]))?;
        let mut object = s.get("pod", "once")?;
        let spec = object["spec"].clone();
        let notes = object["metadata"]["annotations"].clone();
        object["metadata"] = serde_json::json!({"name": "twice", "annotations": notes});
        object["spec"] = spec.clone();
        object["spec"]["nodeName"] = serde_json::Value::Null;
        object["status"] = serde_json::Value::Null;
        s.create(&object)?;
        let twice = s.get("pod", "twice")?;
        assert_eq!(twice["spec"]["containers"], spec["containers"]);
        Ok(())
    })
}
