//! What is read of a pod.

use super::*;
use serde_json::{Value, json};

/// A pod with these containers and this status.
fn pod(containers: &[Value], init: &[Value], status: &Value) -> Pod {
    let wire = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "ns", "name": "p", "uid": "u", "creationTimestamp": "2023-11-14T22:13:20Z"},
        "spec": {"containers": containers, "initContainers": init},
        "status": status,
    });
    Pod::of(&serde_json::from_value(wire).unwrap()).unwrap().1
}

fn container(name: &str, limits: &Value) -> Value {
    json!({"name": name, "resources": {"limits": limits}})
}

fn ours(name: &str) -> Value {
    container(name, &json!({"firstlight.dev/watch": "1"}))
}

#[test]
fn gpus_of_another_vendors_plugin_are_counted_and_claims_make_the_number_unknown() {
    let foreign = |resources: &Value| {
        let container = json!({"name": "c", "resources": resources});
        pod(&[container], &[], &json!({})).containers[0].foreign_gpus
    };
    let watch = ("firstlight.dev/watch", "1");
    assert_eq!(foreign(&json!({"limits": {watch.0: watch.1}})), Some(0));
    assert_eq!(foreign(&json!({"limits": {watch.0: watch.1, "nvidia.com/gpu": "2", "cpu": "1"}})), Some(2));
    assert_eq!(foreign(&json!({"limits": {watch.0: watch.1, "nvidia.com/mig-1g.5gb": 1}})), Some(1));
    assert_eq!(foreign(&json!({"limits": {watch.0: watch.1}, "claims": [{"name": "gpu"}]})), None);
}

/// The status of an init container that ended with this message.
fn ended(name: &str, state: &str, message: &str) -> Value {
    json!({"name": name, state: {"terminated":
        {"exitCode": 0, "finishedAt": "2023-11-14T22:13:25Z", "message": message}}})
}

fn told(containers: &[&str], statuses: &[Value]) -> Vec<Option<String>> {
    let containers: Vec<Value> = containers.iter().map(|name| ours(name)).collect();
    let pod = pod(&containers, &[ours("firstlight-preflight")], &json!({"initContainerStatuses": statuses}));
    let apps = pod.containers.iter().filter(|container| !container.init);
    apps.map(|container| container.preflight.as_ref().map(|told| told.report.encode(4096))).collect()
}

const REPORT: &str = "firstlight-preflight 1\ninit\tcode:999\t3\n";

#[test]
fn a_preflights_report_is_read_from_the_message_of_its_last_run() {
    for state in ["state", "lastState"] {
        let found = told(&["ollama"], &[ended("firstlight-preflight", state, REPORT)]);
        assert_eq!(found, [Some(REPORT.to_owned())], "{state}");
    }
    assert_eq!(told(&["ollama"], &[ended("firstlight-preflight", "state", "Killed")]), [None]);
    assert_eq!(told(&["ollama"], &[ended("download", "state", REPORT)]), [None]);
}

#[test]
fn of_several_containers_each_has_the_report_of_its_own_preflight() {
    let statuses = [ended("firstlight-preflight-b", "state", REPORT)];
    assert_eq!(told(&["a", "b"], &statuses), [None, Some(REPORT.to_owned())]);
    assert_eq!(told(&["a", "b"], &[ended("firstlight-preflight", "state", REPORT)]), [None, None], "whose?");
}
