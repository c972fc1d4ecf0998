//! Measures the webhook as a process on one core: reviews per CPU-second, latency, resident memory. Prints each
//! figure beside a baseline of the same run and its target; exits with 1 where a target is missed.
//! `FIRSTLIGHT_BENCH_WEBHOOK` names another binary, such as the static one.
//!
//! The baseline is the same body to a path that nobody serves: TLS and HTTP without the review.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "a bench prints, fails by panicking, and uses its part of the tests' support"
)]

#[path = "../tests/support"]
mod support {
    pub mod api_server;
    pub mod client;
    pub mod process;
}

use firstlight_webhook::tls::{certificates, provider};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::api_server::{ApiServer, HOOK};
use support::client::{POD, POD_WITH_MANAGED_FIELDS};
use support::process::Webhook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const MIB: f64 = 1024.0 * 1024.0;
const ROUND: Duration = Duration::from_secs(4);
const REVIEWS: usize = 100_000;
const OPEN_RATE: u32 = 500;

/// Whether all targets are met.
struct Results(bool);

impl Results {
    fn add(&mut self, what: &str, value: f64, unit: &str, (good, target): (bool, f64), beside: &str) {
        self.0 &= good;
        let mark = if good { "ok" } else { "MISSED" };
        println!("{what:<44} {value:>9.2} {unit:<7} target {target:>8.1}  {mark:<6} {beside}");
    }

    fn at_most(&mut self, what: &str, value: f64, unit: &str, target: f64, beside: &str) {
        self.add(what, value, unit, (value <= target, target), beside);
    }

    fn at_least(&mut self, what: &str, value: f64, unit: &str, target: f64, beside: &str) {
        self.add(what, value, unit, (value >= target, target), beside);
    }
}

/// A connection that does as little as it can beside asking: the server is to be measured.
struct Asker {
    tls: TlsStream<TcpStream>,
    answer: Vec<u8>,
}

impl Asker {
    async fn open(webhook: &Webhook, connector: &TlsConnector) -> Self {
        let stream = TcpStream::connect(webhook.admission).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let tls = connector.connect(ServerName::try_from(HOOK).unwrap(), stream).await.unwrap();
        Self { tls, answer: vec![0; 16 << 10] }
    }

    /// Sends a request and reads its answer; returns the status.
    async fn ask(&mut self, request: &[u8]) -> u16 {
        self.tls.write_all(request).await.unwrap();
        self.tls.flush().await.unwrap();
        let mut read = 0;
        loop {
            let more = self.tls.read(&mut self.answer[read..]).await.unwrap();
            assert!(more > 0, "closed in the middle of an answer");
            read += more;
            let answer = std::str::from_utf8(&self.answer[..read]).unwrap();
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            let length =
                head.split("content-length: ").nth(1).map_or("0", |rest| rest.lines().next().unwrap());
            if body.len() >= length.parse().unwrap() {
                return answer[9..12].parse().unwrap();
            }
        }
    }
}

