//! The watches: one a kind, metadata only. Of an annotated workload the template is asked for, one at a time.

use super::judge::{self, Offence, World};
use super::object::{Kind, Object, Workload};
use super::offenders::Offenders;
use crate::metrics::Metrics;
use arc_swap::ArcSwap;
use firstlight_contract::pools::Pools;
use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Objects in one page of a list.
const PAGE: u32 = 50;
/// A watch begins anew after so many seconds: so a connection that died silently is noticed within a minute.
const WATCH_S: u32 = 50;
/// A single call.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// After a look that failed, everything is looked at again.
const AGAIN: Duration = Duration::from_secs(20);
/// The same, where there were more offenders than are kept.
const REST_AGAIN: Duration = Duration::from_mins(5);

/// Finds offenders.
#[derive(Clone)]
pub struct Search {
    /// Way to the API server.
    pub client: Client,
    /// The pools in use.
    pub pools: Arc<ArcSwap<Pools>>,
    /// Namespaces about which the API server does not ask us.
    pub excluded: Arc<BTreeSet<String>>,
    /// The metrics.
    pub metrics: Metrics,
    known: Arc<Mutex<Offenders>>,
    /// There is something to tell.
    pub(super) news: Arc<Notify>,
}

impl fmt::Debug for Search {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Search").field("excluded", &self.excluded).finish_non_exhaustive()
    }
}

impl Search {
    /// Nothing is known yet.
    pub fn new(
        client: Client,
        pools: Arc<ArcSwap<Pools>>,
        excluded: BTreeSet<String>,
        metrics: Metrics,
    ) -> Self {
        let excluded = Arc::new(excluded);
        Self { client, pools, excluded, metrics, known: Arc::default(), news: Arc::default() }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Offenders> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches one kind until the process ends; without the API server it tries again for ever.
    pub async fn watch(self, kind: Kind) {
        loop {
            self.watch_once(kind).await;
        }
    }

    /// From one list to the next.
    async fn watch_once(&self, kind: Kind) {
        let config = watcher::Config::default().page_size(PAGE).timeout(WATCH_S);
        let config = match kind {
            // A pod that has ended needs no GPU any more; the API server reports its end as a deletion.
            Kind::Pod => config.fields("status.phase!=Succeeded,status.phase!=Failed"),
            _ => config,
        };
        let api: Api<Object> = Api::all_with(self.client.clone(), &kind.resource());
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        let mut again: Option<Instant> = None;
        let mut listing = true;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                // A list that takes long is not cut short: what stands at its end would never be seen.
                () = until(again.filter(|_| !listing)) => return,
            };
            let Some(event) = event else { return };
            match event {
                Ok(Event::Init) => {
                    listing = true;
                    self.known().begin(kind);
                }
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    if !self.look(kind, &object).await {
                        again.get_or_insert_with(|| Instant::now() + AGAIN);
                    }
                }
                Ok(Event::InitDone) => {
                    listing = false;
                    self.known().listed(kind);
                }
                Ok(Event::Delete(object)) => self.known().gone(&object),
                Err(error) => self.failed(&format!("cannot watch {}", kind.resource().plural), &error),
            }
            let mut known = self.known();
            if known.rest(kind) > 0 {
                again.get_or_insert_with(|| Instant::now() + REST_AGAIN);
            }
            if known.take_changed() {
                self.metrics.not_injected(&known);
                self.news.notify_one();
            }
        }
    }

    /// Looks at one object; whether that could be done.
    async fn look(&self, kind: Kind, object: &Object) -> bool {
        let offence = if kind == Kind::Pod {
            self.judge(|world| judge::pod(object, world))
        } else if object.asks() {
            let whole = match self.whole(kind, object).await {
                Ok(whole) => whole,
                Err(error) => {
                    let (namespace, name) = (object.namespace(), object.name());
                    self.failed(&format!("cannot read {} {namespace}/{name}", kind.as_str()), &error);
                    self.known().not_seen(kind, object);
                    return false;
                }
            };
            whole.and_then(|whole| self.judge(|world| judge::workload(kind, object, &whole, world)))
        } else {
            None
        };
        self.known().looked(kind, object, offence);
        true
    }

    fn judge(&self, judge: impl FnOnce(World<'_>) -> Option<Offence>) -> Option<Offence> {
        judge(World { pools: &self.pools.load(), excluded: &self.excluded })
    }

    /// A workload, unless it is gone.
    async fn whole(&self, kind: Kind, object: &Object) -> anyhow::Result<Option<Workload>> {
        let api: Api<Workload> =
            Api::namespaced_with(self.client.clone(), object.namespace(), &kind.resource());
        Ok(tokio::time::timeout(PATIENCE, api.get_opt(object.name())).await??)
    }

    pub(super) fn failed(&self, what: &str, error: &dyn fmt::Display) {
        self.metrics.search_failures.inc();
        tracing::warn!("{what}: {error}; trying again");
    }
}

/// Until this time; for ever, if there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
