//! All grants of the node in memory: whose they are, what their records told, what was concluded. One lock,
//! never held across an await.
//!
//! | module | what |
//! |---|---|
//! | [`identity`] | whose grant is it; which ones may go (pure) |
//! | `blocked` | pods that a preflight keeps from starting |
//! | [`forgetting`] | memory is for containers that something happens in |
//! | [`judging`] | verdicts over time, what is counted and published |
//! | [`series`] | the per-pod metrics, written at scrape time |

mod blocked;
pub mod forgetting;
pub mod identity;
pub mod judging;
pub mod series;

use crate::device_events::Changes;
use crate::grants::{Allocation, Owner, Store, Stored};
use crate::pods::{Pod, PodName};
use crate::records::Tail;
use firstlight_contract::grant::{Device, Grant, PoolKind};
use firstlight_contract::names::added;
use firstlight_diagnosis::{Container, Facts, Report};
use forgetting::Forgotten;
use identity::{Held, Holding, Pods};
use judging::{Judged, Settled};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A grant's id: one text, whoever names it.
pub type Id = Arc<str>;

/// One grant.
#[derive(Debug)]
pub struct Entry {
    /// Identity.
    pub held: Held,
    /// Kind of the pool.
    pub kind: PoolKind,
    /// The devices that the container was given.
    pub devices: Box<[Device]>,
    /// How far its records were read; `None`: it has none.
    pub tail: Option<Tail>,
    /// What the records told.
    pub container: Container,
    /// What was concluded.
    pub judged: Judged,
    /// Set while `container` is empty, because nothing happens in it.
    pub forgotten: Option<Forgotten>,
    durations_seen: u32,
    durations_to_skip: u32,
}

impl Entry {
    fn new(held: Held, kind: PoolKind, devices: Box<[Device]>) -> Self {
        Self {
            held,
            kind,
            devices,
            tail: None,
            container: Container::new(),
            judged: Judged::default(),
            forgotten: None,
            durations_seen: 0,
            durations_to_skip: 0,
        }
    }
}

/// The state behind the lock.
#[derive(Debug, Default)]
pub struct Inner {
    /// Grants by id. Boxed: a node of the map has room for eleven, and is hardly ever full.
    pub grants: BTreeMap<Id, Box<Entry>>,
    /// Pods that ask for our resources.
    pub pods: Pods,
    /// Whether the list of pods was complete once.
    pub pods_known: bool,
    /// Grants that were added since the tailer last looked.
    pub new: Vec<Id>,
    /// Units that are not healthy, by resource.
    pub unhealthy: BTreeMap<String, BTreeSet<String>>,
}

/// The grants of the node.
#[derive(Debug, Default)]
pub struct Book {
    /// Changes in the health of devices that were not told yet.
    pub changes: Changes,
    inner: Mutex<Inner>,
    /// A grant was added.
    pub allocated: Notify,
    /// There are new record files.
    pub files: Notify,
    /// Pods have changed.
    pub pods: Notify,
    /// Something may have to be published.
    pub judged: Notify,
}

impl Book {
    /// The state, for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in a holder ends the process anyhow; the state itself is whole after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new grant.
    pub fn add(&self, grant: Grant, allocation: Allocation, records: bool) {
        self.insert(grant, allocation, None, records, false);
        self.allocated.notify_one();
        self.files.notify_one();
    }

    /// The grants that a start finds on the disk.
    pub fn load(&self, stored: Vec<Stored>) {
        for Stored { grant, allocation, owner } in stored {
            let records = grant.records.is_some();
            self.insert(grant, allocation, owner, records, true);
        }
        self.allocated.notify_one();
        self.files.notify_one();
    }

    fn insert(
        &self,
        grant: Grant,
        mut allocation: Allocation,
        owner: Option<Owner>,
        records: bool,
        replay: bool,
    ) {
        // The text is on the disk.
        allocation.grant = Box::default();
        let Grant { id, kind, devices, .. } = grant;
        let id = Id::from(id);
        let mut entry = Entry::new(Held { id: id.clone(), allocation, owner }, kind, devices.into());
        entry.tail = records.then(Tail::default);
        entry.judged.set_replay(replay);
        let mut inner = self.lock();
        inner.new.push(id.clone());
        inner.grants.insert(id, Box::new(entry));
    }

