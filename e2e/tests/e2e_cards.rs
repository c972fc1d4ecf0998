//! Pools of real cards, on a directory that plays a node with them ([`firstlight_e2e::harness::cards`]).

use anyhow::Result;
use firstlight_contract::names::annotation;
use firstlight_contract::paths::container::GRANT;
use firstlight_e2e::harness::cards::{NodeWithCards, OPENS};
use firstlight_e2e::harness::scenario::{Scenario, scenario, then_always};
use firstlight_e2e::harness::workload::{OLLAMA, annotated, ollama};
use serde_json::json;

#[test]
#[ignore = "needs the local cluster"]
fn a_whole_card_comes_with_its_driver_and_nodes_and_one_that_is_pulled_is_not_offered() -> Result<()> {
    scenario(|s| {
        let node = NodeWithCards::of(&s.cluster()?);
        s.offered("cards", "2")?;
        let (_, nodes) = s.firstlight(&["status", "--nodes"])?;
        assert!(
            nodes.contains("cards")
                && nodes.contains("direct 580.95.05  GPU-00000000-0000-0000-0000-000000000001"),
            "{nodes}"
        );
        s.create(&annotated(ollama("ollama", OLLAMA), &[(annotation::GPU, "cards")]))?;
        let pod = s.ready_pod("ollama")?;
        let condition = s.gpu_ready(&pod, "True")?;
        assert_eq!(condition.reason, "GpuUsable", "{condition:?}");
        assert!(condition.message.contains("/opt/firstlight/driver/libcuda.so.1"), "{condition:?}");
        let nodes = s.shell(&pod, "ollama", "ls /dev | grep nvidia")?;
        let count = |start: &str| nodes.lines().filter(|name| name.starts_with(start)).count();
        assert_eq!((count("nvidiactl"), count("nvidia-uvm"), nodes.lines().count()), (1, 1, 3), "{nodes}");
        assert_eq!(s.generate(&pod)?["eval_count"], 8);

        let pulled = || {
            node.pull(1)?;
            s.offered("cards", "1")
        };
        then_always(pulled, || node.insert(1))?;
        s.offered("cards", "2")
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_card_that_cdi_names_comes_by_the_container_runtime_and_the_shim_is_in_front_of_its_driver() -> Result<()>
{
    scenario(|s| {
        s.offered("named", "1")?;
        let (_, nodes) = s.firstlight(&["status", "--nodes"])?;
        assert!(nodes.lines().any(|line| line.contains("named") && line.contains(" cdi ")), "{nodes}");
        s.create(&annotated(ollama("ollama", OLLAMA), &[(annotation::GPU, "named")]))?;
        let pod = s.ready_pod("ollama")?;
        let condition = s.gpu_ready(&pod, "True")?;
        assert_eq!(condition.reason, "GpuUsable", "{condition:?}");
        assert!(condition.message.contains("/usr/lib/x86_64-linux-gnu/libcuda.so.1"), "{condition:?}");
        let there =
            s.shell(&pod, "ollama", "ls /dev | grep nvidia; ls -d /opt/firstlight/driver 2>&1; true")?;
        for wanted in ["nvidia4\n", "nvidiactl\n", "nvidia-uvm\n", "No such file"] {
            assert!(there.contains(wanted), "no {wanted:?} in {there}");
        }
        assert_eq!(s.generate(&pod)?["eval_count"], 8);
        Ok(())
    })
}

/// Ollama's own llama.cpp with a context that takes 768 MiB, in the container beside Ollama.
const GREEDY: &str = "cd /usr/lib/ollama && LD_LIBRARY_PATH=$PWD:$PWD/cuda_v13 \
    GGML_BACKEND_PATH=$PWD/cuda_v13/libggml-cuda.so timeout 60 \
    ./llama-server --model /models/tiny.gguf -ngl 99 -c 262144 --port 9999 2>&1; echo ended with $?";

#[test]
#[ignore = "needs the local cluster"]
fn two_pods_share_a_card_and_the_one_that_wants_more_than_its_part_is_refused() -> Result<()> {
    scenario(|s| {
        for name in ["modest", "greedy"] {
            s.create(&annotated(ollama(name, OLLAMA), &[(annotation::GPU, "halves")]))?;
        }
        let (modest, greedy) = (s.ready_pod("modest")?, s.ready_pod("greedy")?);
        for pod in [&modest, &greedy] {
            s.gpu_ready(pod, "True")?;
            assert_eq!(s.generate(pod)?["eval_count"], 8);
            let nodes = s.shell(pod, "ollama", "ls /dev | grep 'nvidia[0-9]'")?;
            assert_eq!(nodes.trim(), "nvidia2", "both have the same card");
        }

        let said = s.shell(&greedy, "ollama", GREEDY)?;
        assert!(said.contains("out of memory") && !said.contains("ended with 0"), "{said}");
        assert_eq!(s.diagnosed(&greedy, "quota-exceeded")?.confidence, "certain");
        let condition = s.gpu_ready(&greedy, "False")?;
        assert_eq!(condition.reason, "QuotaExceeded", "{condition:?}");

        // The neighbour did not notice.
        assert_eq!(s.generate(&modest)?["eval_count"], 8);
        s.gpu_ready(&modest, "True")?;
        keeps_within_its_quota(s, &modest)?;
        keeps_within_its_quota(s, &greedy)
    })
}

fn keeps_within_its_quota(s: &Scenario, pod: &str) -> Result<()> {
    let of = format!("{{namespace=\"{}\",pod=\"{pod}\"}}", s.namespace);
    let quota = s.metric(&format!("firstlight_memory_quota_bytes{of}"), |_| true)?.value;
    assert!((quota - f64::from(600 << 20)).abs() < 1.0, "{quota}");
    let context = f64::from(256 << 20);
    let within = |used: f64| used > context && used <= quota;
    s.metric(&format!("firstlight_memory_used_bytes{of}"), |found| within(found.value)).map(drop)
}

/// Ollama's own llama.cpp as the container's program. Ollama itself passes over every device whose capability its backend
/// was not compiled for, and the local build is for 8.6 alone, which no card has that can be divided.
const SERVER: &str = "cd /usr/lib/ollama && export LD_LIBRARY_PATH=$PWD:$PWD/cuda_v13 \
    GGML_BACKEND_PATH=$PWD/cuda_v13/libggml-cuda.so && exec ./llama-server --offline";
const SERVES: &str = "--model /models/tiny.gguf -ngl 99 -c 256 --host 0.0.0.0 --port 11434";

#[test]
#[ignore = "needs the local cluster"]
fn a_mig_instance_comes_with_its_own_nodes_and_a_pod_generates_in_it() -> Result<()> {
    scenario(|s| {
        s.offered("tenth", "1")?;
        let mut deployment = annotated(ollama("instance", OLLAMA), &[(annotation::GPU, "tenth")]);
        let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
        container["command"] = json!(["sh", "-c", format!("{SERVER} {SERVES}")]);
        container["readinessProbe"]["httpGet"]["path"] = json!("/health");
        s.create(&deployment)?;
        let pod = s.ready_pod("instance")?;
        assert_eq!(s.complete(&pod)?["tokens_predicted"], 8);
        let condition = s.gpu_ready(&pod, "True")?;
        assert_eq!(condition.reason, "GpuUsable", "{condition:?}");

        let grant = s.shell(&pod, "ollama", &format!("cat {GRANT}"))?;
        let named: Vec<&str> = grant.lines().filter(|line| line.contains(".uuid=")).collect();
        assert!(named.len() == 1 && named[0].starts_with("device.0.uuid=MIG-"), "{grant}");
        // The card, and of its capabilities the two of the instance.
        let nodes = s.shell(&pod, "ollama", "cd /dev && ls -d nvidia[0-9]* nvidia-caps/*")?;
        let [of_gi, of_ci] = OPENS;
        let wanted = format!("nvidia-caps/nvidia-cap{of_gi}\nnvidia-caps/nvidia-cap{of_ci}\nnvidia5");
        assert_eq!(nodes.trim(), wanted);
        let devices = s.shell(&pod, "ollama", &format!("{SERVER} --list-devices 2>&1"))?;
        assert!(devices.contains("CUDA0: SIM-H100 MIG 1g.10gb (10240 MiB"), "{devices}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn the_prober_opens_nvml_without_privilege_and_tells_how_large_parts_are() -> Result<()> {
    scenario(|s| {
        // No driver is behind the node here: ENXIO. Without our resource it is EPERM, from the device cgroup.
        s.prober_says(
            "/dev/nvidiactl cannot be opened: No such device or address (os error 6): the container may open it",
        )?;
        s.prober_says("an agent listens")?;
        // Half of a card whose memory is nowhere but in what NVML said.
        s.offered("told", "2")?;
        s.create(&annotated(ollama("half", OLLAMA), &[(annotation::GPU, "told")]))?;
        let pod = s.ready_pod("half")?;
        let of = format!("{{namespace=\"{}\",pod=\"{pod}\"}}", s.namespace);
        let half = |quota: f64| quota > f64::from(1 << 30) * 23.0 && quota <= f64::from(1 << 30) * 24.0;
        s.metric(&format!("firstlight_memory_quota_bytes{of}"), |found| half(found.value)).map(drop)
    })
}
