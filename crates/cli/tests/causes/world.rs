//! Programs, drivers and libraries that go wrong on order, under `kubectl-firstlight run`.

use firstlight_testing::causes::{self, Made};
use firstlight_testing::{artefact, runtime};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// One container: what runs in it is said step by step.
pub(crate) struct World {
    folder: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Shell commands before the run, in a mount namespace of their own.
    before: Vec<String>,
}

/// What was concluded.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) cause: String,
    pub(crate) confidence: String,
    pub(crate) whole: Value,
}

/// Compiles a program or a library of `tests/c`.
fn compiled(source: &str, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
    firstlight_testing::compiled(&source, flags, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("causes-c"))
        .unwrap()
}

fn tested() -> PathBuf {
    env!("CARGO_BIN_EXE_kubectl-firstlight").into()
}

/// The static program, as it is shipped: a library that breaks every dynamic one does it no harm.
fn shipped() -> PathBuf {
    artefact("bin/kubectl-firstlight").unwrap()
}

/// Whether what the rows stand on is built; said where it is not.
pub(crate) fn built() -> bool {
    let there = runtime("13.0").exists() && artefact("bin/kubectl-firstlight").is_some();
    if !there {
        eprintln!("skipped: needs NVIDIA's runtimes (make deps) and FIRSTLIGHT_ARTEFACTS (make binaries)");
    }
    there
}

impl Said {
    fn made<'a>(&'a self, how: &'a str) -> Made<'a> {
        Made { how, cause: &self.cause, confidence: &self.confidence }
    }
}

impl World {
    fn new(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        Self { folder: tempfile::tempdir().unwrap(), arguments, environment: Vec::new(), before: Vec::new() }
    }

    /// A simulated device, with nothing wrong.
    pub(crate) fn simulated() -> Self {
        Self::new(&[])
    }

    /// A simulated device that goes wrong as ordered.
    pub(crate) fn ordered(faults: &str) -> Self {
        Self::new(&["--simulate", faults])
    }

    /// A driver of somebody's own, compiled so, in a folder of this name.
    pub(crate) fn driver(source: &str, flags: &[&str], place: &str) -> Self {
        let mut world = Self::new(&[]);
        let folder = world.folder.path().join(place);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("libcuda.so.1");
        std::fs::copy(compiled(source, &[&["-shared", "-fPIC"], flags].concat()), &path).unwrap();
        world.arguments = vec!["--driver".to_owned(), path.to_str().unwrap().to_owned()];
        world
    }

    /// A driver file that is none.
    pub(crate) fn not_a_driver() -> Self {
        let mut world = Self::new(&[]);
        let path = world.folder.path().join("libcuda.so.1");
        std::fs::write(&path, "no driver\n").unwrap();
        world.arguments = vec!["--driver".to_owned(), path.to_str().unwrap().to_owned()];
        world
    }

    /// A machine on which a driver is installed where NVIDIA's is, with these device nodes.
    pub(crate) fn installed(source: &str, nodes: &[&str]) -> Self {
        let mut world = Self::new(&["--pool", "observer"]);
        let driver = compiled(source, &["-shared", "-fPIC"]);
        let lib = "/usr/local/nvidia/lib64";
        world.before = vec![
            "mount -t tmpfs tmpfs /usr/local".to_owned(),
            format!("mkdir -p {lib} && cp {} {lib}/libcuda.so.1", driver.display()),
            "mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9"
                .to_owned(),
        ];
        for node in nodes {
            let minor = node.bytes().next_back().filter(u8::is_ascii_digit).map_or(255, |digit| digit - b'0');
            world.before.push(format!("mknod -m 666 /dev/{node} c 195 {minor}"));
        }
        world
    }

    /// With this variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With another preloaded library, compiled so.
    pub(crate) fn preloading(self, flags: &[&str]) -> Self {
        let library = compiled("preload.c", &[&["-shared", "-fPIC"], flags].concat());
        self.with("LD_PRELOAD", library.to_str().unwrap())
    }

    /// With a preloaded library that needs another one, which is not there.
    pub(crate) fn preloading_what_lacks_a_library(self) -> Self {
        let folder = self.folder.path();
        let (needed, other) = (folder.join("libneeded.so"), folder.join("other.so"));
        std::fs::copy(compiled("preload.c", &["-shared", "-fPIC", "-Wl,-soname,libneeded.so"]), &needed)
            .unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/preload.c");
        let made = Command::new("gcc")
            .args(["-w", "-shared", "-fPIC", "-Wl,--no-as-needed", "-o"])
            .args([&other, &source, &needed])
            .status();
        assert!(made.unwrap().success());
        std::fs::remove_file(needed).unwrap();
        let path = other.to_str().unwrap().to_owned();
        self.with("LD_PRELOAD", &path)
    }

    /// NVIDIA's runtime does this (see `tests/c/cuda.c`).
    pub(crate) fn does(self, words: &str) -> Said {
        self.runs(&format!("cuda {words}"))
    }

    /// A shell line in which `cuda`, `driver-api` and the programs of Ollama are commands; the latter are what
    /// `cuda` does under their names.
    pub(crate) fn runs(self, line: &str) -> Said {
        let bin = self.folder.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for (name, source) in [
            ("cuda", "cuda.c"),
            ("llama-server", "cuda.c"),
            ("ollama", "cuda.c"),
            ("driver-api", "driver-api.c"),
        ] {
            std::fs::copy(compiled(source, &[]), bin.join(name)).unwrap();
        }
        // `exec`: the shell is no process of its own in what is seen, where one program is all.
        let line = format!("PATH=\"{}:$PATH\"; {line}", bin.display());
        self.command(&["sh", "-c", &line])
    }

    /// A program of the machine.
    pub(crate) fn command(self, program: &[&str]) -> Said {
        let report = self.folder.path().join("report.json");
        let mut script = String::from("set -e\n");
        for line in &self.before {
            writeln!(script, "{line}").unwrap();
        }
        script += "exec \"$@\"\n";
        let run =
            if self.environment.iter().any(|(name, _)| name == "LD_PRELOAD") { shipped() } else { tested() };
        let mut command = if self.before.is_empty() {
            Command::new(run)
        } else {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", &script, "sh"]).arg(run);
            command
        };
        command.arg("run").args(&self.arguments).arg("--report").arg(&report).arg("--").args(program);
        command.env_remove("LD_PRELOAD").env("CUDART", runtime("13.0"));
        // `run` prepends the shim to what it finds.
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command.output().unwrap();
        let text = std::fs::read_to_string(&report)
            .unwrap_or_else(|error| panic!("{error}: {command:?} {output:?}"));
        let whole: Value = serde_json::from_str(&text).unwrap();
        let word = |name: &str| whole["verdict"][name].as_str().unwrap().to_owned();
        Said { cause: word("cause"), confidence: word("confidence"), whole }
    }
}

/// Holds a row against what was said, and keeps it for the table.
pub(crate) fn row(cause: &str, how: &str, twin: &str, twin_how: &str, said: &Said, other: &Said) {
    let (made, beside) = (said.made(how), other.made(twin_how));
    let kept = causes::row(env!("CARGO_TARGET_TMPDIR"), cause, &made, twin, &beside);
    kept.unwrap_or_else(|wrong| panic!("{wrong}\n{:#}\n{:#}", said.whole["verdict"], other.whole["verdict"]));
}
