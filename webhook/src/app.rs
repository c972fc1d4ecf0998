//! The whole program: what runs, in which order, and when it ends.

use crate::admission::{self, Bounds};
use crate::args::{Config, Source};
use crate::given::Given;
use crate::http::{self, View};
use crate::keeper::Keeper;
use crate::metrics::Metrics;
use crate::not_injected::object::Kind;
use crate::not_injected::watch::Search;
use crate::pools::Reload;
use crate::readiness::Readiness;
use crate::server::{Ends, Limits, Plain, Server, Tls, bind};
use crate::tls::{Serving, server_config};
use anyhow::{Context as _, Result, bail};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging.
pub fn log(config: &Config) {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(config.log.clone()).with(layer).init();
}

/// Runs until SIGTERM or SIGINT, or until the first task ends.
pub async fn run(config: Config) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut running = start(&config).await?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
        failed = first_end(&mut running.tasks) => return failed,
    }
    running.end(&config).await
}

/// What runs.
#[derive(Debug)]
pub struct Running {
    /// The tasks; none of them ends well before the end.
    pub tasks: JoinSet<Result<()>>,
    /// Where the admission server listens.
    pub admission: SocketAddr,
    /// Where metrics and health are.
    pub metrics: SocketAddr,
    ends: Ends,
    readiness: Arc<Readiness>,
}

/// Starts everything; binds both ports, so that a wrong one is an error at once.
pub async fn start(config: &Config) -> Result<Running> {
    let metrics = Metrics::new()?;
    let pools = Arc::new(ArcSwap::from_pointee(config.pools.clone()));
    let serving = Arc::new(Serving::default());
    let readiness = Arc::new(Readiness::new(Arc::clone(&serving)));
    let ends = Ends::default();
    let mut tasks = JoinSet::new();

    let listener = bind(config.metrics_listen).await?;
    let metrics_address = listener.local_addr()?;
    let view = View { metrics: metrics.clone(), readiness: Arc::clone(&readiness) };
    let limits = Limits { connections: 16, idle: Duration::from_mins(5), ..Limits::default() };
    let server = Server { listener, speech: Plain, router: http::router(view), limits, ends: ends.clone() };
    tasks.spawn(server.run());

    let listener = bind(config.listen).await?;
    let admission_address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(Arc::new(server_config(Arc::clone(&serving))?));
    let router = admission::router(Arc::clone(&pools), metrics.clone(), Bounds::default());
    let limits = Limits { connections: config.max_connections, ..Limits::default() };
    let server = Server { listener, speech: Tls(acceptor), router, limits, ends: ends.clone() };
    tasks.spawn(server.run());
    tracing::info!(admission = %admission_address, metrics = %metrics_address, "listening");

    let (file, every) = (config.pools_file.clone(), config.reload);
    let reload = Reload { file, every, pools: Arc::clone(&pools), metrics: metrics.clone() };
    for_ever(&mut tasks, &ends, reload.run());
    let ready = Arc::clone(&readiness);
    let client = match (&config.certificate, config.search) {
        // With a certificate of somebody else, and nothing to look for, the API server is not needed at all.
        (Source::Given(_), false) => None,
        _ => Some(client().await.context("no way to the API server")?),
    };
    if let Some(client) = client.clone().filter(|_| config.search) {
        let search = Search::new(client, pools, config.excluded.clone(), metrics.clone());
        for kind in Kind::ALL {
            for_ever(&mut tasks, &ends, search.clone().watch(kind));
        }
        // A replica on its way out knows the old configuration: its successors tell.
        let lingering = ends.lingering.clone();
        for_ever(&mut tasks, &ends, async move {
            lingering.run_until_cancelled_owned(search.tell()).await;
            std::future::pending::<()>().await;
        });
    }
    match (config.certificate.clone(), client) {
        (Source::Given(dir), _) => {
            for_ever(&mut tasks, &ends, Given { dir, every, serving, readiness: ready, metrics }.run());
        }
        (Source::Own(own), Some(client)) => {
            for_ever(&mut tasks, &ends, Keeper::new(client, own, every, serving, ready, metrics).run());
        }
        (Source::Own(_), None) => bail!("a certificate of our own needs a way to the API server"),
    }
    Ok(Running { tasks, admission: admission_address, metrics: metrics_address, ends, readiness })
}

async fn client() -> Result<kube::Client> {
    let mut config = kube::Config::infer().await?;
    config.connect_timeout = Some(Duration::from_secs(5));
    // The API server ends a watch that is silent earlier (`not_injected::watch`).
    config.read_timeout = Some(Duration::from_mins(1));
    Ok(kube::Client::try_from(config)?)
}

impl Running {
    /// Ends well: first not ready but serving, until everybody knows; then until the last request is answered.
    pub async fn end(mut self, config: &Config) -> Result<()> {
        self.readiness.drain();
        self.ends.lingering.cancel();
        tokio::select! {
            () = tokio::time::sleep(config.linger) => {}
            failed = first_end(&mut self.tasks) => return failed,
        }
        self.ends.stop.cancel();
        let drained = tokio::time::timeout(config.drain, async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.context("a task panicked")??;
            }
            Ok(())
        });
        match drained.await {
            Ok(result) => result,
            Err(_) => bail!("not drained within {} s", config.drain.as_secs_f64()),
        }
    }
}

/// Waits for the first task to end; none should.
async fn first_end(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    match tasks.join_next().await {
        Some(Ok(Err(error))) => Err(error),
        Some(Err(error)) => Err(error).context("a task panicked"),
        _ => bail!("a task ended that should run for ever"),
    }
}

/// Runs a task that ends well only at the end.
fn for_ever(tasks: &mut JoinSet<Result<()>>, ends: &Ends, task: impl Future<Output = ()> + Send + 'static) {
    let stop = ends.stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = task => bail!("a task ended that should run for ever"),
        }
    });
}