    /// Replaces what is known of a pod of this name.
    pub fn pod_seen(&self, name: PodName, pod: Pod) {
        let mut inner = self.lock();
        let same = inner.pods.get(&name).is_some_and(|known| known.containers == pod.containers);
        if !same {
            inner.wake_pod(&pod.uid);
        }
        inner.stand_in(&name, &pod);
        inner.pods.insert(name, pod);
        drop(inner);
        self.files.notify_one();
        self.pods.notify_one();
    }

    /// The units of a resource that are not healthy now.
    pub fn set_unhealthy(&self, resource: &str, units: BTreeSet<String>) {
        let mut inner = self.lock();
        if inner.unhealthy.get(resource) != Some(&units) {
            inner.wake_where(|entry| entry.held.allocation.resource == resource);
            inner.unhealthy.insert(resource.to_owned(), units);
        }
        drop(inner);
        self.files.notify_one();
    }

    /// What stands now, by grant: to be marked as published once all of it is told.
    pub fn standing(&self) -> Vec<(Id, Settled)> {
        let inner = self.lock();
        let standing = |entry: &Entry| Some((entry.held.id.clone(), entry.judged.settled?));
        inner
            .grants
            .values()
            .filter(|entry| entry.judged.published != entry.judged.settled)
            .filter_map(|entry| standing(entry))
            .collect()
    }

    /// All of this was told.
    pub fn published(&self, standing: &[(Id, Settled)]) {
        let mut inner = self.lock();
        for (id, settled) in standing {
            if let Some(entry) = inner.grants.get_mut(id) {
                entry.judged.published = Some(*settled);
            }
        }
    }

    /// The pod with this UID is gone.
    pub fn pod_gone(&self, name: &PodName, uid: &str) {
        let mut inner = self.lock();
        if inner.pods.get(name).is_some_and(|pod| pod.uid == uid) {
            inner.pods.remove(name);
        }
        drop(inner);
        self.pods.notify_one();
    }

    /// The list of pods is complete: these are all.
    pub fn pods_listed(&self, pods: Pods) {
        let mut inner = self.lock();
        for (name, pod) in &pods {
            inner.stand_in(name, pod);
        }
        inner.pods = pods;
        inner.pods_known = true;
        drop(inner);
        self.pods.notify_one();
    }

    /// Forgets a grant.
    pub fn remove(&self, id: &str) {
        self.lock().grants.remove(id);
    }

    /// The builds that grants name.
    pub fn builds(&self) -> BTreeSet<String> {
        self.lock().grants.values().map(|entry| entry.held.allocation.build.clone()).collect()
    }

    /// The reports of a pod's containers: name and report; `None` if the pod has no grant here.
    pub fn reports(
        &self,
        store: &Store,
        namespace: &str,
        pod: &str,
        now_ns: u64,
    ) -> Option<Vec<(String, Report)>> {
        let inner = self.lock();
        let reports: Vec<_> = inner
            .shown()
            .filter(|(owner, _)| owner.namespace == namespace && owner.pod == pod)
            .map(|(owner, entry)| {
                let facts = inner.facts(entry);
                let report = match entry.forgotten {
                    None => entry.container.report(now_ns, &facts),
                    Some(_) => forgetting::read_again(store, &entry.held.id).report(now_ns, &facts),
                };
                (owner.container.clone(), report)
            })
            .collect();
        (!reports.is_empty()).then_some(reports)
    }

    /// Applies what identity found; returns what is new, to be kept on the disk.
    pub fn identify(&self, holdings: &[Holding]) -> Vec<(Id, Owner)> {
        let mut inner = self.lock();
        let mut all = identity::owners(&inner.held(), holdings, &inner.pods);
        inner.apply(&all);
        let completed = identity::completed(&inner.held(), &inner.pods);
        inner.apply(&completed);
        drop(inner);
        all.extend(completed);
        if !all.is_empty() {
            self.judged.notify_one();
        }
        all
    }

    /// Grants whose pod is gone; none before the pods are known.
    pub fn gone(&self, holdings: &[Holding], now_ns: u64) -> Vec<Id> {
        let mut inner = self.lock();
        if !inner.pods_known {
            return Vec::new();
        }
        let mut gone = identity::gone(&inner.held(), holdings, &inner.pods, now_ns);
        gone.retain(|id| {
            let stand_in = blocked::is_stand_in(id);
            if stand_in {
                inner.grants.remove(id);
            }
            !stand_in
        });
        gone
    }

