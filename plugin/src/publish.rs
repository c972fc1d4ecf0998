//! Tells Kubernetes: the condition `firstlight.dev/GpuReady` on pods of this node, and Events. What to write is
//! pure; a call that fails is tried again at the next round.

use crate::book::Book;
use crate::book::judging::{WantedCondition, WantedEvent};
use crate::clock;
use crate::device_events::{self, Change};
use crate::ids;
use crate::metrics::Metrics;
use crate::pod_watch;
use crate::pods::WirePod;
use firstlight_contract::names::condition;
use firstlight_diagnosis::Truth;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Who speaks, in Events.
const CONTROLLER: &str = "firstlight.dev/plugin";
/// After a round with an error, and between rounds without news.
const AGAIN: Duration = Duration::from_secs(5);

/// The task that tells.
pub struct Publisher {
    client: Client,
    node: String,
    book: Arc<Book>,
    metrics: Arc<Metrics>,
    told: BTreeMap<String, (Truth, &'static str)>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Publisher").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Publisher {
    /// For pods of this node.
    pub fn new(client: Client, node: String, book: Arc<Book>, metrics: Arc<Metrics>) -> Self {
        Self { client, node, book, metrics, told: BTreeMap::new() }
    }

    /// Runs until the process ends.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.book.judged.notified() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
            if !self.round().await {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// One round; false if a call failed in a way that passes.
    pub async fn round(&mut self) -> bool {
        let mut good = true;
        let standing = self.book.standing();
        for wanted in self.book.wanted_conditions(clock::now_ns(), &self.told) {
            match self.write_condition(&wanted).await {
                Ok(()) => {
                    tracing::info!(
                        namespace = wanted.namespace,
                        pod = wanted.pod,
                        status = wanted.status.as_str(),
                        reason = wanted.reason,
                        "condition"
                    );
                    self.told.insert(wanted.uid, (wanted.status, wanted.reason));
                }
                Err(error) => good &= self.failed("condition", &wanted.namespace, &wanted.pod, &error),
            }
        }
        for wanted in self.book.wanted_events(clock::now_ns()) {
            match self.write_event(&wanted).await {
                Ok(()) => self.book.event_told(&wanted.grant, wanted.event.reason, wanted.cause),
                Err(error) => {
                    good &= self.failed("event", &wanted.owner.namespace, &wanted.owner.pod, &error);
                }
            }
        }
        for change in self.book.changes.all() {
            match self.write_change(&change).await {
                Ok(()) => self.book.changes.told(&change),
                Err(error) => good &= self.failed("event", device_events::NAMESPACE, &change.device, &error),
            }
        }
        self.forget();
        if good {
            self.book.published(&standing);
        }
        good
    }

    async fn write_condition(&self, wanted: &WantedCondition) -> Result<(), Error> {
        // The answer is the pod: read as the little that the watch reads, too.
        let api: Api<WirePod> =
            Api::namespaced_with(self.client.clone(), &wanted.namespace, &pod_watch::resource());
        let patch = Patch::Strategic(condition_patch(wanted, Timestamp::now()));
        match api.patch_status(&wanted.pod, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            // The pod is gone, or another one of the same name: nothing is left to tell.
            Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn write_event(&self, wanted: &WantedEvent) -> Result<(), Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &wanted.owner.namespace);
        match api.create(&PostParams::default(), &event(wanted, &self.node, Timestamp::now())).await {
            Ok(_) => Ok(()),
            // Told before our last start; or the namespace is going.
            Err(Error::Api(status))
                if matches!(status.code, 403 | 404 | 409) && status.reason != "Forbidden" =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn write_change(&self, change: &Change) -> Result<(), Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), device_events::NAMESPACE);
        let event = device_events::event(change, &self.node, Timestamp::now());
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => Ok(()),
            Err(Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn failed(&self, what: &str, namespace: &str, pod: &str, error: &Error) -> bool {
        self.metrics.api_errors.with_label_values(&[what]).inc();
        tracing::warn!(namespace, pod, %error, "cannot write the {what}; trying again");
        false
    }

    fn forget(&mut self) {
        let inner = self.book.lock();
        self.told.retain(|uid, _| inner.pods.values().any(|pod| pod.uid == *uid));
    }
}

/// The strategic merge patch that sets our condition and nothing else; the UID makes it fail on another pod.
fn condition_patch(wanted: &WantedCondition, now: Timestamp) -> Value {
    json!({
        "metadata": { "uid": wanted.uid },
        "status": { "conditions": [{
            "type": condition::GPU_READY,
            "status": wanted.status.as_str(),
            "reason": wanted.reason,
            "message": wanted.message,
            "lastTransitionTime": seconds(now),
        }] },
    })
}

fn seconds(now: Timestamp) -> String {
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    whole.to_string()
}

/// The Event. Its name follows from what it says, so that it is told once, also across our restarts.
fn event(wanted: &WantedEvent, node: &str, now: Timestamp) -> Event {
    let owner = &wanted.owner;
    let uid = owner.uid.clone().unwrap_or_default();
    let digest = ids::short(&[&uid, &owner.container, wanted.event.reason, wanted.cause.id()]);
    let pod_start: String = owner.pod.chars().take(200).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{pod_start}.{digest}")),
            namespace: Some(owner.namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Diagnose".to_owned()),
        event_time: Some(MicroTime(now)),
        reason: Some(wanted.event.reason.to_owned()),
        note: Some(wanted.event.message.clone()),
        type_: Some(if wanted.event.warning { "Warning" } else { "Normal" }.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(owner.namespace.clone()),
            name: Some(owner.pod.clone()),
            uid: Some(uid),
            field_path: Some(format!("spec.containers{{{}}}", owner.container)),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(node.chars().take(128).collect()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests;
