//! The node's namespaces: made, entered, removed.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{HOST_IP, NAME, NODE_IP};
use crate::command::{checked, output, run};
use crate::deps::product;
use crate::harness::wait::{Progress, wait_for};

/// The link's end on the host.
const HOST_LINK: &str = "fl-host";
/// The link's end on the node.
const NODE_LINK: &str = "fl-node";
/// Host paths that the node sees its own version of: path, folder in the state.
const MOUNTS: [(&str, &str); 4] = [
    ("/var/lib/kubelet", "kubelet"),
    ("/var/lib/firstlight", "firstlight"),
    ("/var/lib/cni", "cni"),
    ("/var/log/containers", "containers"),
];
/// Packages that hold the programs the node needs, and one program of each.
const PROGRAMS: [(&str, &str); 6] = [
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("openssl", "openssl"),
    ("prometheus", "prometheus"),
    ("mount", "mount"),
];

/// The node's namespaces, held by their process 1.
#[derive(Debug, Clone)]
pub struct Node {
    /// Process 1 of the namespaces, as the host counts.
    init: u32,
}

impl Node {
    /// The node that `state` speaks of, if it is alive.
    pub(super) fn find(state: &Path) -> Result<Option<Self>> {
        let Ok(recorded) = fs::read_to_string(state.join("init")) else { return Ok(None) };
        let (pid, start) =
            recorded.trim().split_once(' ').context("the file `init` of the state folder is damaged")?;
        let init = pid.parse()?;
        // Process ids come back: the start time tells ours from another's.
        Ok((started(init).as_deref() == Some(start)).then_some(Self { init }))
    }

    /// Makes network, cgroups and namespaces and starts process 1 in them.
    pub(super) fn start(state: &Path) -> Result<Self> {
        make_network()?;
        make_cgroups()?;
        for (path, folder) in MOUNTS {
            fs::create_dir_all(state.join(folder))?;
            if !Path::new(path).exists() {
                fs::create_dir_all(path).with_context(|| format!("cannot create {path}"))?;
                fs::write(state.join(format!("made-{folder}")), "")?;
            }
        }
        let pause = product("pause")?.join("bin/pause");
        let mut script =
            "set -e; mount --make-rshared /; mount -t tmpfs tmpfs /run; mkdir -p /run/lock".to_owned();
        for (path, folder) in MOUNTS {
            let source = state.join(folder);
            write!(script, "; mount --bind {} {path}; mount --make-shared {path}", source.display())?;
        }
        write!(script, "; exec {}", pause.display())?;
        let log = fs::File::create(state.join("init.log"))?;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/var/run/netns/{NAME}"));
        command.args(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", &script]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut outer = command.spawn().context("cannot start nsenter")?;
        let init = wait_for("the node's process 1", Duration::from_secs(20), || {
            if let Some(status) = outer.try_wait()? {
                bail!("it ended with {status}: {}", fs::read_to_string(state.join("init.log"))?);
            }
            let children =
                fs::read_to_string(format!("/proc/{0}/task/{0}/children", outer.id())).unwrap_or_default();
            let Some(pid) = children.split_whitespace().next().and_then(|pid| pid.parse::<u32>().ok()) else {
                return Ok(Progress::waiting("no child of unshare yet"));
            };
            // The shell has become `pause` when the mounts are done.
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Ok(if name.trim() == "pause" {
                Progress::Done(pid)
            } else {
                Progress::Waiting(format!("it is still {name}"))
            })
        })?;
        let start = started(init).context("the node's process 1 ended at once")?;
        fs::write(state.join("init"), format!("{init} {start}"))?;
        // `unshare` waits for its child; nobody waits for `unshare`, and it ends with the child.
        drop(outer);
        Ok(Self { init })
    }

    /// A command that will run inside the node.
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&format!("--target={}", self.init), "--mount", "--net", "--pid", "--"]).args(words);
        if let Ok(path) = search_path() {
            command.env("PATH", path);
        }
        command
    }

    /// Runs a command inside the node to its end; returns its standard output.
    pub fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Result<String> {
        checked(&mut self.command(words))
    }

    /// A path of the node, as this process can open it.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let relative = path.as_ref().strip_prefix("/").unwrap_or(path.as_ref()).to_owned();
        PathBuf::from(format!("/proc/{}/root", self.init)).join(relative)
    }

    /// Starts a daemon inside the node; returns its process id there.
    pub(super) fn spawn(&self, words: &[String], log: &Path) -> Result<u32> {
        // The shell leaves at once, so that process 1 inherits the daemon.
        let script = r#"log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!"#;
        let log = log.to_string_lossy().into_owned();
        let arguments =
            ["sh", "-c", script, "sh", &log].map(str::to_owned).into_iter().chain(words.iter().cloned());
        let text = self.run(arguments)?;
        text.trim().parse().with_context(|| format!("no process id in {text:?}"))
    }
}

