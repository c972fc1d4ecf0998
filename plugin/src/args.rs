//! Flags: what was typed ([`Args`]) becomes what it means ([`Config`]); all mistakes at once.

use crate::inventory::NodeRoot;
use clap::{Parser, ValueEnum};
use firstlight_contract::paths::node;
use firstlight_contract::pools::{Mistake, Pool, Pools};
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The flags of the daemon.
#[derive(Clone, Debug, Parser)]
#[command(name = "firstlight-plugin")]
pub struct Args {
    /// Pool configuration, YAML.
    #[arg(long, env = "FIRSTLIGHT_CONFIG", default_value = "/etc/firstlight/pools.yaml")]
    pub config: PathBuf,
    /// Name of the node; device identities are derived from it.
    #[arg(long, env = "NODE_NAME", default_value = "")]
    pub node_name: String,
    /// UID of our own pod; part of the socket names.
    #[arg(long, env = "POD_UID", default_value = "")]
    pub pod_uid: String,
    /// Folder in the image with `shim/`, `simulator/`, `cudart/` and `bin/`.
    #[arg(long, env = "FIRSTLIGHT_ARTEFACTS", default_value = "/artefacts")]
    pub artefacts: PathBuf,
    /// Libraries and grants, as this process sees them.
    #[arg(long, env = "FIRSTLIGHT_STATE_DIR", default_value = node::ROOT)]
    pub state_dir: PathBuf,
    /// The same directory as the node sees it; default: as this process.
    #[arg(long, env = "FIRSTLIGHT_HOST_STATE_DIR")]
    pub host_state_dir: Option<PathBuf>,
    /// Where the kubelet keeps its device plugin sockets.
    #[arg(long, env = "FIRSTLIGHT_DEVICE_PLUGINS_DIR", default_value = node::DEVICE_PLUGINS)]
    pub device_plugins_dir: PathBuf,
    /// Where the kubelet keeps its PodResources socket.
    #[arg(long, env = "FIRSTLIGHT_POD_RESOURCES_DIR", default_value = node::POD_RESOURCES)]
    pub pod_resources_dir: PathBuf,
    /// The node's files, as this process sees them: device nodes and the driver's libraries of pools of real cards.
    #[arg(long, env = "FIRSTLIGHT_NODE_ROOT", default_value = "/host")]
    pub node_root: PathBuf,
    /// What the node calls that directory; another one than `/` only where a directory plays a node.
    #[arg(long, env = "FIRSTLIGHT_HOST_NODE_ROOT", default_value = "/")]
    pub host_node_root: PathBuf,
    /// The kernel's sysfs.
    #[arg(long, env = "FIRSTLIGHT_SYSFS", default_value = "/sys")]
    pub sysfs: PathBuf,
    /// The kernel's procfs.
    #[arg(long, env = "FIRSTLIGHT_PROCFS", default_value = "/proc")]
    pub procfs: PathBuf,
    /// Errors of NVIDIA's driver (Xid) that an application makes and the card survives: they count against no card.
    #[arg(long, env = "FIRSTLIGHT_IGNORED_XIDS", default_value = "13,31,43,45,68,109")]
    pub ignored_xids: String,
    /// SELinux type of the files that containers are given; empty: they keep theirs.
    #[arg(long, env = "FIRSTLIGHT_SELINUX_FILE_TYPE", default_value = "container_file_t")]
    pub selinux_file_type: String,
    /// Resources of other device plugins that are none of the pools' cards, separated by commas.
    #[arg(long, env = "FIRSTLIGHT_IGNORED_RESOURCES", default_value = "")]
    pub ignored_resources: String,
    /// Address of metrics, health and reports.
    #[arg(long, env = "FIRSTLIGHT_LISTEN", default_value = "0.0.0.0:9400")]
    pub listen: String,
    /// Seconds to finish after SIGTERM.
    #[arg(long, env = "FIRSTLIGHT_DRAIN_SECONDS", default_value = "5")]
    pub drain_seconds: String,
    /// Log levels, such as `info,firstlight_plugin=debug`.
    #[arg(long, env = "FIRSTLIGHT_LOG", default_value = "info")]
    pub log: String,
    /// Log format.
    #[arg(long, env = "FIRSTLIGHT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// What the flags mean.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pools to serve.
    pub pools: Vec<Pool>,
    /// Name of the node.
    pub node_name: String,
    /// UID of our own pod.
    pub pod_uid: String,
    /// Folder with the artefacts.
    pub artefacts: PathBuf,
    /// State directory, as this process sees it.
    pub state_dir: PathBuf,
    /// State directory, as the node sees it.
    pub host_state_dir: PathBuf,
    /// The kubelet's device plugin directory.
    pub device_plugins_dir: PathBuf,
    /// The kubelet's PodResources directory.
    pub pod_resources_dir: PathBuf,
    /// Where the node's files are.
    pub node_root: NodeRoot,
    /// Errors of NVIDIA's driver that count against no card.
    pub ignored_xids: BTreeSet<u64>,
    /// SELinux type of the files that containers are given.
    pub selinux_file_type: Option<String>,
    /// Resources of other device plugins that are none of the pools' cards.
    pub ignored_resources: BTreeSet<String>,
    /// Address of metrics, health and reports.
    pub listen: SocketAddr,
    /// Time to finish after SIGTERM.
    pub drain: Duration,
    /// Log levels.
    pub log: tracing_subscriber::filter::Targets,
    /// Log format.
    pub log_format: LogFormat,
}

