//! What a person sees who annotates an Ollama: a GPU, and proof of it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use firstlight_contract::metrics;
use firstlight_contract::names::{annotation, condition, env, event, label};
use firstlight_contract::paths::container;
use firstlight_e2e::harness::scenario::{PATIENCE, Scenario, scenario, scenario_with};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{
    BUSYBOX, MUSL, OLD_OLLAMA, OLLAMA, annotated, ollama, ollama_pod, pod, shell_pod,
};
use serde_json::json;

const POOL: &str = "simulated";
const ASKED: (&str, &str) = (annotation::GPU, POOL);

#[test]
#[ignore = "needs the local cluster"]
fn an_annotated_ollama_generates_on_its_gpu_and_everybody_says_so() -> Result<()> {
    scenario_with(&[(label::SIMULATION, "true")], |s| {
        s.create(&annotated(ollama("ollama", OLLAMA), &[ASKED]))?;
        let pod = s.ready_pod("ollama")?;
        let ready = s.gpu_ready(&pod, "True")?;
        assert_eq!(ready.reason, condition::REASON_SIMULATED, "{ready:?}");
        assert!(s.logged(&pod, "inference compute")?.contains("library=CUDA"));
        s.event(&pod, event::CUDA_READY)?;

        let answer = s.generate(&pod)?;
        assert!(answer["eval_count"].as_u64() > Some(0), "{answer}");
        let model = s.ollama_get(&pod, "/api/ps")?["models"][0].clone();
        assert!(model["size"].as_u64() > Some(0), "{model}");
        assert_eq!(model["size_vram"], model["size"], "every layer is on the GPU");

        let series =
            |name: &str, more: &str| format!("{name}{{namespace=\"{}\",pod=\"{pod}\"{more}}}", s.namespace);
        s.metric(&series(metrics::CUDA_INIT_TOTAL, ",outcome=\"success\""), |found| found.value > 0.0)?;
        s.metric(&series(metrics::GPU_IN_USE, ""), |found| found.value > 0.0)?;
        s.metric(&series(metrics::LAST_LAUNCH, ""), |found| found.value > 1_700_000_000.0)?;
        assert_eq!(s.condition(&pod)?.context("the condition is gone")?.status, "True");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn the_old_ollama_that_opens_the_driver_by_absolute_path_finds_the_gpu() -> Result<()> {
    scenario(|s| {
        s.create(&annotated(ollama("old", OLD_OLLAMA), &[ASKED]))?;
        let pod = s.ready_pod("old")?;
        let line = s.logged(&pod, "inference compute")?;
        assert!(line.contains("library=cuda"), "{line}");
        s.gpu_ready(&pod, "True").map(drop)
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_pod_with_the_resource_limit_alone_is_behind_the_shim() -> Result<()> {
    scenario(|s| {
        let mut spec = ollama_pod(OLLAMA);
        spec["containers"][0]["resources"] = json!({"limits": {format!("firstlight.dev/{POOL}"): 1}});
        s.create(&pod("bare", &spec))?;
        let pod = s.ready_pod("bare")?;
        assert!(s.logged(&pod, "inference compute")?.contains("library=CUDA"));
        assert!(!s.shell(&pod, "ollama", "env")?.contains(env::LD_PRELOAD), "nobody annotated it");
        let expression =
            format!("{}{{namespace=\"{}\",outcome=\"success\"}}", metrics::CUDA_INIT_TOTAL, s.namespace);
        s.metric(&expression, |found| found.value > 0.0).map(drop)
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_namespace_under_the_restricted_standard_admits_an_annotated_pod() -> Result<()> {
    scenario_with(&[("pod-security.kubernetes.io/enforce", "restricted")], |s| {
        let mut deployment = annotated(ollama("ollama", OLLAMA), &[ASKED]);
        let spec = &mut deployment["spec"]["template"]["spec"];
        spec["securityContext"] =
            json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
        spec["containers"][0]["securityContext"] =
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        spec["containers"][0]["env"] = json!([{"name": "HOME", "value": "/tmp"}]);
        s.create(&deployment)?;
        let pod = s.ready_pod("ollama")?;
        assert_eq!(s.shell(&pod, "ollama", "id -u")?.trim(), "1000");
        s.gpu_ready(&pod, "True").map(drop)
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn of_two_containers_only_ollamas_gets_the_gpu() -> Result<()> {
    scenario(|s| {
        let mut spec = ollama_pod(OLLAMA);
        let sidecar = json!({"name": "sidecar", "image": BUSYBOX, "command": ["sleep", "3600"]});
        spec["containers"].as_array_mut().context("containers")?.push(sidecar);
        s.create(&annotated(pod("pair", &spec), &[ASKED]))?;
        let pod = s.ready_pod("pair")?;
        s.gpu_ready(&pod, "True")?;
        assert!(s.shell(&pod, "ollama", "env")?.contains(container::SHIM));
        assert!(!s.shell(&pod, "sidecar", "env")?.contains(env::LD_PRELOAD));
        let limits = &s.get("pod", &pod)?["spec"]["containers"][1]["resources"];
        assert!(limits.get("limits").is_none(), "{limits}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn two_named_containers_get_a_gpu_each_and_a_verdict_each() -> Result<()> {
    scenario(|s| {
        let mut spec = ollama_pod(OLLAMA);
        let second = json!({"name": "second", "image": OLLAMA, "env": [{"name": "OLLAMA_HOST", "value": "0.0.0.0:11435"}]});
        spec["containers"].as_array_mut().context("containers")?.push(second);
        s.create(&annotated(pod("pair", &spec), &[ASKED, (annotation::CONTAINERS, "ollama,second")]))?;
        let pod = s.ready_pod("pair")?;
        s.gpu_ready(&pod, "True")?;
        for name in ["ollama", "second"] {
            let series = format!(
                "{}{{namespace=\"{}\",pod=\"{pod}\",container=\"{name}\",outcome=\"success\"}}",
                metrics::CUDA_INIT_TOTAL,
                s.namespace
            );
            s.metric(&series, |found| found.value > 0.0)?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn annotating_a_deployment_later_rolls_it_out_and_removing_the_annotation_takes_all_back() -> Result<()> {
    scenario(|s| {
        s.create(&ollama("ollama", OLLAMA))?;
        let plain = s.ready_pod("ollama")?;
        assert!(s.logged(&plain, "inference compute")?.contains("library=cpu"));

        s.run(["annotate", "deployment", "ollama", &format!("{}={POOL}", annotation::GPU)])?;
        let injected = wait_for_other_pod(s, &plain)?;
        s.gpu_ready(&injected, "True")?;
        let template = &s.get("deployment", "ollama")?["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(template[annotation::GPU], POOL, "{template}");
        assert!(template[annotation::PROPAGATED].is_string(), "{template}");

        s.run(["annotate", "deployment", "ollama", &format!("{}-", annotation::GPU)])?;
        let plain_again = wait_for_other_pod(s, &injected)?;
        assert!(s.logged(&plain_again, "inference compute")?.contains("library=cpu"));
        let template = s.get("deployment", "ollama")?["spec"]["template"]["metadata"]["annotations"].clone();
        let ours =
            template.as_object().is_some_and(|map| map.keys().any(|key| key.starts_with("firstlight.dev/")));
        assert!(!ours, "{template}");
        // The node has our name, too.
        let containers = s.get("pod", &plain_again)?["spec"]["containers"].to_string();
        assert!(!containers.contains("firstlight"), "{containers}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn an_annotation_that_the_user_wrote_into_the_template_stays_when_the_workloads_goes() -> Result<()> {
    scenario(|s| {
        let mut deployment = annotated(ollama("ollama", OLLAMA), &[ASKED]);
        deployment["spec"]["template"]["metadata"]["annotations"] =
            json!({annotation::GPU: POOL, "mine": "too"});
        s.create(&deployment)?;
        s.run(["annotate", "deployment", "ollama", &format!("{}-", annotation::GPU)])?;
        let template = s.get("deployment", "ollama")?["spec"]["template"]["metadata"]["annotations"].clone();
        assert_eq!(template, json!({annotation::GPU: POOL, "mine": "too"}));
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_preload_hurts_neither_musl_programs_nor_static_ones() -> Result<()> {
    scenario(|s| {
        let object =
            shell_pod("musl", MUSL, "echo preload=$LD_PRELOAD; hello-musl && echo static shell lives");
        s.create(&annotated(object, &[ASKED, (annotation::CONTAINERS, "shell")]))?;
        let pod = s.ready_pod("musl")?;
        s.logged(&pod, "static shell lives")?;
        let log = s.logs(&pod)?;
        assert_eq!(log, format!("preload={}\nhello from musl\nstatic shell lives\n", container::SHIM));
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn pods_without_the_annotation_are_left_as_they_are() -> Result<()> {
    scenario(|s| {
        s.create(&shell_pod("other", BUSYBOX, "env"))?;
        let pod = s.ready_pod("other")?;
        let object = s.get("pod", &pod)?;
        assert!(
            !object.to_string().contains("firstlight.dev/injected") && !s.logs(&pod)?.contains("LD_PRELOAD"),
            "{object}"
        );
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_grant_goes_with_its_pod_and_so_do_its_series() -> Result<()> {
    scenario(|s| {
        // Other tests' pods have grants, too: the agent keeps whose one is beside it.
        let ours = || {
            let is_ours = |grant: &PathBuf| {
                fs::read_to_string(grant.join("owner")).is_ok_and(|owner| owner.contains(&s.namespace))
            };
            anyhow::Ok(s.grants()?.into_iter().filter(is_ours).collect::<Vec<_>>())
        };
        s.create(&annotated(ollama("ollama", OLLAMA), &[ASKED]))?;
        let pod = s.ready_pod("ollama")?;
        s.gpu_ready(&pod, "True")?;
        let given = ours()?;
        assert_eq!(given.len(), 1, "{given:?}");
        s.run(["delete", "deployment", "ollama", "--wait=true"])?;
        wait_for("the grant to be collected", PATIENCE, || {
            let left = ours()?;
            Ok(if left.is_empty() { Progress::Done(()) } else { Progress::Waiting(format!("{left:?}")) })
        })?;
        let expression =
            format!("count({{namespace=\"{}\",__name__=~\"firstlight_.*\"}}) or vector(0)", s.namespace);
        s.metric(&expression, |found| found.value == 0.0).map(drop)
    })
}

/// The pod of the Deployment that replaces `old`.
fn wait_for_other_pod(s: &Scenario, old: &str) -> Result<String> {
    s.pod_where("ollama", "another one", |pod| {
        pod.pointer("/metadata/name").is_some_and(|name| name != old)
    })?;
    s.ready_pod("ollama")
}
