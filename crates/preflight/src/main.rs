//! The static half: see the library.
#![expect(unsafe_code, reason = "the handler of SIGTERM")]

use firstlight_preflight::args::{self, Asked};
use firstlight_preflight::supervise;
use std::io::{self, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    end_when_told();
    // A crash that was provoked on purpose leaves no core in the user's directory.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Asked::Run(args)) => supervise::run(&args),
        Ok(Asked::Help) => say(args::HELP),
        Ok(Asked::Version) => say(concat!("firstlight-preflight ", env!("CARGO_PKG_VERSION"))),
        Err(error) => {
            // Nobody is left to tell where standard error is closed.
            let _ = writeln!(io::stderr(), "error: {error}\n\n{}", args::HELP);
            ExitCode::from(2)
        }
    }
}

fn say(text: &str) -> ExitCode {
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::SUCCESS
}

/// The first process of a container ignores signals that it has no handler for, and its pod would be kept for the
/// whole grace period.
fn end_when_told() {
    extern "C" fn end(_signal: libc::c_int) {
        // SAFETY: `_exit` is async-signal-safe, and takes any code.
        unsafe { libc::_exit(143) }
    }
    let handler: extern "C" fn(libc::c_int) = end;
    // SAFETY: the handler has the prototype that `signal` wants, lives as long as the program, and calls nothing but
    // `_exit`; no other thread runs yet.
    unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
}
