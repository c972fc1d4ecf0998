//! What the policies of the chart deny to our own service accounts, and what they allow.

use std::process::Command;

use anyhow::{Context, Result};
use firstlight_contract::names::condition::GPU_READY;
use firstlight_e2e::command::output;
use firstlight_e2e::harness::install::NAMESPACE;
use firstlight_e2e::harness::scenario::{Scenario, scenario};
use firstlight_e2e::harness::workload::{BUSYBOX, shell_pod};
use serde_json::{Value, json};

/// The kubeconfig that a pod of ours has: its service account's token, bound to the pod.
fn kubeconfig_of(s: &Scenario, component: &str) -> Result<Value> {
    let account = format!("firstlight-{component}");
    let selector = format!("app.kubernetes.io/component={component}");
    let pods = s.kubectl.get(["-n", NAMESPACE, "pods", "-l", &selector])?;
    let pod = pods.pointer("/items/0/metadata/name").and_then(Value::as_str).context("no pod of ours")?;
    let bound = ["--bound-object-kind=Pod", "--bound-object-name", pod];
    let token = s.kubectl.run(["-n", NAMESPACE, "create", "token", &account].into_iter().chain(bound))?;
    // With the administrator's certificate in reach the token would not be looked at.
    let mut config: Value = serde_json::from_str(&s.kubectl.run(["config", "view", "--raw", "-o", "json"])?)?;
    let user = config.pointer_mut("/users/0/user").context("the kubeconfig has no user")?;
    *user = json!({"token": token.trim()});
    Ok(config)
}

/// Runs kubectl as a component. Returns success and text.
fn as_component(s: &Scenario, component: &str, words: &[&str]) -> Result<(bool, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig_of(s, component)?.to_string())?;
    said(s.kubectl.command(words).env("KUBECONFIG", &path))
}

/// Patches a pod's status as the agent does: one request, for kubectl would read the status first, which it may not.
fn patch_status(s: &Scenario, pod: &str, patch: &Value) -> Result<(bool, String)> {
    const REQUEST: &str = "import json, ssl, sys, urllib.error, urllib.request
config, path, patch = json.loads(sys.argv[1]), *sys.argv[2:]
cluster = config['clusters'][0]['cluster']
headers = {'Content-Type': 'application/strategic-merge-patch+json', 'Authorization': 'Bearer ' + config['users'][0]['user']['token']}
request = urllib.request.Request(cluster['server'] + path, patch.encode(), headers, method='PATCH')
context = ssl.create_default_context(cafile=cluster['certificate-authority'])
try:
    urllib.request.urlopen(request, context=context)
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode())";
    let config = kubeconfig_of(s, "plugin")?.to_string();
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/status", s.namespace);
    said(Command::new("python3").args(["-c", REQUEST, &config, &path, &patch.to_string()]))
}

fn said(command: &mut Command) -> Result<(bool, String)> {
    let output = output(command)?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

#[test]
#[ignore = "needs the local cluster"]
fn the_agent_may_write_its_condition_and_nothing_else_of_a_pod() -> Result<()> {
    scenario(|s| {
        s.create(&shell_pod("pod", BUSYBOX, "true"))?;
        let pod = s.ready_pod("pod")?;
        let condition = |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "False", "reason": "Test"}]}});

        let (allowed, said) = patch_status(s, &pod, &condition(GPU_READY))?;
        assert!(allowed, "{said}");
        assert_eq!(s.condition(&pod)?.context("no condition")?.reason, "Test");

        let denied = [
            condition("Ready"),
            json!({"status": {"phase": "Failed"}}),
            json!({"status": {"podIP": "10.9.9.9"}}),
        ];
        for patch in denied {
            let (allowed, said) = patch_status(s, &pod, &patch)?;
            assert!(!allowed && said.contains("the Firstlight plugin may"), "{patch}: {said}");
        }
        for words in [&["delete", "pod", &pod][..], &["annotate", "pod", &pod, "a=b"], &["get", "secrets"]] {
            let words: Vec<_> = ["-n", &s.namespace].into_iter().chain(words.iter().copied()).collect();
            let (allowed, said) = as_component(s, "plugin", &words)?;
            assert!(!allowed && said.contains("orbidden"), "{words:?}: {said}");
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn the_agent_may_not_write_to_pods_of_other_nodes() -> Result<()> {
    scenario(|s| {
        let mut object = shell_pod("elsewhere", BUSYBOX, "true");
        object["spec"]["nodeName"] = json!("another-node");
        s.create(&object)?;
        let patch = json!({"status": {"conditions": [{"type": GPU_READY, "status": "True"}]}});
        let (allowed, said) = patch_status(s, "elsewhere", &patch)?;
        s.run(["delete", "pod", "elsewhere", "--grace-period=0", "--force"])?;
        assert!(!allowed && said.contains("another node"), "{said}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn the_webhook_may_write_no_event_but_its_own() -> Result<()> {
    scenario(|s| {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("event.json");
        let place = format!("/apis/events.k8s.io/v1/namespaces/{}/events", s.namespace);
        let write = |name: &str, reason: &str, kind: &str, speaker: &str| {
            let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": name},
                "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Inject", "reason": reason, "type": kind,
                "reportingController": speaker, "reportingInstance": "test",
                "regarding": {"kind": "Pod", "namespace": s.namespace, "name": "p"}});
            std::fs::write(&path, event.to_string())?;
            as_component(s, "webhook", &["create", "--raw", &place, "-f", &path.display().to_string()])
        };
        let own = "firstlight.dev/webhook";
        let (allowed, said) = write("own", "NotInjected", "Warning", own)?;
        assert!(allowed, "{said}");
        for (reason, kind, speaker) in [
            ("CudaReady", "Warning", own),
            ("NotInjected", "Normal", own),
            ("NotInjected", "Warning", "firstlight.dev/plugin"),
        ] {
            let (allowed, said) = write("another", reason, kind, speaker)?;
            assert!(
                !allowed && said.contains("the Firstlight webhook may"),
                "{reason} {kind} {speaker}: {said}"
            );
        }
        let whole: [&[&str]; 3] = [&["get", "pod", "p"], &["get", "secrets"], &["delete", "events", "--all"]];
        for words in whole {
            let words: Vec<_> = ["-n", &s.namespace].into_iter().chain(words.iter().copied()).collect();
            let (allowed, said) = as_component(s, "webhook", &words)?;
            assert!(!allowed && said.contains("orbidden"), "{words:?}: {said}");
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn the_webhook_may_write_only_the_ca_bundle_of_its_configuration() -> Result<()> {
    scenario(|s| {
        let patch = |field: &str, value: Value| {
            let operations =
                json!([{"op": "replace", "path": format!("/webhooks/0/{field}"), "value": value}])
                    .to_string();
            let words =
                ["patch", "mutatingwebhookconfiguration", "firstlight", "--type=json", "-p", &operations];
            as_component(s, "webhook", &words)
        };
        let bundle = s.kubectl.get(["mutatingwebhookconfiguration", "firstlight"])?["webhooks"][0]["clientConfig"]["caBundle"].clone();
        let (allowed, said) = patch("clientConfig/caBundle", bundle)?;
        assert!(allowed, "{said}");
        for (field, value) in [
            ("failurePolicy", json!("Fail")),
            ("timeoutSeconds", json!(29)),
            ("namespaceSelector", json!({})),
        ] {
            let (allowed, said) = patch(field, value)?;
            assert!(!allowed && said.contains("caBundle"), "{field}: {said}");
        }
        Ok(())
    })
}