    /// Whether a grant has no owner, or an owner without UID.
    pub fn has_strangers(&self) -> bool {
        let stranger = |entry: &Entry| entry.held.owner.as_ref().is_none_or(|owner| owner.uid.is_none());
        self.lock().grants.values().any(|entry| stranger(entry))
    }

    /// Whether a grant names a pod that is not there.
    pub fn has_leavers(&self) -> bool {
        let inner = self.lock();
        let left = |entry: &Entry| {
            let Some(owner) = &entry.held.owner else { return false };
            let key = (owner.namespace.clone(), owner.pod.clone());
            inner.pods.get(&key).is_none_or(|pod| owner.uid.as_ref().is_some_and(|uid| pod.uid != *uid))
        };
        inner.pods_known && inner.grants.values().any(|entry| left(entry))
    }
}

impl Inner {
    /// A pod has changed: what its containers told is read again where it was forgotten, and judged anew.
    fn wake_pod(&mut self, uid: &str) {
        let is_its =
            |entry: &Entry| entry.held.owner.as_ref().is_some_and(|owner| owner.uid.as_deref() == Some(uid));
        self.wake_where(is_its);
        for entry in self.grants.values_mut().filter(|entry| is_its(entry)) {
            entry.judged.hurry();
        }
    }

    fn wake_where(&mut self, is: impl Fn(&Entry) -> bool) {
        let ids: Vec<Id> = self
            .grants
            .iter()
            .filter(|(_, entry)| entry.forgotten.is_some() && is(entry))
            .map(|(id, _)| id.clone())
            .collect();
        self.wake(&ids);
    }

    fn held(&self) -> Vec<&Held> {
        self.grants.values().map(|entry| &entry.held).collect()
    }

    fn apply(&mut self, owners: &[(Id, Owner)]) {
        for (id, owner) in owners {
            if let Some(entry) = self.grants.get_mut(id) {
                tracing::info!(
                    grant = &**id,
                    namespace = owner.namespace,
                    pod = owner.pod,
                    container = owner.container,
                    uid = owner.uid,
                    "a grant has its owner"
                );
                entry.held.owner = Some(owner.clone());
                self.stand_down(owner);
            }
        }
    }

    /// The grants that are shown: those of containers with a name; of several with the same owner the newest.
    pub fn shown(&self) -> impl Iterator<Item = (&Owner, &Entry)> {
        let mut newest: BTreeMap<&Owner, &Entry> = BTreeMap::new();
        for entry in self.grants.values() {
            let shown = |owner: &&Owner| {
                // A preflight speaks by its report, not as a container of its own.
                let preflight = owner.init && owner.container.starts_with(added::PREFLIGHT);
                !owner.container.is_empty() && !preflight
            };
            let Some(owner) = entry.held.owner.as_ref().filter(shown) else { continue };
            newest
                .entry(owner)
                .and_modify(|known| {
                    if known.held.allocation.created_ns < entry.held.allocation.created_ns {
                        *known = entry;
                    }
                })
                .or_insert(entry);
        }
        newest.into_iter()
    }

    /// What is known of a grant's container from outside.
    pub fn facts(&self, entry: &Entry) -> Facts {
        let mut facts = Facts::of(entry.kind);
        if !entry.devices.is_empty() {
            facts.devices = u32::try_from(entry.devices.len()).ok();
        }
        let allocation = &entry.held.allocation;
        if let Some(unhealthy) = self.unhealthy.get(&allocation.resource) {
            facts.devices_healthy = Some(!allocation.ids.iter().any(|id| unhealthy.contains(id)));
        }
        let owner = entry.held.owner.as_ref();
        let pod = owner
            .and_then(|owner| {
                let pod = self.pods.get(&(owner.namespace.clone(), owner.pod.clone()))?;
                Some((owner, pod))
            })
            .filter(|(owner, pod)| owner.uid.as_ref().is_none_or(|uid| *uid == pod.uid));
        if let Some((owner, pod)) = pod {
            facts.annotated = Some(pod.annotated);
            facts.injected = Some(pod.injected);
            if let Some(container) = pod.container(&owner.container) {
                facts.injected = Some(pod.injected || container.preloads);
                // In an observer pool the devices are somebody else's.
                if entry.kind == PoolKind::Observer {
                    facts.devices = container.foreign_gpus;
                }
                facts.state = container.state;
                facts.restarts = container.restarts;
                facts.out_of_memory = container.out_of_memory;
                facts.environment = container.environment.to_vec();
                facts.preflight = container.preflight.as_deref().cloned();
            }
        }
        facts
    }
}
