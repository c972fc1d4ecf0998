//! The whole program: what runs, in which order, and when it ends.

use crate::args::{Config, LogFormat};
use crate::book::Book;
use crate::foreign::Foreign;
use crate::grants::Store;
use crate::http::{View, router};
use crate::inventory;
use crate::kubelet_dir::KubeletDir;
use crate::kubelet_list::{Lister, Places};
use crate::metrics::Metrics;
use crate::node_files::{self, Layout};
use crate::pod_watch;
use crate::pool::PoolState;
use crate::prober::knowledge::Knowledge;
use crate::prober::listener::Listener;
use crate::prober::resource::{Needs, Resource};
use crate::probing::Prober;
use crate::publish::Publisher;
use crate::registration::Registration;
use crate::selinux;
use crate::tailing::Tailer;
use anyhow::{Context as _, Result, bail};
use firstlight_contract::paths::node;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging.
pub fn log(levels: &Targets, format: LogFormat) {
    let registry = tracing_subscriber::registry().with(levels.clone());
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(false)).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
}

/// Runs until SIGTERM or SIGINT, or until the first task ends.
pub async fn run(config: Config) -> Result<()> {
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut tasks = start(&config, &shutdown).await?;
    // Last: no registration waits for the way to the API server.
    let client = kube::Client::try_default().await.context("no way to the API server")?;
    tasks.tell(client, &config, &shutdown);
    let mut tasks = tasks.set;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
        ended = tasks.join_next() => match ended {
            Some(Ok(Err(error))) => return Err(error),
            Some(Err(error)) => return Err(error).context("a task panicked"),
            _ => bail!("a task ended that should run for ever"),
        }
    }
    shutdown.cancel();
    let drained = tokio::time::timeout(config.drain, async {
        while let Some(ended) = tasks.join_next().await {
            ended.context("a task panicked")??;
        }
        Ok(())
    });
    match drained.await {
        Ok(result) => result,
        Err(_) => bail!("not drained within {} s", config.drain.as_secs()),
    }
}

/// What runs.
#[derive(Debug)]
pub struct Tasks {
    /// The tasks; none of them ends well before shutdown.
    pub set: JoinSet<Result<()>>,
    book: Arc<Book>,
    metrics: Arc<Metrics>,
}

