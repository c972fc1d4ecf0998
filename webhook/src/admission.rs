//! Port 8443: the routes that the API server asks, within bounds of memory and time.

use crate::metrics::Metrics;
use crate::mutate::Policy;
use crate::review::{Outcome, Rule, answer};
use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use firstlight_contract::pools::Pools;
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How much of the webhook's memory and time requests may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The largest body. The API server takes requests of 3 MiB, and an UPDATE carries two objects.
    pub body: usize,
    /// Bodies up to this size are bounded by the number of connections alone.
    pub small: usize,
    /// All larger bodies together.
    pub large: usize,
    /// From the head of a request to the end of its body, room included. API servers wait 3 s.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { body: 7 << 20, small: 64 << 10, large: 8 << 20, time: Duration::from_secs(5) }
    }
}

/// What a review needs.
#[derive(Debug)]
pub struct Admission {
    pools: Arc<ArcSwap<Pools>>,
    metrics: Metrics,
    bounds: Bounds,
    room: Semaphore,
}

/// The routes.
pub fn router(pools: Arc<ArcSwap<Pools>>, metrics: Metrics, bounds: Bounds) -> Router {
    let room = Semaphore::new(bounds.large);
    let admission = Arc::new(Admission { pools, metrics, bounds, room });
    let route = |router: Router<Arc<Admission>>, rule: Rule| {
        let review = move |State(admission): State<Arc<Admission>>, request: Request| async move {
            admission.review(rule, request).await
        };
        router.route(rule.path(), post(review))
    };
    Rule::ALL.into_iter().fold(Router::new(), route).with_state(admission)
}

/// Why a body was not read.
enum Unread {
    TooLarge,
    TooSlow,
    Broken(axum::Error),
}

impl Admission {
    async fn review(&self, rule: Rule, request: Request) -> Response {
        let started = Instant::now();
        let read = tokio::time::timeout(self.bounds.time, self.read(request.into_body())).await;
        let (response, outcome) = match read.unwrap_or(Err(Unread::TooSlow)) {
            Ok((body, _room)) => self.answer(rule, &body),
            Err(unread) => (self.refuse(unread), Outcome::Error),
        };
        self.metrics.reviewed(rule, outcome, started.elapsed().as_secs_f64());
        response
    }

    /// The body, and the room that it takes.
    async fn read(&self, body: Body) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Unread> {
        let hint = body.size_hint();
        // A body of unknown length may become as large as any.
        let size = hint.upper().and_then(|size| usize::try_from(size).ok()).unwrap_or(self.bounds.body);
        if usize::try_from(hint.lower()).is_ok_and(|size| size > self.bounds.body) {
            return Err(Unread::TooLarge);
        }
        let room = if size > self.bounds.small {
            let size = size.min(self.bounds.large);
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            Some(self.room.acquire_many(size).await.map_err(|_| Unread::TooSlow)?)
        } else {
            None
        };
        match to_bytes(body, self.bounds.body).await {
            Ok(body) => Ok((body, room)),
            Err(error) if size >= self.bounds.body && is_too_large(&error) => Err(Unread::TooLarge),
            Err(error) => Err(Unread::Broken(error)),
        }
    }

    fn answer(&self, rule: Rule, body: &[u8]) -> (Response, Outcome) {
        let pools = self.pools.load();
        let policy = Policy { pools: &pools, version: env!("CARGO_PKG_VERSION") };
        let reply = answer(rule, body, policy);
        let mut response = Response::new(Body::from(reply.body));
        *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
        let kind = if reply.status == 200 { "application/json" } else { "text/plain; charset=utf-8" };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        (response, reply.outcome)
    }

    fn refuse(&self, unread: Unread) -> Response {
        let (status, text) = match unread {
            Unread::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the review is larger than {} bytes\n", self.bounds.body),
            ),
            Unread::TooSlow => (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the review did not arrive within {} s\n", self.bounds.time.as_secs_f64()),
            ),
            Unread::Broken(error) => {
                (StatusCode::BAD_REQUEST, format!("the review did not arrive: {error}\n"))
            }
        };
        tracing::warn!("{}", text.trim_end());
        // What is left of the body is not read: the connection is of no further use.
        (status, [(header::CONNECTION, "close")], text).into_response()
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(|source| source.to_string().contains("length limit exceeded"))
}
