//! What the tests stand on: the programs, artefacts, products, and a machine to run on.

use firstlight_contract::preflight::{Document, Finding, Judgement, Outcome, Probe, Report};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The folder with both halves, built once by the script that builds what is shipped.
pub(crate) fn programs() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preflight");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.sh");
        let status = Command::new(script).arg(&folder).status().unwrap();
        assert!(status.success(), "build.sh failed");
        folder
    })
}

/// A file of `make artefacts`; says so where it is missing.
pub(crate) fn artefact(name: &str) -> Option<PathBuf> {
    let found = firstlight_testing::artefact(name);
    if found.is_none() {
        eprintln!("skipped: no {name} in FIRSTLIGHT_ARTEFACTS (make artefacts)");
    }
    found
}

/// Where a product of `make deps` is; says so where it is missing.
pub(crate) fn product(path: &str) -> Option<PathBuf> {
    let found = firstlight_testing::product(path);
    if !found.exists() {
        eprintln!("skipped: no {} (make deps)", found.display());
        return None;
    }
    Some(found)
}

/// Compiles one of `tests/c` to a library of this name in this folder.
pub(crate) fn compiled(folder: &Path, source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let output = folder.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
    let mut command = Command::new("gcc");
    command.args(["-shared", "-fPIC", "-w", "-o"]).arg(&output).arg(source).args(flags);
    let made = command.output().unwrap();
    assert!(made.status.success(), "{command:?}: {}", String::from_utf8_lossy(&made.stderr));
    output
}

/// What the preflight found, and how it ended.
pub(crate) struct Told {
    pub(crate) report: Report,
    pub(crate) verdict: Option<Judgement>,
    pub(crate) code: Option<i32>,
}

impl Told {
    /// The document on standard output; standard error stayed empty.
    pub(crate) fn of(output: &Output) -> Self {
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let document: Document = serde_json::from_slice(&output.stdout).unwrap();
        let report = document.report();
        assert_eq!(report.foreign_lines, 0);
        Self { report, verdict: document.verdict(), code: output.status.code() }
    }

    /// The only finding of a probe.
    pub(crate) fn only(&self, probe: Probe) -> &Finding {
        let found: Vec<&Finding> = self.report.of(probe).collect();
        assert_eq!(found.len(), 1, "{found:#?} in {:#?}", self.report);
        found[0]
    }

    pub(crate) fn outcome(&self, probe: Probe) -> Outcome {
        self.only(probe).outcome
    }

    /// Probes behind this one were not tried.
    pub(crate) fn stopped_at(&self, probe: Probe) {
        let behind = Probe::DRIVER.into_iter().filter(|other| *other > probe);
        assert!(
            behind.into_iter().all(|other| self.outcome(other) == Outcome::Skipped),
            "{:#?}",
            self.report
        );
    }
}

/// A machine with a simulated GPU behind the shim, as in an injected container.
pub(crate) struct Machine {
    folder: TempDir,
    shim: PathBuf,
}

/// The device of every machine: UUID and PCI id.
const DEVICE: (&str, &str) = ("GPU-6f1c1b54-0000-5000-8000-000000000000", "00000000:41:00.0");

impl Machine {
    pub(crate) fn new() -> Option<Self> {
        let machine = Self { folder: tempfile::tempdir().unwrap(), shim: artefact("shim/libcuda.so.1")? };
        artefact("simulator/libcuda.so.1")?;
        Some(machine.whole(&[DEVICE]))
    }

    /// The same with these simulated devices.
    fn whole(self, devices: &[(&str, &str)]) -> Self {
        let driver = artefact("simulator/libcuda.so.1").unwrap();
        self.grant("simulated", &driver, &driver.with_file_name("libnvidia-ml.so.1"), devices);
        self
    }

    /// The same with a second simulated device.
    pub(crate) fn with_second_device(self, uuid: &str, pci: &str) -> Self {
        self.whole(&[DEVICE, (uuid, pci)])
    }

    fn grant(&self, kind: &str, driver: &Path, nvml: &Path, devices: &[(&str, &str)]) {
        let mut text = format!(
            "firstlight-grant=1\nid=0123456789abcdef0123456789abcdef\npool=test\nkind={kind}\ndriver={}\nnvml={}\n",
            driver.display(),
            nvml.display()
        );
        for (index, (uuid, pci)) in devices.iter().enumerate() {
            let device = format!("device.{index}");
            write!(text, "{device}.uuid={uuid}\n{device}.pci={pci}\n").unwrap();
            write!(text, "{device}.model=SIM-A40\n{device}.memory=51539607552\n").unwrap();
        }
        std::fs::write(self.folder.path().join("grant"), text).unwrap();
    }

    /// The same with this driver behind the shim.
    pub(crate) fn with_driver(self, driver: &Path) -> Self {
        self.grant("custom", driver, driver, &[DEVICE]);
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The preflight in a container's environment.
    pub(crate) fn preflight(&self, words: &[&str]) -> Command {
        let mut command = Command::new(programs().join("firstlight-preflight"));
        let path =
            std::env::join_paths(product("ollama/bin").into_iter().chain(["/usr/bin".into(), "/bin".into()]));
        command
            .env_clear()
            .env("PATH", path.unwrap())
            .env("LD_PRELOAD", &self.shim)
            .env("LD_LIBRARY_PATH", self.shim.parent().unwrap())
            .env("FIRSTLIGHT_GRANT", self.folder.path().join("grant"))
            .args(["--json"])
            .args(words);
        command
    }

    /// What it finds.
    pub(crate) fn told(&self, words: &[&str]) -> Told {
        Told::of(&self.preflight(words).output().unwrap())
    }

    /// What it finds with this fault on order.
    pub(crate) fn faulty(&self, fault: &str, words: &[&str]) -> Told {
        Told::of(&self.preflight(words).env("FIRSTLIGHT_SIMULATE", fault).output().unwrap())
    }
}
