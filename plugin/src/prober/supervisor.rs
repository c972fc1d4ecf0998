//! `firstlight-plugin prober`: keeps the process that asks NVML running, tells the agents what it says, and what it
//! cannot say itself: that it hangs, or died.
//!
//! It hangs when it says nothing for some time: it announces each question, and looks every few seconds. One that is
//! killed and does not end hangs in the kernel; no second one is started beside it, because that would hang, too. The
//! card that it hung at, or died at, is asked after all others from then on, until it answers.

use super::speaker::Speaker;
use crate::app;
use crate::args::LogFormat;
use anyhow::Result;
use firstlight_contract::paths::{container, kernel, library, node, program};
use firstlight_contract::prober::{Asking, MAX_LINE, Message, Silent};
use futures::StreamExt as _;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::codec::{FramedRead, LinesCodec};
use tracing_subscriber::filter::Targets;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// How often the end of a killed process is looked for, and the agents told that there is none.
const LOOK: Duration = Duration::from_secs(5);
/// How often new agents are looked for while there is nothing to tell.
const GREETING: Duration = Duration::from_secs(1);
/// Starting takes longer than any question: cards that nobody uses are initialised, a second or two each.
const INIT: &str = "nvmlInit";
const INIT_FACTOR: u32 = 3;
const CONTROL: &str = "/dev/nvidiactl";

/// The flags.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The program that NVML is loaded into.
    #[arg(long, env = "FIRSTLIGHT_PROBER_PROGRAM", default_value_os_t = Path::new("/").join(program::PROBER))]
    program: PathBuf,
    /// Directory with NVML, a C library and its loader; what is not there is looked for as every program does.
    #[arg(long, env = "FIRSTLIGHT_PROBER_LIBRARIES", default_value = container::PROBER_DIR)]
    libraries: PathBuf,
    /// Directory of the agents' sockets.
    #[arg(long, env = "FIRSTLIGHT_PROBER_SOCKETS", default_value = node::PROBER)]
    sockets: PathBuf,
    /// Where the kernel module tells which MIG instances there are.
    #[arg(long, env = "FIRSTLIGHT_PROBER_CAPABILITIES", default_value = kernel::CAPABILITIES)]
    capabilities: PathBuf,
    /// Seconds between two looks.
    #[arg(long, env = "FIRSTLIGHT_PROBER_INTERVAL_SECONDS", default_value = "5", value_parser = seconds)]
    interval_seconds: Duration,
    /// Seconds without a word after which NVML hangs; three times as long while it starts.
    #[arg(long, env = "FIRSTLIGHT_PROBER_DEADLINE_SECONDS", default_value = "20", value_parser = seconds)]
    deadline_seconds: Duration,
    /// Log levels, such as `info,firstlight_plugin=debug`.
    #[arg(long, env = "FIRSTLIGHT_LOG", default_value = "info")]
    log: Targets,
    /// Log format.
    #[arg(long, env = "FIRSTLIGHT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "wanted a number of seconds, such as 5".to_owned())?;
    let good = (0.05..=3600.0).contains(&number);
    good.then(|| Duration::from_secs_f64(number)).ok_or_else(|| "wanted 0.05 to 3600".to_owned())
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: Args) -> Result<()> {
    app::log(&args.log, args.log_format);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!("{}", control(Path::new(CONTROL)));
    let mut speaker = Speaker::new(args.sockets.clone());
    // The process goes with this future.
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
        never = for_ever(&args, &mut speaker) => match never {},
    }
    Ok(())
}

/// Whether the container may open the driver's device: what the resource is for.
fn control(path: &Path) -> String {
    let shown = path.display();
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => format!("{shown} can be opened"),
        Err(error) => {
            let why = match error.raw_os_error() {
                Some(libc_errno::EPERM) => {
                    "the device cgroup forbids it; this container was not given firstlight.dev/prober"
                }
                Some(libc_errno::ENXIO | libc_errno::ENODEV) => {
                    "the container may open it, and no driver is behind it"
                }
                Some(libc_errno::ENOENT) => "this container was not given it",
                _ => "see the node's kernel log",
            };
            format!("{shown} cannot be opened: {error}: {why}")
        }
    }
}

/// Numbers of the kernel's (errno-base.h).
mod libc_errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const ENOENT: i32 = 2;
    pub(super) const ENXIO: i32 = 6;
    pub(super) const ENODEV: i32 = 19;
}

async fn for_ever(args: &Args, speaker: &mut Speaker) -> std::convert::Infallible {
    let (mut backoff, mut last) = (FIRST_BACKOFF, Vec::new());
    loop {
        let ended = once(args, &mut last, speaker).await;
        if let Some(why) = ended.why {
            tracing::warn!(why, ?backoff, "starting again");
        }
        if ended.looked {
            backoff = FIRST_BACKOFF;
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(LAST_BACKOFF);
    }
}

/// What became of one process.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ended {
    /// Why it ended; `None`: it said so itself.
    why: Option<String>,
    /// Whether it came as far as a look.
    looked: bool,
}

