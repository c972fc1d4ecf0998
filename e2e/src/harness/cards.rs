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
pub const CARDS: u32 = 6;
/// The one that a CDI specification names.
const NAMED: u32 = 4;
/// The one that has MIG on, and its instance: GPU instance, compute instance, profile.
const DIVIDED: u32 = 5;
const INSTANCE: (u32, u32, &str) = (7, 0, "1g.10gb");
/// The capabilities that open the two halves of the instance, and the one that shows all instances: numbers of device nodes.
pub const OPENS: [u32; 2] = [66, 67];
const MONITOR: u32 = 20;
const VERSION: &str = "580.95.05";
/// Where the libraries lie.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// What the simulator's NVML takes for its cards (`prober.env` of the tests' values), in the one folder of the node that
/// the prober's container has.
const GRANT: &str = "nvml-of-the-tests";
/// There, too, what it takes for the kernel module's folder of instances: `/proc` of a container has none.
const CAPABILITIES: &str = "capabilities-of-the-tests";

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
        node.instance()?;
        node.driver()?;
        node.write("etc/cdi/nvidia.yaml", &specification())?;
        let folder = cluster.node().path(PROBER);
        let (gi, ci, _) = INSTANCE;
        fs::create_dir_all(folder.join(CAPABILITIES).join(format!("gpu{DIVIDED}/mig/gi{gi}/ci{ci}")))?;
        fs::write(folder.join(GRANT), grant()).context("cannot write the grant of the simulator's NVML")
    }

    fn device(&self, name: &str, minor: u32) -> Result<()> {
        let path = self.0.join("dev").join(name);
        fs::create_dir_all(path.parent().context("a node without a folder")?)?;
        if path.exists() {
            return Ok(());
        }
        run("mknod", [path.to_str().context("the path is not UTF-8")?, "c", "195", &minor.to_string()])
            .map(drop)
    }

    /// The divided card's instance, as the module tells of it.
    fn instance(&self) -> Result<()> {
        let (gi, ci, _) = INSTANCE;
        let [of_gi, of_ci] = OPENS;
        let folder = format!("gpu{DIVIDED}/mig/gi{gi}");
        for (of, number) in [
            (folder.clone(), of_gi),
            (format!("{folder}/ci{ci}"), of_ci),
            ("mig/monitor".to_owned(), MONITOR),
        ] {
            let access = format!("DeviceFileMinor: {number}\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
            self.write(&format!("proc/driver/nvidia/capabilities/{of}/access"), &access)?;
            self.device(&format!("nvidia-caps/nvidia-cap{number}"), number)?;
        }
        Ok(())
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
        let model = if number == DIVIDED { "H100 80GB HBM3" } else { "A40" };
        let information = format!(
            "Model: \t\t NVIDIA {model}\nGPU UUID: \t {}\n\
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
        let mut device = vec![format!("uuid={}", uuid(number)), format!("pci=0000{}", slot(number))];
        if number == DIVIDED {
            let (gi, ci, profile) = INSTANCE;
            device.extend(["model=SIM-H100".to_owned(), format!("mig={gi}/{ci}:{profile}")]);
        } else {
            device.extend(["model=SIM-A40".to_owned(), format!("memory={}", 48_u64 << 30)]);
        }
        text.extend(device.iter().map(|line| format!("device.{number}.{line}\n")));
    }
    text
}