fn request(path: &str, body: &str) -> Arc<[u8]> {
    format!(
        "POST {path}?timeout=3s HTTP/1.1\r\nHost: {HOOK}:443\r\nUser-Agent: kube-apiserver-admission\r\nContent-Length: \
         {}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
    .into()
}

/// As Go's client chooses: TLS 1.3 with AES-128-GCM.
fn like_go(bundle: &str) -> TlsConnector {
    let mut provider = provider();
    provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
    let mut roots = RootCertStore::empty();
    for authority in certificates(bundle).unwrap() {
        roots.add(authority).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// The webhook with its core to itself, as far as the machine has another one.
struct Bench {
    api: ApiServer,
    webhook: Webhook,
    connector: TlsConnector,
}

impl Bench {
    async fn start() -> Self {
        let api = ApiServer::start().await;
        let webhook = Webhook::start(&api, &["--log=warn", "--settle=100ms"]);
        webhook.ready().await;
        if std::thread::available_parallelism().unwrap().get() > 1 {
            for (core, process) in [("0", webhook.child.id()), ("1", std::process::id())] {
                let process = process.to_string();
                let pinned =
                    Command::new("taskset").args(["-a", "-c", "-p", core, &process]).output().unwrap();
                assert!(pinned.status.success(), "{pinned:?}");
            }
        }
        let connector = like_go(&api.bundle(Duration::ZERO));
        Self { api, webhook, connector }
    }

    /// CPU time of all threads of the server.
    fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.webhook.child.id())).unwrap();
        let of = |task: std::io::Result<std::fs::DirEntry>| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or_default()
        };
        Duration::from_nanos(tasks.map(of).sum())
    }

    /// Resident memory in MiB: all of it, and the anonymous part.
    fn resident(&self) -> (f64, String) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.webhook.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0 / MIB
        };
        (field("VmRSS:"), format!("anonymous {:.2} MiB", field("RssAnon:")))
    }

    async fn askers(&self, count: usize) -> Vec<Asker> {
        let mut askers = Vec::new();
        for _ in 0..count {
            askers.push(Asker::open(&self.webhook, &self.connector).await);
        }
        askers
    }

    /// Asks on all connections until told to stop; returns answers per CPU-second and per second.
    ///
    /// Whoever answers pays for waking an asker that sleeps, a fifth of a review here. A loaded API server is
    /// `awake`; both figures are printed, and the targets are held against the first.
    async fn closed(
        &self,
        askers: &mut Vec<Asker>,
        request: &Arc<[u8]>,
        status: u16,
        awake: bool,
    ) -> (f64, f64) {
        let run = async |askers: &mut Vec<Asker>, time: Duration| {
            let until = Instant::now() + time;
            let mut tasks = JoinSet::new();
            for mut asker in askers.drain(..) {
                let request = Arc::clone(request);
                tasks.spawn(async move {
                    let mut answers = 0_u32;
                    while Instant::now() < until {
                        assert_eq!(asker.ask(&request).await, status);
                        answers += 1;
                    }
                    (asker, answers)
                });
            }
            let mut all = 0;
            loop {
                match tasks.try_join_next() {
                    Some(ended) => {
                        let (asker, answers) = ended.unwrap();
                        all += answers;
                        askers.push(asker);
                    }
                    None if tasks.is_empty() => break f64::from(all),
                    None if awake => tokio::task::yield_now().await,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        run(askers, ROUND / 8).await;
        let (cpu, started) = (self.cpu(), Instant::now());
        let answers = run(askers, ROUND).await;
        let (cpu, time) = (self.cpu().saturating_sub(cpu), started.elapsed());
        (answers / cpu.as_secs_f64(), answers / time.as_secs_f64())
    }

    /// Reviews at a fixed rate, whatever the answers do; time from when each was due.
    async fn open(&self, request: &Arc<[u8]>, status: u16) -> Vec<Duration> {
        let mut tasks = JoinSet::new();
        let mut queues = Vec::new();
        for mut asker in self.askers(8).await {
            let (queue, mut due) = tokio::sync::mpsc::unbounded_channel::<Instant>();
            let request = Arc::clone(request);
            queues.push(queue);
            tasks.spawn(async move {
                let mut times = Vec::new();
                while let Some(due) = due.recv().await {
                    assert_eq!(asker.ask(&request).await, status);
                    times.push(due.elapsed());
                }
                times
            });
        }
        let mut due = Instant::now();
        for turn in 0..OPEN_RATE * 10 {
            due += Duration::from_secs(1) / OPEN_RATE;
            // Timers are good to a millisecond: the rest is waited for by asking the clock.
            while Instant::now() < due {
                tokio::task::yield_now().await;
            }
            queues[turn as usize % 8].send(due).unwrap();
        }
        drop(queues);
        let mut times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
        times.sort();
        times
    }
}

fn percentile(times: &[Duration], share: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a few thousand samples"
    )]
    let index = ((times.len() as f64 * share) as usize).min(times.len() - 1);
    times[index].as_secs_f64() * 1e3
}

async fn all(results: &mut Results) {
    let bench = Bench::start().await;
    let bodies = [
        ("2.3 KB", POD, [20.0, 40.0, 40.0]),
        ("4.3 KB (managedFields)", POD_WITH_MANAGED_FIELDS, [15.0, 30.0, 30.0]),
    ];
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (resident, beside) = bench.resident();
    results.at_most("resident memory, idle", resident, "MiB", 8.0, &beside);

    let review = request("/mutate/pods", POD);
    let mut askers = bench.askers(32).await;
    let mut tasks = JoinSet::new();
    for mut asker in askers.drain(..) {
        let review = Arc::clone(&review);
        tasks.spawn(async move {
            for _ in 0..REVIEWS / 32 {
                assert_eq!(asker.ask(&review).await, 200);
            }
            asker
        });
    }
    let askers = tasks.join_all().await;
    let (resident, beside) = bench.resident();
    let what = "resident memory, 100,000 reviews, 32 open";
    results.at_most(what, resident, "MiB", 8.0, &beside);
    drop(askers);

    for (name, body, targets) in bodies {
        let (review, nothing) = (request("/mutate/pods", body), request("/", body));
        for (connections, target) in [1, 8, 32].into_iter().zip(targets) {
            let mut askers = bench.askers(connections).await;
            let (baseline, _) = bench.closed(&mut askers, &nothing, 404, true).await;
            let (asleep, _) = bench.closed(&mut askers, &review, 200, false).await;
            let (reviews, rate) = bench.closed(&mut askers, &review, 200, true).await;
            let beside = format!(
                "asker asleep {:.1}; without review {:.1} (x{:.2}); {:.1} k/s",
                asleep / 1e3,
                baseline / 1e3,
                reviews / baseline,
                rate / 1e3
            );
            let what = format!("reviews per CPU-second, {name}, {connections} conn.");
            results.at_least(&what, reviews / 1e3, "k/CPU-s", target, &beside);
        }
    }

    for (name, body, _) in bodies {
        let baseline = bench.open(&request("/", body), 404).await;
        let cpu = bench.cpu();
        let times = bench.open(&request("/mutate/pods", body), 200).await;
        let cpu = bench.cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / times.len() as f64;
        let beside = format!(
            "without review {:.3}; p50 {:.3}, max {:.3} ms; {cpu:.0} µs CPU a review",
            percentile(&baseline, 0.99),
            percentile(&times, 0.5),
            percentile(&times, 1.0)
        );
        let what = format!("open {OPEN_RATE}/s, {name}, p99");
        results.at_most(&what, percentile(&times, 0.99), "ms", 2.0, &beside);
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut results = Results(true);
    runtime.block_on(all(&mut results));
    ExitCode::from(u8::from(!results.0))
}
