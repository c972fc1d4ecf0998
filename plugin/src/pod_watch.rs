//! Watches the pods of this node. Of each only what is needed is read from the wire, and of pods that ask for
//! nothing of ours nothing is kept.

use crate::book::Book;
use crate::book::identity::Pods;
use crate::metrics::Metrics;
use crate::pods::{Pod, WirePod};
use futures::StreamExt as _;
use kube::api::ApiResource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use std::sync::Arc;

/// Pods in one page of a list.
const PAGE: u32 = 50;

/// The API of pods, read as [`WirePod`].
pub fn resource() -> ApiResource {
    ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        plural: "pods".to_owned(),
    }
}

/// Runs until the process ends; without the API server it tries again for ever, with a backoff.
pub async fn run(client: Client, node: String, book: Arc<Book>, metrics: Arc<Metrics>) {
    let api: Api<WirePod> = Api::all_with(client, &resource());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}")).page_size(PAGE);
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut listing = Pods::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(wire)) => {
                listing.extend(Pod::of(&wire));
            }
            Ok(Event::InitDone) => book.pods_listed(std::mem::take(&mut listing)),
            Ok(Event::Apply(wire)) => {
                if let Some((name, pod)) = Pod::of(&wire) {
                    book.pod_seen(name, pod);
                }
            }
            Ok(Event::Delete(wire)) => {
                if let Some((name, pod)) = Pod::of(&wire) {
                    book.pod_gone(&name, &pod.uid);
                }
            }
            Err(error) => {
                metrics.api_errors.with_label_values(&["watch"]).inc();
                tracing::warn!(%error, "cannot watch the pods of this node");
            }
        }
    }
}
