//! What the server does not do for anybody: wait for ever, hold without end, read without end.
#![cfg(test)]
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "a test fails by panicking, and uses its part of the support"
)]

mod support {
    pub mod api_server;
    pub mod client;
}

use axum::body::{Body, Bytes};
use firstlight_contract::pools::Pools;
use firstlight_webhook::admission::{Bounds, router};
use firstlight_webhook::authority::{Renewal, Terms, renew};
use firstlight_webhook::metrics::Metrics;
use firstlight_webhook::server::{Ends, Limits, Server, Tls};
use firstlight_webhook::tls::{Pair, Serving, server_config};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use support::api_server::HOOK;
use support::client::{Connection, POD, POD_WITH_MANAGED_FIELDS, text, trusting};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

struct Hook {
    address: SocketAddr,
    connector: TlsConnector,
    metrics: Metrics,
    ends: Ends,
    server: JoinSet<anyhow::Result<()>>,
}

async fn hook(limits: Limits, bounds: Bounds) -> Hook {
    let (ca, leaf) = (Duration::from_hours(2), Duration::from_hours(1));
    let terms = Terms { dns_name: HOOK.to_owned(), ca, leaf };
    let Renewal::Replace(shared, _) = renew(None, &terms, SystemTime::now()).unwrap() else { panic!("kept") };
    let serving = Arc::new(Serving::default());
    serving.swap(Pair::parse(&shared.leaf, &shared.leaf_key, SystemTime::now()).unwrap());
    let speech = Tls(TlsAcceptor::from(Arc::new(server_config(serving).unwrap())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pools = Pools::parse("pools: [{name: simulated, kind: simulated}]").unwrap();
    let (metrics, ends) = (Metrics::new().unwrap(), Ends::default());
    let router = router(Arc::new(arc_swap::ArcSwap::from_pointee(pools)), metrics.clone(), bounds);
    let mut server = JoinSet::new();
    server.spawn(Server { listener, speech, router, limits, ends: ends.clone() }.run());
    Hook { address, connector: trusting(&shared.bundle), metrics, ends, server }
}

impl Hook {
    async fn connect(&self) -> Connection {
        Connection::open(self.address, &self.connector).await.unwrap()
    }

    fn errors(&self) -> bool {
        let text = String::from_utf8(self.metrics.text().unwrap()).unwrap();
        !text.contains("reviews_total{outcome=\"error\",rule=\"pods\"} 0")
    }
}

/// A body that never comes to its end.
fn endless() -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    std::mem::forget(sender);
    Body::new(Chunks(receiver))
}

struct Chunks(tokio::sync::mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl axum::body::HttpBody for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context).map(|next| next.map(|chunk| chunk.map(hyper::body::Frame::data)))
    }
}

