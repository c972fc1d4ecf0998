//! Ollama's program and what else runs in its name.

use crate::child;
use crate::files;
use crate::image;
use firstlight_contract::preflight::{Finding, Outcome, Probe};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody listens there: with a server's address, `--version` asks it, and tells the server's version.
const NOBODY: &str = "127.0.0.1:1";

/// Ollama's program, if the image has it.
pub fn find(path: Option<&OsStr>) -> Option<PathBuf> {
    image::program("ollama", path)
}

/// What it says of its version.
pub fn version(program: Option<&Path>) -> Finding {
    let Some(program) = program else { return Finding::new(Probe::Ollama, Outcome::Absent).on("ollama") };
    let begun = Instant::now();
    let mut command = Command::new(program);
    // Not behind the recorder: this process is ours, not Ollama's.
    command.arg("--version").env("OLLAMA_HOST", NOBODY).env_remove("LD_PRELOAD");
    if std::env::var_os("HOME").is_none() {
        // It panics without.
        command.env("HOME", "/");
    }
    let (outcome, detail) = match child::run(&mut command, PATIENCE) {
        Ok(ended) => {
            let text = [ended.out.as_slice(), &ended.err].concat();
            match (told(&String::from_utf8_lossy(&text)), ended.how) {
                (Some(version), _) => (Outcome::Ok, version),
                (None, child::End::Signalled(signal)) => (Outcome::Signal(signal), ended.complaint()),
                (None, child::End::TimedOut) => (Outcome::TimedOut, String::new()),
                (None, child::End::Exited(code)) => {
                    (Outcome::Failed, format!("ended with code {code}: {}", ended.complaint()))
                }
            }
        }
        Err(error) => (error.raw_os_error().map_or(Outcome::Failed, Outcome::Errno), String::new()),
    };
    Finding::new(Probe::Ollama, outcome)
        .on(program.as_os_str().as_bytes())
        .saying(detail)
        .after(begun.elapsed())
}

/// `Warning: client version is 0.33.1`, or `ollama version is 0.33.1`.
fn told(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.contains("version is "))?;
    line.split("version is ").nth(1)?.split_whitespace().next().map(str::to_owned)
}

/// Whether this Ollama loads its backends from files of their own: since 0.5.8. One that does not tell its version is
/// not known to.
pub fn has_plugins(version: &Finding) -> bool {
    let numbers: Vec<u32> =
        version.detail.as_str().split(['.', '-']).map_while(|number| number.parse().ok()).collect();
    version.outcome == Outcome::Ok && numbers.len() >= 3 && numbers.as_slice() >= [0, 5, 8].as_slice()
}

/// Those of these programs that the loader treats as privileged.
pub fn privileged(programs: &[PathBuf]) -> Vec<Finding> {
    let finding = |program: &PathBuf| {
        let why = files::privileges(program)?;
        Some(Finding::new(Probe::Privileges, Outcome::Failed).on(program.as_os_str().as_bytes()).saying(why))
    };
    programs.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_version_are_understood() {
        let alone =
            "Warning: could not connect to a running Ollama instance\nWarning: client version is 0.33.1\n";
        assert_eq!(told(alone).as_deref(), Some("0.33.1"));
        assert_eq!(told("ollama version is 0.12.3").as_deref(), Some("0.12.3"));
        assert_eq!(told("ollama version is "), None);
        assert_eq!(told("Segmentation fault"), None);
    }

    #[test]
    fn backends_are_files_since_0_5_8() {
        let version = |text: &str| Finding::new(Probe::Ollama, Outcome::Ok).saying(text);
        for new in ["0.5.8", "0.33.1", "0.30.0-rc2", "1.0.0"] {
            assert!(has_plugins(&version(new)), "{new}");
        }
        for old in ["0.5.7", "0.3.14", "0.0.0", "", "dev"] {
            assert!(!has_plugins(&version(old)), "{old}");
        }
        assert!(!has_plugins(&Finding::new(Probe::Ollama, Outcome::Failed).saying("0.33.1")));
    }

    #[test]
    fn a_program_that_fails_is_told_with_its_words() {
        let finding = version(Some(Path::new("/bin/false")));
        assert_eq!((finding.outcome, finding.detail.as_str()), (Outcome::Failed, "ended with code 1: "));
        assert_eq!(version(None).outcome, Outcome::Absent);
    }
}