/// Everything that serves the node. Registration comes first: after a reboot pods are waiting for it.
pub async fn start(config: &Config, shutdown: &CancellationToken) -> Result<Tasks> {
    let missing = node_files::missing(&config.artefacts, &config.pools);
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    let installed = node_files::install(&config.artefacts, &config.state_dir)?;
    for path in &installed.repaired {
        tracing::warn!(path = %path.display(), "was not the file it should be and has been replaced");
    }
    tracing::info!(build = installed.build_id, "artefacts");
    label(config);
    let layout = Arc::new(Layout::new(config.host_state_dir.clone(), installed.build_id.clone()));
    let grants = Path::new(node::GRANTS).strip_prefix(node::ROOT)?;
    let store = Arc::new(Store::new(config.state_dir.join(grants), config.host_state_dir.join(grants)));
    let (book, metrics) = (Arc::new(Book::default()), Arc::new(Metrics::new()?));
    book.load(store.load()?);

    let mut tasks = JoinSet::new();
    let knowledge = Arc::new(Knowledge::new(config.ignored_xids.iter().copied()));
    // Before the first look at the cards: it knows what an agent before us was told.
    let cards = config.pools.iter().any(|pool| pool.cards().is_some());
    let bind = || Listener::bind(&config.state_dir, &installed.build_id, Arc::clone(&knowledge));
    let listener = cards.then(bind).transpose()?;
    let (kubelet, watcher) = KubeletDir::new(config.device_plugins_dir.clone());
    for_ever(&mut tasks, shutdown, watcher.run());
    let foreign = Arc::new(Foreign::new(config.ignored_resources.iter().cloned()));
    if cards {
        // Before the first list: a card that somebody else gave must not be given for a moment, either.
        let watch = Arc::clone(&foreign).watch(&config.pod_resources_dir, Arc::clone(&metrics)).await?;
        for_ever(&mut tasks, shutdown, watch);
    }
    let mut snapshots = BTreeMap::new();
    for pool in &config.pools {
        let inventory =
            inventory::of(pool, &config.pools, &config.node_name, &config.node_root, &knowledge, &foreign);
        let (prober, snapshot) =
            Prober::new(&pool.name, pool.resource(), inventory, Arc::clone(&book), Arc::clone(&metrics));
        for_ever(&mut tasks, shutdown, prober.run());
        snapshots.insert(pool.name.clone(), snapshot.clone());
        let state = PoolState {
            pool: Arc::new(pool.clone()),
            layout: Arc::clone(&layout),
            snapshot,
            store: Arc::clone(&store),
            book: Arc::clone(&book),
            metrics: Arc::clone(&metrics),
        };
        let registration = Registration::new(state, kubelet.clone(), &config.pod_uid);
        tasks.spawn(registration.run(shutdown.clone()));
    }
    if let Some(listener) = listener {
        for_ever(&mut tasks, shutdown, listener.run());
        let (snapshot, watch) = Needs::new(config.node_root.clone()).watch();
        for_ever(&mut tasks, shutdown, watch);
        let state = Resource { snapshot, metrics: Arc::clone(&metrics) };
        tasks.spawn(Registration::new(state, kubelet.clone(), &config.pod_uid).run(shutdown.clone()));
    }
    let places = Places {
        pod_resources_dir: config.pod_resources_dir.clone(),
        state_dir: config.state_dir.clone(),
        build: installed.build_id,
    };
    let pools = snapshots.keys().cloned().collect();
    let lister = Lister::new(Arc::clone(&book), Arc::clone(&store), Arc::clone(&metrics), places, pools)?;
    for_ever(&mut tasks, shutdown, lister.run());
    let tailer = Tailer::new(Arc::clone(&book), Arc::clone(&store), Arc::clone(&metrics));
    for_ever(&mut tasks, shutdown, tailer.run());

    let view = View {
        book: Arc::clone(&book),
        store,
        metrics: Arc::clone(&metrics),
        pools: Arc::new(snapshots),
        knowledge,
    };
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    tracing::info!(address = %listener.local_addr()?, "metrics, health, reports");
    let ended = shutdown.clone().cancelled_owned();
    tasks.spawn(async move {
        axum::serve(listener, router(view))
            .with_graceful_shutdown(ended)
            .await
            .context("the HTTP server ended")
    });

    Ok(Tasks { set: tasks, book, metrics })
}

/// Confined containers read files of one SELinux type only.
fn label(config: &Config) {
    let Some(kind) = &config.selinux_file_type else { return };
    let labelled = selinux::label(&config.state_dir, kind);
    if labelled.changed > 0 {
        tracing::info!(files = labelled.changed, kind, "SELinux labels");
    }
    if let Some((path, error)) = labelled.failed {
        let place = config.host_state_dir.display();
        tracing::warn!(
            "{} cannot get the SELinux type {kind}: {error}; confined containers may not read it: run on the node \
             `semanage fcontext -a -t {kind} '{place}(/.*)?' && restorecon -R {place}`, or give the agent a type that may \
             relabel (selinux.type=spc_t)",
            path.display()
        );
    }
}

impl Tasks {
    /// Everything that needs the API server. It may be away: all of it tries again for ever.
    pub fn tell(&mut self, client: kube::Client, config: &Config, shutdown: &CancellationToken) {
        let node = config.node_name.clone();
        let (book, metrics) = (Arc::clone(&self.book), Arc::clone(&self.metrics));
        let watch = pod_watch::run(client.clone(), node.clone(), Arc::clone(&book), Arc::clone(&metrics));
        for_ever(&mut self.set, shutdown, watch);
        for_ever(&mut self.set, shutdown, Publisher::new(client, node, book, metrics).run());
    }
}

/// Runs a task that ends well only at shutdown.
fn for_ever(
    tasks: &mut JoinSet<Result<()>>,
    shutdown: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            () = task => bail!("a task ended that should run for ever"),
        }
    });
}
