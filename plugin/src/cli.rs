//! The command line: the daemon, and the other commands of the same image.

use crate::args::{Args, Config};
use crate::prober::supervisor;
use crate::{app, cleanup, selftest};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Wrong usage, `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

/// The Firstlight node agent: serves pools of GPUs to the kubelet and says of each container whether CUDA came up.
#[derive(Debug, Parser)]
#[command(name = "firstlight-plugin", args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Without a command: the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of the daemon.
    #[command(flatten)]
    pub daemon: Args,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks that the pool configuration is good and that the webhook answers.
    Selftest(selftest::Args),
    /// Removes libraries and grants that no live pod uses any more.
    Cleanup(cleanup::Args),
    /// Asks NVML about the cards, and tells the agents of this node; in a pod of its own.
    Prober(supervisor::Args),
}

/// Runs what the command line asks for; the exit code tells: 64 for wrong usage, 1 for a failure.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version are no mistakes.
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    // The only provider linked; kube asks for the process's default.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.command {
        None => daemon(cli.daemon),
        Some(Command::Selftest(args)) => {
            if selftest::run(&args) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Some(Command::Cleanup(args)) => match block_on(cleanup::run(args)) {
            Ok(cleanup::Left::Nothing) => ExitCode::SUCCESS,
            Ok(cleanup::Left::Something) => ExitCode::FAILURE,
            Err(error) => failed(&error),
        },
        Some(Command::Prober(args)) => match block_on(supervisor::run(args)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
    }
}

#[expect(clippy::print_stderr, reason = "before logging is set up, and when it may be set up wrongly")]
fn daemon(args: Args) -> ExitCode {
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("firstlight-plugin: {error}");
            return ExitCode::from(USAGE);
        }
    };
    app::log(&config.log, config.log_format);
    match block_on(app::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the end of a command for people, which sets up no logging")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("firstlight-plugin: {error:#}");
    ExitCode::FAILURE
}

/// One thread: everything here waits, and a second one costs memory on every node.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("firstlight-plugin").chain(words.iter().copied()))
    }

    #[test]
    fn flags_without_a_command_are_the_daemon() {
        let cli = parse(&["--node-name=n", "--pod-uid=u"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!((cli.daemon.node_name.as_str(), cli.daemon.pod_uid.as_str()), ("n", "u"));
        assert!(parse(&[]).unwrap().command.is_none());
    }

    #[test]
    fn the_charts_commands_are_understood() {
        let selftest = ["selftest", "--config=/etc/firstlight/pools.yaml", "--connect=10.96.0.7:443"];
        assert!(matches!(parse(&selftest).unwrap().command, Some(Command::Selftest(_))));
        assert!(matches!(parse(&["cleanup", "--wait"]).unwrap().command, Some(Command::Cleanup(_))));
        assert!(matches!(parse(&["prober"]).unwrap().command, Some(Command::Prober(_))));
    }

    #[test]
    fn a_flag_of_the_daemon_before_a_command_is_a_mistake_not_ignored() {
        parse(&["--state-dir=/elsewhere", "cleanup"]).unwrap_err();
    }
}
