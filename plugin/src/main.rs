//! The node agent's process: see the library for everything else.

use std::process::ExitCode;

fn main() -> ExitCode {
    firstlight_plugin::cli::run()
}