/// Ends the node and removes network and cgroups. What is not there is fine.
pub(super) fn remove(state: &Path) -> Result<()> {
    if let Some(node) = Node::find(state)? {
        run("kill", ["-KILL", &node.init.to_string()])?;
        wait_for("the node's processes to end", Duration::from_secs(30), || {
            Ok(if Node::find(state)?.is_some() {
                Progress::waiting("process 1 is there")
            } else {
                Progress::Done(())
            })
        })?;
    }
    if netns().exists() {
        run("ip", ["netns", "del", NAME])?;
    }
    // The kernel removes the link with the namespace, in its own time.
    wait_for(&format!("the link {HOST_LINK} to go"), Duration::from_secs(20), || {
        if !Path::new("/sys/class/net").join(HOST_LINK).exists() {
            return Ok(Progress::Done(()));
        }
        let removed = run("ip", ["link", "del", HOST_LINK]);
        Ok(Progress::Waiting(removed.err().map(|error| format!("{error:#}")).unwrap_or_default()))
    })?;
    for folder in cgroups()? {
        wait_for(&format!("{} to be empty", folder.display()), Duration::from_secs(20), || {
            Ok(match remove_cgroup(&folder) {
                Ok(()) => Progress::Done(()),
                Err(error) => Progress::Waiting(error.to_string()),
            })
        })?;
    }
    for (path, folder) in MOUNTS {
        if state.join(format!("made-{folder}")).exists() {
            // Only if it is empty: somebody else may have begun to use it.
            let _unless_in_use = fs::remove_dir(path);
        }
    }
    Ok(())
}

/// Fails with a sentence where the machine cannot or must not carry the node.
pub(super) fn refuse_what_is_in_the_way() -> Result<()> {
    if run("id", ["-u"])?.trim() != "0" {
        bail!("the local cluster needs root: it makes network, mount and process namespaces");
    }
    let missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        bail!("programs are missing; install them with: apt-get install -y {}", missing.join(" "));
    }
    if netns().exists() {
        bail!(
            "a network namespace `{NAME}` exists that this cluster did not make; remove it with: ip netns del {NAME}"
        );
    }
    for link in [HOST_LINK, NODE_LINK] {
        if Path::new("/sys/class/net").join(link).exists() {
            bail!(
                "a network link `{link}` exists that this cluster did not make; remove it with: ip link del {link}"
            );
        }
    }
    let routes = run("ip", ["-4", "route", "show", "table", "all", "root", "10.77.0.0/24"])?;
    if !routes.trim().is_empty() {
        bail!(
            "this machine already uses addresses of 10.77.0.0/24, which the cluster needs: {}",
            routes.trim()
        );
    }
    if let Some(folder) = cgroups()?.first() {
        bail!("a cgroup {} exists that this cluster did not make; remove it first", folder.display());
    }
    Ok(())
}

fn make_network() -> Result<()> {
    run("ip", ["netns", "add", NAME])?;
    run("ip", ["link", "add", HOST_LINK, "type", "veth", "peer", "name", NODE_LINK, "netns", NAME])?;
    run("ip", ["addr", "add", &format!("{HOST_IP}/24"), "dev", HOST_LINK])?;
    run("ip", ["link", "set", HOST_LINK, "up"])?;
    run("ip", ["-n", NAME, "addr", "add", &format!("{NODE_IP}/24"), "dev", NODE_LINK])?;
    run("ip", ["-n", NAME, "link", "set", NODE_LINK, "up"])?;
    run("ip", ["-n", NAME, "link", "set", "lo", "up"])?;
    run("ip", ["-n", NAME, "route", "add", "default", "via", HOST_IP])?;
    // Not `ip netns exec`: that mounts /sys anew and hides the cgroups.
    let enter = format!("--net=/var/run/netns/{NAME}");
    run("nsenter", [&enter, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).map(drop)
}

fn make_cgroups() -> Result<()> {
    for controller in controllers()? {
        let folder = controller.join(NAME);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // A cpuset without processors and memory nodes takes no process.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let (Ok(value), true) = (fs::read_to_string(controller.join(file)), folder.join(file).exists())
            {
                fs::write(folder.join(file), value.trim())?;
            }
        }
    }
    Ok(())
}

/// Every cgroup hierarchy of the machine.
fn controllers() -> Result<Vec<PathBuf>> {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Ok(vec!["/sys/fs/cgroup".into()]);
    }
    let items = fs::read_dir("/sys/fs/cgroup").context("no cgroups at /sys/fs/cgroup")?;
    let mut folders: Vec<_> =
        items.filter_map(|item| Some(item.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

/// The cluster's cgroups that exist.
fn cgroups() -> Result<Vec<PathBuf>> {
    Ok(controllers()?
        .into_iter()
        .map(|controller| controller.join(NAME))
        .filter(|path| path.exists())
        .collect())
}

/// Removes a cgroup depth first; only folders can be removed there.
fn remove_cgroup(folder: &Path) -> Result<()> {
    for item in fs::read_dir(folder)? {
        let path = item?.path();
        if path.is_dir() {
            remove_cgroup(&path)?;
        }
    }
    fs::remove_dir(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

fn netns() -> PathBuf {
    Path::new("/run/netns").join(NAME)
}

/// Start time of a process in clock ticks since boot: field 22 of its `stat`, the 20th after the name. A zombie is gone.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(str::to_owned))?
}

fn on_path(program: &str) -> bool {
    output(Command::new("sh").args(["-c", &format!("command -v {program}")]))
        .is_ok_and(|out| out.status.success())
}

/// containerd finds its shim, and the kubelet its helpers, on the search path.
fn search_path() -> Result<String> {
    let folders = [product("containerd")?, product("runc")?, product("kubernetes")?]
        .map(|path| path.join("bin").display().to_string());
    Ok(format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", folders.join(":")))
}
