//! Pods that a preflight keeps from starting, or whose containers have no grant yet: what the preflight found is told all
//! the same. Such a container has no grant, since the kubelet allocates for it only when it starts; an entry without
//! records stands in for it until then.

use super::{Entry, Id, Inner};
use crate::book::identity::Held;
use crate::grants::{Allocation, Owner};
use crate::pods::{Pod, PodContainer, PodName};

/// Prefix of the ids of stand-ins; grants have hexadecimal ones.
const PREFIX: &str = "preflight:";

/// Whether an id is that of a stand-in: nothing of it is on the disk.
pub(super) fn is_stand_in(id: &Id) -> bool {
    id.starts_with(PREFIX)
}

impl Inner {
    /// Adds what stands in for containers of this pod that a preflight told of and that have no grant.
    pub(super) fn stand_in(&mut self, (namespace, name): &PodName, pod: &Pod) {
        for container in pod.containers.iter().filter(|container| !container.init) {
            let Some(preflight) = &container.preflight else { continue };
            let id = Id::from(format!("{PREFIX}{}:{}", pod.uid, container.name));
            if self.grants.contains_key(&id) || self.has_grant(&pod.uid, &container.name) {
                continue;
            }
            let Some(kind) = self.kind_of(container) else { continue };
            let owner = Owner {
                namespace: namespace.clone(),
                pod: name.clone(),
                uid: Some(pod.uid.clone()),
                container: container.name.clone(),
                init: false,
            };
            let allocation = Allocation {
                resource: String::new(),
                ids: Box::default(),
                build: String::new(),
                created_ns: preflight.at_ns,
                grant: Box::default(),
            };
            let held = Held { id: id.clone(), allocation, owner: Some(owner) };
            self.grants.insert(id, Box::new(Entry::new(held, kind, Box::default())));
        }
    }

    /// The grant of a container has its owner: nothing stands in for it any more.
    pub(super) fn stand_down(&mut self, owner: &Owner) {
        self.grants.retain(|id, entry| {
            let same = |known: &Owner| known.uid == owner.uid && known.container == owner.container;
            !(is_stand_in(id) && entry.held.owner.as_ref().is_some_and(same))
        });
    }

    fn has_grant(&self, uid: &str, container: &str) -> bool {
        self.grants
            .values()
            .filter_map(|entry| entry.held.owner.as_ref())
            .any(|owner| owner.uid.as_deref() == Some(uid) && owner.container == container && !owner.init)
    }

    /// The kind of the pool that a container asks for: its preflight had a grant of that resource.
    fn kind_of(&self, container: &PodContainer) -> Option<firstlight_contract::grant::PoolKind> {
        self.grants
            .values()
            .find(|entry| container.asks_for(&entry.held.allocation.resource).is_some())
            .map(|entry| entry.kind)
    }
}

#[cfg(test)]
mod tests {
    use crate::book::Book;
    use crate::book::identity::Holding;
    use crate::clock::seconds;
    use crate::grants::Allocation;
    use crate::metrics::Metrics;
    use crate::pods::{Pod, PodName};
    use firstlight_contract::grant::{Grant, PoolKind};
    use firstlight_diagnosis::Truth;
    use serde_json::json;
    use std::collections::BTreeMap;

    const AT: u64 = 1_700_000_000_000_000_000;
    const RESOURCE: &str = "firstlight.dev/simulated";

    /// A pod in Init, whose preflight left this message.
    fn pod(message: &str) -> (PodName, Pod) {
        let container = |name: &str| json!({"name": name, "resources": {"limits": {RESOURCE: "1"}}});
        let wire = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "ns", "name": "ollama-0", "uid": "u-1",
                "creationTimestamp": "2023-11-14T22:13:20Z",
                "annotations": {"firstlight.dev/gpu": "simulated", "firstlight.dev/injected": "0.1.0"}},
            "spec": {"containers": [container("ollama")], "initContainers": [container("firstlight-preflight")]},
            "status": {"initContainerStatuses": [{"name": "firstlight-preflight", "restartCount": 2,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2023-11-14T22:13:25Z", "message": message}}}]},
        });
        Pod::of(&serde_json::from_value(wire).unwrap()).unwrap()
    }

    fn allocate(book: &Book, id: &str, at_ns: u64) {
        let grant = Grant {
            id: id.to_owned(),
            pool: "simulated".to_owned(),
            kind: PoolKind::Simulated,
            driver: None,
            nvml: None,
            records: None,
            ledger: None,
            quota_bytes: None,
            devices: Vec::new(),
        };
        let allocation = Allocation {
            resource: RESOURCE.to_owned(),
            ids: vec!["sim-0-0".to_owned()].into(),
            build: "b".to_owned(),
            created_ns: at_ns,
            grant: Box::default(),
        };
        book.add(grant, allocation, false);
    }

    fn judged(book: &Book) -> Option<(Truth, &'static str)> {
        let metrics = Metrics::new().unwrap();
        for second in [10, 14, 18] {
            book.judge(AT + seconds(second), &metrics, None);
        }
        let wanted = book.wanted_conditions(AT + seconds(18), &BTreeMap::new());
        wanted.first().map(|wanted| (wanted.status, wanted.reason))
    }

    const MISSING: &str = "firstlight-preflight 1\ntable\tabsent\t0\n";

    #[test]
    fn a_pod_that_its_preflight_keeps_in_init_has_the_verdict_of_the_preflight() {
        let book = Book::default();
        allocate(&book, "aa", AT);
        let (name, pod) = pod(MISSING);
        book.pod_seen(name, pod);
        assert_eq!(judged(&book), Some((Truth::False, "ExportTableMissing")));
    }

    #[test]
    fn without_a_report_nothing_is_said_of_it() {
        let book = Book::default();
        allocate(&book, "aa", AT);
        let (name, pod) = pod("Error: something else");
        book.pod_seen(name, pod);
        assert_eq!(judged(&book), None);
    }

    #[test]
    fn once_the_container_has_its_grant_nothing_stands_in_for_it() {
        let book = Book::default();
        allocate(&book, "aa", AT);
        let (name, pod) = pod(MISSING);
        book.pod_seen(name.clone(), pod.clone());
        allocate(&book, "bb", AT + seconds(1));
        book.identify(&[Holding {
            namespace: "ns".to_owned(),
            pod: "ollama-0".to_owned(),
            container: "ollama".to_owned(),
            resource: RESOURCE.to_owned(),
            ids: vec!["sim-0-0".to_owned()],
        }]);
        book.pod_seen(name, pod);
        let ids: Vec<String> = book.lock().shown().map(|(_, entry)| entry.held.id.to_string()).collect();
        assert!(ids.contains(&"bb".to_owned()) && ids.iter().all(|id| !id.contains(':')), "{ids:?}");
    }

    #[test]
    fn it_goes_with_its_pod() {
        let book = Book::default();
        allocate(&book, "aa", AT);
        let (name, pod) = pod(MISSING);
        book.pods_listed([(name.clone(), pod)].into());
        assert_eq!(book.lock().shown().count(), 1);
        book.pod_gone(&name, "u-1");
        assert!(book.gone(&[], AT).iter().all(|id| !super::is_stand_in(id)), "nothing of it is on the disk");
        assert_eq!(book.lock().shown().count(), 0);
    }
}
