//! The half of the prober that NVML is loaded into. It stays, so that no error of the driver is lost between two looks,
//! and says each thing in a line of its own (`firstlight_contract::prober`). It is started and watched by
//! `firstlight-plugin prober`: NVML may hang, and then this process is killed and started again.
//!
//! | module | what |
//! |---|---|
//! | [`cards`] | the cards that NVML knows, and their events |
//! | [`look`] | what NVML says of one of them |
//! | [`instances`] | the instances into which hardware divides it (MIG) |
//! | [`profile`] | the name of an instance's profile (pure) |
//! | [`out`] | the lines |

mod cards;
mod instances;
mod look;
mod out;
mod profile;

use cards::Cards;
use firstlight_contract::paths::kernel::CAPABILITIES;
use firstlight_contract::paths::library::NVML;
use firstlight_contract::prober::{Look, Message};
use instances::Instances;
use lexopt::prelude::*;
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use out::Out;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What was asked for.
struct Args {
    nvml: OsString,
    /// Where the kernel module tells which instances there are.
    capabilities: PathBuf,
    interval: Duration,
    /// Cards at which an earlier process hung or died: they are asked when the others have been heard.
    last: Vec<String>,
}

fn main() -> ExitCode {
    let args = match parse() {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to tell where standard error is closed.
            let _ = writeln!(
                io::stderr(),
                "firstlight-prober: {error}; wanted --nvml PATH --capabilities PATH --interval-seconds NUMBER --last UUID…"
            );
            return ExitCode::from(64);
        }
    };
    // An error here is the end of the other side.
    let ended = Out::new().and_then(|mut out| run(&args, &mut out));
    ended.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn parse() -> Result<Args, lexopt::Error> {
    let mut args = Args {
        nvml: NVML.into(),
        capabilities: CAPABILITIES.into(),
        interval: Duration::from_secs(5),
        last: Vec::new(),
    };
    let mut words = lexopt::Parser::from_env();
    while let Some(word) = words.next()? {
        match word {
            Long("nvml") => args.nvml = words.value()?,
            Long("capabilities") => args.capabilities = words.value()?.into(),
            Long("interval-seconds") => {
                args.interval = Duration::from_secs_f64(seconds(words.value()?.parse()?)?);
            }
            Long("last") => args.last.push(words.value()?.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(args)
}

fn seconds(number: f64) -> Result<f64, lexopt::Error> {
    let good = (0.05..=3600.0).contains(&number);
    good.then_some(number).ok_or_else(|| format!("--interval-seconds {number}: wanted 0.05 to 3600").into())
}

/// Looks until the other side is gone; ends early where there is no NVML.
fn run(args: &Args, out: &mut Out) -> io::Result<()> {
    out.asking("nvmlInit", None)?;
    let nvml = match Nvml::builder().lib_path(&args.nvml).init() {
        Ok(nvml) => nvml,
        Err(error) => return out.say(&Message::Nothing(not_there(args, &error))),
    };
    out.asking("nvmlSystemGetDriverVersion", None)?;
    let driver = nvml.sys_driver_version().unwrap_or_else(|error| format!("unknown ({error})"));
    let instances = Instances { nvml: &nvml, capabilities: &args.capabilities };
    let (mut cards, mut last) = (Cards::default(), args.last.as_slice());
    loop {
        cards.refresh(&nvml, out)?;
        let nameless = cards.nameless.clone();
        for together in cards.in_turn(last) {
            let ask = |card| look::ask(card, &instances, out);
            let looks = together.into_iter().map(ask).collect::<io::Result<_>>()?;
            let (driver, nameless) = (driver.clone(), nameless.clone());
            out.say(&Message::Look(Look { driver, cards: looks, nameless }))?;
        }
        // They answered.
        last = &[];
        cards.wait(args.interval, out)?;
    }
}

fn not_there(args: &Args, error: &NvmlError) -> String {
    let path = args.nvml.to_string_lossy();
    match error {
        NvmlError::LibloadingError(error) => format!("{path} cannot be loaded: {error}"),
        error => format!("{path} does not start: {error}"),
    }
}
