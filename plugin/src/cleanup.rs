//! `cleanup`: takes off the node what no live pod uses any more; for the time after the agent.
//!
//! | module | what |
//! |---|---|
//! | [`disk`] | what lies in the state directory; removing |
//! | [`plan`] | what may go and why the rest stays (pure) |
//!
//! Only the kubelet is asked who is alive: there may be no API server's token any more. Without its answer
//! nothing is removed.

pub mod disk;
pub mod plan;

use crate::api::KUBELET_SOCKET;
use crate::api::v1::ListPodResourcesRequest;
use crate::api::v1::pod_resources_lister_client::PodResourcesListerClient;
use crate::kubelet_list::{self, holdings};
use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use firstlight_contract::paths::node;
use plan::{Step, Verdict};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// How often it is looked again.
const AGAIN: Duration = Duration::from_secs(5);

/// What to clean, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Libraries and grants.
    #[arg(long, env = "FIRSTLIGHT_STATE_DIR", default_value = node::ROOT)]
    state_dir: PathBuf,
    /// Where the kubelet keeps its PodResources socket.
    #[arg(long, env = "FIRSTLIGHT_POD_RESOURCES_DIR", default_value = node::POD_RESOURCES)]
    pod_resources_dir: PathBuf,
    /// Looks again until nothing is left, then stays until SIGTERM: a DaemonSet's container must not end.
    #[arg(long)]
    wait: bool,
    /// With --wait: address of `/readyz`, which answers 200 once nothing is left, and of `/healthz`.
    #[arg(long, env = "FIRSTLIGHT_LISTEN", default_value = "0.0.0.0:9400")]
    listen: SocketAddr,
    /// Our own pod, if this runs in one: the kubelet's list counts only if it names this pod.
    #[arg(long, env = "POD_NAME", default_value = "", requires = "pod_namespace")]
    pod_name: String,
    /// The namespace of our own pod.
    #[arg(long, env = "POD_NAMESPACE", default_value = "")]
    pod_namespace: String,
}

/// What of ours is left on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing, or it was told to stop.
    Nothing,
    /// Something: what and why has been said.
    Something,
}

/// Cleans once, or until nothing is left.
pub async fn run(args: Args) -> Result<Left> {
    let mut cleaner = Cleaner::new(&args)?;
    if !args.wait {
        return Ok(if cleaner.look().await?.is_none() { Left::Nothing } else { Left::Something });
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let (sender, unready) = watch::channel(Some("not looked yet".to_owned()));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router(unready)).await });
    tokio::select! {
        _ = terminate.recv() => Ok(Left::Nothing),
        _ = interrupt.recv() => Ok(Left::Nothing),
        ended = server.join_next() => bail!("the HTTP server ended: {ended:?}"),
        never = cleaner.until_clean(&sender) => match never {},
    }
}

fn router(unready: watch::Receiver<Option<String>>) -> Router {
    let ready = async move || match unready.borrow().as_ref() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    };
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready))
}

#[derive(Debug)]
struct Cleaner {
    args: Args,
    client: PodResourcesListerClient<Channel>,
    /// What the last look said: said again only when it changes.
    said: BTreeSet<String>,
}

impl Cleaner {
    fn new(args: &Args) -> Result<Self> {
        let client = kubelet_list::client(&args.pod_resources_dir)?;
        Ok(Self { args: args.clone(), client, said: BTreeSet::new() })
    }

    /// Done is done: afterwards it looks no more, so that a new installation is left alone.
    async fn until_clean(&mut self, unready: &watch::Sender<Option<String>>) -> std::convert::Infallible {
        loop {
            let reason = match self.look().await {
                Ok(left) => left,
                Err(error) => {
                    let error = format!("{error:#}");
                    self.say(BTreeSet::from([error.clone()]));
                    Some(error)
                }
            };
            let done = reason.is_none();
            unready.send_replace(reason);
            if done {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Looks once, removes what may go, and says so. Returns what is left of ours, if anything.
    async fn look(&mut self) -> Result<Option<String>> {
        // The disk first: a grant that comes later is not touched, one that is found has been listed by now.
        let found = disk::scan(&self.args.state_dir)?;
        let steps = plan::plan(&found, &self.held().await?);
        let (mut lines, mut left) = (BTreeSet::new(), Vec::new());
        for Step { path, verdict } in steps {
            let name = path.display();
            match verdict {
                Verdict::Remove => match disk::remove(&self.args.state_dir, &path) {
                    Ok(()) => say(&format!("removed {name}")),
                    Err(error) => left.push(format!("failed  {name}: cannot remove: {error}")),
                },
                Verdict::Keep(why) => left.push(format!("kept    {name}: {why}")),
                Verdict::Foreign(why) => {
                    lines.insert(format!("ignored {name}: {why}"));
                }
            }
        }
        let root = self.args.state_dir.display();
        let reason = left.first().map(|first| format!("{} left in {root}; {first}", left.len()));
        if reason.is_none() {
            disk::remove_empty_grants(&self.args.state_dir);
            lines.insert(format!("done    nothing of Firstlight is left in {root}"));
        }
        lines.extend(left);
        self.say(lines);
        Ok(reason)
    }

    /// Who holds our devices, as the kubelet says.
    async fn held(&mut self) -> Result<Vec<crate::book::identity::Holding>> {
        let socket = self.args.pod_resources_dir.join(KUBELET_SOCKET);
        let answer = self.client.list(ListPodResourcesRequest {}).await.with_context(|| {
            format!(
                "cannot ask the kubelet at {} which pods are alive; nothing is removed; is it running, and is \
                 its directory mounted here?",
                socket.display()
            )
        })?;
        let answer = answer.into_inner();
        let Args { pod_name, pod_namespace, .. } = &self.args;
        // A kubelet that has just started learns its pods from the API server; the oldest come first. The list
        // is complete when it names us, who came last.
        let listed =
            answer.pod_resources.iter().any(|p| p.name == *pod_name && p.namespace == *pod_namespace);
        ensure!(
            pod_name.is_empty() || listed,
            "the kubelet does not list our own pod {pod_namespace}/{pod_name}, so its list is not complete \
             yet; nothing is removed"
        );
        Ok(holdings(answer))
    }

    fn say(&mut self, lines: BTreeSet<String>) {
        for line in lines.difference(&self.said) {
            say(line);
        }
        self.said = lines;
    }
}

/// Nobody may be reading: no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
