//! The rules on whole objects: golden pairs, sentences, properties.
//!
//! A case is a folder of `tests/golden` with `request.json` (object, oldObject, operation, kind) and
//! `expected.json` (the object after the patch, warnings, refusal). `UPDATE=1` writes what is expected.
#![cfg(test)]

use base64::Engine as _;
use firstlight_contract::pools::Pools;
use firstlight_webhook::mutate::Policy;
use firstlight_webhook::review::{Rule, answer};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

const POOLS: &str = "pools:
- {name: simulated, kind: simulated, devices: 2}
- {name: vendor, kind: observer}
- {name: mine, kind: custom, driver: /opt/driver, devices: 4}
";

/// What the API server would make of an answer.
#[derive(Debug)]
struct Seen {
    object: Value,
    warnings: Vec<String>,
    refusal: Option<String>,
    patched: bool,
}

fn rule_for(kind: &str) -> Rule {
    if kind == "Pod" { Rule::Pods } else { Rule::Workloads }
}

fn ask(operation: &str, kind: &str, object: &Value, old: &Value) -> Seen {
    let pools = Pools::parse(POOLS).unwrap();
    let policy = Policy { pools: &pools, version: "0.0.0" };
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "kind": {"kind": kind}, "operation": operation, "object": object, "oldObject": old}});
    let reply = answer(rule_for(kind), review.to_string().as_bytes(), policy);
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let reply: Value = serde_json::from_slice(&reply.body).unwrap();
    let response = &reply["response"];
    assert_eq!(response["uid"], "u-1");
    let mut object = object.clone();
    let patched = response["patch"].as_str().map(|patch| {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    });
    let refusal = response["status"]["message"].as_str().map(str::to_owned);
    assert_eq!(response["allowed"], json!(refusal.is_none()));
    let warnings = response["warnings"].as_array().into_iter().flatten();
    Seen {
        object,
        warnings: warnings.map(|warning| warning.as_str().unwrap().to_owned()).collect(),
        refusal,
        patched: patched.is_some(),
    }
}

fn create(kind: &str, object: &Value) -> Seen {
    ask("CREATE", kind, object, &Value::Null)
}

#[test]
fn golden_objects_become_what_is_expected_and_a_second_pass_changes_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 12, "golden cases are missing: {cases:?}");
    for case in cases {
        let read = |name: &str| std::fs::read_to_string(case.join(name)).unwrap_or_default();
        let request: Value = serde_json::from_str(&read("request.json")).unwrap();
        let operation = request["operation"].as_str().unwrap_or("CREATE");
        let kind = request["kind"].as_str().unwrap_or("Pod");
        let seen = ask(operation, kind, &request["object"], &request["oldObject"]);
        let found = json!({"object": seen.object, "warnings": seen.warnings, "refusal": seen.refusal});
        let found = format!("{}\n", serde_json::to_string_pretty(&found).unwrap());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(case.join("expected.json"), &found).unwrap();
        }
        assert_eq!(found, read("expected.json"), "{}", case.display());
        let again = ask(operation, kind, &seen.object, &request["oldObject"]);
        assert!(!again.patched, "{}: a second pass changes {:#}", case.display(), again.object);
    }
}

fn pod(annotations: &Value, containers: &Value) -> Value {
    json!({"metadata": {"name": "p", "annotations": annotations}, "spec": {"containers": containers}})
}

#[test]
fn a_pod_that_asks_for_nothing_is_left_alone() {
    let seen = create("Pod", &pod(&json!({"firstlight.dev/count": "2"}), &json!([{"name": "ollama"}])));
    assert!(!seen.patched && seen.warnings.is_empty());
}

#[test]
fn a_static_pod_is_left_alone() {
    let annotations = json!({"firstlight.dev/gpu": "simulated", "kubernetes.io/config.mirror": "x"});
    assert!(!create("Pod", &pod(&annotations, &json!([{"name": "ollama"}]))).patched);
}

#[test]
fn a_bad_annotation_that_a_person_wrote_is_refused_with_all_mistakes() {
    let annotations = json!({"firstlight.dev/gpu": "magic", "firstlight.dev/count": "none"});
    let refusal = create("Pod", &pod(&annotations, &json!([{"name": "ollama"}]))).refusal.unwrap();
    assert_eq!(
        refusal,
        "firstlight.dev/gpu is \"magic\": no pool has this name; allowed are simulated, vendor, mine; \
         firstlight.dev/count is \"none\"; allowed is a number from 1"
    );
}

