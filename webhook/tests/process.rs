//! The process: from its first certificate to its end.
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

use serde_json::json;
use std::process::Stdio;
use std::time::Duration;
use support::api_server::ApiServer;
use support::client::{Connection, get, text, trusting};
use support::process::{Webhook, command, eventually};

const REVIEWS: &str = "firstlight_webhook_reviews_total{outcome=\"mutated\",rule=\"pods\"}";

/// The Secret goes with the Deployment, and every webhook trusts what signs it.
fn assert_first_objects(api: &ApiServer) {
    let objects = api.objects.lock().unwrap();
    let secret = objects.secret.clone().unwrap();
    assert_eq!(secret["type"], "kubernetes.io/tls");
    assert_eq!(
        secret["metadata"]["ownerReferences"],
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "hook", "uid": "uid-of-the-deployment"}])
    );
    let hooks = objects.configuration["webhooks"].as_array().unwrap();
    assert!(hooks.iter().all(|hook| hook["clientConfig"]["caBundle"] == secret["data"]["ca.crt"]));
}

#[tokio::test]
async fn it_makes_a_certificate_that_the_api_server_trusts_and_answers_a_review() {
    let api = ApiServer::start().await;
    let webhook = Webhook::start(&api, &["--settle=300ms"]);
    webhook.ready().await;
    assert_eq!(api.writes(), ["create secret", "patch configuration"]);
    assert_first_objects(&api);

    let mut connection =
        Connection::open(webhook.admission, &trusting(&api.bundle(Duration::ZERO))).await.unwrap();
    assert!(connection.mutates().await.unwrap());
    assert_eq!(connection.post("rubbish").await.unwrap().status(), 400);
    assert!((webhook.metric(REVIEWS) - 1.0).abs() < 0.1);
    let seconds = "firstlight_webhook_review_duration_seconds_count{rule=\"pods\"}";
    assert!((webhook.metric(seconds) - 2.0).abs() < 0.1);
    let expiry = webhook.metric("firstlight_webhook_certificate_expiry_timestamp_seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((expiry - now - 2160.0 * 3600.0).abs() < 60.0, "{expiry}");
    assert_eq!(get(webhook.metrics, "/healthz"), (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn a_replica_that_comes_later_takes_what_is_there() {
    let api = ApiServer::start().await;
    let first = Webhook::start(&api, &["--settle=100ms"]);
    first.ready().await;
    let writes = api.writes();
    let second = Webhook::start(&api, &["--settle=1h"]);
    second.ready().await;
    assert_eq!(api.writes(), writes);
    let trusting = trusting(&api.bundle(Duration::ZERO));
    let one = Connection::open(first.admission, &trusting).await.unwrap().certificate;
    assert_eq!(Connection::open(second.admission, &trusting).await.unwrap().certificate, one);
}

#[tokio::test]
async fn without_the_api_server_it_says_so_and_goes_on_trying() {
    let api = ApiServer::start().await;
    api.objects.lock().unwrap().broken = true;
    let webhook = Webhook::start(&api, &["--settle=100ms"]);
    let why = eventually(|| match get(webhook.metrics, "/readyz") {
        (503, why) if why.contains("cannot read secret ns/hook-tls") => Ok(why),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(why.starts_with("certificate: "), "{why}");
    assert!(webhook.metric("firstlight_webhook_certificate_failures_total") >= 1.0);
    assert_eq!(get(webhook.metrics, "/healthz").0, 200);
    api.objects.lock().unwrap().broken = false;
    webhook.ready().await;
    // What worked once goes on working when the API server goes away.
    api.objects.lock().unwrap().broken = true;
    let failures = webhook.metric("firstlight_webhook_certificate_failures_total");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(get(webhook.metrics, "/readyz").0, 200, "after {failures} failures");
}

#[tokio::test]
async fn a_ca_bundle_that_somebody_took_away_comes_back() {
    let api = ApiServer::start().await;
    let webhook = Webhook::start(&api, &["--settle=100ms", "--reload=100ms"]);
    webhook.ready().await;
    let bundle = api.bundle(Duration::ZERO);
    for hook in api.objects.lock().unwrap().configuration["webhooks"].as_array_mut().unwrap() {
        hook["clientConfig"]["caBundle"] = json!("Cg==");
    }
    eventually(|| match api.writes().len() {
        3 => Ok(()),
        _ => Err(format!("{:?}\n{}", api.writes(), webhook.log())),
    })
    .await;
    assert_eq!(api.bundle(Duration::ZERO), bundle);
}

#[tokio::test]
async fn sigterm_makes_it_unready_then_answers_what_is_in_flight_and_ends_with_0() {
    let api = ApiServer::start().await;
    let mut webhook = Webhook::start(&api, &["--settle=100ms", "--linger=1s"]);
    webhook.ready().await;
    let connector = trusting(&api.bundle(Duration::ZERO));
    let mut old = Connection::open(webhook.admission, &connector).await.unwrap();
    assert!(old.mutates().await.unwrap());
    webhook.terminate();
    eventually(|| match get(webhook.metrics, "/readyz") {
        (503, why) if why.starts_with("draining") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // Old and new connections are served for a while, and told to go elsewhere.
    let mut new = Connection::open(webhook.admission, &connector).await.unwrap();
    for connection in [&mut old, &mut new] {
        let response = connection.post(support::client::POD).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["connection"], "close");
        assert!(text(response).await.unwrap().contains("\"patch\":"));
    }
    assert_eq!(webhook.ended().await.code(), Some(0), "{}", webhook.log());
}

#[test]
fn wrong_usage_ends_with_64_and_says_everything() {
    let output = command().args(["--config=/nowhere", "--listen=x"]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    for word in ["--config /nowhere", "--listen x", "--secret", "--service"] {
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_ends_it_with_1() {
    let api = ApiServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let pools = folder.path().join("pools.yaml");
    std::fs::write(&pools, support::process::POOLS).unwrap();
    let output = command()
        .arg(format!("--config={}", pools.display()))
        .arg(format!("--metrics-listen={}", api.address))
        .args(["--listen=127.0.0.1:0", "--tls-dir=/nowhere"])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot listen on"));
}
