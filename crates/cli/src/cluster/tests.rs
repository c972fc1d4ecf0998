//! A cluster that answers what the test says, and notes what was asked. `UPDATE=1` rewrites the golden files.

mod api_server;
mod exec_server;
mod status_nodes;

use super::*;
use crate::args::{Args, Command};
use api_server::{ApiServer, Asked, list_of};
use clap::Parser as _;
use diagnosing::{collect, exit, print};
use firstlight_contract::grant::PoolKind;
use firstlight_diagnosis::{Container, Facts, Report};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const PODS: &str = "/api/v1/pods";
const OLLAMA: &str = "/api/v1/namespaces/ai/pods/ollama-0";
const EVENTS: &str = "/api/v1/namespaces/ai/events";
const REPORT: &str =
    "/api/v1/namespaces/firstlight-system/pods/firstlight-plugin-x:9400/proxy/reports/ai/ollama-0";

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, found).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, golden, "tests/golden/{name} differs; UPDATE=1 rewrites it");
}

/// A pod that the webhook changed: name, status and reason of its condition.
fn pod(name: &str, condition: Option<(&str, &str)>) -> Value {
    let message = "Simulated: the driver refused to initialise (stage S6 driver-init, certain). \
                   Simulated: cuInit returned 999.";
    let conditions: Vec<Value> = condition
        .into_iter()
        .map(|(status, reason)| {
            json!({"type": "firstlight.dev/GpuReady", "status": status, "reason": reason, "message": message})
        })
        .collect();
    json!({
        "metadata": {"name": name, "namespace": "ai", "uid": "6f1c",
            "annotations": {"firstlight.dev/gpu": "simulated", "firstlight.dev/injected": "0.1.0"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "ollama"}]},
        "status": {"phase": "Running", "conditions": conditions},
    })
}

fn agent(name: &str, ready: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "firstlight-system"},
        "spec": {"containers": [{"name": "plugin", "ports": [
            {"name": "other", "containerPort": 1}, {"name": "metrics", "containerPort": 9400}]}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    })
}

fn report() -> Report {
    Container::new().report(0, &Facts::of(PoolKind::Simulated))
}

fn answer(containers: &[&str]) -> Value {
    let part = |name: &&str| json!({"container": name, "report": report()});
    json!({"containers": containers.iter().map(part).collect::<Vec<_>>()})
}

/// A healthy cluster with one pod, whose agent answers.
fn cluster() -> ApiServer {
    ApiServer::default()
        .with(OLLAMA, pod("ollama-0", None))
        .with(PODS, list_of("Pod", &[agent("firstlight-plugin-x", "True")]))
        .with(REPORT, answer(&["ollama"]))
}

fn diagnose_args(words: &[&str]) -> Diagnose {
    let all = ["kubectl-firstlight", "diagnose", "-n", "ai"].iter().chain(words);
    let Command::Diagnose(args) = Args::try_parse_from(all).unwrap().command else { panic!("not diagnose") };
    args
}

/// What `diagnose` prints and how it ends, or its error.
fn diagnosed(server: ApiServer, words: &[&str]) -> Asked<Result<(String, Exit), String>> {
    let args = diagnose_args(words);
    server.asked(async |client| {
        let collected = collect(&client, &args).await.map_err(|error| format!("{error:#}"))?;
        let mut out = Vec::new();
        print(&collected, args.output, &mut out).unwrap();
        Ok((String::from_utf8(out).unwrap(), exit(&collected.found)))
    })
}

fn error(server: ApiServer, words: &[&str]) -> String {
    diagnosed(server, words).result.unwrap_err()
}

fn verdict(server: ApiServer) -> Value {
    let (text, _) = diagnosed(server, &["ollama-0", "-o", "json"]).result.unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["verdict"].take()
}

fn evidence(server: ApiServer) -> String {
    verdict(server)["evidence"][0].as_str().unwrap().to_owned()
}

