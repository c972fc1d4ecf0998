//! Pools of real cards, on a directory that plays a node with two of them: kernel files and device nodes as NVIDIA's
//! module makes them, the simulator installed where its driver is, and a C library beside it.
#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for a name that it does not have")]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstlight_contract::names::{annotation, label};
use firstlight_contract::paths::node;
use firstlight_e2e::cluster::NAME;
use firstlight_e2e::command::run;
use firstlight_e2e::deps::product;
use firstlight_e2e::harness::install::{self, NAMESPACE};
use firstlight_e2e::harness::scenario::{PATIENCE, Scenario, scenario, then_always};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{OLLAMA, annotated, ollama};

/// The directory on the node; it is gone with the cluster.
const ROOT: &str = "/opt/node-with-cards";
const VERSION: &str = "580.95.05";

/// The grant of the simulator's NVML, beside the agents' sockets.
const NVML: &str = "nvml-of-the-tests";

fn uuid(number: u32) -> String {
    format!("GPU-00000000-0000-0000-0000-{number:012}")
}

struct NodeWithCards(PathBuf);

impl NodeWithCards {
    fn new(s: &Scenario) -> Result<Self> {
        let node = Self(s.cluster()?.node().path(ROOT));
        node.write("etc/hostname", "node-with-cards\n")?;
        let module = format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {VERSION}  Sat Aug 19 2023\n");
        node.write("proc/driver/nvidia/version", &module)?;
        node.card(0)?;
        node.card(1)?;
        for (name, minor) in [("nvidiactl", "255"), ("nvidia-uvm", "254"), ("nvidia0", "0"), ("nvidia1", "1")]
        {
            let path = node.0.join("dev").join(name);
            fs::create_dir_all(node.0.join("dev"))?;
            if !path.exists() {
                run("mknod", [path.to_str().context("path")?, "c", "195", minor])?;
            }
        }
        let built = install::root().join("build/simulator");
        for (stem, library) in [
            ("libcuda", "libcuda.so.1"),
            ("libnvidia-ml", "libnvidia-ml.so.1"),
            ("libnvidia-ptxjitcompiler", "libnvidia-ml.so.1"),
            ("libnvidia-nvvm", "libnvidia-ml.so.1"),
            ("libnvidia-gpucomp", "libnvidia-ml.so.1"),
        ] {
            let to = node.0.join("usr/lib/x86_64-linux-gnu").join(format!("{stem}.so.{VERSION}"));
            fs::create_dir_all(to.parent().context("parent")?)?;
            fs::copy(built.join(library), to)?;
        }
        let libc = product("glibc-rootfs")?.join("lib/x86_64-linux-gnu");
        for name in ["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"] {
            fs::copy(libc.join(name), node.0.join("usr/lib/x86_64-linux-gnu").join(name))?;
        }
        Ok(node)
    }

    /// What the simulator's NVML takes for its cards, in the one folder of the node that the prober's container has:
    /// these two.
    fn nvml(s: &Scenario) -> Result<PathBuf> {
        let folder = s.cluster()?.node().path(node::PROBER);
        fs::create_dir_all(&folder)?;
        let mut text = format!(
            "firstlight-grant=1\nid={}\npool=p\nkind=simulated\ndriver=auto\nnvml=auto\n",
            "0".repeat(32)
        );
        for number in 0..2_u32 {
            let device = [
                format!("uuid={}", uuid(number)),
                format!("pci=00000000:4{}:00.0", number + 1),
                "model=SIM-A40".to_owned(),
                format!("memory={}", 48_u64 << 30),
            ];
            text.extend(device.map(|line| format!("device.{number}.{line}\n")));
        }
        fs::write(folder.join(NVML), text)?;
        Ok(folder.join(NVML))
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().context("parent")?)?;
        fs::write(&path, text).with_context(|| path.display().to_string())
    }

    fn places(&self, number: u32) -> [PathBuf; 2] {
        let place = format!("0000:4{}:00.0", number + 1);
        [Path::new("sys/bus/pci/devices"), Path::new("proc/driver/nvidia/gpus")]
            .map(|at| self.0.join(at).join(&place))
    }

    /// The card is in its slot, and the module has it.
    fn card(&self, number: u32) -> Result<()> {
        let place = format!("0000:4{}:00.0", number + 1);
        let function = format!("sys/bus/pci/devices/{place}");
        for (name, value) in [("vendor", "0x10de"), ("class", "0x030200"), ("numa_node", "0")] {
            self.write(&format!("{function}/{name}"), &format!("{value}\n"))?;
        }
        fs::write(self.0.join(&function).join("config"), [0xde, 0x10, 0, 0])?;
        let information = format!(
            "Model: \t\t NVIDIA A40\nGPU UUID: \t {}\n\
             Bus Location: \t {place}\nDevice Minor: \t {number}\nGPU Excluded:\t No\n",
            uuid(number)
        );
        self.write(&format!("proc/driver/nvidia/gpus/{place}/information"), &information)
    }

    /// The card is gone from bus and module.
    fn pull(&self, number: u32) -> Result<()> {
        self.places(number)
            .iter()
            .try_for_each(|place| fs::remove_dir_all(place).context("cannot pull the card"))
    }
}

