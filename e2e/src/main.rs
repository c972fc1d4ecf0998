//! `firstlight-e2e`: builds the foreign products, starts and stops the local cluster.
#![expect(clippy::print_stderr, reason = "a command line tool")]

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use firstlight_e2e::deps::{self, Deps};

const USAGE: &str = "usage:
  firstlight-e2e deps [PRODUCT…]     build what is missing in the cache
  firstlight-e2e deps-verify         compare the cache with its manifests";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firstlight-e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("deps");
    match arguments {
        [command, names @ ..] if command == "deps" => {
            Deps::new(recipes, deps::cache_dir()?).build(names)?;
            Ok(())
        }
        [command] if command == "deps-verify" => {
            let faults = Deps::new(recipes, deps::cache_dir()?).faults()?;
            for (name, fault) in &faults {
                eprintln!("{name}: {fault}");
            }
            if !faults.is_empty() {
                bail!("{} products to build: run `make deps`", faults.len());
            }
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}
