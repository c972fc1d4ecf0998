use super::*;
use crate::grants::Owner;
use firstlight_diagnosis::{Cause, Event as Told};

fn condition() -> WantedCondition {
    WantedCondition {
        namespace: "ns".to_owned(),
        pod: "ollama-0".to_owned(),
        uid: "u".to_owned(),
        status: Truth::False,
        reason: "ExportTableMissing",
        message: "why".to_owned(),
    }
}

fn wanted_event() -> WantedEvent {
    WantedEvent {
        grant: "g".into(),
        owner: Owner {
            namespace: "ns".to_owned(),
            pod: "ollama-0".to_owned(),
            uid: Some("u".to_owned()),
            container: "ollama".to_owned(),
            init: false,
        },
        cause: Cause::Unknown,
        event: Told { reason: "CudaReady", warning: false, message: "It works.".to_owned() },
    }
}

#[test]
fn the_patch_holds_our_condition_and_nothing_else() {
    let patch = condition_patch(&condition(), Timestamp::from_millisecond(1_700_000_000_900).unwrap());
    assert_eq!(
        patch,
        json!({
            "metadata": { "uid": "u" },
            "status": { "conditions": [{
                "type": "firstlight.dev/GpuReady", "status": "False", "reason": "ExportTableMissing",
                "message": "why", "lastTransitionTime": "2023-11-14T22:13:20Z",
            }] },
        })
    );
}

#[test]
fn the_same_outcome_of_the_same_pod_is_the_same_event() {
    let name = |wanted: &WantedEvent| event(wanted, "node-a", Timestamp::now()).metadata.name.unwrap();
    let again = wanted_event();
    assert_eq!(name(&wanted_event()), name(&again));
    let mut other = wanted_event();
    other.owner.uid = Some("another".to_owned());
    assert_ne!(name(&wanted_event()), name(&other));
}

#[test]
fn an_event_is_about_the_container() {
    let event = event(&wanted_event(), "node-a", Timestamp::now());
    let about = event.regarding.unwrap();
    assert_eq!(about.field_path.as_deref(), Some("spec.containers{ollama}"));
    assert_eq!((event.reason.as_deref(), event.type_.as_deref()), (Some("CudaReady"), Some("Normal")));
}
