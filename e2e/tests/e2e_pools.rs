//! Pools whose driver is somebody else's: an operator's own virtual driver, and another vendor's beside ours.
#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for a name that it does not have")]

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use firstlight_contract::names::{annotation, event};
use firstlight_e2e::command::run;
use firstlight_e2e::harness::install::{self, CUSTOM_DRIVER};
use firstlight_e2e::harness::scenario::{PATIENCE, Scenario, scenario, then_always};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{OLLAMA, annotated, ollama};
use firstlight_testing::causes::row;
use serde_json::{Value, json};

/// A scenario that has the folder of the custom pool's driver for itself.
fn with_own_driver(body: impl FnOnce(&Scenario) -> Result<()>) -> Result<()> {
    static FOLDER: Mutex<()> = Mutex::new(());
    let _mine = FOLDER.lock().unwrap_or_else(PoisonError::into_inner);
    scenario(|s| then_always(|| body(s), || install::custom_driver(&s.cluster()?)))
}

/// Puts the driver that is wrong in this way into the folder.
fn virtual_driver(s: &Scenario, wrong: &[&str]) -> Result<()> {
    let folder = s.cluster()?.node().path(CUSTOM_DRIVER);
    let (made, driver) = (folder.join(".new"), folder.join("libcuda.so.1"));
    let source = install::root().join("crates/cli/tests/c/crippled.c");
    let words =
        ["-shared", "-fPIC", "-w", "-o", made.to_str().context("path")?, source.to_str().context("path")?];
    run("gcc", words.iter().chain(wrong))?;
    std::fs::rename(made, driver).context("cannot place the driver")
}

/// An Ollama in this pool; its pod.
fn asks_for(s: &Scenario, pool: &str, change: impl FnOnce(&mut Value)) -> Result<String> {
    let mut deployment = annotated(ollama("ollama", OLLAMA), &[(annotation::GPU, pool)]);
    change(&mut deployment["spec"]["template"]["spec"]);
    s.create(&deployment)?;
    s.ready_pod("ollama")
}

#[test]
#[ignore = "needs the local cluster"]
fn the_author_of_a_virtual_gpu_reads_what_their_driver_lacks() -> Result<()> {
    with_own_driver(|s| {
        virtual_driver(s, &["-DNO_TABLES"])?;
        let pod = asks_for(s, "mine", |_| ())?;
        let condition = s.gpu_ready(&pod, "False")?;
        assert_eq!(condition.reason, "ExportTableMissing", "{condition:?}");
        assert!(!condition.message.contains("imulated"), "nobody simulates here: {condition:?}");
        s.event(&pod, event::CUDA_INIT_FAILED)?;

        // The author adds the function, and asks again.
        virtual_driver(s, &[])?;
        s.run(["delete", "pod", &pod, "--wait=true"])?;
        let next = s.ready_pod("ollama")?;
        let condition = s.gpu_ready(&next, "False")?;
        assert_eq!(condition.reason, "ExportTableRefused", "{condition:?}");
        assert!(condition.message.contains("6bd5fb6c5bf4e74a8987d93912fd9df9"), "{condition:?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn an_observed_pod_that_asked_nobody_for_a_gpu_is_told_apart_from_one_that_was_given_none() -> Result<()> {
    scenario(|s| {
        let pod = asks_for(s, "watch", |_| ())?;
        let condition = s.gpu_ready(&pod, "False")?;
        assert_eq!(condition.reason, "GpuNotRequested", "{condition:?}");
        let unasked = s.diagnosed(&pod, "gpu-not-requested")?;
        s.run(["delete", "deployment", "ollama", "--wait=true"])?;

        // Another vendor's plugin that gives a device and injects nothing.
        let node = firstlight_e2e::cluster::NAME;
        let capacity = |value: &Value| {
            let patch = json!({"status": {"capacity": {"nvidia.com/gpu": value}}}).to_string();
            s.kubectl.run(["patch", "node", node, "--subresource=status", "--type=merge", "-p", &patch])
        };
        capacity(&json!("1"))?;
        then_always(
            || {
                let limit = |spec: &mut Value| {
                    spec["containers"][0]["resources"] = json!({"limits": {"nvidia.com/gpu": "1"}});
                };
                let pod = asks_for(s, "watch", limit)?;
                let condition = s.gpu_ready(&pod, "False")?;
                assert_eq!(condition.reason, "DriverNotInjected", "{condition:?}");
                let given = s.diagnosed(&pod, "driver-not-injected")?;
                let made = unasked.made("a pod without a limit in an observer pool, and no driver");
                let twin = given.made("the same with a device of another plugin, which injects nothing");
                row(env!("CARGO_TARGET_TMPDIR"), "gpu-not-requested", &made, "driver-not-injected", &twin)
                    .context("the row")
            },
            || capacity(&Value::Null).map(drop),
        )
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_driver_that_goes_away_after_the_start_is_a_fallback_and_its_devices_are_not_offered() -> Result<()> {
    with_own_driver(|s| {
        let pod = asks_for(s, "mine", |_| ())?;
        s.gpu_ready(&pod, "True")?;
        let folder = s.cluster()?.node().path(CUSTOM_DRIVER);
        std::fs::remove_file(folder.join("libcuda.so.1"))?;
        // Ollama starts a runner for the request; that looks for the driver anew.
        let _whatever_it_answers = s.generate(&pod);
        let condition = s.gpu_ready(&pod, "False")?;
        assert_eq!(condition.reason, "DriverLibraryNotFound", "{condition:?}");
        s.event(&pod, event::CUDA_FALLBACK)?;
        wait_for("the node to offer no such device", PATIENCE, || {
            let node = s.kubectl.get(["node", firstlight_e2e::cluster::NAME])?;
            let left = node["status"]["allocatable"]["firstlight.dev/mine"].clone();
            Ok(if left == "0" { Progress::Done(()) } else { Progress::Waiting(left.to_string()) })
        })
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_driver_that_another_vendor_injects_is_observed_and_not_replaced() -> Result<()> {
    scenario(|s| {
        // The simulator stands in for the vendor's driver: it comes by the pod's own mount, where a container
        // runtime would put it.
        install::simulator(&s.cluster()?.node().path("/opt/vendor-driver"))?;
        let pod = asks_for(s, "watch", |spec| {
            spec["volumes"] = json!([{"name": "driver", "hostPath": {"path": "/opt/vendor-driver"}}]);
            spec["containers"][0]["volumeMounts"] =
                json!([{"name": "driver", "mountPath": "/usr/local/nvidia/lib64", "readOnly": true}]);
        })?;
        let condition = s.gpu_ready(&pod, "True")?;
        assert_eq!(condition.reason, "GpuUsable", "{condition:?}");
        assert!(condition.message.contains("/usr/local/nvidia/lib64/libcuda.so.1"), "{condition:?}");
        let answer = s.generate(&pod)?;
        assert_eq!(answer["eval_count"], 8, "{answer}");
        wait_for("the launches to be confirmed", PATIENCE, || {
            let (_, said) = s.firstlight(&["diagnose", &pod, "--output", "json"])?;
            let report: Value = serde_json::from_str(&said).unwrap_or_default();
            let confirmed = report["verdict"]["confirmed"] == true;
            Ok(if confirmed { Progress::Done(()) } else { Progress::Waiting(said) })
        })
    })
}
