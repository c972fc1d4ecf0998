//! The webhook's process: see the library for everything else.

use clap::Parser as _;
use firstlight_webhook::app;
use firstlight_webhook::args::{Args, Config};
use std::process::ExitCode;

/// musl's allocator maps and unmaps pages for each review.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Wrong usage, `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

#[expect(clippy::print_stderr, reason = "before logging is set up, and when it may be set up wrongly")]
fn main() -> ExitCode {
    let config = match Config::try_from(Args::parse()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("firstlight-webhook: {error}");
            return ExitCode::from(USAGE);
        }
    };
    app::log(&config);
    // The only provider linked; kube asks for the process's default.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread: two on two cores answer fewer reviews per CPU-second, and a second one costs memory.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(app::run(config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
