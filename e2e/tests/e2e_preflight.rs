//! The preflight in its init container: what it leaves, what it keeps from starting, and what it never keeps.

use std::time::Duration;

use anyhow::{Context, Result};
use firstlight_contract::names::{added, annotation};
use firstlight_contract::preflight::{Outcome, Probe, Report};
use firstlight_e2e::harness::scenario::{PATIENCE, Scenario, scenario};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{
    BUSYBOX, MUSL, OLLAMA, annotated, ollama, ollama_pod, pod, shell_pod,
};
use serde_json::{Value, json};

/// Asks for a simulated GPU, with this preflight and these faults.
fn asking(object: Value, mode: &str, faults: &str) -> Value {
    let mut asks = vec![(annotation::GPU, "simulated"), (annotation::PREFLIGHT, mode)];
    if !faults.is_empty() {
        asks.push((annotation::SIMULATE, faults));
    }
    annotated(object, &asks)
}

/// How the preflight of a pod last ended.
#[derive(Debug)]
struct Ended {
    code: i64,
    report: Report,
}

/// Waits until a pod's preflight has ended once, in whatever state its container is now.
fn ended(s: &Scenario, name: &str) -> Result<Ended> {
    wait_for(&format!("the preflight of {name} to end"), PATIENCE, || {
        let pod = s.get("pod", name)?;
        let all = pod.pointer("/status/initContainerStatuses").and_then(Value::as_array).cloned();
        let mut statuses = all.unwrap_or_default().into_iter();
        let named = |status: &Value| status.get("name").is_some_and(|name| name == added::PREFLIGHT);
        let Some(status) = statuses.find(named) else {
            return Ok(Progress::Waiting(format!("{:?}", pod.get("status"))));
        };
        let states = ["/state/terminated", "/lastState/terminated"];
        let Some(end) = states.iter().find_map(|state| status.pointer(state)) else {
            return Ok(Progress::Waiting(status.to_string()));
        };
        let message = end.get("message").and_then(Value::as_str).unwrap_or_default();
        let report = Report::parse(message).with_context(|| format!("no report: {end}"))?;
        let code = end.get("exitCode").and_then(Value::as_i64).unwrap_or(-1);
        Ok(Progress::Done(Ended { code, report }))
    })
}

fn outcomes(report: &Report, probe: Probe) -> Vec<Outcome> {
    report.of(probe).map(|finding| finding.outcome).collect()
}

