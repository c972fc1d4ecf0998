//! What the tests stand on: the driver, C programs, grants, products.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock, PoisonError};
use tempfile::TempDir;

/// The folder with `libcuda.so.1` and `libnvidia-ml.so.1`, built once by the script that builds what is shipped.
pub(crate) fn artefacts() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("simulator");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.sh");
        let status = Command::new(script).arg(&folder).status().unwrap();
        assert!(status.success(), "build.sh failed");
        folder
    })
}

pub(crate) fn driver() -> PathBuf {
    artefacts().join("libcuda.so.1")
}

/// Compiles one of `tests/c` once.
pub(crate) fn compiled(source: &str) -> PathBuf {
    static DONE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = done.entry(source.into()).or_insert_with(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("c-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let output = folder.join(source).with_extension("");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
        let mut command = Command::new("gcc");
        command.args(["-O1", "-w", "-o"]).arg(&output).arg(file).arg("-ldl");
        let made = command.output().unwrap();
        assert!(made.status.success(), "{command:?}: {}", String::from_utf8_lossy(&made.stderr));
        output
    });
    path.clone()
}

/// What a program printed; it ended well and was silent on stderr.
pub(crate) fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} {errors}", output.status);
    assert_eq!(errors, "", "the driver is silent");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A grant of simulated devices, and what is ordered of them.
pub(crate) struct Machine {
    folder: TempDir,
    simulate: String,
}

impl Machine {
    pub(crate) fn of(devices: usize) -> Self {
        Self::granted(devices, "SIM-A10")
    }

    /// One device of this model.
    pub(crate) fn of_model(model: &str) -> Self {
        Self::granted(1, model)
    }

    fn granted(devices: usize, model: &str) -> Self {
        let mut text = String::new();
        for index in 0..devices {
            writeln!(
                text,
                "device.{index}.uuid=GPU-{index:08x}-0000-5000-8000-00000000000a\n\
                 device.{index}.pci=00000000:{:02x}:00.0\ndevice.{index}.model={model}\ndevice.{index}.memory=8589934592",
                index + 0x20
            )
            .unwrap();
        }
        Self::with(&text)
    }

    /// A grant with these lines.
    pub(crate) fn with(devices: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "firstlight-grant=1\nid=0123456789abcdef0123456789abcdef\npool=test\nkind=simulated\ndriver={}\nnvml={}\n{devices}",
            driver().display(),
            artefacts().join("libnvidia-ml.so.1").display(),
        );
        std::fs::write(folder.path().join("grant"), text).unwrap();
        Self { folder, simulate: String::new() }
    }

    /// One device that does this wrong.
    pub(crate) fn ordered(fault: &str) -> Self {
        Self { simulate: fault.into(), ..Self::of(1) }
    }

    /// A program that finds the driver by its name, as without a shim.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_LIBRARY_PATH", artefacts())
            .env("FIRSTLIGHT_GRANT", self.folder.path().join("grant"))
            .env("FIRSTLIGHT_SIMULATE", &self.simulate);
        command
    }
}

/// Where a product of `make deps` is; says so where it is missing.
pub(crate) fn product(path: &str) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/firstlight"));
    let cache = std::env::var_os("FIRSTLIGHT_CACHE").map(PathBuf::from).or_else(home)?;
    let found = cache.join("current").join(path);
    if !found.exists() {
        eprintln!("skipped: no {} (make deps)", found.display());
        return None;
    }
    Some(found)
}
