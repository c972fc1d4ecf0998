//! Runs the command: signals go on to it, its end is ours.

use crate::exit::Exit;
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use tokio::process::Command;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// How the command ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It ran.
    Ran(Exit),
    /// It could not be started; the reason has been said.
    NotStarted(Exit),
}

/// Runs the command with these variables added to our environment, and waits for its end.
pub(super) fn run(words: &[OsString], variables: &[(&str, OsString)]) -> anyhow::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime that waits for the command")?;
    runtime.block_on(wait(words, variables))
}

async fn wait(words: &[OsString], variables: &[(&str, OsString)]) -> anyhow::Result<Ended> {
    let mut signals = Signals::new().context("cannot listen to signals")?;
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, value) in variables {
        command.env(name, value);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return not_started(program, &error),
    };
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return Ok(Ended::Ran(exit(status.context("cannot wait for the command")?))),
            number = signals.next() => {
                if let Some(pid) = pid {
                    // It may have ended meanwhile: then there is nobody to tell.
                    let _ = kill_process(pid, number);
                }
            }
        }
    }
}

fn not_started(program: &OsString, error: &io::Error) -> anyhow::Result<Ended> {
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::NotExecutable };
    writeln!(io::stderr(), "error: cannot run {}: {error}", program.display())?;
    Ok(Ended::NotStarted(exit))
}

fn exit(status: ExitStatus) -> Exit {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Exit::Command(u8::try_from(code & 0xFF).unwrap_or(1))
}

/// Signals that are passed on.
struct Signals {
    terminate: Stream,
    hang_up: Stream,
    interrupt: Stream,
    quit: Stream,
    user1: Stream,
    user2: Stream,
    /// A terminal sends its signals to the command, too: then passing them on would double them.
    terminal: bool,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            terminal: io::stdin().is_terminal(),
        })
    }

    async fn next(&mut self) -> Signal {
        loop {
            let (signal, from_terminal) = tokio::select! {
                _ = self.terminate.recv() => (Signal::TERM, false),
                _ = self.hang_up.recv() => (Signal::HUP, true),
                _ = self.interrupt.recv() => (Signal::INT, true),
                _ = self.quit.recv() => (Signal::QUIT, true),
                _ = self.user1.recv() => (Signal::USR1, false),
                _ = self.user2.recv() => (Signal::USR2, false),
            };
            if !(from_terminal && self.terminal) {
                return signal;
            }
        }
    }
}
