//! A prober that runs, and what it says.

use firstlight_contract::prober::{Card, Look, Message};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The test's own NVML.
pub(crate) fn fake() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libnvidia-ml.so.1");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/nvml.c");
        let made = Command::new("gcc")
            .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-o"])
            .arg(&library)
            .arg(source)
            .output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        (folder, library)
    });
    library
}

/// A prober; it ends with this.
pub(crate) struct Prober {
    child: Child,
    lines: Option<std::io::Lines<BufReader<ChildStdout>>>,
}

impl Prober {
    pub(crate) fn start(nvml: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firstlight-prober"));
        command.arg("--nvml").arg(nvml).args(["--interval-seconds", "0.1"]).envs(environment.iter().copied());
        if let Some((_, folder)) = environment.iter().find(|(name, _)| *name == "CAPABILITIES") {
            command.args(["--capabilities", folder]);
        }
        if let Some((_, cards)) = environment.iter().find(|(name, _)| *name == "LAST") {
            command.args(cards.split(',').flat_map(|card| ["--last", card]));
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Some(BufReader::new(child.stdout.take().unwrap()).lines());
        Self { child, lines }
    }

    /// The next message; `None` at its end. Every line is one: what libraries print is elsewhere.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let line = self.lines.as_mut().unwrap().next()?.unwrap();
        Some(Message::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    /// The next that is no question.
    pub(crate) fn told(&mut self) -> Message {
        loop {
            match self.next().expect("it says nothing more") {
                Message::Asking(_) => {}
                message => return message,
            }
        }
    }

    pub(crate) fn look(&mut self) -> Look {
        loop {
            if let Message::Look(look) = self.told() {
                return look;
            }
        }
    }

    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Nobody reads any more; its exit code.
    pub(crate) fn close(&mut self) -> Option<i32> {
        self.lines = None;
        self.code()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The second card of the test's own NVML, where it is as this word says.
pub(crate) fn second(word: &str) -> Card {
    let look = Prober::start(fake(), &[("SECOND", word)]).look();
    assert_eq!(look.cards[0].failure, None, "the first card works");
    look.cards[1].clone()
}