#[tokio::test]
async fn both_reviews_of_the_benchmark_are_answered_with_a_patch() {
    let hook = hook(Limits::default(), Bounds::default()).await;
    let mut connection = hook.connect().await;
    for review in [POD, POD_WITH_MANAGED_FIELDS] {
        let response = connection.post(review).await.unwrap();
        assert!(text(response).await.unwrap().contains("\"patchType\":\"JSONPatch\""));
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_with_413_whether_it_says_so_or_not() {
    let hook =
        hook(Limits::default(), Bounds { body: 10_000, small: 1000, large: 20_000, ..Bounds::default() });
    let hook = hook.await;
    let large = "x".repeat(10_001);
    let response = hook.connect().await.post(large.clone()).await.unwrap();
    assert_eq!(response.status(), 413);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(Ok(Bytes::from(large))).await.unwrap();
    drop(sender);
    assert_eq!(hook.connect().await.post(Body::new(Chunks(receiver))).await.unwrap().status(), 413);
    assert!(hook.errors());
    // Two MB and more are fine: an UPDATE carries two objects.
    let hook = self::hook(Limits::default(), Bounds::default()).await;
    let review = POD.replace("\"status\":{}", &format!("\"status\":{{\"x\":\"{}\"}}", "y".repeat(3 << 20)));
    let response = hook.connect().await.post(review).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(text(response).await.unwrap().contains("\"patch\":"));
}

#[tokio::test]
async fn large_bodies_wait_for_one_another_and_small_ones_for_nobody() {
    let bounds = Bounds { body: 10_000, small: 5000, large: 10_000, time: Duration::from_secs(2) };
    let hook = hook(Limits::default(), bounds).await;
    let mut slow = hook.connect().await;
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    tasks.spawn(async move { slow.post(endless()).await.unwrap().status() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(hook.connect().await.mutates().await.unwrap());
    assert!(started.elapsed() < Duration::from_secs(1), "a small one has waited");
    // Gets its room when the slow one is given up.
    let review = POD.replace("\"status\":{}", &format!("\"status\":{{\"x\":\"{}\"}}", "y".repeat(5000)));
    let response = hook.connect().await.post(review).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(started.elapsed() > Duration::from_millis(1900), "a large one has not waited");
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), 503, "a body that does not come");
}

#[tokio::test]
async fn a_connection_that_does_not_shake_hands_is_closed() {
    let hook = hook(Limits { handshake: SHORT, ..Limits::default() }, Bounds::default()).await;
    let mut silent = TcpStream::connect(hook.address).await.unwrap();
    let closed = tokio::time::timeout(LONG, silent.read(&mut [0; 16])).await;
    assert_eq!(closed.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_that_asks_now_and_then_is_not() {
    let hook = hook(Limits { idle: 3 * SHORT, ..Limits::default() }, Bounds::default()).await;
    let (mut busy, mut idle) = (hook.connect().await, hook.connect().await);
    assert!(idle.mutates().await.unwrap());
    for _ in 0..6 {
        assert!(busy.mutates().await.unwrap());
        tokio::time::sleep(SHORT).await;
    }
    assert!(idle.mutates().await.is_err(), "still open after {:?}", 6 * SHORT);
    assert!(busy.mutates().await.unwrap());
    // Go's client keeps connections idle for 90 s and does not always repeat a POST on one that was closed.
    assert!(Limits::default().idle > Duration::from_secs(100));
}

#[tokio::test]
async fn one_connection_too_many_ends_the_one_that_was_idle_longest() {
    let hook = hook(Limits { connections: 3, ..Limits::default() }, Bounds::default()).await;
    let mut three = [hook.connect().await, hook.connect().await, hook.connect().await];
    for connection in &mut three {
        assert!(connection.mutates().await.unwrap());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(three[0].mutates().await.unwrap());
    let mut fourth = tokio::time::timeout(LONG, hook.connect()).await.expect("there is no room");
    assert!(fourth.mutates().await.unwrap());
    assert!(three[0].mutates().await.unwrap());
    assert!(three[2].mutates().await.unwrap());
    assert!(three[1].mutates().await.is_err(), "it was idle longest");
}

#[tokio::test]
async fn a_crowd_of_silent_connections_does_not_keep_the_api_server_out() {
    let hook = hook(Limits { connections: 4, handshake: LONG, ..Limits::default() }, Bounds::default()).await;
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.push(TcpStream::connect(hook.address).await.unwrap());
    }
    let mut connection = tokio::time::timeout(LONG / 2, hook.connect()).await.expect("kept out");
    assert!(connection.mutates().await.unwrap());
}

#[tokio::test]
async fn at_the_end_idle_connections_are_closed_and_busy_ones_answered() {
    let bounds = Bounds { time: Duration::from_secs(1), ..Bounds::default() };
    let mut hook = hook(Limits::default(), bounds).await;
    let (mut idle, mut busy) = (hook.connect().await, hook.connect().await);
    assert!(idle.mutates().await.unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { busy.post(endless()).await.unwrap().status() });
    tokio::time::sleep(SHORT).await;
    hook.ends.stop.cancel();
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), 503, "an answer, not a broken connection");
    tokio::time::timeout(LONG, hook.server.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    assert!(idle.mutates().await.is_err());
    assert!(TcpStream::connect(hook.address).await.is_err());
}
