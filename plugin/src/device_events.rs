//! Devices that failed, or work again: told as Events on the node, because the kubelet is told no reason.

use crate::ids;
use firstlight_contract::names::event;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Changes that are kept while the API server is away; hysteresis bounds how many there are.
const MOST: usize = 256;
/// Longest note of an Event.
const MAX_NOTE: usize = 1024;
/// Where Events about nodes are, which are in no namespace.
pub const NAMESPACE: &str = "default";

/// A device's health changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The pool.
    pub pool: String,
    /// The device's name in it.
    pub device: String,
    /// Why it may not be allocated; `None`: it may again.
    pub unhealthy: Option<String>,
    /// When, nanoseconds since the epoch.
    pub time_ns: u64,
}

/// Changes that were not told yet, oldest first.
#[derive(Debug, Default)]
pub struct Changes(Mutex<VecDeque<Change>>);

impl Changes {
    /// Keeps a change; beyond [`MOST`] the oldest goes.
    pub fn push(&self, change: Change) {
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.len() == MOST {
            changes.pop_front();
        }
        changes.push_back(change);
    }

    /// All that are kept.
    pub fn all(&self) -> Vec<Change> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// It was told.
    pub fn told(&self, told: &Change) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|change| change != told);
    }
}

/// The Event. Its name follows from the change, so that it is told once, however often we try.
pub fn event(change: &Change, node: &str, now: Timestamp) -> Event {
    let reason = match change.unhealthy {
        Some(_) => event::DEVICE_UNHEALTHY,
        None => event::DEVICE_HEALTHY,
    };
    let digest = ids::short(&[node, &change.pool, &change.device, reason, &change.time_ns.to_string()]);
    let start: String = node.chars().take(200).collect();
    let Change { pool, device, unhealthy, .. } = change;
    let note = match unhealthy {
        Some(why) => format!("pool {pool}: device {device} cannot be allocated: {why}"),
        None => format!("pool {pool}: device {device} is healthy again"),
    };
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{start}.{digest}")),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some("Probe".to_owned()),
        event_time: Some(MicroTime(now)),
        reason: Some(reason.to_owned()),
        note: Some(cut(&note)),
        type_: Some(if unhealthy.is_some() { "Warning" } else { "Normal" }.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            // As the kubelet does; `kubectl describe node` looks for it.
            uid: Some(node.to_owned()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some("firstlight.dev/plugin".to_owned()),
        reporting_instance: Some(node.chars().take(128).collect()),
        ..Event::default()
    }
}

fn cut(note: &str) -> String {
    let end = note
        .char_indices()
        .map(|(at, letter)| at + letter.len_utf8())
        .take_while(|end| *end <= MAX_NOTE)
        .last();
    note.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: u64) -> Change {
        Change {
            pool: "gpu".to_owned(),
            device: "GPU-1".to_owned(),
            unhealthy: Some("it is gone".to_owned()),
            time_ns: number,
        }
    }

    #[test]
    fn an_event_is_about_the_node_and_names_pool_device_and_reason() {
        let event = event(&change(1), "node-a", Timestamp::now());
        let about = event.regarding.unwrap();
        assert_eq!((about.kind.as_deref(), about.name.as_deref()), (Some("Node"), Some("node-a")));
        assert_eq!(event.note.as_deref(), Some("pool gpu: device GPU-1 cannot be allocated: it is gone"));
        assert_eq!(
            (event.reason.as_deref(), event.type_.as_deref()),
            (Some("DeviceUnhealthy"), Some("Warning"))
        );
    }

    #[test]
    fn a_device_that_failed_twice_is_told_twice_and_each_time_once() {
        let name = |change: &Change| event(change, "node-a", Timestamp::now()).metadata.name.unwrap();
        assert_eq!(name(&change(1)), name(&change(1)));
        assert_ne!(name(&change(1)), name(&change(2)));
    }

    #[test]
    fn a_long_sentence_is_cut_to_what_the_api_server_takes() {
        let long = Change { unhealthy: Some("ü".repeat(2000)), ..change(1) };
        let note = event(&long, "node-a", Timestamp::now()).note.unwrap();
        assert!(note.len() <= MAX_NOTE && note.len() > MAX_NOTE - 4, "{}", note.len());
    }

    #[test]
    fn while_nobody_listens_the_newest_changes_are_kept() {
        let changes = Changes::default();
        (0..300).for_each(|number| changes.push(change(number)));
        let kept = changes.all();
        assert_eq!((kept.len(), kept[0].time_ns), (MOST, 44));
        changes.told(&kept[0]);
        assert_eq!(changes.all().len(), MOST - 1);
    }
}
