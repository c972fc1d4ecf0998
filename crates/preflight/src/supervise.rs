//! Everything in its order: what can be read first, then what must be loaded, each step in a process of its own.

use crate::args::Args;
use crate::child::{self, Ended};
use crate::elf::{self, Unfit};
use crate::image::{self, Libc};
use crate::report::{self, Findings};
use crate::steps::{self, Step};
use crate::{backend, files, loader, nodes, ollama, preloads, verdict};
use firstlight_contract::grant::Grant;
use firstlight_contract::names::env;
use firstlight_contract::paths::{container, library, program};
use firstlight_contract::preflight::{Finding, Outcome, Probe};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// All steps together may take as long as this many of them.
const STEPS: u32 = 6;
const LD_LIBRARY_PATH: &str = "LD_LIBRARY_PATH";
/// Objects of `LD_PRELOAD` that are tried one by one where no program starts.
const MOST_PRELOADS: usize = 8;

/// Tries everything, says it, leaves the report; the exit code.
pub fn run(args: &Args) -> ExitCode {
    let mut findings = Findings::new(!args.json);
    let libc = Libc::find();
    let program = ollama::find(std::env::var_os("PATH").as_deref());
    let roots = backend::roots(program.as_deref());
    let variable = std::env::var_os("GGML_BACKEND_PATH");
    let backends = backend::find(&args.backends, variable.as_deref(), &roots);
    let runtimes: Vec<PathBuf> = backends.iter().flat_map(|backend| backend::runtimes(backend)).collect();
    let inherited = std::env::var_os(LD_LIBRARY_PATH).unwrap_or_default();
    // The backend that Ollama prefers decides where the driver is found.
    let library_path = match backends.first() {
        Some(backend) => loader::ollama_library_path(backend, &inherited),
        None => inherited.clone(),
    };

    let mut dynamic = Dynamic::start(&libc, args.timeout);
    findings.extend(dynamic.libc_findings(&libc));
    let version = ollama::version(program.as_deref());
    let plugins = ollama::has_plugins(&version);
    findings.add(version);
    findings.extend(image::environment(std::env::vars_os()));
    let servers = roots.iter().map(|root| root.join("llama-server")).filter(|path| path.is_file());
    findings.extend(ollama::privileged(&program.iter().cloned().chain(servers).collect::<Vec<_>>()));
    findings.extend(preloads::probe(&library_path, &dynamic.not_preloaded));
    findings.extend(runtimes.iter().map(|runtime| backend::describe(runtime)));
    findings.extend(drivers(&library_path));
    findings.extend(nodes::probe(has_own_driver()));

    if backends.is_empty() && plugins {
        findings.extend(roots.iter().map(|root| backend::none_in(root)));
    }
    for backend in &backends {
        if !backend.exists() {
            findings.add(Finding::new(Probe::Load, Outcome::Absent).on(backend.as_os_str().as_bytes()));
            continue;
        }
        let own = loader::ollama_library_path(backend, &inherited);
        findings.extend(dynamic.take(&Step::Load(backend.clone()), &own));
    }
    findings.extend(dynamic.take(&Step::Nvml, &library_path));
    let asked = dynamic.take(&Step::Driver, &library_path);
    let stuck =
        asked.iter().find(|finding| finding.outcome == Outcome::TimedOut).map(|finding| finding.probe);
    findings.extend(asked);
    for runtime in &runtimes {
        let step = Step::Runtime(runtime.clone());
        findings.extend(match stuck {
            // It would ask the same driver the same question, and wait as long.
            Some(probe) => {
                steps::skipped(&step, &format!("the driver does not return from {}", probe.as_str()))
            }
            None => dynamic.take(&step, &loader::ollama_library_path(runtime, &inherited)),
        });
    }

    let judged = verdict::verdict(findings.report());
    report::publish(args, findings.report(), judged.as_ref());
    report::exit_code(args.mode, judged.as_ref()).into()
}

/// The half that the image's own loader starts, if it does.
struct Dynamic {
    /// Where it is, or why it cannot be used.
    program: Result<PathBuf, String>,
    /// What its first start showed.
    first: Vec<Finding>,
    not_preloaded: Vec<Finding>,
    limit: Duration,
    begun: Instant,
}

impl Dynamic {
    /// Starts it for the first time: to learn whether the image can.
    fn start(libc: &Libc, limit: Duration) -> Self {
        let begun = Instant::now();
        let mut new =
            Self { program: Ok(beside_us()), first: Vec::new(), not_preloaded: Vec::new(), limit, begun };
        match libc {
            Libc::Glibc(_) => {}
            Libc::Musl(_) => {
                new.program = Err("musl: neither Ollama nor a CUDA runtime loads in this image".to_owned());
            }
            Libc::None => new.program = Err("no C library: nothing can be loaded in this image".to_owned()),
        }
        let library_path = std::env::var_os(LD_LIBRARY_PATH).unwrap_or_default();
        match new.child(&Step::Libc, &library_path, None) {
            Ok(ended) => {
                new.not_preloaded = steps::not_preloaded(&String::from_utf8_lossy(&ended.err));
                new.first = steps::findings(&Step::Libc, &ended);
            }
            Err(why) => new.program = Err(why),
        }
        if let Some(bad) = new.first.iter().find(|finding| finding.outcome.is_bad()).cloned() {
            new.blame_the_preload(&bad, &library_path);
            new.program = Err(format!("no program starts here: {}", bad.detail));
        }
        new
    }

