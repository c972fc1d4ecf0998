//! What the dynamic half says to the static one, line by line, so that what it found before a crash is kept:
//!
//! ```text
//! begin ⇥ init ⇥ cuInit          about to try this: whatever ends the process now belongs to it
//! init ⇥ code:999 ⇥ 3 ⇥ cuInit   a finding, as in the report
//! end                            everything was tried
//! ```

use firstlight_contract::preflight::{Finding, Probe};
use firstlight_contract::text::ForeignText;

/// The last line.
pub const END: &str = "end";
const BEGIN: &str = "begin";

/// The steps, each in a process of its own: first argument of the dynamic half.
pub mod step {
    /// Starts, and says which libc it was started by.
    pub const LIBC: &str = "libc";
    /// Loads the backend that the second argument names.
    pub const LOAD: &str = "load";
    /// Asks NVML.
    pub const NVML: &str = "nvml";
    /// Asks the driver, stage by stage.
    pub const DRIVER: &str = "driver";
    /// Asks the runtime that the second argument names for the number of devices.
    pub const RUNTIME: &str = "runtime";
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// This is about to be tried.
    Begin(Probe, ForeignText),
    /// This came of it.
    Found(Finding),
    /// Everything was tried.
    End,
}

/// The line that announces a probe, without its end.
pub fn begin(probe: Probe, subject: &str) -> String {
    format!("{BEGIN}\t{}\t{}", probe.as_str(), ForeignText::new(subject.as_bytes()))
}

/// Reads a line. `None`: somebody else's words.
pub fn read(line: &str) -> Option<Said> {
    if line == END {
        return Some(Said::End);
    }
    if let Some(rest) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_prefix('\t')) {
        let (probe, subject) = rest.split_once('\t').unwrap_or((rest, ""));
        return Some(Said::Begin(Probe::from_word(probe)?, ForeignText::new(subject.as_bytes())));
    }
    Finding::parse(line).map(Said::Found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::preflight::Outcome;

    #[test]
    fn what_is_said_is_read_back() {
        let finding = Finding::new(Probe::Init, Outcome::Code(999)).on("cuInit");
        assert_eq!(read(&finding.to_string()), Some(Said::Found(finding)));
        let begun = Said::Begin(Probe::Load, ForeignText::new(b"/usr/lib/x.so"));
        assert_eq!(read(&begin(Probe::Load, "/usr/lib/x.so")), Some(begun));
        assert_eq!(read(END), Some(Said::End));
    }

    #[test]
    fn a_driver_that_prints_is_not_understood() {
        for words in ["", "hello", "begin", "begin\tteleport\tx", "end of the world"] {
            assert_eq!(read(words), None, "{words}");
        }
    }
}
