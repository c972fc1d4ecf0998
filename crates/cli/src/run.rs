//! The whole path on one machine: grant, preload, records, verdict.

mod artefacts;
mod command;
mod plan;
mod preflight;
mod recorder;

use crate::args::{Format, Run};
use crate::exit::Exit;
use crate::{decode, output, show};
use anyhow::Context as _;
use command::Ended;
use firstlight_contract::names::env;
use firstlight_diagnosis::{Container, ContainerState, Facts, Report};
use plan::Plan;
pub(crate) use preflight::preflight;
use recorder::Recorder;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Variables that hide GPUs from CUDA or from Ollama, or bring other libraries in: facts for the diagnosis.
const TELLING: [&str; 6] = [
    env::LD_PRELOAD,
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "OLLAMA_LLM_LIBRARY",
    "LLAMA_ARG_DEVICE",
    "LLAMA_ARG_N_GPU_LAYERS",
];

pub(crate) fn run(args: &Run) -> anyhow::Result<Exit> {
    match prepare_and_run(args) {
        Ok(exit) => Ok(exit),
        Err(error) => {
            writeln!(io::stderr(), "error: {error:#}")?;
            Ok(Exit::NotPrepared)
        }
    }
}

fn prepare_and_run(args: &Run) -> anyhow::Result<Exit> {
    let plan = Plan::new(&args.gpu)?;
    let recorder = Recorder::prepare(&plan, &artefacts::locate()?)?;
    let exit = match command::run(&args.command, &recorder.variables)? {
        Ended::Ran(exit) => exit,
        Ended::NotStarted(exit) => return Ok(exit),
    };
    let report = judge(&plan, &recorder.records, exit)?;
    publish(args, &report)?;
    Ok(exit)
}

fn judge(plan: &Plan, records: &Path, exit: Exit) -> anyhow::Result<Report> {
    let mut container = Container::new();
    container.observe(&decode::read(records)?);
    let now_ns = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or(0);
    let environment =
        TELLING.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
    let facts = Facts {
        devices: plan.device_count(),
        injected: Some(true),
        state: ContainerState::Terminated { at_ns: now_ns, exit_code: i32::from(exit.code()) },
        environment,
        ..Facts::of(plan.kind)
    };
    Ok(container.report(now_ns, &facts))
}

fn publish(args: &Run, report: &Report) -> anyhow::Result<()> {
    if let Some(path) = &args.report {
        let mut text = Vec::new();
        output::json(report, &mut text)?;
        fs::write(path, text).with_context(|| format!("cannot write the report to {}", path.display()))?;
    }
    let mut err = io::stderr().lock();
    match args.output {
        Format::Table => write!(err, "{}", show::verdict(&report.verdict))?,
        Format::Wide => write!(err, "{}", show::report(report, show::Extent::Whole))?,
        Format::Json => output::json(report, &mut err)?,
        Format::Yaml => output::yaml(report, &mut err)?,
    }
    Ok(())
}