#[test]
fn a_pod_that_a_controller_makes_is_never_refused_but_says_why_it_has_no_gpu() {
    let mut object = pod(&json!({"firstlight.dev/gpu": "gone"}), &json!([{"name": "ollama"}]));
    object["metadata"]["ownerReferences"] = json!([{"controller": true}]);
    let seen = create("Pod", &object);
    assert_eq!(seen.refusal, None);
    let said = seen.object["metadata"]["annotations"]["firstlight.dev/injection"].as_str().unwrap();
    assert!(said.starts_with("not injected: firstlight.dev/gpu is \"gone\""), "{said}");
    assert_eq!(seen.object["metadata"]["annotations"].get("firstlight.dev/injected"), None);
    assert_eq!(seen.warnings.len(), 1);
}

fn deployment(annotations: &Value, template: &Value) -> Value {
    json!({"metadata": {"annotations": annotations}, "spec": {"template": {
        "metadata": {"annotations": template}, "spec": {"containers": [{"name": "ollama"}]}}}})
}

fn template(object: &Value) -> &Value {
    &object["spec"]["template"]["metadata"]["annotations"]
}

#[test]
fn a_changed_bad_annotation_of_a_workload_is_refused_an_old_one_only_warned_about() {
    let bad = deployment(&json!({"firstlight.dev/gpu": "magic"}), &json!({}));
    let good = deployment(&json!({"firstlight.dev/gpu": "simulated"}), &json!({}));
    assert!(create("Deployment", &bad).refusal.is_some());
    assert!(ask("UPDATE", "Deployment", &bad, &good).refusal.is_some());
    let seen = ask("UPDATE", "Deployment", &bad, &bad);
    assert!(seen.refusal.is_none() && !seen.patched && seen.warnings.len() == 1, "{seen:?}");
}

#[test]
fn removing_the_annotation_removes_what_was_copied_and_nothing_else() {
    let own = json!({"firstlight.dev/count": "2", "team": "a"});
    let before = deployment(&json!({"firstlight.dev/gpu": "simulated"}), &own);
    let annotated = create("Deployment", &before).object;
    assert_eq!(template(&annotated)["firstlight.dev/gpu"], "simulated");
    assert_eq!(template(&annotated)["firstlight.dev/propagated"], "gpu");
    let mut removed = annotated.clone();
    removed["metadata"]["annotations"] = json!({});
    assert_eq!(template(&ask("UPDATE", "Deployment", &removed, &annotated).object), &own);
}

#[test]
fn changing_the_annotation_changes_the_copy() {
    let before =
        create("Deployment", &deployment(&json!({"firstlight.dev/gpu": "simulated"}), &Value::Null)).object;
    let mut changed = before.clone();
    changed["metadata"]["annotations"] = json!({"firstlight.dev/gpu": "vendor", "firstlight.dev/count": "3"});
    let seen = ask("UPDATE", "Deployment", &changed, &before);
    assert_eq!(
        template(&seen.object),
        &json!({"firstlight.dev/gpu": "vendor", "firstlight.dev/count": "3", "firstlight.dev/propagated": "gpu,count"})
    );
}

#[test]
fn what_the_author_writes_over_a_copy_is_his_from_then_on() {
    let before =
        create("Deployment", &deployment(&json!({"firstlight.dev/gpu": "simulated"}), &json!({}))).object;
    let mut edited = before.clone();
    edited["spec"]["template"]["metadata"]["annotations"]["firstlight.dev/gpu"] = json!("vendor");
    let seen = ask("UPDATE", "Deployment", &edited, &before);
    assert_eq!(template(&seen.object), &json!({"firstlight.dev/gpu": "vendor"}));
    assert!(seen.warnings[0].contains("the pod template says \"vendor\" itself"), "{:?}", seen.warnings);
}

#[test]
fn a_template_that_was_applied_anew_gets_its_copy_again() {
    let before =
        create("Deployment", &deployment(&json!({"firstlight.dev/gpu": "simulated"}), &json!({}))).object;
    let anew = deployment(&json!({"firstlight.dev/gpu": "simulated"}), &Value::Null);
    let seen = ask("UPDATE", "Deployment", &anew, &before);
    assert_eq!(template(&seen.object), template(&before));
}