#[test]
fn the_agent_on_the_pods_node_is_asked_through_the_api_server() {
    let asked = diagnosed(cluster(), &["ollama-0", "-o", "json"]);
    let (text, exit) = asked.result.unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report());
    assert_eq!(exit, Exit::Unknown);
    assert!(asked.requests[1].contains("fieldSelector=spec.nodeName%3Dnode-1"), "{:?}", asked.requests);
    assert_eq!(asked.requests.len(), 3, "{:?}", asked.requests);
}

#[test]
fn what_is_used_of_a_quota_is_told_beside_the_verdict() {
    let said = |used: Value, words: &[&str]| {
        let mut answer = answer(&["ollama"]);
        let memory = json!([{"device": "GPU-6f1c", "quota_bytes": 12u64 << 30, "used_bytes": used}]);
        answer["containers"][0]["memory"] = memory;
        diagnosed(cluster().with(REPORT, answer), &[&["ollama-0"], words].concat()).result.unwrap().0
    };
    let text = said(json!(3u64 << 29), &[]);
    assert!(text.contains("\nmemory     1.5 GiB of the quota of 12.0 GiB used on GPU-6f1c\n"), "{text}");
    assert!(said(Value::Null, &[]).contains("a quota of 12.0 GiB on GPU-6f1c; what is used cannot be read"));
    assert!(
        !said(json!(0), &["-o", "json"]).contains("memory"),
        "the report of one pod is the report itself"
    );
}

#[test]
fn a_pod_may_be_named_as_kubectl_prints_it() {
    assert!(diagnosed(cluster(), &["pod/ollama-0"]).result.is_ok());
}

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/ai/deployments/ollama";

/// A Deployment beside the cluster of [`cluster`], with these pods.
fn with_deployment(annotated: bool, pods: &[Value]) -> ApiServer {
    let annotations = if annotated { json!({"firstlight.dev/gpu": "simulated"}) } else { json!({}) };
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "ollama", "namespace": "ai", "annotations": annotations},
        "spec": {"selector": {"matchLabels": {"app": "ollama"}}},
    });
    cluster().with(DEPLOYMENT, deployment).with("/api/v1/namespaces/ai/pods", list_of("Pod", pods)).failing(
        "/api/v1/namespaces/ai/pods/ollama",
        404,
        "no",
    )
}

#[test]
fn of_a_deployment_the_pods_are_told_whatever_their_number() {
    for name in ["deployment/ollama", "deploy/ollama", "ollama"] {
        let asked = diagnosed(with_deployment(true, &[pod("ollama-0", None)]), &[name, "-o", "json"]);
        let labelled = asked.requests.iter().any(|path| path.contains("labelSelector=app%3Dollama"));
        assert!(labelled, "{name}: {:?}", asked.requests);
        let list: Value = serde_json::from_str(&asked.result.unwrap().0).unwrap();
        assert_eq!((list.as_array().unwrap().len(), &list[0]["pod"]), (1, &json!("ollama-0")), "{name}");
    }
}

#[test]
fn of_a_workload_without_such_pods_it_is_said_why() {
    let web = json!({"metadata": {"name": "web", "namespace": "ai"}});
    let text = error(with_deployment(true, std::slice::from_ref(&web)), &["ollama"]);
    assert!(
        text.starts_with(
            "deployment ollama in namespace ai is annotated with firstlight.dev/gpu, and none of its pods is: \
             look at its Events for NotInjected"
        ),
        "{text}"
    );
    let text = error(with_deployment(false, &[web]), &["deployment/ollama"]);
    assert!(text.starts_with("deployment ollama in namespace ai did not ask for a GPU; annotate"), "{text}");
    let text = error(cluster().failing(DEPLOYMENT, 404, "no"), &["deploy/ollama"]);
    assert!(text.starts_with("no deploy/ollama in namespace ai; `kubectl firstlight status`"), "{text}");
    let text = error(cluster(), &["deploy/ollama"]);
    assert_eq!(text, "the API server does not allow you to get deployment ollama in namespace ai");
}

#[test]
fn an_agent_that_is_ready_is_asked_before_one_that_is_not() {
    let agents = [agent("firstlight-plugin-new", "False"), agent("firstlight-plugin-x", "True")];
    let server = cluster().with(PODS, list_of("Pod", &agents));
    assert_eq!(diagnosed(server, &["ollama-0"]).requests.len(), 3);
}

