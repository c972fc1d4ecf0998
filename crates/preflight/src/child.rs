//! A child process with limits: on its time, and on what it may say. It is given back in any case, together with what
//! it said until then.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Bytes of each stream that are kept; the rest is read and thrown away, so that the child never waits for us.
const KEPT: usize = 64 << 10;
/// The end of a process that closed its streams is looked for this often.
const LOOK: Duration = Duration::from_millis(20);
/// How long the end of a killed process is waited for: one that hangs in the kernel does not end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
    /// Not in time: it was killed.
    TimedOut,
}

/// A child that is gone, or given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub how: End,
    /// Standard output.
    pub out: Vec<u8>,
    /// Standard error.
    pub err: Vec<u8>,
    /// How long it ran.
    pub took: Duration,
    /// How long it had been silent when it ended.
    pub silent: Duration,
}

impl Ended {
    /// The first line of standard error that holds anything.
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.err);
        text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
    }
}

/// Runs a command for at most `limit`, with nothing to read; when its time is over, all that it started is killed.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Ended> {
    let mut child = command
        // Not from /dev/null, which is not in every root directory; the other end is closed at once.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    drop(child.stdin.take());
    let (mut out, mut err) = (Stream::new(child.stdout.take())?, Stream::new(child.stderr.take())?);
    let begun = Instant::now();
    let mut heard = begun;
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        wait_for_words(&out, &err, left.min(LOOK));
        if out.read() | err.read() {
            heard = Instant::now();
        }
        let how = match child.try_wait()? {
            Some(status) => end(status),
            None if begun.elapsed() < limit => continue,
            None => give_up(&mut child),
        };
        // What it said last.
        out.read();
        err.read();
        let ended = Instant::now();
        let (took, silent) = (ended.duration_since(begun), ended.duration_since(heard));
        return Ok(Ended { how, out: out.kept, err: err.kept, took, silent });
    }
}

fn end(status: ExitStatus) -> End {
    status.signal().map_or_else(|| End::Exited(status.code().unwrap_or(-1)), End::Signalled)
}

fn give_up(child: &mut Child) -> End {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // It may have ended just now.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < LAST_WAIT {
        std::thread::sleep(LOOK);
    }
    End::TimedOut
}

/// One of the child's streams; `from` is gone once the other side is closed.
struct Stream<R> {
    from: Option<R>,
    kept: Vec<u8>,
}

impl<R: Read + AsFd> Stream<R> {
    fn new(from: Option<R>) -> io::Result<Self> {
        if let Some(from) = &from {
            // A process that the child started may hold the pipe for ever: reading must not wait for its end.
            fcntl_setfl(from, fcntl_getfl(from)? | OFlags::NONBLOCK)?;
        }
        Ok(Self { from, kept: Vec::new() })
    }

    /// Takes what there is; whether there was anything.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let mut any = false;
        // Bounded, so that a child that never stops talking is looked at all the same.
        for _ in 0..64 {
            let Some(from) = &mut self.from else { break };
            match from.read(&mut buffer) {
                Ok(0) => self.from = None,
                Ok(count) => {
                    any = true;
                    let room = KEPT.saturating_sub(self.kept.len()).min(count);
                    self.kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.from = None,
            }
        }
        any
    }
}

fn wait_for_words<A: AsFd, B: AsFd>(out: &Stream<A>, err: &Stream<B>, limit: Duration) {
    let out = out.from.as_ref().map(|from| PollFd::new(from, PollFlags::IN));
    let err = err.from.as_ref().map(|from| PollFd::new(from, PollFlags::IN));
    let mut open: Vec<PollFd<'_>> = out.into_iter().chain(err).collect();
    let nanos = i64::from(limit.subsec_nanos());
    let time = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(0), tv_nsec: nanos };
    // Interrupted, or without anything to poll: the loop looks again.
    let _ = poll(&mut open, Some(&time));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Ended {
        run(Command::new("/bin/sh").args(["-c", script]), limit).unwrap()
    }

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(300);

    #[test]
    fn what_it_said_and_how_it_ended_is_known() {
        let ended = shell("echo out; echo err >&2; exit 3", LONG);
        assert_eq!(
            (ended.how, ended.out.as_slice(), ended.complaint().as_str()),
            (End::Exited(3), &b"out\n"[..], "err")
        );
        assert_eq!(shell("kill -SEGV $$", LONG).how, End::Signalled(11));
    }

    #[test]
    fn one_that_hangs_is_killed_with_all_that_it_started_and_keeps_its_words() {
        let begun = Instant::now();
        let ended = shell("echo before; sleep 100 & sleep 100", SHORT);
        assert_eq!((ended.how, ended.out.as_slice()), (End::TimedOut, &b"before\n"[..]));
        assert!(begun.elapsed() < LONG && ended.silent >= SHORT / 2, "{ended:?}");
    }

    #[test]
    fn one_that_leaves_a_process_behind_is_not_waited_for() {
        let begun = Instant::now();
        assert_eq!(shell("sleep 30 & exit 0", LONG).how, End::Exited(0));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn one_that_talks_without_end_is_cut_and_stopped() {
        let ended = shell("exec yes", SHORT);
        assert_eq!((ended.how, ended.out.len()), (End::TimedOut, KEPT));
    }

    #[test]
    fn one_that_is_not_there_is_an_error() {
        assert_eq!(run(&mut Command::new("/nowhere"), LONG).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