fn offered(s: &Scenario, wanted: &str) -> Result<()> {
    wait_for(&format!("the node to offer {wanted} cards"), PATIENCE, || {
        let node = s.kubectl.get(["node", NAME])?;
        let now = node["status"]["allocatable"]["firstlight.dev/gpu"].clone();
        Ok(if now == wanted { Progress::Done(()) } else { Progress::Waiting(now.to_string()) })
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_whole_card_comes_with_its_driver_and_nodes_and_one_that_is_pulled_is_not_offered() -> Result<()> {
    scenario(|s| {
        let node = NodeWithCards::new(s)?;
        let root = format!("plugin.node.root={ROOT}");
        let checks = || {
            install::chart(&["pools[3].name=gpu", "pools[3].kind=whole", &root])?;
            offered(s, "2")?;
            s.create(&annotated(ollama("ollama", OLLAMA), &[(annotation::GPU, "true")]))?;
            let pod = s.ready_pod("ollama")?;
            let condition = s.gpu_ready(&pod, "True")?;
            assert_eq!(condition.reason, "GpuUsable", "{condition:?}");
            assert!(condition.message.contains("/opt/firstlight/driver/libcuda.so.1"), "{condition:?}");
            let nodes = s.shell(&pod, "ollama", "ls /dev | grep nvidia")?;
            let count = |start: &str| nodes.lines().filter(|name| name.starts_with(start)).count();
            assert_eq!(
                (count("nvidiactl"), count("nvidia-uvm"), nodes.lines().count()),
                (1, 1, 3),
                "{nodes}"
            );
            assert_eq!(s.generate(&pod)?["eval_count"], 8);

            node.pull(1)?;
            offered(s, "1")?;
            node.card(1)?;
            offered(s, "2")
        };
        then_always(checks, || install::chart(&[]))
    })
}

/// What the prober has logged.
fn prober_says(s: &Scenario, text: &str) -> Result<()> {
    let words = ["-n", NAMESPACE, "logs", "-l", "app.kubernetes.io/component=prober", "--tail=-1"];
    wait_for(&format!("the prober to say {text:?}"), PATIENCE, || {
        let log = s.kubectl.run(words)?;
        Ok(if log.contains(text) { Progress::Done(()) } else { Progress::Waiting(log) })
    })
}

/// A card is unhealthy for this reason.
fn unhealthy(s: &Scenario, number: u32, reason: &str) -> Result<()> {
    let series =
        format!("firstlight_device_unhealthy_info{{device=\"{}\",reason=\"{reason}\"}}", uuid(number));
    s.metric(&series, |found| found.value > 0.0).map(drop)
}

#[test]
#[ignore = "needs the local cluster"]
fn the_prober_opens_nvml_without_privilege_and_what_it_tells_decides_about_cards() -> Result<()> {
    scenario(|s| {
        NodeWithCards::new(s)?;
        let grant = NodeWithCards::nvml(s)?;
        let label = |value: &str| s.kubectl.run(["label", "node", NAME, "--overwrite", value]).map(drop);
        let cards = label::CARDS;
        let root = format!("plugin.node.root={ROOT}");
        let grant_there = format!("prober.env[0].value={}/{NVML}", node::PROBER);
        let common =
            ["pools[3].name=gpu", root.as_str(), "prober.env[0].name=FIRSTLIGHT_GRANT", grant_there.as_str()];
        let chart = |settings: &[&str]| {
            let all: Vec<&str> = common.iter().chain(settings).copied().collect();
            install::chart(&all)
        };
        let checks = || {
            label(&format!("{cards}=true"))?;
            // More than a card has: only NVML knows.
            chart(&["pools[3].kind=slice", "pools[3].sizes[0]=64GiB"])?;
            // No driver is behind the node here: ENXIO. Without our resource it is EPERM, from the device cgroup.
            prober_says(
                s,
                "/dev/nvidiactl cannot be opened: No such device or address (os error 6): the container may open it",
            )?;
            prober_says(s, "an agent listens")?;
            unhealthy(s, 0, "memory-exceeded")?;
            unhealthy(s, 1, "memory-exceeded")?;

            // It hangs at the first card: the second one is given.
            chart(&[
                "pools[3].kind=whole",
                "prober.env[1].name=FIRSTLIGHT_SIMULATE",
                "prober.env[1].value=hang=nvmlDeviceGetMemoryInfo_v2:600",
            ])?;
            prober_says(
                s,
                &format!("while it asked nvmlDeviceGetMemoryInfo of {}: its process was killed", uuid(0)),
            )?;
            unhealthy(s, 0, "nvml-hangs")?;
            offered(s, "1")?;

            // It answers again: so is the first one.
            chart(&["pools[3].kind=whole"])?;
            offered(s, "2")
        };
        then_always(checks, || {
            install::chart(&[])?;
            label(&format!("{cards}-"))?;
            fs::remove_file(&grant).context("cannot remove the grant")
        })
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
        NodeWithCards::new(s)?;
        let root = format!("plugin.node.root={ROOT}");
        let card = format!("pools[3].devices[0]={}", uuid(0));
        let checks = || {
            install::chart(&[
                "pools[3].name=gpu",
                "pools[3].kind=slice",
                "pools[3].sizes[0]=600MiB",
                "pools[3].sizes[1]=600MiB",
                &card,
                &root,
            ])?;
            offered(s, "2")?;
            for name in ["modest", "greedy"] {
                s.create(&annotated(ollama(name, OLLAMA), &[(annotation::GPU, "true")]))?;
            }
            let (modest, greedy) = (s.ready_pod("modest")?, s.ready_pod("greedy")?);
            for pod in [&modest, &greedy] {
                s.gpu_ready(pod, "True")?;
                assert_eq!(s.generate(pod)?["eval_count"], 8);
                let nodes = s.shell(pod, "ollama", "ls /dev | grep 'nvidia[0-9]'")?;
                assert_eq!(nodes.trim(), "nvidia0", "both have the same card");
            }

            let said = s.shell(&greedy, "ollama", GREEDY)?;
            assert!(said.contains("out of memory") && !said.contains("ended with 0"), "{said}");
            assert_eq!(s.diagnosed(&greedy, "quota-exceeded")?.confidence, "certain");
            let condition = s.gpu_ready(&greedy, "False")?;
            assert_eq!(condition.reason, "QuotaExceeded", "{condition:?}");

            // The neighbour did not notice.
            assert_eq!(s.generate(&modest)?["eval_count"], 8);
            s.gpu_ready(&modest, "True")?;
            for (pod, name) in [(&modest, "modest"), (&greedy, "greedy")] {
                let of = format!("{{namespace=\"{}\",pod=\"{pod}\"}}", s.namespace);
                let quota = s.metric(&format!("firstlight_memory_quota_bytes{of}"), |_| true)?.value;
                assert!((quota - f64::from(600 << 20)).abs() < 1.0, "{name}: {quota}");
                s.metric(&format!("firstlight_memory_used_bytes{of}"), |found| {
                    found.value > f64::from(256 << 20) && found.value <= quota
                })?;
            }
            Ok(())
        };
        then_always(checks, || install::chart(&[]))
    })
}
