//! Pools of real cards, on a directory that plays a node with two of them: kernel files and device nodes as NVIDIA's
//! module makes them, and the simulator installed where its driver is.
#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for a name that it does not have")]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstlight_contract::names::annotation;
use firstlight_e2e::cluster::NAME;
use firstlight_e2e::command::run;
use firstlight_e2e::harness::install;
use firstlight_e2e::harness::scenario::{PATIENCE, Scenario, scenario, then_always};
use firstlight_e2e::harness::wait::{Progress, wait_for};
use firstlight_e2e::harness::workload::{OLLAMA, annotated, ollama};

/// The directory on the node; it is gone with the cluster.
const ROOT: &str = "/opt/node-with-cards";
const VERSION: &str = "580.95.05";

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
        Ok(node)
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
            "Model: \t\t NVIDIA A40\nGPU UUID: \t GPU-00000000-0000-0000-0000-{number:012}\n\
             Bus Location: \t {place}\nDevice Minor: \t {number}\nGPU Excluded:\t No\n"
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