    /// Where programs start without `LD_PRELOAD`, something in it is what stops them.
    fn blame_the_preload(&mut self, bad: &Finding, library_path: &OsStr) {
        let Some(value) = std::env::var_os(env::LD_PRELOAD).filter(|value| !value.is_empty()) else { return };
        let Ok(ended) = self.child(&Step::Libc, library_path, Some(OsStr::new(""))) else { return };
        let without = steps::findings(&Step::Libc, &ended);
        if without.iter().any(|finding| finding.outcome.is_bad()) {
            return;
        }
        self.first = without;
        let broken = |object: &OsStr, bad: &Finding| {
            Finding { probe: Probe::Preload, ..bad.clone() }.on(object.as_bytes())
        };
        let mut blamed = Vec::new();
        for object in loader::preload(&value).iter().take(MOST_PRELOADS) {
            let Ok(ended) = self.child(&Step::Libc, library_path, Some(object)) else { continue };
            let alone = steps::findings(&Step::Libc, &ended);
            blamed
                .extend(alone.iter().find(|finding| finding.outcome.is_bad()).map(|bad| broken(object, bad)));
        }
        if blamed.is_empty() {
            blamed.push(broken(&value, bad));
        }
        self.not_preloaded.extend(blamed);
    }

    /// The image's libc: as it says itself, else as it looks from outside.
    fn libc_findings(&self, libc: &Libc) -> Vec<Finding> {
        let mut found = self.first.clone();
        if !found.iter().any(|finding| finding.outcome == Outcome::Ok) {
            found.insert(0, libc.finding());
        }
        found
    }

    /// Takes a step in the time that is left.
    fn take(&mut self, step: &Step, library_path: &OsStr) -> Vec<Finding> {
        match self.child(step, library_path, None) {
            Ok(ended) => steps::findings(step, &ended),
            Err(why) => steps::skipped(step, &why),
        }
    }

    /// Starts it; `preload`: with this in place of the pod's preloads.
    fn child(&self, step: &Step, library_path: &OsStr, preload: Option<&OsStr>) -> Result<Ended, String> {
        let program = self.program.as_ref().map_err(Clone::clone)?;
        let all = self.limit * STEPS;
        let left = all.saturating_sub(self.begun.elapsed()).min(step.limit(self.limit));
        if left.is_zero() {
            return Err(format!("the time for all steps, {} s, was over", all.as_secs()));
        }
        let (word, path) = step.words();
        let mut command = Command::new(program);
        // The driver keeps what it compiled in the user's home, unless it is told not to: nothing is left behind.
        command.arg(word).args(path).env("CUDA_CACHE_DISABLE", "1");
        if let Some(preload) = preload {
            command.env(env::LD_PRELOAD, preload);
        }
        if library_path.is_empty() {
            command.env_remove(LD_LIBRARY_PATH);
        } else {
            command.env(LD_LIBRARY_PATH, library_path);
        }
        child::run(&mut command, left).map_err(|error| format!("cannot start {}: {error}", program.display()))
    }
}

/// The dynamic half lies beside this program.
fn beside_us() -> PathBuf {
    let folder = |path: PathBuf| path.parent().map(Path::to_owned);
    let own = std::env::current_exe().ok().and_then(folder);
    own.unwrap_or_else(|| PathBuf::from(container::BIN_DIR)).join(program::PREFLIGHT_DYNAMIC)
}

/// Whether the driver behind the shim is the grant's, which needs no device nodes.
fn has_own_driver() -> bool {
    const MOST: u64 = 64 << 10;
    let here = files::read(Path::new(container::GRANT), MOST).ok();
    let named = || std::env::var_os(env::GRANT).and_then(|path| files::read(Path::new(&path), MOST).ok());
    here.or_else(named).and_then(|text| Grant::parse(&text).ok()).is_some_and(|grant| grant.driver.is_some())
}

/// Every libcuda.so.1 that the loader may find, in its order.
fn drivers(library_path: &OsStr) -> Vec<Finding> {
    let directories = loader::library_path(library_path);
    let found =
        loader::candidates(library::CUDA, &directories, &preloads::cached(library::CUDA), files::identity);
    if found.is_empty() {
        return vec![Finding::new(Probe::Driver, Outcome::Absent).on(library::CUDA)];
    }
    found.iter().map(|path| driver(path)).collect()
}

fn driver(path: &Path) -> Finding {
    let finding = |outcome| Finding::new(Probe::Driver, outcome).on(path.as_os_str().as_bytes());
    let shim = files::identity(Path::new(container::SHIM));
    let real = if shim.is_some() && files::identity(path) == shim {
        PathBuf::from(container::SHIM)
    } else {
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    };
    match elf::check(path) {
        Ok(()) if real == path => finding(Outcome::Ok),
        Ok(()) => finding(Outcome::Ok).saying(real.as_os_str().as_bytes()),
        Err(Unfit::Unreadable(error)) => {
            finding(error.raw_os_error().map_or(Outcome::Failed, Outcome::Errno))
        }
        Err(Unfit::Other(why)) => finding(Outcome::Failed).saying(why),
    }
}
