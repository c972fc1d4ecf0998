//! `kubectl-firstlight`: why does CUDA (not) come up, on one machine and in a cluster.
//!
//! | module | what |
//! |---|---|
//! | `args` | what can be typed |
//! | `exit` | exit codes |
//! | `output` | tables, JSON, YAML |
//! | `show` | a report for people |
//! | `run` | the whole path on one machine, without root or cluster; the preflight there |
//! | `decode` | a record file, line by line |
//! | `explain` | the catalogue of causes |
//! | `cluster` | `status`, `diagnose` and its probe through the API server |

mod args;
mod cluster;
mod decode;
mod exit;
mod explain;
mod output;
mod run;
mod show;

use args::{Args, Command};
use clap::{CommandFactory as _, Parser as _};
use exit::Exit;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // A closed pipe is the reader's decision.
            let _ = error.print();
            return exit.into();
        }
    };
    let mut out = io::stdout().lock();
    match dispatch(&args, &mut out) {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => Exit::Ok.into(),
        Err(error) => {
            // Nobody is left to tell where standard error is closed.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            Exit::Error.into()
        }
    }
}

fn dispatch(args: &Args, out: &mut dyn Write) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Run(args) => run::run(args),
        Command::Preflight(args) => run::preflight(args),
        Command::Decode(args) => decode::decode(args, out),
        Command::Explain(args) => explain::explain(args, out),
        Command::Status(args) => cluster::status(args, out),
        Command::Diagnose(args) => cluster::diagnose(args, out),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "kubectl-firstlight", &mut script);
            out.write_all(&script)?;
            Ok(Exit::Ok)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
