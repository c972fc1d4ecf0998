//! Without the agent: a report from the pod's condition and Events.

use super::pods::{condition_of, is_passed_over, mark};
use firstlight_contract::names::{annotation, condition, event};
use firstlight_diagnosis::report::{Report, VerdictReport};
use firstlight_diagnosis::{Cause, Confidence, Stage};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Client;
use kube::api::{Api, ListParams};

/// How sentences about a simulated GPU begin.
const SIMULATED: &str = "Simulated: ";

/// Our Events about a pod, oldest first: reason and message. None where they may not be read.
pub(super) async fn events(client: &Client, pod: &Pod) -> Vec<String> {
    const OURS: [&str; 4] =
        [event::CUDA_READY, event::CUDA_INIT_FAILED, event::CUDA_FALLBACK, event::NOT_INJECTED];
    let (Some(namespace), Some(uid)) = (&pod.metadata.namespace, &pod.metadata.uid) else {
        return Vec::new();
    };
    // By UID: the pods of a StatefulSet have the names of their predecessors.
    let params = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let Ok(mut list) = Api::<Event>::namespaced(client.clone(), namespace).list(&params).await else {
        return Vec::new();
    };
    list.items.sort_by_key(|event| {
        let seen = event.last_timestamp.as_ref().map(|time| time.0);
        seen.or_else(|| event.event_time.as_ref().map(|time| time.0))
    });
    list.items
        .iter()
        .filter_map(|event| {
            let reason = event.reason.as_deref().filter(|reason| OURS.contains(reason))?;
            Some(format!("Event {reason}: {}", event.message.as_deref().unwrap_or_default()))
        })
        .collect()
}

/// A report with what the condition says; `why` the agent did not speak stands first in the evidence.
pub(super) fn report(pod: &Pod, why: &str, events: &[String]) -> Report {
    let found = condition_of(pod, condition::GPU_READY);
    let reason = found.and_then(|found| found.reason.as_deref()).unwrap_or_default();
    let ready = match found.map(|found| found.status.as_str()) {
        Some("True") => "True",
        Some("False") => "False",
        _ => "Unknown",
    };
    let known = Cause::ALL.iter().copied().find(|cause| cause.reason() == reason);
    let cause = match (ready, known) {
        ("True", _) => Cause::Ok,
        (_, Some(cause)) => cause,
        (_, None) if is_passed_over(pod) => Cause::NotInjected,
        (_, None) => Cause::Unknown,
    };
    let outcome = match (ready, cause.is_failure()) {
        ("True", _) => "success",
        (_, true) => "failure",
        (_, false) => "unknown",
    };
    // That the mark is missing is seen on the pod itself; a condition does not say how sure its author was.
    let confidence = if known.is_none() && cause == Cause::NotInjected {
        Confidence::Certain
    } else {
        Confidence::Unknown
    };
    let fix = format!("{}.", cause.row().fix);
    let said = found.and_then(|found| found.message.as_deref());
    let summary = match said {
        Some(said) => said.strip_suffix(&fix).unwrap_or(said).trim_end().to_owned(),
        None if cause == Cause::NotInjected => {
            "The pod is annotated, but Firstlight's webhook did not change it.".to_owned()
        }
        None => format!("The pod has no condition {} yet.", condition::GPU_READY),
    };
    let simulated = reason == condition::REASON_SIMULATED || summary.starts_with(SIMULATED);
    let voice = if simulated { SIMULATED } else { "" };
    let mut evidence = vec![format!("{voice}Only the pod's condition and Events speak here: {why}.")];
    if let Some(words) = mark(pod, annotation::INJECTION).filter(|_| cause == Cause::NotInjected) {
        evidence.push(format!("The webhook: {words}"));
    }
    if let Some(waiting) = condition_of(pod, "PodScheduled").filter(|found| found.status == "False") {
        evidence.push(format!("The scheduler: {}", waiting.message.as_deref().unwrap_or("no node yet")));
    }
    evidence.extend(events.iter().cloned());
    // Where the reason is none of the catalogue's, nobody knows the stage.
    let stage = if cause == Cause::Unknown { Stage::Process } else { cause.row().stage };
    Report {
        verdict: VerdictReport {
            outcome: outcome.to_owned(),
            stage: stage.as_str().to_owned(),
            stage_number: stage.number(),
            cause: cause.id().to_owned(),
            confidence: confidence.as_str().to_owned(),
            ready: ready.to_owned(),
            confirmed: false,
            simulated,
            summary,
            evidence,
            ruled_out: Vec::new(),
            fix,
        },
        timeline: Vec::new(),
        processes: Vec::new(),
    }
}
