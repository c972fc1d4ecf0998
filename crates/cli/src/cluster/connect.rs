//! From a kubeconfig to a client.

use crate::args::Cluster;
use anyhow::{Context as _, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::time::Duration;

/// How long the API server may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `work` with a client of the cluster that the arguments name, whose server may be silent for so long; errors
/// name the server.
pub(super) fn ask<T>(
    args: &Cluster,
    patience: Duration,
    work: impl AsyncFnOnce(Client) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    block_on(async {
        let mut config = config(args).await?;
        config.connect_timeout = Some(Duration::from_secs(10));
        config.read_timeout = Some(patience);
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/');
        let client =
            Client::try_from(config).with_context(|| format!("cannot make a client for {server}"))?;
        work(client).await.with_context(|| format!("cluster {server}"))
    })
}

async fn config(args: &Cluster) -> anyhow::Result<Config> {
    let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &args.kubeconfig {
        let file = Kubeconfig::read_from(path)
            .map_err(|error| anyhow!("cannot read {}: {}", path.display(), root(error)))?;
        return Config::from_custom_kubeconfig(file, &options)
            .await
            .map_err(|error| anyhow!("{} does not lead to a cluster: {}", path.display(), root(error)));
    }
    match &args.context {
        Some(context) => Config::from_kubeconfig(&options).await.map_err(|error| {
            let known = "`kubectl config get-contexts` lists those there are";
            anyhow!("cannot use the context {context}: {}; {known}", root(error))
        }),
        None => Config::infer().await.map_err(|error| {
            anyhow!(
                "no cluster is configured: {}; name a kubeconfig with --kubeconfig or KUBECONFIG",
                root(error)
            )
        }),
    }
}

/// The cause behind an error: what wraps it says the same again.
pub(super) fn root(error: impl std::error::Error + Send + Sync + 'static) -> String {
    anyhow::Error::new(error).root_cause().to_string()
}

/// Runs the future on a runtime of one thread.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime that asks the cluster")?
        .block_on(work)
}
