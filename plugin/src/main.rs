//! The node agent's process: see the library for everything else.

use clap::Parser as _;
use firstlight_plugin::app;
use firstlight_plugin::args::{Args, Config};
use std::process::ExitCode;

/// Wrong usage, `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

#[expect(clippy::print_stderr, reason = "before logging is set up, and when it may be set up wrongly")]
fn main() -> ExitCode {
    let config = match Config::try_from(Args::parse()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("firstlight-plugin: {error}");
            return ExitCode::from(USAGE);
        }
    };
    app::log(&config);
    // The only provider linked; kube asks for the process's default.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread: everything here waits, and a second one costs memory on every node.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(app::run(config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