#[test]
fn a_job_that_has_run_is_warned_about_and_a_suspended_one_is_changed() {
    let job = |suspend: bool, status: Value| {
        json!({"metadata": {}, "status": status, "spec": {"suspend": suspend, "template": {
            "metadata": {}, "spec": {"containers": [{"name": "ollama"}]}}}})
    };
    let annotate = |old: &Value| {
        let mut object = old.clone();
        object["metadata"] = json!({"annotations": {"firstlight.dev/gpu": "simulated"}});
        ask("UPDATE", "Job", &object, old)
    };
    for started in [job(false, json!({})), job(true, json!({"startTime": "2026-01-01T00:00:00Z"}))] {
        let seen = annotate(&started);
        assert!(!seen.patched && seen.refusal.is_none(), "{seen:?}");
        assert!(seen.warnings[0].contains("a Job that has run"), "{:?}", seen.warnings);
    }
    let seen = annotate(&job(true, json!({})));
    assert_eq!(template(&seen.object)["firstlight.dev/gpu"], "simulated");
    assert!(seen.warnings.is_empty());
}

#[test]
fn the_job_of_an_annotated_cron_job_keeps_what_its_template_brought() {
    let cron = json!({"metadata": {"annotations": {"firstlight.dev/gpu": "simulated"}}, "spec": {"jobTemplate":
        {"spec": {"template": {"spec": {"containers": [{"name": "ollama"}]}}}}}});
    let cron = create("CronJob", &cron).object;
    let template = cron["spec"]["jobTemplate"]["spec"]["template"].clone();
    assert_eq!(template["metadata"]["annotations"]["firstlight.dev/gpu"], "simulated");
    let job =
        json!({"metadata": {"ownerReferences": [{"controller": true}]}, "spec": {"template": template}});
    assert!(!create("Job", &job).patched);
}

#[test]
fn an_object_of_a_wrong_shape_is_admitted_with_a_warning() {
    let seen = create("Pod", &json!({"metadata": {"annotations": [1]}, "spec": 7}));
    assert!(seen.refusal.is_none() && !seen.patched);
    assert!(seen.warnings[0].contains("cannot read this object"), "{:?}", seen.warnings);
}

