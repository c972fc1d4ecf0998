//! A node with cards, as a tree of files.

use super::root::NodeRoot;
use std::fs;
use std::path::PathBuf;

pub(crate) const VERSION: &str = "535.104.05";

pub(crate) fn uuid(number: u32) -> String {
    format!("GPU-00000000-0000-0000-0000-{number:012}")
}

/// Linux's spelling of the place of a card.
pub(crate) fn place(number: u32) -> String {
    format!("0000:4{}:00.0", number + 1)
}

pub(crate) struct FakeNode {
    pub(crate) root: NodeRoot,
    folder: tempfile::TempDir,
}

impl FakeNode {
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let root =
            NodeRoot { sysfs: path.join("sys"), procfs: path.join("proc"), seen: path, host: "/".into() };
        Self { root, folder }
    }

    /// Cards on alternating NUMA nodes, with their module, device nodes and driver.
    pub(crate) fn with_cards(count: u32) -> Self {
        let node = Self::empty();
        node.load(VERSION);
        for number in 0..count {
            node.function(&place(number), "0x10de", "0x030200", i64::from(number % 2));
            node.information(&place(number), number, &uuid(number));
            node.write(&format!("dev/nvidia{number}"), "");
        }
        for name in ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"] {
            node.write(&format!("dev/{name}"), "");
        }
        node
    }

    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.folder.path().join(path);
        fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// A driver's libraries in a directory.
    pub(crate) fn driver(&self, directory: &str, version: &str) {
        for stem in
            ["libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler", "libnvidia-nvvm", "libnvidia-gpucomp"]
        {
            self.write(&format!("{directory}/{stem}.so.{version}"), "\x7fELF and more");
        }
    }

    pub(crate) fn load(&self, version: &str) {
        let text = format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Sat Aug 19 2023\n");
        self.write("proc/driver/nvidia/version", text);
    }

    pub(crate) fn unload(&self) {
        self.remove("proc/driver/nvidia");
    }

    pub(crate) fn function(&self, place: &str, vendor: &str, class: &str, numa: i64) {
        let attributes = [("vendor", vendor), ("class", class), ("numa_node", &numa.to_string())];
        for (name, value) in attributes {
            self.write(&format!("sys/bus/pci/devices/{place}/{name}"), format!("{value}\n"));
        }
        self.config(place, &[0xde, 0x10, 0, 0]);
    }

    pub(crate) fn config(&self, place: &str, bytes: &[u8]) {
        self.write(&format!("sys/bus/pci/devices/{place}/config"), bytes);
    }

    pub(crate) fn information(&self, place: &str, minor: u32, uuid: &str) {
        let text = format!(
            "Model: \t\t NVIDIA A40\nGPU UUID: \t {uuid}\nBus Location: \t {place}\nDevice Minor: \t {minor}\n\
             GPU Excluded:\t No\n"
        );
        self.write(&format!("proc/driver/nvidia/gpus/{place}/information"), text);
    }

    /// A MIG instance of the card with this minor, and its device nodes: `<gi>0` and `<gi><ci + 1>`.
    pub(crate) fn instance(&self, card: u32, gi: u32, ci: u32) {
        let of_gi = format!("proc/driver/nvidia/capabilities/gpu{card}/mig/gi{gi}");
        for (folder, minor) in [(of_gi.clone(), gi * 10), (format!("{of_gi}/ci{ci}"), gi * 10 + ci + 1)] {
            let access = format!("DeviceFileMinor: {minor}\nDeviceFileMode: 256\nDeviceFileModify: 1\n");
            self.write(&format!("{folder}/access"), access);
            self.write(&format!("dev/nvidia-caps/nvidia-cap{minor}"), "");
        }
    }

    /// The card is gone from bus and module, as after a hot removal.
    pub(crate) fn pull(&self, place: &str) {
        self.remove(&format!("sys/bus/pci/devices/{place}"));
        self.remove(&format!("proc/driver/nvidia/gpus/{place}"));
    }
}
