//! Accepts connections, TLS or plain, and serves HTTP/1.1 on them: no more than a number of them at a time, none
//! of them silent for longer than a while, all of them finished before the end.
//!
//! HTTP/1.1 only: API servers offer nothing else to a webhook behind a Service, and hyper's automatic choice of
//! a version leaves a silent connection open for ever.

use anyhow::{Context as _, Result};
use axum::Router;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

/// How long and how many.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. One more makes the one that has been idle longest end.
    pub connections: usize,
    /// A TLS handshake.
    pub handshake: Duration,
    /// Silence between requests. hyper counts it as reading a header; Go keeps idle connections for 90 s and
    /// does not always repeat a POST on one that we closed, so ours must be longer.
    pub idle: Duration,
    /// A connection that has been asked to end.
    pub closing: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            handshake: Duration::from_secs(5),
            idle: Duration::from_mins(2),
            closing: Duration::from_secs(10),
        }
    }
}

/// Requests have no long header; the buffer grows with each connection.
const BUFFER: usize = 64 << 10;

/// Binds an address. Where the kernel has no IPv6, "all addresses" are those of IPv4.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    let all = address.is_ipv6() && address.ip().is_unspecified();
    match TcpListener::bind(address).await {
        Err(error) if all && error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| error)
        }
        other => other,
    }
    .with_context(|| format!("cannot listen on {address}"))
}

/// When to end.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// Answers say that the connection closes: clients come back elsewhere.
    pub lingering: CancellationToken,
    /// No connection is accepted any more, and each ends after the request in flight.
    pub stop: CancellationToken,
}

/// A listening server.
#[derive(Debug)]
pub struct Server<S> {
    /// Where it listens.
    pub listener: TcpListener,
    /// How it speaks: [`Plain`] or [`Tls`].
    pub speech: S,
    /// What it answers.
    pub router: Router,
    /// How long and how many.
    pub limits: Limits,
    /// When to end.
    pub ends: Ends,
}

/// What is spoken below HTTP.
pub trait Speech: Clone + Send + 'static {
    /// What HTTP is spoken over.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The handshake.
    fn greet(self, stream: TcpStream) -> impl Future<Output = std::io::Result<Self::Io>> + Send;
}

/// No TLS.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Speech for Plain {
    type Io = TcpStream;
    async fn greet(self, stream: TcpStream) -> std::io::Result<TcpStream> {
        Ok(stream)
    }
}

/// TLS.
#[derive(Clone)]
pub struct Tls(pub TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tls")
    }
}

impl Speech for Tls {
    type Io = tokio_rustls::server::TlsStream<TcpStream>;
    async fn greet(self, stream: TcpStream) -> std::io::Result<Self::Io> {
        self.0.accept(stream).await
    }
}

impl<S: Speech> Server<S> {
    /// Serves until `stop`, and then until the last connection has ended.
    pub async fn run(self) -> Result<()> {
        let Self { listener, speech, router, limits, ends } = self;
        let mut open = Open::default();
        let mut waiting = None;
        loop {
            if let Some(stream) = waiting.take_if(|_| open.tasks.len() < limits.connections) {
                open.spawn(&ends, |slot| {
                    connection(stream, speech.clone(), router.clone(), limits, ends.lingering.clone(), slot)
                });
            }
            tokio::select! {
                () = ends.stop.cancelled() => break,
                Some(ended) = open.tasks.join_next_with_id() => open.ended(ended),
                accepted = listener.accept(), if waiting.is_none() => match accepted {
                    Ok((stream, _)) => {
                        waiting = Some(stream);
                        if open.tasks.len() >= limits.connections {
                            open.make_room();
                        }
                    }
                    Err(error) => {
                        // Out of descriptors, most likely: trying again at once would only burn the CPU.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        drop((listener, waiting));
        while let Some(ended) = open.tasks.join_next_with_id().await {
            open.ended(ended);
        }
        Ok(())
    }
}

/// The open connections.
#[derive(Debug, Default)]
struct Open {
    tasks: JoinSet<()>,
    slots: HashMap<Id, Arc<Slot>>,
}

/// What the acceptor and a connection know of one another.
#[derive(Debug)]
struct Slot {
    close: CancellationToken,
    began: Instant,
    /// Milliseconds from `began` to the end of the last request; [`BUSY`] while there is one.
    quiet_since: AtomicU64,
}

const BUSY: u64 = u64::MAX;

impl Slot {
    fn busy(&self) {
        self.quiet_since.store(BUSY, Ordering::Relaxed);
    }

    fn quiet(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(BUSY - 1);
        self.quiet_since.store(now, Ordering::Relaxed);
    }

    /// Quiet ones first, the longest first; then busy ones, the oldest first.
    fn priority(&self) -> (bool, Instant) {
        match self.quiet_since.load(Ordering::Relaxed) {
            BUSY => (true, self.began),
            quiet => (false, self.began + Duration::from_millis(quiet)),
        }
    }
}

impl Open {
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        ends: &Ends,
        task: impl FnOnce(Arc<Slot>) -> F,
    ) {
        let slot = Arc::new(Slot {
            close: ends.stop.child_token(),
            began: Instant::now(),
            quiet_since: AtomicU64::new(0),
        });
        let id = self.tasks.spawn(task(Arc::clone(&slot))).id();
        self.slots.insert(id, slot);
    }

    /// Ends one connection; a busy one only after its request.
    fn make_room(&self) {
        let open = self.slots.values().filter(|slot| !slot.close.is_cancelled());
        if let Some(slot) = open.min_by_key(|slot| slot.priority()) {
            slot.close.cancel();
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            // One object that makes us panic must not take the others' webhook away.
            Err(error) => {
                tracing::error!(%error, "a connection panicked; please report this");
                error.id()
            }
        };
        self.slots.remove(&id);
    }
}

async fn connection<S: Speech>(
    stream: TcpStream,
    speech: S,
    router: Router,
    limits: Limits,
    lingering: CancellationToken,
    slot: Arc<Slot>,
) {
    // Answers are one small write: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(limits.handshake, speech.greet(stream)) => greeted,
        () = slot.close.cancelled() => return,
    };
    let io = match greeted {
        Ok(Ok(io)) => io,
        Ok(Err(error)) => return tracing::debug!(%error, "handshake"),
        Err(_) => return tracing::debug!("handshake: too slow"),
    };
    slot.quiet();
    let service = service_fn(|request: Request<Incoming>| {
        slot.busy();
        let answer = router.clone().call(request);
        let (slot, lingering) = (&slot, &lingering);
        async move {
            let mut answer = answer.await;
            if let Ok(answer) = answer.as_mut()
                && lingering.is_cancelled()
            {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            slot.quiet();
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(BUFFER);
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = slot.close.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(limits.closing, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("a connection did not end in time"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection");
    }
}
