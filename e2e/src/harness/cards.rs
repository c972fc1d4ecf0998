//! A directory on the local node that plays a node with cards: kernel files and device nodes as NVIDIA's module makes them,
//! the simulator installed where its driver is, and a C library beside it. The tests' values have pools of its cards.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firstlight_contract::paths::node::PROBER;

use super::install::root;
use crate::cluster::{Cluster, NODE_WITH_CARDS as ROOT};
use crate::command::run;
use crate::deps::product;

/// Its cards.
pub const CARDS: u32 = 5;
/// The one that a CDI specification names.
const NAMED: u32 = 4;
const VERSION: &str = "580.95.05";
/// Where the libraries lie.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// What the simulator's NVML takes for its cards (`prober.env` of the tests' values), in the one folder of the node that
/// the prober's container has.
const GRANT: &str = "nvml-of-the-tests";

/// The UUID of a card.
pub fn uuid(number: u32) -> String {
    format!("GPU-00000000-0000-0000-0000-{number:012}")
}

/// The directory.
#[derive(Debug)]
pub struct NodeWithCards(PathBuf);

impl NodeWithCards {
    /// The one that [`super::install::once`] has laid out.
    pub fn of(cluster: &Cluster) -> Self {
        Self(cluster.node().path(ROOT))
    }

    /// Lays it out, with all its cards.
    pub fn lay_out(cluster: &Cluster) -> Result<()> {
        let node = Self::of(cluster);
        node.write("etc/hostname", "node-with-cards\n")?;
        let module = format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {VERSION}  Sat Aug 19 2023\n");
        node.write("proc/driver/nvidia/version", &module)?;
        (0..CARDS).try_for_each(|number| node.insert(number))?;
        node.device("nvidiactl", 255)?;
        node.device("nvidia-uvm", 254)?;
        (0..CARDS).try_for_each(|number| node.device(&format!("nvidia{number}"), number))?;
        node.driver()?;
        node.write("etc/cdi/nvidia.yaml", &specification())?;
        let folder = cluster.node().path(PROBER);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(GRANT), grant()).context("cannot write the grant of the simulator's NVML")
    }

    fn device(&self, name: &str, minor: u32) -> Result<()> {
        let path = self.0.join("dev").join(name);
        fs::create_dir_all(self.0.join("dev"))?;
        if path.exists() {
            return Ok(());
        }
        run("mknod", [path.to_str().context("the path is not UTF-8")?, "c", "195", &minor.to_string()])
            .map(drop)
    }

    fn driver(&self) -> Result<()> {
        let (built, to) = (root().join("build/simulator"), self.0.join(LIBRARIES));
        fs::create_dir_all(&to)?;
        let place = |from: &Path, name: &str| -> Result<()> {
            fs::copy(from, to.join(".new")).with_context(|| format!("cannot copy {}", from.display()))?;
            fs::rename(to.join(".new"), to.join(name)).context("cannot place a library")
        };
        for (stem, library) in [
            ("libcuda", "libcuda.so.1"),
            ("libnvidia-ml", "libnvidia-ml.so.1"),
            ("libnvidia-ptxjitcompiler", "libnvidia-ml.so.1"),
            ("libnvidia-nvvm", "libnvidia-ml.so.1"),
            ("libnvidia-gpucomp", "libnvidia-ml.so.1"),
        ] {
            place(&built.join(library), &format!("{stem}.so.{VERSION}"))?;
        }
        let libc = product("glibc-rootfs")?.join("lib/x86_64-linux-gnu");
        let names = ["ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"];
        names.iter().try_for_each(|name| place(&libc.join(name), name))
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().context("a path without a folder")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The card is in its slot, and the module has it.
    pub fn insert(&self, number: u32) -> Result<()> {
        let place = slot(number);
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
    pub fn pull(&self, number: u32) -> Result<()> {
        ["sys/bus/pci/devices", "proc/driver/nvidia/gpus"].iter().try_for_each(|folder| {
            fs::remove_dir_all(self.0.join(folder).join(slot(number))).context("cannot pull the card")
        })
    }
}

fn slot(number: u32) -> String {
    format!("0000:4{}:00.0", number + 1)
}

/// As `nvidia-ctk cdi generate` writes one, of one card.
fn specification() -> String {
    let node = |name: &str| format!("    - {{ path: /dev/{name}, hostPath: {ROOT}/dev/{name} }}\n");
    let library = |stem: &str| {
        let to = format!("/{LIBRARIES}/{stem}.so.1");
        format!(
            "    - {{ hostPath: {ROOT}/{LIBRARIES}/{stem}.so.{VERSION}, containerPath: {to}, options: [ro, bind] }}\n"
        )
    };
    [
        format!("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"{NAMED}\"\n"),
        format!("  containerEdits:\n    deviceNodes:\n{}", node(&format!("nvidia{NAMED}"))),
        format!("containerEdits:\n    deviceNodes:\n{}{}", node("nvidiactl"), node("nvidia-uvm")),
        format!("    mounts:\n{}{}", library("libcuda"), library("libnvidia-ml")),
    ]
    .concat()
}

fn grant() -> String {
    let mut text = format!(
        "firstlight-grant=1\nid={}\npool=p\nkind=simulated\ndriver=auto\nnvml=auto\n",
        "0".repeat(32)
    );
    for number in 0..CARDS {
        let device = [
            format!("uuid={}", uuid(number)),
            format!("pci=0000{}", slot(number)),
            "model=SIM-A40".to_owned(),
            format!("memory={}", 48_u64 << 30),
        ];
        text.extend(device.map(|line| format!("device.{number}.{line}\n")));
    }
    text
}
