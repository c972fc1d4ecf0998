//! Reports on pods: collected, printed, turned into an exit code.

use super::pods::PodStatus;
use super::probe::Probed;
use super::workloads::{self, Named, Workload};
use super::{agent, condition, left, pods};
use crate::args::{Diagnose, Format};
use crate::exit::Exit;
use crate::{output, show};
use anyhow::bail;
use firstlight_contract::names::{RESOURCE_PREFIX, annotation, event};
use firstlight_contract::preflight::Document;
use firstlight_diagnosis::Report;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde::Serialize;
use std::io::Write;

/// A report and where it belongs.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) namespace: String,
    pub(super) pod: String,
    /// `None`: the condition speaks, which is about the whole pod.
    pub(super) container: Option<String>,
    pub(super) report: Report,
    /// What it uses of its quotas, where it has any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) memory: Vec<agent::Memory>,
    /// What the preflight found before the container started, where it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) preflight: Option<Document>,
    /// What the preflight says in the running container, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) probe: Option<Probed>,
}

/// The reports that were asked for.
#[derive(Debug)]
pub(super) struct Collected {
    /// At least one.
    pub(super) found: Vec<Found>,
    /// One pod was named: its report is printed as itself.
    pub(super) of_one_pod: bool,
}

/// The reports that were asked for.
pub(super) async fn collect(client: &Client, args: &Diagnose) -> anyhow::Result<Collected> {
    let namespace = args.cluster.namespace.as_deref().unwrap_or(client.default_namespace());
    let target = match &args.target {
        Some(text) => target(client, namespace, text).await?,
        None => Target::Labelled(args.selector.clone().unwrap_or_default()),
    };
    let pods = match &target {
        Target::Pod(pod) => vec![Pod::clone(pod)],
        Target::Workload(Workload { selector, .. }) | Target::Labelled(selector) => {
            let place = (!args.cluster.all_namespaces).then_some(namespace);
            pods::list(client, place, Some(selector)).await?
        }
    };
    let asked: Vec<&Pod> = pods.iter().filter(|pod| PodStatus::of(pod).is_some()).collect();
    if asked.is_empty() {
        bail!("{}", nobody(args, &target, namespace, pods.len()));
    }
    let mut found = Vec::new();
    for pod in asked {
        found.extend(reports(client, args, pod).await?);
    }
    Ok(Collected { found, of_one_pod: matches!(target, Target::Pod(_)) })
}

/// What the reports are to be about.
enum Target {
    Pod(Box<Pod>),
    Workload(Workload),
    Labelled(String),
}

async fn target(client: &Client, namespace: &str, text: &str) -> anyhow::Result<Target> {
    let (pod, workload) = match workloads::named(text)? {
        Named::Pod(name) => (Some(name), None),
        Named::Workload(kind, name) => (None, Some((kind, name))),
        Named::Any(name) => (Some(name.clone()), Some((&workloads::DEPLOYMENT, name))),
    };
    if let Some(name) = &pod
        && let Some(pod) = pods::get(client, namespace, name).await?
    {
        return Ok(Target::Pod(Box::new(pod)));
    }
    let Some((kind, name)) = workload else {
        bail!("no {text} in namespace {namespace}; {LISTED}");
    };
    match workloads::find(client, namespace, kind, &name).await {
        Ok(Some(workload)) => Ok(Target::Workload(workload)),
        // Who may see pods only asked for a pod.
        Ok(None) | Err(_) if pod.is_some() => {
            bail!("no pod or deployment {name} in namespace {namespace}; {LISTED}")
        }
        Ok(None) => bail!("no {text} in namespace {namespace}; {LISTED}"),
        Err(error) => Err(error),
    }
}

const LISTED: &str = "`kubectl firstlight status` lists the pods that asked for a GPU";

