//! What can be asked.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Text of `--help`.
pub const HELP: &str = "\
Finds out, in the container it runs in, what keeps CUDA from coming up there.

Usage: firstlight-preflight [--mode report|block] [--json] [--report FILE] [--backend PATH]... [--timeout SECONDS]

  --mode report|block  report: leave the report in /dev/termination-log and end with 0;
                       block: the same, and end with 1 if a certain cause was found
  --json               print one JSON document instead of a line for each finding
  --report FILE        write the report to FILE
  --backend PATH       also load this GPU backend (libggml-cuda.so); may be repeated
  --timeout SECONDS    limit of a step, 1 to 300 (default 10); all steps together may take six times as long

Exit codes: 0 done, 1 --mode block and a certain cause was found, 2 the command line is wrong";

/// Limit of a step without `--timeout`.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest limit of a step.
const MAX_TIMEOUT: u64 = 300;

/// What becomes of a certain cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is reported.
    Report,
    /// It is reported, and the pod does not start.
    Block,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// `None`: not as an init container; then the termination log is somebody else's.
    pub mode: Option<Mode>,
    /// One document on standard output.
    pub json: bool,
    /// Another place for the report.
    pub report: Option<PathBuf>,
    /// Backends beside those that are found.
    pub backends: Vec<PathBuf>,
    /// Limit of a step.
    pub timeout: Duration,
}

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To work.
    Run(Args),
    /// For help.
    Help,
    /// For the version.
    Version,
}

/// Reads the arguments, without the program's name.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Asked, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args { mode: None, json: false, report: None, backends: Vec::new(), timeout: TIMEOUT };
    let mut parser = lexopt::Parser::from_args(words);
    while let Some(word) = parser.next()? {
        match word {
            Long("mode") => args.mode = Some(parser.value()?.parse_with(mode)?),
            Long("json") => args.json = true,
            Long("report") => args.report = Some(parser.value()?.into()),
            Long("backend") => args.backends.push(parser.value()?.into()),
            Long("timeout") => args.timeout = parser.value()?.parse_with(timeout)?,
            Short('h') | Long("help") => return Ok(Asked::Help),
            Short('V') | Long("version") => return Ok(Asked::Version),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Asked::Run(args))
}

fn mode(word: &str) -> Result<Mode, String> {
    match word {
        "report" => Ok(Mode::Report),
        "block" => Ok(Mode::Block),
        _ => Err("--mode is report or block".to_owned()),
    }
}

fn timeout(word: &str) -> Result<Duration, String> {
    let seconds = word.parse().ok().filter(|seconds| (1..=MAX_TIMEOUT).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("--timeout is a number of seconds from 1 to {MAX_TIMEOUT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Asked, String> {
        parse(words.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_webhook_writes_is_understood() {
        for (word, wanted) in [("report", Mode::Report), ("block", Mode::Block)] {
            let Ok(Asked::Run(args)) = parsed(&["--mode", word]) else { panic!("{word}") };
            assert_eq!((args.mode, args.json, args.timeout), (Some(wanted), false, TIMEOUT));
        }
    }

    #[test]
    fn several_backends_can_be_named() {
        let Ok(Asked::Run(args)) = parsed(&["--backend=/a", "--backend", "/b", "--timeout=1"]) else {
            panic!()
        };
        assert_eq!(args.backends, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(args.timeout, Duration::from_secs(1));
    }

    #[test]
    fn mistakes_are_answered_with_what_is_allowed() {
        assert!(parsed(&["--mode", "maybe"]).unwrap_err().contains("report or block"));
        assert!(parsed(&["--timeout", "0"]).unwrap_err().contains("from 1 to 300"));
        assert!(parsed(&["--explode"]).unwrap_err().contains("--explode"));
        assert!(parsed(&["word"]).is_err());
    }

    #[test]
    fn help_names_every_option() {
        assert_eq!(parsed(&["--help"]), Ok(Asked::Help));
        for option in ["--mode", "--json", "--report", "--backend", "--timeout"] {
            assert!(HELP.contains(&format!("  {option}")), "{option}");
        }
    }
}
