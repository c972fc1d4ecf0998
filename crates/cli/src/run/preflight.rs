//! The preflight on this machine: on the installed driver, or on one behind the recorder.

use super::artefacts;
use super::command::{self, Ended};
use super::plan::Plan;
use super::recorder::Recorder;
use crate::args::{Gpu, Preflight};
use crate::exit::Exit;
use std::ffi::OsString;
use std::io::{self, Write as _};

pub(crate) fn preflight(args: &Preflight) -> anyhow::Result<Exit> {
    match prepare_and_run(args) {
        Ok(exit) => Ok(exit),
        Err(error) => {
            writeln!(io::stderr(), "error: {error:#}")?;
            Ok(Exit::NotPrepared)
        }
    }
}

fn prepare_and_run(args: &Preflight) -> anyhow::Result<Exit> {
    let plan = if args.gpu == Gpu::default() { None } else { Some(Plan::new(&args.gpu)?) };
    let artefacts = artefacts::locate()?;
    let words = words(artefacts.preflight()?.into(), args);
    let ended = if let Some(plan) = &plan {
        command::run(&words, &Recorder::prepare(plan, &artefacts)?.variables)?
    } else {
        command::run(&words, &[])?
    };
    Ok(match ended {
        Ended::Ran(exit) | Ended::NotStarted(exit) => exit,
    })
}

fn words(program: OsString, args: &Preflight) -> Vec<OsString> {
    let backends = args.backend.iter().flat_map(|path| ["--backend".into(), path.into()]);
    std::iter::once(program).chain(backends).chain(args.more.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser as _;

    #[test]
    fn backends_and_what_follows_the_dashes_go_to_the_preflight() {
        let line =
            ["f", "preflight", "--backend", "/a.so", "--backend", "/b.so", "--", "--json", "--timeout", "3"];
        let Command::Preflight(args) = Args::try_parse_from(line).unwrap().command else {
            panic!("not preflight")
        };
        assert_eq!(args.gpu, Gpu::default());
        let words = words("preflight".into(), &args);
        assert_eq!(
            words,
            ["preflight", "--backend", "/a.so", "--backend", "/b.so", "--json", "--timeout", "3"]
        );
    }
}
