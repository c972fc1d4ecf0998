//! What the tests stand on: the artefacts, grants, and this program started again with one of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The folder of the built simulator.
pub(crate) fn simulator() -> PathBuf {
    artefact("simulator")
}

/// The folder of the built shim.
pub(crate) fn shim() -> PathBuf {
    artefact("shim")
}

/// What was built lies below `FIRSTLIGHT_ARTEFACTS`, else in `build/`.
fn artefact(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let artefacts =
        std::env::var_os("FIRSTLIGHT_ARTEFACTS").map_or_else(|| root.join("build"), PathBuf::from);
    let folder = artefacts.join(name);
    folder.canonicalize().unwrap_or_else(|_| panic!("no {name} in {} (make artefacts)", artefacts.display()))
}

pub(crate) fn nvml() -> PathBuf {
    simulator().join("libnvidia-ml.so.1")
}

pub(crate) fn driver() -> PathBuf {
    simulator().join("libcuda.so.1")
}

/// A grant of `count` devices, of three models in turn.
pub(crate) struct Grant(TempDir);

impl Grant {
    pub(crate) fn of(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = format!(
            "firstlight-grant=1\nid={}\npool=test\nkind=simulated\ndriver={}\nnvml={}\n",
            "0".repeat(32),
            driver().display(),
            nvml().display()
        );
        for index in 0..count {
            let device = [
                format!("uuid={}", uuid(index)),
                format!("pci=00000000:{:02x}:00.0", 0x41 + index),
                format!("model={}", model(index)),
                format!("memory={}", memory(index)),
            ];
            text.extend(device.map(|line| format!("device.{index}.{line}\n")));
        }
        std::fs::write(folder.path().join("grant"), text).unwrap();
        Self(folder)
    }

    /// A whole card that has MIG on with these instances, and one that cannot be divided.
    pub(crate) fn divided(instances: &str) -> Self {
        let grant = Self::of(2);
        let path = grant.0.path().join("grant");
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = format!("device.0.memory={}", memory(0));
        let divided = text
            .replace("device.0.model=SIM-A40", "device.0.model=SIM-H100")
            .replace("device.1.model=SIM-H100", "device.1.model=SIM-T4")
            .replace(&whole, &format!("device.0.mig={instances}"));
        std::fs::write(path, divided).unwrap();
        grant
    }

    /// A program that has this grant.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("FIRSTLIGHT_GRANT", self.0.path().join("grant"));
        command
    }
}

pub(crate) fn uuid(index: usize) -> String {
    format!("GPU-{index:08x}-0000-5000-8000-00000000abcd")
}

pub(crate) fn model(index: usize) -> &'static str {
    ["SIM-A40", "SIM-H100", "SIM-T4"][index % 3]
}

pub(crate) fn memory(index: usize) -> u64 {
    (8 + index as u64) << 30
}
