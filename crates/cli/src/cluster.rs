//! Questions to a cluster, asked through its API server with the caller's rights.
//!
//! | module | what |
//! |---|---|
//! | `connect` | from a kubeconfig to a client |
//! | `pods` | which pods asked for a GPU, and what their conditions say |
//! | `workloads` | a workload by name, and the labels of its pods |
//! | `nodes` | the pools and devices of each node |
//! | `agent` | the agent on a node: its report on a pod, its pools |
//! | `condition` | a report without the agent |
//! | `left` | what a preflight found before the containers started |
//! | `probe` | the preflight, started in a running container |
//! | `diagnosing` | reports on pods: collected, printed, turned into an exit code |

mod agent;
mod condition;
mod connect;
mod diagnosing;
mod left;
mod nodes;
mod pods;
mod probe;
mod workloads;

use crate::args::{Diagnose, Format, Status};
use crate::exit::Exit;
use crate::output;
use firstlight_contract::names::annotation;
use kube::Client;
use pods::PodStatus;
use std::io::Write;

pub(crate) fn status(args: &Status, out: &mut dyn Write) -> anyhow::Result<Exit> {
    if args.nodes {
        let agents = args.agent_namespace.as_deref();
        let nodes =
            connect::ask(&args.cluster, connect::PATIENCE, async |client| nodes::ask(&client, agents).await)?;
        print_nodes(&nodes, args.output, out)?;
        return Ok(Exit::Ok);
    }
    let rows =
        connect::ask(&args.cluster, connect::PATIENCE, async |client| status_rows(&client, args).await)?;
    print_status(&rows, args.output, out)?;
    Ok(Exit::Ok)
}

/// Worst first.
async fn status_rows(client: &Client, args: &Status) -> anyhow::Result<Vec<PodStatus>> {
    let pods = pods::list(client, args.cluster.namespace.as_deref(), None).await?;
    let mut rows: Vec<PodStatus> = pods.iter().filter_map(PodStatus::of).collect();
    rows.sort_by_key(PodStatus::rank);
    Ok(rows)
}

fn print_status(rows: &[PodStatus], format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json(&rows, out)?,
        Format::Yaml => output::yaml(&rows, out)?,
        Format::Table | Format::Wide if rows.is_empty() => writeln!(
            out,
            "no pod asked for a GPU here; to ask: kubectl annotate deployment NAME {}=POOL",
            annotation::GPU
        )?,
        format => write!(out, "{}", pods::table(rows, format == Format::Wide))?,
    }
    Ok(())
}

fn print_nodes(nodes: &[nodes::Node], format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json(&nodes, out)?,
        Format::Yaml => output::yaml(&nodes, out)?,
        Format::Table | Format::Wide if nodes.is_empty() => writeln!(
            out,
            "no Firstlight agent runs here; `kubectl get daemonsets -A -l app.kubernetes.io/name=firstlight` shows why"
        )?,
        format => write!(out, "{}", nodes::table(nodes, format == Format::Wide))?,
    }
    Ok(())
}

pub(crate) fn diagnose(args: &Diagnose, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let patience = if args.probe { probe::PATIENCE } else { connect::PATIENCE };
    let collected = connect::ask(&args.cluster, patience, async |client| {
        let mut collected = diagnosing::collect(&client, args).await?;
        if args.probe {
            probe::all(&client, &mut collected.found, args.container.as_deref()).await;
        }
        Ok(collected)
    })?;
    diagnosing::print(&collected, args.output, out)?;
    Ok(diagnosing::exit(&collected.found))
}

#[cfg(test)]
mod tests;
