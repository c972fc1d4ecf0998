//! Keeps one pool registered with the kubelet.
//!
//! ```text
//! bind a fresh socket ─► serve ─► Register ─► wait ─┬─ kubelet.sock is another one: the kubelet restarted
//!        ▲                                          ├─ our socket is gone
//!        │                                          ├─ another instance of ours registered, and went
//!        └── end streams, unlink, back off ◄────────┴─ the stream ended while we serve (surge on 1.36)
//! ```
//!
//! Every registration has a socket of its own name: the kubelet refuses a second one on a connected socket
//! (1.37), and the late end of an old one must not be taken for the end of the new one (1.36). We never
//! register while a stream of ours is open, and never send an empty list when we go.

mod others;

use crate::api::v1beta1::RegisterRequest;
use crate::api::v1beta1::device_plugin_server::DevicePluginServer;
use crate::api::v1beta1::registration_client::RegistrationClient;
use crate::api::{DEVICE_PLUGIN_VERSION, KUBELET_SOCKET};
use crate::ids;
use crate::kubelet_dir::{Incarnation, KubeletDir};
use crate::pool::{Served, Service, options};
use anyhow::{Context as _, Result, bail};
use others::Others;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Server};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);
/// A registration that lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(5);
/// The kubelet dials back within the call and gives up after 10 s.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(11);
/// The kubelet opens its stream right after the registration.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);

/// Beginning of the names of a pool's sockets, the same for all processes of our pod: 33 bytes at most, so that
/// the whole path stays below the 108 of a unix socket.
pub fn socket_prefix(pool: &str, pod_uid: &str) -> String {
    let pool_start: String = pool.chars().take(16).collect();
    format!("{pool_start}-{}-", ids::short(&[pool, pod_uid]))
}

/// One pool's registration, or our prober's.
#[derive(Debug)]
pub struct Registration<S> {
    state: S,
    kubelet: KubeletDir,
    prefix: String,
    counter: u64,
}