#[test]
fn where_one_agent_does_not_know_the_pod_the_other_is_asked() {
    let agents = [agent("firstlight-plugin-a", "True"), agent("firstlight-plugin-x", "True")];
    let asked =
        diagnosed(cluster().with(PODS, list_of("Pod", &agents)), &["ollama-0", "-o", "json"]).result.unwrap();
    assert_eq!(serde_json::from_str::<Report>(&asked.0).unwrap(), report());
}

#[test]
fn without_rights_the_condition_and_the_events_speak_and_say_so() {
    let event = |reason: &str, time: &str, message: &str| {
        json!({"metadata": {"name": reason}, "involvedObject": {}, "reason": reason, "message": message,
            "eventTime": format!("2026-11-25T10:00:{time}.000000Z")})
    };
    let events = list_of(
        "Event",
        &[
            event("CudaInitFailed", "09", "Simulated: cuInit returned 999."),
            event("CudaReady", "01", "Simulated: \u{1b}[2Jall is well."),
            event("Pulled", "00", "image"),
        ],
    );
    let server = cluster()
        .with(OLLAMA, pod("ollama-0", Some(("False", "DriverInitFailed"))))
        .with(EVENTS, events)
        .without(REPORT);
    let asked = diagnosed(server, &["ollama-0"]);
    assert!(asked.requests.last().unwrap().contains("fieldSelector=involvedObject.uid%3D6f1c"));
    let (text, exit) = asked.result.unwrap();
    assert_eq!(exit, Exit::Failure);
    golden("diagnose-condition.txt", &text);
}

#[test]
fn whoever_may_list_pods_in_one_namespace_names_the_agents() {
    let text = evidence(cluster().without(PODS));
    assert!(text.contains("list pods in all namespaces") && text.contains("--agent-namespace"), "{text}");
    let named = "/api/v1/namespaces/firstlight-system/pods";
    let server = cluster().without(PODS).with(named, list_of("Pod", &[agent("firstlight-plugin-x", "True")]));
    let asked = diagnosed(server, &["ollama-0", "--agent-namespace", "firstlight-system", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Report>(&asked.result.unwrap().0).unwrap(), report());
}

#[test]
fn why_the_agent_did_not_speak_is_said() {
    let text = evidence(cluster().with(PODS, list_of("Pod", &[])));
    assert!(text.contains("no Firstlight agent runs on node node-1"), "{text}");
    let text = evidence(cluster().failing(REPORT, 404, "pod ai/ollama-0 has no grant on this node\n"));
    assert!(text.contains("has no answer: pod ai/ollama-0 has no grant on this node"), "{text}");
    let text = evidence(cluster().failing(REPORT, 502, "dial tcp 10.0.0.7:9400: connection refused"));
    assert!(text.contains("cannot be reached: dial tcp 10.0.0.7:9400"), "{text}");
    let text = evidence(cluster().with(REPORT, json!({"what": "else"})));
    assert!(text.contains("of different versions"), "{text}");
}

/// What `diagnose --probe` prints.
fn probed(server: ApiServer, words: &[&str]) -> String {
    let args = diagnose_args(&[&["--probe"], words].concat());
    assert!(args.probe);
    let asked = server.asked(async |client| {
        let mut collected = collect(&client, &args).await.unwrap();
        probe::all(&client, &mut collected.found, args.container.as_deref()).await;
        let mut out = Vec::new();
        print(&collected, args.output, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    });
    assert!(asked.requests.last().unwrap().starts_with(EXEC), "{:?}", asked.requests);
    asked.result
}

const EXEC: &str = "/api/v1/namespaces/ai/pods/ollama-0/exec";

#[test]
fn whoever_may_not_enter_a_container_reads_the_diagnosis_and_why_there_is_no_probe() {
    let text = probed(cluster(), &["ollama-0"]);
    assert!(text.starts_with("pod        ai/ollama-0, container ollama\nverdict"), "{text}");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("not possible: the API server does not allow you to create pods/exec in namespace ai"),
        "{text}"
    );
    let gone = cluster().failing(EXEC, 400, "container ollama is not running");
    let json: Value = serde_json::from_str(&probed(gone, &["ollama-0", "-o", "json"])).unwrap();
    assert_eq!(json["probe"]["error"], "container ollama cannot be entered: container ollama is not running");
    assert_eq!(serde_json::from_value::<Report>(json["report"].clone()).unwrap(), report());
}

#[test]
fn the_preflight_is_started_in_the_container_and_its_document_read_whole() {
    // Longer than what fits into one buffer on the way.
    let findings: Vec<Value> = (0..100)
        .map(|index| json!({"probe": "device", "outcome": "ok", "millis": 0, "subject": format!("/dev/nvidia{index}")}))
        .collect();
    let document = json!({"findings": findings, "verdict": null}).to_string();
    let found = |code: i32, out: &str, err: &str| {
        let status = match code {
            0 => json!({"metadata": {}, "status": "Success"}),
            code => json!({"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: exit code {code}")}),
        };
        exec_server::asked(out, err, &status.to_string(), async |client| {
            let mut found = vec![diagnosing::Found {
                namespace: "ai".to_owned(),
                pod: "ollama-0".to_owned(),
                container: Some("ollama".to_owned()),
                memory: Vec::new(),
                report: report(),
                preflight: None,
                probe: None,
            }];
            probe::all(&client, &mut found, None).await;
            serde_json::to_value(&found[0]).unwrap()["probe"].take()
        })
    };
    let (asked, probe) = found(0, &document, "");
    assert!(asked.starts_with(EXEC) && asked.contains("container=ollama"), "{asked}");
    assert!(asked.contains("command=%2Fopt%2Ffirstlight%2Fbin%2Ffirstlight-preflight"), "{asked}");
    assert_eq!(probe["findings"].as_array().map(Vec::len), Some(100), "{probe}");
    let (_, probe) = found(2, "", "error: no such option");
    assert!(probe["error"].as_str().unwrap().ends_with("exit code 2; error: no such option"), "{probe}");
}

