//! What the tests stand on: the artefacts, C programs, a grant of their own, decoded records.

use firstlight_contract::decode::{Entry, Item, decode_all};
use firstlight_contract::record::Kind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The folder with `libcuda.so.1` and `libnvidia-ml.so.1`, built once by the script that builds what is shipped;
/// `FIRSTLIGHT_SHIM_DIR` names one that is built already.
pub(crate) fn artefacts() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(folder) = std::env::var_os("FIRSTLIGHT_SHIM_DIR") {
            return folder.into();
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shim");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.sh");
        let status = Command::new(script).arg(&folder).status().unwrap();
        assert!(status.success(), "build.sh failed");
        folder
    })
}

pub(crate) fn shim() -> PathBuf {
    artefacts().join("libcuda.so.1")
}

/// Compiles one of `tests/c` once; `name` is the output's name, `compiler` and `flags` as given.
pub(crate) fn compiled(name: &str, source: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    static DONE: std::sync::Mutex<BTreeMap<String, PathBuf>> = std::sync::Mutex::new(BTreeMap::new());
    let mut done = DONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = done.entry(name.into()).or_insert_with(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "{}-{}",
            env!("CARGO_CRATE_NAME"),
            std::process::id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let output = folder.join(name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
        let mut command = Command::new(compiler);
        command.args(["-O1", "-w", "-o"]).arg(&output).arg(source).args(flags);
        let made = command.output().unwrap();
        assert!(made.status.success(), "{command:?}: {}", String::from_utf8_lossy(&made.stderr));
        output
    });
    path.clone()
}

pub(crate) fn client() -> PathBuf {
    compiled("client", "client.c", "gcc", &["-ldl", "-lpthread"])
}

pub(crate) fn driver() -> PathBuf {
    compiled("driver.so", "driver.c", "gcc", &["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-ldl"])
}

/// A folder with a grant and a record file.
pub(crate) struct Place {
    folder: TempDir,
    records: PathBuf,
}

impl Place {
    /// A grant that names this driver.
    pub(crate) fn with_driver(driver: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("records");
        std::fs::write(&records, "").unwrap();
        let place = Self { folder, records };
        place.grant(driver);
        place
    }

    /// A grant that names a driver that is not there.
    pub(crate) fn without_driver() -> Self {
        Self::with_driver(Path::new("/nowhere/libcuda.so.1"))
    }

    /// A grant of a simulated device.
    pub(crate) fn simulated(driver: &Path) -> Self {
        let place = Self::with_driver(driver);
        let path = place.folder().join("grant");
        let text = std::fs::read_to_string(&path).unwrap().replace("kind=custom", "kind=simulated")
            + "device.0.uuid=GPU-6f1c1b54-0000-5000-8000-000000000000\ndevice.0.pci=00000000:41:00.0\n\
               device.0.model=SIM-A40\ndevice.0.memory=51539607552\n";
        std::fs::write(path, text).unwrap();
        place
    }

    /// The same, with the record file somewhere else.
    pub(crate) fn recording_into(mut self, records: PathBuf, driver: &Path) -> Self {
        self.records = records;
        self.grant(driver);
        self
    }

    fn grant(&self, driver: &Path) {
        let (driver, records) = (driver.display(), self.records.display());
        let text = format!(
            "firstlight-grant=1\nid=0123456789abcdef0123456789abcdef\npool=test\nkind=custom\ndriver={driver}\nnvml={driver}\nrecords={records}\n"
        );
        std::fs::write(self.folder.path().join("grant"), text).unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A program with the shim preloaded.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_PRELOAD", shim())
            .env("FIRSTLIGHT_GRANT", self.folder.path().join("grant"))
            .env("CLIENT_DIR", self.folder.path())
            .env("CLIENT_SHIM", shim())
            .env("CLIENT_NVML", artefacts().join("libnvidia-ml.so.1"));
        command
    }

    /// Runs the client's steps; asserts that it ended well and that the shim printed nothing.
    pub(crate) fn run(&self, steps: &[&str]) -> Vec<String> {
        lines(&self.program(&client()).args(steps).output().unwrap())
    }

    /// Runs a script in a mount namespace of its own: `"$@"` is the client with its steps, `$SHIM` what to preload,
    /// `$DISK` an empty folder. `None` where the kernel or a container forbids it; then the test says so and ends.
    pub(crate) fn in_a_mount_namespace(&self, script: &str, steps: &[&str]) -> Option<Vec<String>> {
        let possible = Command::new("unshare").args(["-m", "true"]).output();
        if !possible.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: needs the right to make a mount namespace (unshare -m)");
            return None;
        }
        let disk = self.folder().join("disk");
        std::fs::create_dir_all(&disk).unwrap();
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec", script, "sh"]).arg(client()).args(steps);
        command.env("FIRSTLIGHT_GRANT", self.folder().join("grant")).env("SHIM", shim()).env("DISK", disk);
        Some(lines(&command.output().unwrap()))
    }

    /// All records; a byte that belongs to none fails the test.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let bytes = std::fs::read(&self.records).unwrap();
        let entries = decode_all(&bytes).into_iter().map(|item| match item {
            Item::Entry(entry) => entry,
            Item::Garbage { bytes } => panic!("{bytes} bytes of garbage"),
        });
        entries.collect()
    }

    /// The records of the one process there was, in the order of their numbers, which have no gap.
    pub(crate) fn chain(&self) -> Vec<Entry> {
        let mut chains = self.chains();
        assert_eq!(chains.len(), 1, "one process");
        chains.pop().unwrap()
    }

    /// The same for each process, in the order of their first records.
    pub(crate) fn chains(&self) -> Vec<Vec<Entry>> {
        let mut chains: Vec<Vec<Entry>> = Vec::new();
        for entry in self.entries() {
            let key = |entry: &Entry| (entry.record.pid, entry.record.process);
            match chains.iter_mut().find(|chain| key(&chain[0]) == key(&entry)) {
                Some(chain) => chain.push(entry),
                None => chains.push(vec![entry]),
            }
        }
        for chain in &mut chains {
            chain.sort_by_key(|entry| entry.record.sequence);
            let numbers: Vec<_> = chain.iter().map(|entry| entry.record.sequence as usize).collect();
            assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "gapless");
        }
        chains
    }
}

/// What the client printed.
pub(crate) fn lines(output: &Output) -> Vec<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} {errors}", output.status);
    assert_eq!(errors, "", "the shim is silent");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A record in short: kind, symbol, result, arguments.
pub(crate) fn told(entry: &Entry) -> (Kind, &'static str, i32, u64, u64) {
    let record = &entry.record;
    let symbol = firstlight_driver_api::by_id(record.function).map_or("", |function| function.symbol);
    (record.kind, symbol, record.result, record.arg0, record.arg1)
}

/// The record of this kind about this function.
pub(crate) fn about<'a>(chain: &'a [Entry], kind: Kind, symbol: &str) -> &'a Entry {
    chain.iter().find(|entry| told(entry).0 == kind && told(entry).1 == symbol).unwrap_or_else(|| {
        panic!("no {kind:?} of {symbol} among {:#?}", chain.iter().map(told).collect::<Vec<_>>())
    })
}
