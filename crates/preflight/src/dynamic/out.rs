//! The way to the static half: a copy of standard output that nobody else knows. What libraries print goes to standard
//! error.

use firstlight_contract::preflight::{Finding, Probe};
use firstlight_preflight::wire;
use std::fs::File;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

/// The pipe.
pub(crate) struct Out {
    pipe: File,
    begun: Instant,
}

impl Out {
    pub(crate) fn new() -> io::Result<Self> {
        let pipe = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
        rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
        Ok(Self { pipe: pipe.into(), begun: Instant::now() })
    }

    /// From now on, whatever happens belongs to this probe.
    pub(crate) fn begin(&mut self, probe: Probe, subject: &str) {
        self.say(&wire::begin(probe, subject));
        self.begun = Instant::now();
    }

    /// What came of it, with the time since its beginning.
    pub(crate) fn found(&mut self, finding: Finding) {
        let finding = finding.after(self.time());
        self.say(&finding.to_string());
    }

    fn time(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Everything was tried. The process ends at once: what libraries do at its exit was not asked for, and NVIDIA's
    /// runtime crashes there after some failures.
    pub(crate) fn end(mut self) -> ! {
        self.say(wire::END);
        // SAFETY: ends the process; there is nothing to run before it.
        unsafe { libc::_exit(0) }
    }

    fn say(&mut self, line: &str) {
        // Where the static half is gone, nobody listens.
        let _ = self.pipe.write_all(format!("{line}\n").as_bytes());
    }
}