/// One process from its start to its end. `last`: the cards that it is to ask after the others, by UUID.
async fn once(args: &Args, last: &mut Vec<String>, speaker: &mut Speaker) -> Ended {
    let mut child = match command(args, last).spawn() {
        Ok(child) => child,
        Err(error) => {
            let why = format!(
                "cannot start {}: {error}; wanted {} in {}, which the agent gives with firstlight.dev/prober",
                args.program.display(),
                library::LOADER,
                args.libraries.display()
            );
            speaker.say(&Message::Nothing(why.clone())).await;
            return Ended { why: Some(why), looked: false };
        }
    };
    let mut hearing = Hearing { last: std::mem::take(last), ..Hearing::default() };
    let why = hearing.listen(args, &mut child, speaker).await;
    // Of several, the one that waited longest is asked first.
    if let (Some(_), Some(card)) = (&why, hearing.asking.and_then(|asking| asking.card)) {
        hearing.last.retain(|other| *other != card);
        hearing.last.push(card);
    }
    *last = hearing.last;
    Ended { why, looked: hearing.looked }
}

fn command(args: &Args, last: &[String]) -> Command {
    let there = |name: &str| Some(args.libraries.join(name)).filter(|path| path.is_file());
    let mut command = match there(library::LOADER) {
        Some(loader) => {
            let mut command = Command::new(loader);
            command.arg("--library-path").arg(&args.libraries).arg(&args.program);
            command
        }
        None => Command::new(&args.program),
    };
    command.arg("--nvml").arg(there(library::NVML).unwrap_or_else(|| library::NVML.into()));
    command.arg("--capabilities").arg(&args.capabilities);
    command.arg("--interval-seconds").arg(args.interval_seconds.as_secs_f64().to_string());
    command.args(last.iter().flat_map(|card| ["--last", card]));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// What was heard of a process so far.
#[derive(Debug, Default)]
struct Hearing {
    asking: Option<Asking>,
    /// Cards at which earlier processes ended, and that have not answered since.
    last: Vec<String>,
    looked: bool,
    /// It said itself that there is no NVML.
    explained: bool,
}

impl Hearing {
    /// Hears everything; why it is over, unless the process said so.
    async fn listen(&mut self, args: &Args, child: &mut Child, speaker: &mut Speaker) -> Option<String> {
        let stdout = child.stdout.take()?;
        let mut lines = FramedRead::new(stdout, LinesCodec::new_with_max_length(MAX_LINE));
        loop {
            let begun = Instant::now();
            let line = loop {
                let left = self.limit(args).saturating_sub(begun.elapsed());
                match timeout(left.min(GREETING), lines.next()).await {
                    Ok(Some(line)) => break line.map_err(|error| error.to_string()),
                    Ok(None) => return self.ended(child, speaker).await,
                    Err(_) if begun.elapsed() < self.limit(args) => speaker.greet().await,
                    Err(_) => return Some(self.hangs(begun, child, speaker).await),
                }
            };
            let message =
                line.and_then(|line| Message::parse(line.as_bytes()).map_err(|error| error.to_string()));
            match message {
                Ok(Message::Asking(asking)) => self.asking = Some(asking),
                Ok(message) => {
                    if let Message::Look(look) = &message {
                        self.looked = true;
                        self.last.retain(|card| !look.cards.iter().any(|answer| answer.uuid == *card));
                    }
                    self.explained |= matches!(message, Message::Nothing(_));
                    if let Message::Xid(xid) = &message {
                        tracing::warn!(card = xid.card, xid = xid.code, "the driver reports an error");
                    }
                    speaker.say(&message).await;
                }
                // Whatever it is, it is not our program.
                Err(problem) => {
                    let why = format!("{} says what is no message: {problem}", args.program.display());
                    speaker.say(&Message::Nothing(why.clone())).await;
                    let _ = child.start_kill();
                    return Some(why);
                }
            }
        }
    }

    fn limit(&self, args: &Args) -> Duration {
        let starting = self.asking.as_ref().is_none_or(|asking| asking.call == INIT);
        if starting { args.deadline_seconds * INIT_FACTOR } else { args.deadline_seconds }
    }

    /// It closed its output: it is gone, or will be soon.
    async fn ended(&self, child: &mut Child, speaker: &mut Speaker) -> Option<String> {
        let how = match timeout(LOOK, child.wait()).await {
            Ok(Ok(status)) if self.explained && status.success() => return None,
            Ok(Ok(status)) => shown(status),
            Ok(Err(error)) => format!("is gone ({error})"),
            Err(_) => "closed its output and did not end".to_owned(),
        };
        let why = format!("the process that asks NVML {how}{}", self.question());
        speaker.say(&Message::Nothing(why.clone())).await;
        Some(why)
    }

    /// It says nothing any more: it is killed, and the agents hear of it until it is gone.
    async fn hangs(&self, since: Instant, child: &mut Child, speaker: &mut Speaker) -> String {
        let _ = child.start_kill();
        loop {
            let seconds = since.elapsed().as_secs();
            speaker.say(&Message::Silent(Silent { seconds, asking: self.asking.clone() })).await;
            if timeout(LOOK, child.wait()).await.is_ok() {
                return format!(
                    "NVML did not answer for {seconds} s{}: its process was killed",
                    self.question()
                );
            }
            tracing::warn!(
                seconds,
                "the process that asks NVML was killed and does not end: it hangs in the kernel"
            );
        }
    }

    /// What it was about to ask, in words.
    fn question(&self) -> String {
        let Some(asking) = &self.asking else { return String::new() };
        let about = asking.card.as_deref().map(|card| format!(" of {card}")).unwrap_or_default();
        format!(" while it asked {}{about}", asking.call)
    }
}

fn shown(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("ended with code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests;