impl<S: Served> Registration<S> {
    /// For this resource, in our pod.
    pub fn new(state: S, kubelet: KubeletDir, pod_uid: &str) -> Self {
        let prefix = socket_prefix(state.name(), pod_uid);
        Self { state, kubelet, prefix, counter: 0 }
    }

    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        self.kubelet.remove_stale(&self.prefix);
        let process: String = ids::random()?.chars().take(8).collect();
        let pool = self.state.name().to_owned();
        let (mut backoff, mut known) = (FIRST_BACKOFF, None);
        loop {
            let kubelet = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                kubelet = self.kubelet_there() => kubelet,
            };
            // What an earlier kubelet did is no reason to wait for this one, which may not listen yet.
            if known.replace(kubelet) != Some(kubelet) {
                backoff = FIRST_BACKOFF;
            }
            self.counter += 1;
            let socket = self.kubelet.join(&format!("{}{process}-{}.sock", self.prefix, self.counter));
            let begun = Instant::now();
            let ended = tokio::select! {
                () = shutdown.cancelled() => Ok(Ended::Shutdown),
                ended = self.serve_once(&socket, kubelet, &shutdown) => ended,
            };
            let _ = std::fs::remove_file(&socket);
            self.registered(false);
            match ended {
                Ok(Ended::Shutdown) => return Ok(()),
                Ok(Ended::Lost(reason)) if begun.elapsed() >= STEADY => {
                    tracing::info!(pool, reason, "registering again");
                    backoff = FIRST_BACKOFF;
                }
                Ok(Ended::Lost(reason)) => {
                    // Two instances must not take the kubelet from each other in circles.
                    tracing::info!(pool, reason, ?backoff, "registering again");
                    if !self.wait(backoff, kubelet, &shutdown).await {
                        return Ok(());
                    }
                    backoff = (backoff * 2).min(LAST_BACKOFF);
                }
                Err(error) => {
                    self.count("error");
                    tracing::warn!(pool, error = format!("{error:#}"), ?backoff, "not registered");
                    if !self.wait(backoff, kubelet, &shutdown).await {
                        return Ok(());
                    }
                    backoff = (backoff * 2).min(LAST_BACKOFF);
                }
            }
        }
    }

    /// Waits, unless a new kubelet gives reason not to; false at shutdown.
    async fn wait(&mut self, time: Duration, kubelet: Incarnation, shutdown: &CancellationToken) -> bool {
        tokio::select! {
            () = shutdown.cancelled() => false,
            () = sleep(time) => true,
            () = self.another_kubelet(kubelet) => true,
        }
    }

    async fn kubelet_there(&mut self) -> Incarnation {
        loop {
            if let Some(kubelet) = self.kubelet.kubelet() {
                return kubelet;
            }
            self.kubelet.changed().await;
        }
    }

    async fn another_kubelet(&mut self, known: Incarnation) {
        while self.kubelet.kubelet().is_none_or(|now| now == known) {
            self.kubelet.changed().await;
        }
    }

    fn registered(&self, yes: bool) {
        let value = if yes { 1.0 } else { 0.0 };
        self.state.metrics().registered.with_label_values(&[self.state.name()]).set(value);
    }

    fn count(&self, result: &str) {
        let labels = [self.state.name(), result];
        self.state.metrics().registrations.with_label_values(&labels).inc();
    }

    /// One socket from bind to end. Its server and streams end with it.
    async fn serve_once(
        &mut self,
        socket: &PathBuf,
        kubelet: Incarnation,
        shutdown: &CancellationToken,
    ) -> Result<Ended> {
        let (streams, mut open) = watch::channel(0);
        let end = shutdown.child_token();
        let _end_on_drop = end.clone().drop_guard();
        let listener =
            UnixListener::bind(socket).with_context(|| format!("cannot bind {}", socket.display()))?;
        let service = Service::new(self.state.clone(), end.clone(), streams);
        let mut server = JoinSet::new();
        let ended = end.clone();
        server.spawn(async move {
            Server::builder()
                .add_service(DevicePluginServer::new(service))
                .serve_with_incoming_shutdown(UnixListenerStream::new(listener), ended.cancelled_owned())
                .await
        });
        let others = Others::new(self.kubelet.clone(), &self.prefix);
        tokio::select! {
            registered = self.register(socket) => registered?,
            // Waiting for an answer would take the kubelet's whole 10 s: it dials a socket that is gone.
            () = gone(self.kubelet.clone(), socket) => bail!("the kubelet removed our socket while we registered"),
            ended = server.join_next() => bail!("the server ended: {ended:?}"),
        }
        self.count("ok");
        timeout(STREAM_TIMEOUT, open.wait_for(|count| *count > 0))
            .await
            .context("the kubelet registered us, but did not ask for the devices within 10 s")?
            .context("the service is gone")?;
        self.registered(true);
        tracing::info!(pool = self.state.name(), socket = %socket.display(), "registered");
        tokio::select! {
            ended = server.join_next() => bail!("the server ended: {ended:?}"),
            _ = open.wait_for(|count| *count == 0) => Ok(Ended::Lost("the kubelet's stream ended")),
            () = gone(self.kubelet.clone(), socket) => Ok(Ended::Lost("our socket is gone")),
            () = others.came_and_went() => Ok(Ended::Lost("another instance registered after us, and is gone")),
            () = self.another_kubelet(kubelet) => Ok(Ended::Lost("the kubelet restarted")),
        }
    }

    async fn register(&self, socket: &Path) -> Result<()> {
        let kubelet = self.kubelet.join(KUBELET_SOCKET);
        let channel = Endpoint::try_from(format!("unix://{}", kubelet.display()))?
            .timeout(REGISTER_TIMEOUT)
            .connect()
            .await
            .with_context(|| format!("cannot connect to {}", kubelet.display()))?;
        let name = socket.file_name().context("the socket has no name")?;
        let request = RegisterRequest {
            version: DEVICE_PLUGIN_VERSION.to_owned(),
            endpoint: name.to_string_lossy().into_owned(),
            resource_name: self.state.resource(),
            options: Some(options()),
        };
        RegistrationClient::new(channel).register(request).await.context("the kubelet refused")?;
        Ok(())
    }
}

enum Ended {
    Shutdown,
    Lost(&'static str),
}

async fn gone(mut kubelet: KubeletDir, socket: &Path) {
    while Incarnation::of(socket).is_some() {
        kubelet.changed().await;
    }
}
