//! Exit codes.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; `diagnose`: every verdict is a success.
    Ok,
    /// Something went wrong.
    Error,
    /// The command line is wrong.
    Usage,
    /// `diagnose`: at least one verdict is a failure.
    Failure,
    /// `diagnose`: no failure, and at least one verdict is neither.
    Unknown,
    /// `run`, `preflight`: the command could not be prepared.
    NotPrepared,
    /// `run`: the command is there and cannot be executed.
    NotExecutable,
    /// `run`: the command was not found.
    NotFound,
    /// `run`, `preflight`: the command's own code; 128 + signal where a signal ended it.
    Command(u8),
}

/// The text of `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done; diagnose: every verdict is a success
  1    something went wrong
  2    the command line is wrong
  3    diagnose: at least one verdict is a failure
  4    diagnose: no failure, and at least one verdict is neither
  125  run, preflight: the command could not be prepared
  126  run: the command is there and cannot be executed
  127  run: the command was not found
  else run: the command's own code, 128 + signal where a signal ended it
       preflight: 0 done, 1 --mode block and a certain cause was found, 2 its command line is wrong
       diagnose --probe: as without; a probe that was not possible says why";

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Failure => 3,
            Self::Unknown => 4,
            Self::NotPrepared => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Command(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help() {
        let all = [
            Exit::Ok,
            Exit::Error,
            Exit::Usage,
            Exit::Failure,
            Exit::Unknown,
            Exit::NotPrepared,
            Exit::NotExecutable,
            Exit::NotFound,
        ];
        for exit in all {
            let start = format!("  {} ", exit.code());
            assert!(HELP.lines().any(|line| line.starts_with(&start)), "{exit:?}");
        }
    }
}