#[test]
#[ignore = "needs the local cluster"]
fn a_report_is_left_as_the_last_words_of_the_init_container_and_the_pod_starts() -> Result<()> {
    scenario(|s| {
        s.create(&asking(ollama("ollama", OLLAMA), "report", "init-returns=999"))?;
        let pod = s.ready_pod("ollama")?;
        let Ended { code, report } = ended(s, &pod)?;
        assert_eq!((code, report.foreign_lines), (0, 0), "{report:#?}");
        assert_eq!(outcomes(&report, Probe::Init), [Outcome::Code(999)], "{report:#?}");
        let backend = report.of(Probe::Load).find(|finding| finding.outcome == Outcome::Ok);
        assert!(backend.is_some_and(|finding| finding.subject.as_str().contains("cuda_v13")), "{report:#?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_certain_cause_keeps_a_pod_from_starting_where_that_was_asked() -> Result<()> {
    scenario(|s| {
        let broken = asking(pod("broken", &ollama_pod(OLLAMA)), "block", "no-export-table");
        s.create(&broken)?;
        let Ended { code, report } = ended(s, "broken")?;
        assert_eq!(code, 1, "{report:#?}");
        assert_eq!(outcomes(&report, Probe::Table), [Outcome::Absent], "{report:#?}");
        // It would start within seconds if it was let.
        std::thread::sleep(Duration::from_secs(5));
        let phase = s.get("pod", "broken")?.pointer("/status/phase").cloned();
        assert_eq!(phase, Some(json!("Pending")));
        let (_, text) = diagnosed(s, "broken", &[])?;
        assert!(text.contains("preflight (before the start)") && text.contains("cuGetExportTable"), "{text}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_gpu_that_works_and_one_that_may_work_start_in_block_mode() -> Result<()> {
    scenario(|s| {
        s.create(&asking(ollama("whole", OLLAMA), "block", ""))?;
        // A code alone is at most likely.
        s.create(&asking(ollama("likely", OLLAMA), "block", "init-returns=999"))?;
        let pod = s.ready_pod("whole")?;
        let Ended { code, report } = ended(s, &pod)?;
        assert_eq!(code, 0, "{report:#?}");
        assert_eq!(outcomes(&report, Probe::Launch), [Outcome::Ok], "{report:#?}");
        s.ready_pod("likely").map(drop)
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn images_without_glibc_are_never_kept() -> Result<()> {
    scenario(|s| {
        for (name, image, libc) in [("musl", MUSL, "musl"), ("static", BUSYBOX, "none")] {
            s.create(&asking(shell_pod(name, image, "true"), "block", ""))?;
            s.ready_pod(name)?;
            let Ended { code, report } = ended(s, name)?;
            assert_eq!(code, 0, "{report:#?}");
            let found = report.of(Probe::Libc).next().map(|finding| finding.subject.to_string());
            assert_eq!(found.as_deref(), Some(libc), "{report:#?}");
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_user_without_rights_in_a_read_only_image_leaves_a_report() -> Result<()> {
    scenario(|s| {
        let mut restricted = asking(shell_pod("restricted", BUSYBOX, "true"), "report", "");
        let context = json!({
            "runAsNonRoot": true, "runAsUser": 65_534, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        let container = restricted.pointer_mut("/spec/containers/0").and_then(Value::as_object_mut);
        container.context("no container")?.insert("securityContext".to_owned(), context);
        s.create(&restricted)?;
        s.ready_pod("restricted")?;
        assert_eq!(ended(s, "restricted")?.code, 0);
        Ok(())
    })
}

/// What `kubectl-firstlight diagnose` says of a pod: exit code and text.
fn diagnosed(s: &Scenario, pod: &str, words: &[&str]) -> Result<(Option<i32>, String)> {
    s.firstlight(&[&["diagnose", pod], words].concat())
}

#[test]
#[ignore = "needs the local cluster"]
fn a_running_container_is_probed_through_the_api_server() -> Result<()> {
    scenario(|s| {
        let whole = annotated(ollama("whole", OLLAMA), &[(annotation::GPU, "simulated")]);
        s.create(&whole)?;
        let asks = [(annotation::GPU, "simulated"), (annotation::SIMULATE, "context-returns=2")];
        s.create(&annotated(ollama("broken", OLLAMA), &asks))?;
        let (whole, broken) = (s.ready_pod("whole")?, s.ready_pod("broken")?);
        s.gpu_ready(&whole, "True")?;
        s.gpu_ready(&broken, "False")?;

        let (code, text) = diagnosed(s, &whole, &["--probe"])?;
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("probe (now, in the container)") && text.contains("cuLaunchKernel"), "{text}");

        let (code, text) = diagnosed(s, &broken, &["--probe", "--output", "json"])?;
        assert_eq!(code, Some(3), "{text}");
        let found: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let findings = found.pointer("/probe/findings").and_then(Value::as_array).cloned();
        let context = findings.unwrap_or_default().into_iter().find(|finding| finding["probe"] == "context");
        assert_eq!(context.context(text)?["outcome"], "code:2");
        assert!(found.pointer("/report/verdict").is_some() && found.pointer("/probe/conclusion").is_none());
        // What was probed leaves the container as it was.
        s.gpu_ready(&whole, "True").map(drop)
    })
}

/// The probe's processes are in the container's records, too, and get as far as the driver lets them.
#[test]
#[ignore = "needs the local cluster"]
fn a_probe_that_succeeds_does_not_make_a_pod_ready_that_ollama_left_on_the_cpu() -> Result<()> {
    scenario(|s| {
        let mut hidden = annotated(ollama("hidden", OLLAMA), &[(annotation::GPU, "simulated")]);
        let container = hidden.pointer_mut("/spec/template/spec/containers/0").and_then(Value::as_object_mut);
        let env = json!([{"name": "OLLAMA_LLM_LIBRARY", "value": "cpu"}]);
        container.context("no container")?.insert("env".to_owned(), env);
        s.create(&hidden)?;
        let pod = s.ready_pod("hidden")?;
        s.logged(&pod, "inference compute")?;
        let before = s.condition(&pod)?.map(|condition| (condition.status, condition.reason));
        assert_ne!(before.as_ref().map(|(status, _)| status.as_str()), Some("True"), "{before:?}");
        let (_, text) = diagnosed(s, &pod, &["--probe"])?;
        assert!(text.contains("cuLaunchKernel"), "the driver itself works: {text}");
        // The agent looks at its records much more often.
        std::thread::sleep(Duration::from_secs(10));
        let after = s.condition(&pod)?.map(|condition| condition.status);
        assert_ne!(after.as_deref(), Some("True"), "before: {before:?}");
        Ok(())
    })
}
