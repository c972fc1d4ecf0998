//! What can be typed.

use crate::exit;
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Why does CUDA (not) come up in an Ollama pod: verdicts with evidence, on one machine and in a cluster
#[derive(Debug, Parser)]
#[command(name = "kubectl-firstlight", version, after_help = exit::HELP)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command behind the recorder, without root or cluster, and say how CUDA came up in it
    Run(Run),
    /// Try on this machine what a container's preflight tries: libraries, device nodes, the driver stage by stage
    Preflight(Preflight),
    /// Print a record file line by line
    Decode(Decode),
    /// Say what a cause means and what to do; without a cause, list them all
    Explain(Explain),
    /// List the pods that asked for a GPU, worst first; or what the nodes have
    Status(Status),
    /// Say how CUDA came up in a pod: verdict, evidence, processes, timeline
    Diagnose(Diagnose),
    /// Print a completion script
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl firstlight run -- python3 probe.py
  kubectl firstlight run --simulate init-returns=999 -- ./my-cuda-program
  kubectl firstlight run --driver ./libcuda.so.1 --report report.json -- ./my-cuda-program
  kubectl firstlight run --pool observer --memory 4GiB -- ./my-cuda-program
The command's exit code is passed on; the verdict goes to standard error.")]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) gpu: Gpu,
    /// Write the report (JSON) to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// How to print the verdict to standard error
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// Which GPU a program is given.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Gpu {
    /// Kind of the pool: simulated, observer (the installed driver), custom (with --driver)
    #[arg(long, value_name = "KIND")]
    pub(crate) pool: Option<String>,
    /// A driver of your own: libcuda.so.1, or the directory that holds it
    #[arg(long, value_name = "PATH")]
    pub(crate) driver: Option<PathBuf>,
    /// Faults of the simulated driver, separated by commas, such as init-returns=999
    #[arg(long, value_name = "FAULT")]
    pub(crate) simulate: Option<String>,
    /// Number of simulated devices
    #[arg(long, value_name = "N")]
    pub(crate) devices: Option<u32>,
    /// Model of the simulated devices, such as SIM-A40
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Memory of each simulated device, such as 8GiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) device_memory: Option<String>,
    /// Quota of memory on each device, such as 1GiB, for the program and its children together; any driver
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl firstlight preflight
  kubectl firstlight preflight --backend /usr/lib/ollama/cuda_v13/libggml-cuda.so
  kubectl firstlight preflight --simulate context-returns=2 -- --json
Without an option that names a GPU it asks the driver that is installed here, with nothing in front of it; with one, a
driver behind the recorder, as in a container. Its exit code is passed on.")]
pub(crate) struct Preflight {
    #[command(flatten)]
    pub(crate) gpu: Gpu,
    /// Also load this GPU backend; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) backend: Vec<PathBuf>,
    /// More arguments of the preflight itself: --json, --report FILE, --timeout SECONDS
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) more: Vec<std::ffi::OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Decode {
    /// The record file; - is standard input
    pub(crate) file: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// A cause, such as driver-init-failed
    pub(crate) cause: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl firstlight status
  kubectl firstlight status -n ai -o wide
  kubectl firstlight status --nodes
Failures come first, then pods without the webhook's mark, then those without a verdict, then successes.")]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// The nodes instead, whatever the namespace: pools, how the driver gets into containers, devices and why one is
    /// not given
    #[arg(long)]
    pub(crate) nodes: bool,
    /// Where the agents run; without it, they are looked for in all namespaces
    #[arg(long, value_name = "NAMESPACE", requires = "nodes")]
    pub(crate) agent_namespace: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kubectl firstlight diagnose ollama-5d9c7b6f4-x2x7k
  kubectl firstlight diagnose deployment/ollama
  kubectl firstlight diagnose -n ai -l app=ollama
  kubectl firstlight diagnose ollama-0 -c ollama -o json
  kubectl firstlight diagnose ollama-0 --probe
The report comes from the agent on the pod's node, through the API server: that takes list on pods and get on
pods/proxy in the agent's namespace. Where the agent cannot be asked, the pod's condition and Events speak, and
the first line of evidence says so. --probe takes create on pods/exec, and changes no exit code. Exit code 3: a failure; 4: neither success nor failure is proven.")]
pub(crate) struct Diagnose {
    /// The pod, or the workload whose pods it is about: a name, or deployment/NAME, statefulset/NAME, job/NAME
    #[arg(value_name = "POD|WORKLOAD", required_unless_present = "selector")]
    #[arg(conflicts_with_all = ["selector", "all_namespaces"])]
    pub(crate) target: Option<String>,
    /// All pods with these labels that asked for a GPU, such as app=ollama
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
    /// Only this container
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
    /// Where the agent runs; without it, it is looked for in all namespaces
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) agent_namespace: Option<String>,
    /// Also probe the running containers from inside, now
    #[arg(long)]
    pub(crate) probe: bool,
    /// How to print; wide: the whole timeline; json: the report itself, a list with -l or for several containers
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// Which cluster, and where in it.
#[derive(Debug, clap::Args)]
pub(crate) struct Cluster {
    /// The namespace; without it, diagnose looks in the kubeconfig's, status in all
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// The context of the kubeconfig
    #[arg(long)]
    pub(crate) context: Option<String>,
    /// The kubeconfig; without it, that of KUBECONFIG, or ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For people with a wide screen
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn what_follows_the_dashes_belongs_to_the_command() {
        let args = Args::try_parse_from(["f", "run", "--devices", "2", "--", "ls", "-l", "--help"]).unwrap();
        let Command::Run(run) = args.command else { panic!("not run") };
        assert_eq!(run.command, ["ls", "-l", "--help"]);
    }
}