#[test]
fn an_annotated_pod_without_mark_or_device_was_not_injected() {
    let mut missed = pod("ollama-0", None);
    missed["metadata"]["annotations"].as_object_mut().unwrap().remove("firstlight.dev/injected");
    missed["metadata"]["annotations"]["firstlight.dev/injection"] =
        json!("not injected: no pool has this name");
    let verdict = verdict(cluster().with(OLLAMA, missed).without(REPORT));
    assert_eq!(verdict["evidence"][1], "The webhook: not injected: no pool has this name");
    assert_eq!((&verdict["outcome"], &verdict["cause"]), (&json!("failure"), &json!("not-injected")));
    assert_eq!(verdict["confidence"], "certain");
}

#[test]
fn what_the_scheduler_says_is_evidence() {
    let mut pending = pod("ollama-0", None);
    pending["spec"].as_object_mut().unwrap().remove("nodeName");
    pending["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient firstlight.dev/simulated."}]);
    let verdict = verdict(cluster().with(OLLAMA, pending));
    assert!(verdict["evidence"][1].as_str().unwrap().contains("1 Insufficient"), "{verdict:#}");
}

#[test]
fn a_report_from_a_condition_fits_the_schema() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/report.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for condition in [None, Some(("False", "DriverInitFailed")), Some(("True", "SimulatedGpu"))] {
        let server = cluster().with(OLLAMA, pod("ollama-0", condition)).without(REPORT);
        let (text, _) = diagnosed(server, &["ollama-0", "-o", "json"]).result.unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let mistakes: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(mistakes.is_empty(), "{mistakes:?}\n{value:#}");
    }
}