/// Why there is no pod to speak of, and what helps.
fn nobody(args: &Diagnose, target: &Target, namespace: &str, pods: usize) -> String {
    let place = if args.cluster.all_namespaces { "any namespace" } else { &format!("namespace {namespace}") };
    let ask = format!(
        "annotate the workload with {}=POOL, or give a container a limit {RESOURCE_PREFIX}POOL",
        annotation::GPU
    );
    let selector = match target {
        Target::Pod(pod) => {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            return format!("pod {name} in {place} did not ask for a GPU; {ask}");
        }
        Target::Workload(Workload { name, annotated: true, .. }) => {
            let why = if pods == 0 { "it has no pods" } else { "none of its pods is" };
            return format!(
                "{name} in {place} is annotated with {}, and {why}: look at its Events for {}, and that the \
                 webhook runs; a change to its template makes new pods",
                annotation::GPU,
                event::NOT_INJECTED
            );
        }
        Target::Workload(Workload { name, .. }) => {
            return match pods {
                0 => format!("{name} in {place} has no pods, and did not ask for a GPU; {ask}"),
                _ => format!("{name} in {place} did not ask for a GPU; {ask}"),
            };
        }
        Target::Labelled(selector) => selector,
    };
    match pods {
        0 => format!("no pod in {place} has the labels {selector}; {LISTED}"),
        1 => format!("the pod in {place} with the labels {selector} did not ask for a GPU; {ask}"),
        some => {
            format!("none of the {some} pods in {place} with the labels {selector} asked for a GPU; {ask}")
        }
    }
}

/// The agent's reports on a pod; where the agent cannot be asked, what the pod's condition and Events say.
async fn reports(client: &Client, args: &Diagnose, pod: &Pod) -> anyhow::Result<Vec<Found>> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let found = |container: Option<String>, report| Found {
        namespace: namespace.clone(),
        pod: name.clone(),
        preflight: left::of(pod, container.as_deref()).map(|report| Document::new(&report, None)),
        container,
        report,
        memory: Vec::new(),
        probe: None,
    };
    let answer = match agent::ask(client, args.agent_namespace.as_deref(), pod).await {
        Ok(answer) => answer,
        Err(error) => {
            let events = condition::events(client, pod).await;
            return Ok(vec![found(None, condition::report(pod, &format!("{error:#}"), &events))]);
        }
    };
    let names: Vec<String> = answer.containers.iter().map(|part| part.container.clone()).collect();
    let wanted = |part: &agent::Part| args.container.as_ref().is_none_or(|name| part.container == *name);
    let all: Vec<Found> = answer
        .containers
        .into_iter()
        .filter(wanted)
        .map(|part| Found { memory: part.memory, ..found(Some(part.container), part.report) })
        .collect();
    if all.is_empty() {
        let wanted = args.container.as_deref().unwrap_or_default();
        bail!(
            "container {wanted} of pod {namespace}/{name} was given no GPU; those that were: {}",
            names.join(", ")
        );
    }
    Ok(all)
}

/// One report is printed as itself, with what a probe found beside it; with `-l` and of a workload always a list, so
/// that scripts need not count pods.
pub(super) fn print(collected: &Collected, output: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    let found = &collected.found;
    let single = match found.as_slice() {
        [only] if collected.of_one_pod => Some(only),
        _ => None,
    };
    let extent = if output == Format::Wide { show::Extent::Whole } else { show::Extent::Tail };
    match (output, single) {
        (Format::Json, Some(only)) if only.probe.is_none() => output::json(&only.report, out)?,
        (Format::Json, Some(only)) => output::json(only, out)?,
        (Format::Json, None) => output::json(&found, out)?,
        (Format::Yaml, Some(only)) if only.probe.is_none() => output::yaml(&only.report, out)?,
        (Format::Yaml, Some(only)) => output::yaml(only, out)?,
        (Format::Yaml, None) => output::yaml(&found, out)?,
        (Format::Table | Format::Wide, _) => {
            for (index, found) in found.iter().enumerate() {
                let gap = if index == 0 { "" } else { "\n" };
                let container = found.container.as_deref().map(|name| format!(", container {name}"));
                let container = container.unwrap_or_default();
                writeln!(out, "{gap}pod        {}/{}{container}", found.namespace, found.pod)?;
                write!(out, "{}", show::memory(found.memory.iter().map(agent::Memory::sentence)))?;
                write!(out, "{}", show::report(&found.report, extent))?;
                if let Some(preflight) = &found.preflight {
                    write!(out, "\n{}", left::text(&preflight.report(), extent))?;
                }
                if let Some(probe) = &found.probe {
                    write!(out, "\n{}", probe.text())?;
                }
            }
        }
    }
    Ok(())
}

/// The worst verdict decides.
pub(super) fn exit(found: &[Found]) -> Exit {
    let any = |outcome: &str| found.iter().any(|found| found.report.verdict.outcome == outcome);
    match (any("failure"), any("unknown")) {
        (true, _) => Exit::Failure,
        (false, true) => Exit::Unknown,
        (false, false) => Exit::Ok,
    }
}
