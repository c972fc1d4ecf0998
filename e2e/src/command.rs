//! Running programs: the whole command and what it said go into the error.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `program` to its end and returns what it wrote to standard output.
///
/// # Errors
/// When it cannot be started or exits with another code than 0; the message holds the command and its output.
pub fn run<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    checked(&mut command)
}

/// Runs a prepared command like [`run`].
pub fn checked(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let wrote = String::from_utf8_lossy(&output.stdout);
        bail!(
            "{} ended with {}: {}{}",
            line(command),
            output.status,
            said.trim(),
            if said.trim().is_empty() { wrote } else { "".into() }
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a prepared command without standard input and gives back all it said, whatever its exit code.
pub fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", line(command)))
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}