#[test]
fn a_selector_yields_a_list_of_those_that_asked_and_leaves_others_out() {
    let web = json!({"metadata": {"name": "web", "namespace": "ai"}});
    let pods = "/api/v1/namespaces/ai/pods";
    let server = cluster().with(pods, list_of("Pod", &[pod("ollama-0", None), web.clone()]));
    let (text, _) = diagnosed(server, &["-l", "app=ollama", "-o", "json"]).result.unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["pod"]), (1, &json!("ollama-0")));
    let text = error(cluster().with(pods, list_of("Pod", &[web])), &["-l", "app=web"]);
    assert!(text.contains("did not ask for a GPU; annotate the workload"), "{text}");
    let text = error(cluster().with(pods, list_of("Pod", &[])), &["-l", "app=x"]);
    assert_eq!(
        text,
        "no pod in namespace ai has the labels app=x; `kubectl firstlight status` lists the pods that asked for a GPU"
    );
}

#[test]
fn one_container_can_be_chosen() {
    let both = || cluster().with(REPORT, answer(&["ollama", "sidecar"]));
    let (text, _) = diagnosed(both(), &["ollama-0", "-o", "json"]).result.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()[1]["container"], "sidecar");
    let (text, _) = diagnosed(both(), &["ollama-0", "-c", "sidecar", "-o", "json"]).result.unwrap();
    assert!(serde_json::from_str::<Report>(&text).is_ok());
    let text = error(both(), &["ollama-0", "-c", "web"]);
    assert_eq!(text, "container web of pod ai/ollama-0 was given no GPU; those that were: ollama, sidecar");
}

#[test]
fn errors_name_the_thing_the_place_and_the_way_out() {
    let text = error(ApiServer::default().failing(OLLAMA, 404, "pods \"ollama-0\" not found"), &["ollama-0"]);
    assert!(
        text.starts_with("no pod or deployment ollama-0 in namespace ai; `kubectl firstlight status`"),
        "{text}"
    );
    let text = error(ApiServer::default(), &["ollama-0"]);
    assert_eq!(text, "the API server does not allow you to get pod ollama-0 in namespace ai");
    let text = error(ApiServer::default(), &["-l", "app=ollama"]);
    assert_eq!(text, "the API server does not allow you to list pods in namespace ai");
    let text = error(ApiServer::default().failing(OLLAMA, 401, "Unauthorized"), &["ollama-0"]);
    assert!(text.contains("--context"), "{text}");
}

/// What `status` prints of these pods.
fn status_of(pods: &[Value], words: &[&str]) -> String {
    let all = ["kubectl-firstlight", "status"].iter().chain(words);
    let Command::Status(args) = Args::try_parse_from(all).unwrap().command else { panic!("not status") };
    let server = ApiServer::default().with(PODS, list_of("Pod", pods));
    let rows = server.asked(async |client| status_rows(&client, &args).await).result.unwrap();
    let mut out = Vec::new();
    print_status(&rows, args.output, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn pods_are_listed_worst_first_and_others_left_out() {
    let mut missed = pod("missed", None);
    missed["metadata"]["annotations"] = json!({"firstlight.dev/gpu": "true",
        "firstlight.dev/injection": "not injected: firstlight.dev/gpu is \"true\": no pools are configured"});
    let limit = json!({
        "metadata": {"name": "by-limit", "namespace": "ai"},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"firstlight.dev/simulated": "1"}}}]},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available."}]},
    });
    let pods = [
        pod("good", Some(("True", "SimulatedGpu"))),
        json!({"metadata": {"name": "web", "namespace": "ai"}}),
        pod("new", None),
        limit,
        missed,
        pod("bad", Some(("False", "DriverInitFailed"))),
    ];
    golden("status.txt", &status_of(&pods, &[]));
    golden("status-wide.txt", &status_of(&pods, &["-o", "wide"]));
    golden("status.yaml", &status_of(&pods, &["-o", "yaml"]));
    let json: Value = serde_json::from_str(&status_of(&pods, &["-o", "json"])).unwrap();
    assert_eq!(json[0]["pod"], "bad");
}

#[test]
fn an_empty_status_says_how_to_ask() {
    assert!(status_of(&[], &[]).contains("kubectl annotate deployment NAME firstlight.dev/gpu=POOL"));
    assert_eq!(status_of(&[], &["-o", "json"]), "[]\n");
}
