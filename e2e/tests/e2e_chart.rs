//! The chart's life on a cluster: upgrade, rollback, test, uninstall, and what remains.

use std::fs;

use anyhow::{Context, Result};
use firstlight_contract::names::annotation;
use firstlight_contract::paths::node;
use firstlight_e2e::cluster::NAME;
use firstlight_e2e::harness::cards::NodeWithCards;
use firstlight_e2e::harness::install::{self, NAMESPACE, RELEASE};
use firstlight_e2e::harness::scenario::{PATIENCE, scenario, then_always};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{OLLAMA, annotated, ollama};

#[test]
#[ignore = "needs the local cluster"]
fn helm_test_passes() -> Result<()> {
    scenario(|s| {
        let said = s.kubectl.helm(["test", RELEASE, "--namespace", NAMESPACE, "--timeout", "90s"])?;
        assert!(said.contains("Phase:          Succeeded"), "{said}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn an_upgrade_and_its_rollback_leave_a_working_release() -> Result<()> {
    scenario(|s| {
        let devices = || {
            let node = s.kubectl.get(["node", NAME])?;
            let value = node["status"]["allocatable"]["firstlight.dev/simulated"].as_str().map(str::to_owned);
            value.context("the node offers no simulated devices")
        };
        let expect = |count: &str| {
            wait_for(&format!("{count} devices"), PATIENCE, || {
                let now = devices()?;
                Ok(if now == count { Progress::Done(()) } else { Progress::Waiting(now) })
            })
        };
        expect("8")?;
        let checks = || {
            install::chart(&["pools[0].devices=2"])?;
            expect("2")?;
            s.kubectl.helm(["rollback", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "120s"])?;
            expect("8")
        };
        then_always(checks, || install::chart(&[]))
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_mistake_in_the_values_is_refused_before_anything_changes() -> Result<()> {
    scenario(|s| {
        let before = s.kubectl.helm(["history", RELEASE, "--namespace", NAMESPACE])?;
        let error = install::chart(&["pools[0].kind=magic"]).expect_err("there is no kind magic");
        let said = format!("{error:#}");
        // The words of the command are in the sentence, too: what only Helm can have said is the place and what it allows.
        for word in ["at '/pools/0/kind': value must be 'observer'", "'simulated'"] {
            assert!(said.contains(word), "{said}");
        }
        assert_eq!(s.kubectl.helm(["history", RELEASE, "--namespace", NAMESPACE])?, before);
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn uninstalling_leaves_running_pods_alone_and_cleanup_removes_the_rest() -> Result<()> {
    scenario(|s| {
        s.create(&annotated(ollama("ollama", OLLAMA), &[(annotation::GPU, "simulated")]))?;
        let pod = s.ready_pod("ollama")?;
        s.gpu_ready(&pod, "True")?;
        let checks = || {
            s.kubectl.helm([
                "uninstall",
                RELEASE,
                "--namespace",
                NAMESPACE,
                "--wait",
                "--timeout",
                "120s",
            ])?;
            for kind in [
                "mutatingwebhookconfigurations",
                "validatingadmissionpolicies",
                "clusterroles",
                "clusterrolebindings",
            ] {
                let left = s.kubectl.run(["get", kind, "-o", "name"])?;
                assert!(!left.contains("firstlight"), "{left}");
            }
            // The running pod keeps its GPU; its container can even start again.
            let _the_shell_dies_too = s.shell(&pod, "ollama", "kill 1");
            wait_for("the container to be started again", PATIENCE, || {
                let restarts = s.get("pod", &pod)?["status"]["containerStatuses"][0]["restartCount"].clone();
                Ok(if restarts.as_u64() > Some(0) {
                    Progress::Done(())
                } else {
                    Progress::Waiting(restarts.to_string())
                })
            })?;
            s.ready_pod("ollama")?;
            s.logged(&pod, "library=CUDA")?;

            s.run(["delete", "deployment", "ollama", "--wait=true"])?;
            s.run(["wait", "--for=delete", "pod", &pod, "--timeout=60s"])?;
            let chart = install::root().join("charts/firstlight").display().to_string();
            let manifest = s.kubectl.helm([
                "template",
                RELEASE,
                &chart,
                "--namespace",
                NAMESPACE,
                "--set",
                "cleanup.enabled=true",
                "--show-only",
                "templates/cleanup.yaml",
            ])?;
            let folder = tempfile::tempdir()?;
            let file = folder.path().join("cleanup.yaml");
            fs::write(&file, manifest)?;
            let file = file.display().to_string();
            s.kubectl.run(["apply", "-f", &file])?;
            let root = s.cluster()?.node().path(node::ROOT);
            wait_for("the node's files to be removed", PATIENCE, || {
                let left: Vec<_> =
                    fs::read_dir(&root)?.filter_map(|item| Some(item.ok()?.file_name())).collect();
                let grants = s.grants()?;
                let gone = grants.is_empty() && left.iter().all(|name| name == "grants");
                Ok(if gone { Progress::Done(()) } else { Progress::Waiting(format!("{left:?} {grants:?}")) })
            })?;
            s.kubectl.run(["delete", "-f", &file])?;
            Ok(())
        };
        then_always(checks, || {
            // What the tests had put beside the sockets went with them.
            NodeWithCards::lay_out(&s.cluster()?)?;
            install::chart(&[])
        })
    })
}