/// All mistakes of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    /// Reads the pool file; touches nothing.
    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let yaml = std::fs::read_to_string(&args.config).map_err(|error| error.to_string());
        Self::check(args, yaml)
    }
}

/// The pools in a file with this text, or all its mistakes, a sentence each.
pub fn pools(file: &Path, yaml: Result<String, String>) -> Result<Vec<Pool>, Vec<String>> {
    let place = file.display();
    match yaml.map(|text| Pools::parse(&text)) {
        Ok(Ok(pools)) => Ok(pools.pools),
        Ok(Err(error)) => {
            let sentence = |mistake: &Mistake| format!("{place}: {}: {}", mistake.path, mistake.problem);
            Err(error.0.iter().map(sentence).collect())
        }
        Err(error) => Err(vec![format!("--config {place}: {error}; wanted a file with pools")]),
    }
}

/// What stands between commas.
fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}

impl Config {
    fn check(args: Args, yaml: Result<String, String>) -> Result<Self, ConfigError> {
        // Without `..`: a new flag cannot be forgotten here.
        let Args {
            config,
            node_name,
            pod_uid,
            artefacts,
            state_dir,
            host_state_dir,
            device_plugins_dir,
            pod_resources_dir,
            node_root,
            host_node_root,
            sysfs,
            procfs,
            ignored_xids,
            selinux_file_type,
            ignored_resources,
            listen,
            drain_seconds,
            log,
            log_format,
        } = args;
        let mut mistakes = Vec::new();
        let pools = pools(&config, yaml).unwrap_or_else(|found| {
            mistakes.extend(found);
            Vec::new()
        });
        if node_name.is_empty() {
            mistakes.push("--node-name (NODE_NAME) is missing; wanted the node's name, spec.nodeName".into());
        }
        if pod_uid.is_empty() {
            mistakes.push("--pod-uid (POD_UID) is missing; wanted our pod's UID, metadata.uid".into());
        }
        for (flag, path) in [
            ("--state-dir", Some(&state_dir)),
            ("--host-state-dir", host_state_dir.as_ref()),
            ("--device-plugins-dir", Some(&device_plugins_dir)),
            ("--pod-resources-dir", Some(&pod_resources_dir)),
            ("--node-root", Some(&node_root)),
            ("--host-node-root", Some(&host_node_root)),
            ("--sysfs", Some(&sysfs)),
            ("--procfs", Some(&procfs)),
        ] {
            if let Some(path) = path.filter(|path| !path.is_absolute()) {
                mistakes.push(format!("{flag} {}: wanted an absolute path", path.display()));
            }
        }
        let ignored =
            words(&ignored_xids).map(str::parse).collect::<Result<BTreeSet<u64>, _>>().map_err(|_| {
                mistakes.push(format!(
                    "--ignored-xids {ignored_xids}: wanted numbers with commas, such as 13,31,43"
                ));
            });
        if !selinux_file_type.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            mistakes.push(format!(
                "--selinux-file-type {selinux_file_type}: wanted a type of the policy, such as container_file_t"
            ));
        }
        let listen = listen.parse().map_err(|_| {
            mistakes.push(format!("--listen {listen}: wanted an address with port, such as 0.0.0.0:9400"));
        });
        let drain = drain_seconds.parse().map_err(|_| {
            mistakes.push(format!("--drain-seconds {drain_seconds}: wanted whole seconds, such as 5"));
        });
        let log = log.parse().map_err(|error| {
            mistakes
                .push(format!("--log {log}: {error}; wanted levels, such as info,firstlight_plugin=debug"));
        });
        match (listen, drain, log, ignored) {
            (Ok(listen), Ok(drain), Ok(log), Ok(ignored_xids)) if mistakes.is_empty() => Ok(Self {
                pools,
                node_name,
                pod_uid,
                artefacts,
                host_state_dir: host_state_dir.unwrap_or_else(|| state_dir.clone()),
                state_dir,
                device_plugins_dir,
                pod_resources_dir,
                node_root: NodeRoot { seen: node_root, host: host_node_root, sysfs, procfs },
                ignored_xids,
                selinux_file_type: Some(selinux_file_type).filter(|kind| !kind.is_empty()),
                ignored_resources: words(&ignored_resources).map(str::to_owned).collect(),
                listen,
                drain: Duration::from_secs(drain),
                log,
                log_format,
            }),
            _ => Err(ConfigError(mistakes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::knowledge::APPLICATIONS_OWN;
    use proptest::prelude::*;

    fn args(words: &[&str]) -> Args {
        Args::try_parse_from(std::iter::once("firstlight-plugin").chain(words.iter().copied())).unwrap()
    }

    #[test]
    fn all_mistakes_in_flags_and_pools_come_at_once() {
        let args = args(&[
            "--node-name=",
            "--pod-uid=",
            "--listen=here",
            "--drain-seconds=soon",
            "--state-dir=x",
            "--ignored-xids=all",
            "--selinux-file-type=a:b",
        ]);
        let ConfigError(mistakes) =
            Config::check(args, Ok("pools: [{name: A, kind: magic}]".into())).unwrap_err();
        for start in [
            "/etc/firstlight/pools.yaml: pools[0].name: ",
            "/etc/firstlight/pools.yaml: pools[0].kind: ",
            "--node-name (NODE_NAME) is missing",
            "--pod-uid (POD_UID) is missing",
            "--state-dir x: wanted an absolute path",
            "--listen here: ",
            "--drain-seconds soon: ",
            "--ignored-xids all: ",
            "--selinux-file-type a:b: ",
        ] {
            assert!(
                mistakes.iter().any(|mistake| mistake.starts_with(start)),
                "no {start:?} in {mistakes:#?}"
            );
        }
    }

    #[test]
    fn the_node_sees_the_state_where_we_see_it_unless_told() {
        let words = ["--node-name=n", "--pod-uid=u"];
        let config = Config::check(args(&words), Ok("pools: []".into())).unwrap();
        assert_eq!(config.host_state_dir, config.state_dir);
        assert!(config.ignored_xids.into_iter().eq(APPLICATIONS_OWN), "the default is what the code says");
        assert!(config.ignored_resources.is_empty());
    }

    #[test]
    fn every_flag_has_an_environment_twin() {
        use clap::CommandFactory as _;
        for argument in Args::command().get_arguments().filter(|argument| argument.get_id() != "help") {
            assert!(argument.get_env().is_some(), "--{} has none", argument.get_id());
        }
    }

    proptest! {
        #[test]
        fn no_text_in_any_flag_panics(listen in ".{0,20}", drain in ".{0,20}", log in ".{0,20}", yaml in ".{0,80}") {
            let mut args = args(&["--node-name=n", "--pod-uid=u"]);
            (args.listen, args.drain_seconds, args.log) = (listen, drain, log);
            let _ = Config::check(args, Ok(yaml));
        }
    }
}
