//! The Events. An Event's name follows from the object and the reason: told once, by whichever replica is first,
//! and also across our restarts for as long as the API server keeps it.

use super::offenders::Offender;
use super::watch::{PATIENCE, Search};
use anyhow::{Result, bail};
use firstlight_contract::names::event::NOT_INJECTED;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use std::time::Duration;

/// Who speaks. All replicas say the same in the same words.
const CONTROLLER: &str = "firstlight.dev/webhook";
const INSTANCE: &str = "firstlight-webhook";
/// After a round with a failure.
const AGAIN: Duration = Duration::from_secs(5);
/// Before the first Event: who follows its advice must find us, and readiness probe, endpoints and proxies come first.
const SETTLE: Duration = Duration::from_secs(5);
/// Between two calls: a thousand offenders are no reason to keep the API server busy.
const PACE: Duration = Duration::from_millis(20);

impl Search {
    /// Tells until the process ends.
    pub async fn tell(self) {
        tokio::time::sleep(SETTLE).await;
        loop {
            self.news.notified().await;
            while !self.round().await {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Tells what is untold; false if a call failed in a way that passes.
    async fn round(&self) -> bool {
        let untold = self.known().untold();
        let mut good = true;
        for offender in untold {
            match self.write(&offender).await {
                Ok(()) => self.known().told(&offender),
                Err(error) => {
                    let Offender { kind, namespace, name, .. } = &offender;
                    let what = format!("cannot write the Event about {} {namespace}/{name}", kind.as_str());
                    self.failed(&what, &error);
                    good = false;
                }
            }
            tokio::time::sleep(PACE).await;
        }
        good
    }

    async fn write(&self, offender: &Offender) -> Result<()> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &offender.namespace);
        let event = event(offender, Timestamp::now());
        match tokio::time::timeout(PATIENCE, api.create(&PostParams::default(), &event)).await? {
            Ok(_) => {
                let Offender { kind, namespace, name, .. } = offender;
                tracing::info!(
                    kind = kind.as_str(),
                    namespace,
                    name,
                    "not injected: {}",
                    offender.offence.note
                );
                Ok(())
            }
            // Told before, by us or by another replica; or the namespace is gone.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(kube::Error::Api(status)) => bail!("{} ({})", status.message, status.code),
            Err(error) => Err(error.into()),
        }
    }
}

/// The Event.
fn event(offender: &Offender, now: Timestamp) -> Event {
    let Offender { kind, namespace, name, uid, offence } = offender;
    // A DNS subdomain: at most 253 characters, and no hyphen or dot before the next dot.
    let start: String = name.chars().take(200).collect();
    let start = start.trim_end_matches(['-', '.']);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{start}.{uid}.{}", offence.why.as_str())),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        action: Some("Inject".to_owned()),
        event_time: Some(MicroTime(now)),
        reason: Some(NOT_INJECTED.to_owned()),
        note: Some(offence.note.clone()),
        type_: Some("Warning".to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(kind.resource().api_version),
            kind: Some(kind.as_str().to_owned()),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(INSTANCE.to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::{Offence, Why};
    use super::super::object::Kind;
    use super::*;

    fn offender(name: &str, why: Why) -> Offender {
        Offender {
            kind: Kind::Deployment,
            namespace: "ai".to_owned(),
            name: name.to_owned(),
            uid: "0aa1b2c3-0000-4000-8000-000000000001".to_owned(),
            offence: Offence { why, note: "n".to_owned() },
        }
    }

    #[test]
    fn two_replicas_give_the_same_event_the_same_name_and_another_reason_another() {
        let name = |why| event(&offender("ollama", why), Timestamp::now()).metadata.name;
        assert_eq!(name(Why::Passed), name(Why::Passed));
        assert_ne!(name(Why::Passed), name(Why::Excluded));
    }

    #[test]
    fn the_event_is_about_the_object_where_kubectl_describe_looks_for_it() {
        let event = event(&offender("ollama", Why::Passed), Timestamp::now());
        let regarding = event.regarding.unwrap();
        assert_eq!(regarding.api_version.as_deref(), Some("apps/v1"));
        assert_eq!(
            (regarding.kind.as_deref(), regarding.name.as_deref()),
            (Some("Deployment"), Some("ollama"))
        );
        assert_eq!((event.reason.as_deref(), event.type_.as_deref()), (Some("NotInjected"), Some("Warning")));
    }

    #[test]
    fn the_longest_name_still_makes_a_name() {
        let long = format!("{}-{}", "a".repeat(199), "b".repeat(53));
        let name = event(&offender(&long, Why::Mistaken), Timestamp::now()).metadata.name.unwrap();
        assert!(name.len() <= 253 && !name.contains("-."), "{name}");
    }
}