#[test]
fn what_is_no_review_is_answered_400() {
    let pools = Pools::default();
    let policy = Policy { pools: &pools, version: "0" };
    for body in ["", "[]", "{}", "null", r#"{"apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"1"}}"#]
    {
        assert_eq!(answer(Rule::Pods, body.as_bytes(), policy).status, 400, "{body}");
    }
}

fn gated(containers: &Value) -> Value {
    pod(&json!({"firstlight.dev/gpu": "simulated", "firstlight.dev/gate": "ready"}), containers)
}

fn said(object: &Value) -> &str {
    object["metadata"]["annotations"]["firstlight.dev/injection"].as_str().unwrap_or_default()
}

#[test]
fn a_pod_that_asks_for_a_gate_is_ready_only_with_a_usable_gpu() {
    let seen = create("Pod", &gated(&json!([{"name": "ollama"}])));
    assert_eq!(seen.object["spec"]["readinessGates"], json!([{"conditionType": "firstlight.dev/GpuReady"}]));
    assert!(said(&seen.object).ends_with("pod: Ready waits for firstlight.dev/GpuReady."), "{seen:?}");
    assert!(seen.warnings.is_empty() && !create("Pod", &seen.object).patched);
}

#[test]
fn a_gate_that_is_off_or_not_asked_for_changes_nothing() {
    let mut off = gated(&json!([{"name": "ollama"}]));
    off["metadata"]["annotations"]["firstlight.dev/gate"] = json!("off");
    let plain = pod(&json!({"firstlight.dev/gpu": "simulated"}), &json!([{"name": "ollama"}]));
    for object in [off, plain] {
        let seen = create("Pod", &object);
        assert_eq!(seen.object["spec"].get("readinessGates"), None);
        assert!(!said(&seen.object).contains("Ready"), "{seen:?}");
    }
}

#[test]
fn the_authors_own_gates_stay_and_ours_is_set_once() {
    let mut object = gated(&json!([{"name": "ollama"}]));
    object["spec"]["readinessGates"] = json!([{"conditionType": "example.com/lb"}]);
    let both = json!([{"conditionType": "example.com/lb"}, {"conditionType": "firstlight.dev/GpuReady"}]);
    let seen = create("Pod", &object);
    assert_eq!(seen.object["spec"]["readinessGates"], both);
    object["spec"]["readinessGates"] = both.clone();
    assert_eq!(create("Pod", &object).object["spec"]["readinessGates"], both);
}

#[test]
fn a_gate_that_would_never_open_is_not_set_and_the_author_is_told() {
    let foreign = json!([{"name": "ollama", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]);
    let mut init = gated(&json!([{"name": "app"}]));
    init["metadata"]["annotations"]["firstlight.dev/containers"] = json!("warm-up");
    init["spec"]["initContainers"] = json!([{"name": "warm-up"}]);
    for object in [gated(&foreign), init.clone()] {
        let seen = create("Pod", &object);
        assert_eq!(seen.object["spec"].get("readinessGates"), None);
        assert!(seen.warnings.iter().any(|warning| warning.contains("would never open")), "{seen:?}");
        assert!(said(&seen.object).contains("would never open"), "{seen:?}");
    }
    init["spec"]["initContainers"][0]["restartPolicy"] = json!("Always");
    assert!(create("Pod", &init).object["spec"]["readinessGates"].is_array(), "a sidecar stays");
}

/// A pod with one container and a preflight.
fn probed(mode: &str, container: &Value) -> Value {
    let annotations = json!({"firstlight.dev/gpu": "simulated", "firstlight.dev/preflight": mode});
    pod(&annotations, &json!([container]))
}

#[test]
fn a_preflight_runs_as_its_container_does_and_with_what_that_was_given() {
    let container = json!({"name": "ollama", "image": "ollama/ollama", "imagePullPolicy": "Always",
        "env": [{"name": "A", "value": "b"}], "envFrom": [{"secretRef": {"name": "s"}}], "workingDir": "/w",
        "securityContext": {"runAsUser": 1000}, "volumeMounts": [{"name": "v", "mountPath": "/m"}],
        "volumeDevices": [{"name": "d", "devicePath": "/dev/x"}],
        "resources": {"limits": {"memory": "8Gi"}, "requests": {"cpu": 1}, "claims": [{"name": "c"}]}});
    let seen = create("Pod", &probed("report", &container)).object;
    let (app, probe) = (&seen["spec"]["containers"][0], &seen["spec"]["initContainers"][0]);
    for (member, _) in container.as_object().unwrap().iter().filter(|(member, _)| *member != "name") {
        assert_eq!(probe[member], app[member], "{member}");
    }
    assert_eq!(probe["name"], "firstlight-preflight");
    assert_eq!(probe["command"], json!(["/opt/firstlight/bin/firstlight-preflight"]));
    assert_eq!(probe["args"], json!(["--mode", "report"]));
    assert_eq!(probe["resources"]["limits"]["firstlight.dev/simulated"], "1");
    assert_eq!(probe["resources"]["requests"]["firstlight.dev/simulated"], "1");
}

#[test]
fn a_preflight_has_nothing_of_a_service() {
    let container = json!({"name": "ollama", "ports": [{"containerPort": 1}], "livenessProbe": {}, "readinessProbe": {},
        "startupProbe": {}, "lifecycle": {}, "stdin": true, "tty": true, "restartPolicy": "Always", "resizePolicy": []});
    let seen = create("Pod", &probed("report", &container)).object;
    let probe = seen["spec"]["initContainers"][0].as_object().unwrap();
    assert_eq!(probe.keys().collect::<Vec<_>>(), ["args", "command", "env", "name", "resources"]);
}

#[test]
fn a_preflight_that_is_off_changes_nothing_and_another_word_is_refused() {
    let seen = create("Pod", &probed("off", &json!({"name": "ollama"})));
    assert!(seen.object["spec"].get("initContainers").is_none() && seen.warnings.is_empty(), "{seen:?}");
    let refusal = create("Pod", &probed("warn", &json!({"name": "ollama"}))).refusal.unwrap();
    assert_eq!(refusal, "firstlight.dev/preflight is \"warn\"; allowed are off, report, block");
}

#[test]
fn the_pod_says_what_its_preflight_does() {
    for (mode, end) in [("report", "and reports."), ("block", "and stops the pod on a certain cause.")] {
        let seen = create("Pod", &probed(mode, &json!({"name": "ollama"})));
        let words = format!("pod: init container firstlight-preflight probes the GPU of ollama first {end}");
        assert!(said(&seen.object).ends_with(&words), "{seen:?}");
    }
}

#[test]
fn a_preflight_comes_after_the_authors_init_containers_and_once() {
    let mut object = probed("block", &json!({"name": "ollama"}));
    object["spec"]["initContainers"] = json!([{"name": "pull"}]);
    let seen = create("Pod", &object).object;
    let names: Vec<&str> = seen["spec"]["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["pull", "firstlight-preflight"]);
    assert!(!create("Pod", &seen).patched);
}

#[test]
fn what_cannot_be_probed_is_not_and_the_author_is_told() {
    let foreign = json!({"name": "ollama", "resources": {"limits": {"nvidia.com/gpu": "1"}}});
    let seen = create("Pod", &probed("block", &foreign));
    assert!(seen.object["spec"].get("initContainers").is_none());
    assert!(seen.warnings.iter().any(|one| one.contains("there is nothing to probe")), "{seen:?}");
    // A sidecar keeps its devices: a probe after it would take more.
    let mut sidecar = probed("block", &json!({"name": "app"}));
    sidecar["metadata"]["annotations"]["firstlight.dev/containers"] = json!("ollama");
    sidecar["spec"]["initContainers"] = json!([{"name": "ollama", "restartPolicy": "Always"}]);
    let seen = create("Pod", &sidecar);
    assert_eq!(seen.object["spec"]["initContainers"].as_array().map(Vec::len), Some(1));
    assert_eq!(seen.warnings, ["container ollama: has no preflight, for init containers start before one."]);
}

#[test]
fn an_annotation_that_nobody_reads_is_warned_about() {
    let annotations = json!({"firstlight.dev/gpu": "simulated", "firstlight.dev/counts": "2"});
    let seen = create("Pod", &pod(&annotations, &json!([{"name": "ollama"}])));
    assert!(seen.patched && seen.warnings[0].starts_with("firstlight.dev/counts is no annotation"));
}

/// Any JSON, no deeper than makes a difference.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map(words(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Words that the rules know, and others.
fn words() -> impl Strategy<Value = String> {
    let known = [
        "metadata",
        "annotations",
        "spec",
        "template",
        "jobTemplate",
        "containers",
        "initContainers",
        "name",
        "image",
        "command",
        "args",
        "env",
        "envFrom",
        "value",
        "valueFrom",
        "resources",
        "limits",
        "requests",
        "claims",
        "ollama",
        "serve",
        "LD_PRELOAD",
        "FIRSTLIGHT_SIMULATE",
        "firstlight.dev/gpu",
        "firstlight.dev/count",
        "firstlight.dev/containers",
        "firstlight.dev/simulate",
        "firstlight.dev/gate",
        "ready",
        "firstlight.dev/preflight",
        "report",
        "firstlight-preflight",
        "readinessGates",
        "conditionType",
        "firstlight.dev/GpuReady",
        "restartPolicy",
        "Always",
        "firstlight.dev/propagated",
        "firstlight.dev/injected",
        "firstlight.dev/simulated",
        "simulated",
        "vendor",
        "nvidia.com/gpu",
        "1",
        "2",
        "init-returns=999",
        "gpu,count",
        "ownerReferences",
        "controller",
        "a\"b\\c/d~e\n",
    ];
    prop_oneof![9 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,8}"]
}

/// A container of the right shape with arbitrary contents.
fn any_container() -> impl Strategy<Value = Value> {
    let variable = (
        words(),
        prop_oneof![
            words().prop_map(|value| json!({ "value": value })),
            Just(json!({"valueFrom": {"fieldRef": {}}})),
            Just(json!({})),
        ],
    )
        .prop_map(|(name, mut variable)| {
            variable["name"] = json!(name);
            variable
        });
    let quantities = || proptest::option::of(proptest::collection::hash_map(words(), "[1-4]", 0..4));
    let env = proptest::option::of(proptest::collection::vec(variable, 0..4));
    (words(), words(), env, quantities(), quantities(), any::<bool>()).prop_map(
        |(name, image, env, limits, requests, resources)| {
            let mut container = json!({ "name": name, "image": image });
            if let Some(env) = env {
                container["env"] = json!(env);
            }
            if resources {
                container["resources"] = json!({"limits": limits, "requests": requests});
            }
            container
        },
    )
}

fn any_annotations() -> impl Strategy<Value = Value> {
    let value = prop_oneof![3 => Just("simulated".to_owned()), 2 => words()];
    let gate = proptest::option::of(Just("ready"));
    let preflight = proptest::option::of(Just("block"));
    (proptest::option::of(value), gate, preflight, proptest::collection::hash_map(words(), words(), 0..3))
        .prop_map(|(gpu, gate, preflight, others)| {
            let mut annotations = json!(others);
            if let Some(preflight) = preflight {
                annotations["firstlight.dev/preflight"] = json!(preflight);
            }
            if let Some(gate) = gate {
                annotations["firstlight.dev/gate"] = json!(gate);
            }
            if let Some(gpu) = gpu {
                annotations["firstlight.dev/gpu"] = json!(gpu);
            }
            annotations
        })
}

fn any_pod() -> impl Strategy<Value = Value> {
    (any_annotations(), proptest::collection::vec(any_container(), 1..4))
        .prop_map(|(annotations, containers)| pod(&annotations, &json!(containers)))
}

/// Whether everything in `before` is still in `after`, except that an `LD_PRELOAD` may have grown at its front.
fn survives(before: &Value, after: &Value, path: &str) -> Result<(), String> {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => old.iter().try_for_each(|(key, value)| {
            let ours = ["firstlight.dev/injected", "firstlight.dev/injection"].contains(&key.as_str());
            match new.get(key) {
                Some(_) if ours => Ok(()),
                Some(found) => survives(value, found, &format!("{path}/{key}")),
                None => Err(format!("{path}/{key} is gone")),
            }
        }),
        (Value::Array(old), Value::Array(new)) if old.len() <= new.len() => (old.iter().zip(new).enumerate())
            .try_for_each(|(index, (old, new))| {
                let preload = old["name"] == "LD_PRELOAD" && path.ends_with("/env");
                let (Some(was), Some(is)) = (old["value"].as_str(), new["value"].as_str()) else {
                    return if preload { Ok(()) } else { survives(old, new, &format!("{path}/{index}")) };
                };
                if preload && is.ends_with(was) {
                    Ok(())
                } else {
                    survives(old, new, &format!("{path}/{index}"))
                }
            }),
        (old, new) if old.is_null() || old == new => Ok(()),
        (old, new) => Err(format!("{path}: {old} became {new}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn no_bytes_make_a_rule_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let pools = Pools::default();
        answer(Rule::Pods, &body, Policy { pools: &pools, version: "0" });
    }

    #[test]
    fn every_answer_to_any_json_applies_and_a_second_pass_changes_nothing(
        object in any_json(), old in any_json(), workload: bool, update: bool,
    ) {
        let kind = if workload { "Deployment" } else { "Pod" };
        let operation = if update { "UPDATE" } else { "CREATE" };
        let seen = ask(operation, kind, &object, &old);
        let again = ask(operation, kind, &seen.object, &old);
        prop_assert!(!again.patched, "{} then {}", seen.object, again.object);
    }

    #[test]
    fn the_authors_own_values_survive_in_every_pod(object in any_pod()) {
        let seen = create("Pod", &object);
        prop_assert_eq!(survives(&object, &seen.object, ""), Ok(()));
        prop_assert!(!create("Pod", &seen.object).patched);
    }

    #[test]
    fn every_preflight_is_given_what_its_container_is(object in any_pod()) {
        let seen = create("Pod", &object).object;
        let list = |name: &str| seen["spec"][name].as_array().cloned().unwrap_or_default();
        for probe in list("initContainers") {
            let same = |app: &Value| ["image", "env", "resources"].iter().all(|member| without_null(&app[member]) == probe[member]);
            prop_assert!(list("containers").iter().any(same), "{:#}", seen);
        }
    }

    #[test]
    fn annotating_and_removing_the_annotation_leaves_the_template_as_it_was(
        pod in any_pod(), asks in any_annotations(),
    ) {
        let mut plain = json!({"metadata": {"annotations": {}}, "spec": {"template": pod}});
        // A mark that somebody forged is believed: the worst that follows is a removed annotation of ours.
        template_annotations(&mut plain).remove("firstlight.dev/propagated");
        let mut annotated = plain.clone();
        annotated["metadata"]["annotations"] = asks;
        let copied = ask("UPDATE", "Deployment", &annotated, &plain);
        prop_assert_eq!(survives(template(&plain), template(&copied.object), ""), Ok(()));
        if copied.refusal.is_none() {
            let mut removed = copied.object.clone();
            removed["metadata"]["annotations"] = json!({});
            let seen = ask("UPDATE", "Deployment", &removed, &copied.object);
            prop_assert_eq!(template(&seen.object), template(&plain));
        }
    }
}

/// The same without members that are `null`, which means absent.
fn without_null(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_null(value)))
            .collect(),
        other => other.clone(),
    }
}

fn template_annotations(object: &mut Value) -> &mut serde_json::Map<String, Value> {
    object["spec"]["template"]["metadata"]["annotations"].as_object_mut().unwrap()
}
