//! What was annotated and never injected: found, told, counted, forgotten.
#![cfg(test)]
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "a test fails by panicking, and uses its part of the support"
)]

mod support {
    pub mod api_server;
    pub mod client;
    pub mod process;
}

use serde_json::{Value, json};
use std::time::Duration;
use support::api_server::ApiServer;
use support::client::get;
use support::process::{Webhook, eventually};

const PODS: &str = "firstlight_not_injected{kind=\"Pod\",namespace=\"ai\"}";
const DEPLOYMENTS: &str = "firstlight_not_injected{kind=\"Deployment\",namespace=\"ai\"}";
const FAILURES: &str = "firstlight_webhook_search_failures_total";

fn pod(name: &str, annotations: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "ai", "uid": format!("uid-of-{name}"), "resourceVersion": "1",
        "annotations": annotations}})
}

fn missed(name: &str) -> Value {
    pod(name, &json!({"firstlight.dev/gpu": "simulated"}))
}

fn deployment(template: &Value) -> Value {
    let mut object = missed("ollama");
    object["spec"] = json!({"template": {"metadata": {"annotations": template}}});
    object
}

/// Metrics say this of a series; `None`: they do not have it.
async fn counted(webhook: &Webhook, series: &str, wanted: Option<&str>) {
    eventually(|| {
        let text = get(webhook.metrics, "/metrics").1;
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        if found == wanted { Ok(()) } else { Err(format!("{series} is {found:?}\n{}", webhook.log())) }
    })
    .await;
}

/// The notes of the Events, by object, once there are so many.
async fn told(api: &ApiServer, many: usize) -> Vec<(String, String)> {
    eventually(|| {
        let objects = api.objects.lock().unwrap();
        if objects.events.len() < many {
            return Err(format!("{:?}", objects.events));
        }
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let about = |event: &Value| {
            assert_eq!((&event["reason"], &event["type"]), (&json!("NotInjected"), &json!("Warning")));
            (text(&event["regarding"]["name"]), text(&event["note"]))
        };
        Ok(objects.events.values().map(about).collect())
    })
    .await
}

#[tokio::test]
async fn what_was_annotated_while_no_webhook_ran_is_told_and_counted() {
    let api = ApiServer::start().await;
    api.change("pods", "ADDED", &missed("missed"));
    api.change(
        "pods",
        "ADDED",
        &pod("injected", &json!({"firstlight.dev/gpu": "simulated", "firstlight.dev/injected": "1"})),
    );
    for other in 0..120 {
        api.change("pods", "ADDED", &pod(&format!("other-{other}"), &json!({"a": "b"})));
    }
    // On a later page of the list.
    api.change("pods", "ADDED", &missed("also-missed"));
    api.change("deployments", "ADDED", &deployment(&json!({})));
    let webhook = Webhook::start(&api, &["--settle=100ms"]);
    counted(&webhook, PODS, Some("2")).await;
    counted(&webhook, DEPLOYMENTS, Some("1")).await;
    let told = told(&api, 3).await;
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["also-missed", "missed", "ollama"]);
    assert!(told[1].1.contains("kubectl -n ai delete pod missed"), "{told:?}");
    assert!(told[2].1.contains("annotate --overwrite deployment ollama"), "{told:?}");
    assert!(webhook.metric(FAILURES) < 0.5, "{}", webhook.log());
}

#[tokio::test]
async fn one_that_comes_later_is_found_and_one_that_goes_or_is_cured_is_forgotten() {
    let api = ApiServer::start().await;
    let webhook = Webhook::start(&api, &["--settle=100ms"]);
    webhook.ready().await;
    api.change("pods", "ADDED", &missed("missed"));
    api.change("deployments", "ADDED", &deployment(&json!({})));
    counted(&webhook, PODS, Some("1")).await;
    counted(&webhook, DEPLOYMENTS, Some("1")).await;
    api.change("pods", "DELETED", &missed("missed"));
    api.change("deployments", "MODIFIED", &deployment(&json!({"firstlight.dev/gpu": "simulated"})));
    counted(&webhook, PODS, None).await;
    counted(&webhook, DEPLOYMENTS, None).await;
}

#[tokio::test]
async fn two_replicas_tell_once_and_count_the_same() {
    let api = ApiServer::start().await;
    api.change("pods", "ADDED", &missed("missed"));
    let replicas = [Webhook::start(&api, &["--settle=100ms"]), Webhook::start(&api, &["--settle=100ms"])];
    for replica in &replicas {
        counted(replica, PODS, Some("1")).await;
    }
    eventually(|| {
        let writes = api.writes().iter().filter(|write| *write == "create event").count();
        if writes >= 2 { Ok(()) } else { Err(format!("{writes} attempts")) }
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(told(&api, 1).await.len(), 1);
    for replica in &replicas {
        assert!(replica.metric(FAILURES) < 0.5, "{}", replica.log());
    }
}

#[tokio::test]
async fn an_excluded_namespace_is_given_as_the_reason() {
    let api = ApiServer::start().await;
    api.change("pods", "ADDED", &missed("missed"));
    let webhook = Webhook::start(&api, &["--settle=100ms", "--excluded-namespaces=kube-system,ai"]);
    let told = told(&api, 1).await;
    assert!(told[0].1.contains("the namespace ai is excluded"), "{told:?}\n{}", webhook.log());
}

#[tokio::test]
async fn without_the_api_server_it_goes_on_looking() {
    let api = ApiServer::start().await;
    api.change("pods", "ADDED", &missed("missed"));
    api.objects.lock().unwrap().broken = true;
    let webhook = Webhook::start(&api, &["--settle=100ms"]);
    eventually(|| match webhook.log() {
        log if log.contains("cannot watch pods") => Ok(()),
        log => Err(log),
    })
    .await;
    assert!(webhook.metric(FAILURES) >= 1.0);
    api.objects.lock().unwrap().broken = false;
    counted(&webhook, PODS, Some("1")).await;
}

#[tokio::test]
async fn who_does_not_want_the_search_has_none() {
    let api = ApiServer::start().await;
    api.change("pods", "ADDED", &missed("missed"));
    let webhook = Webhook::start(&api, &["--settle=100ms", "--search=false"]);
    webhook.ready().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(api.objects.lock().unwrap().events.is_empty());
    counted(&webhook, PODS, None).await;
}
