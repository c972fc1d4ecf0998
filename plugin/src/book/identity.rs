//! Whose grant is it? Pure: grants, what the kubelet lists and the pods in, owners out.
//!
//! * The kubelet lists the app containers (and sidecars) with their device ids. The newest grant with exactly
//!   those ids is the container's.
//! * Ordinary init containers are not listed, and get ids of the app containers in an Allocate of their own
//!   just before: an older grant that shares ids with one of that pod is an init container's.
//! * Nothing that a container says counts.

use super::Id;
use crate::clock::seconds;
use crate::grants::{Allocation, Owner};
use crate::pods::{Pod, PodName};
use std::collections::{BTreeMap, BTreeSet};

/// Creation times in the API server are whole seconds.
const SLACK_NS: u64 = seconds(2);
/// A grant that nobody was seen to own for so long may be nobody's.
const ORPHAN_NS: u64 = seconds(600);
/// A pod that was never seen may be on its way to our watch for so long.
const UNSEEN_NS: u64 = seconds(60);

/// A container and the ids that it holds of one resource, as the kubelet lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: String,
    /// Extended resource.
    pub resource: String,
    /// Ids, sorted.
    pub ids: Vec<String>,
}

/// What identity needs of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The grant's id.
    pub id: Id,
    /// Its Allocate.
    pub allocation: Allocation,
    /// Whose it is.
    pub owner: Option<Owner>,
}

impl Held {
    /// Resource and ids, which are sorted: the same for all grants of a chain.
    fn key(&self) -> (&str, &[String]) {
        (&self.allocation.resource, &self.allocation.ids)
    }
}

impl Holding {
    fn key(&self) -> (&str, &[String]) {
        (&self.resource, &self.ids)
    }
}

/// Pods by name.
pub type Pods = BTreeMap<PodName, Pod>;

fn pod<'a>(pods: &'a Pods, owner: &Owner) -> Option<&'a Pod> {
    pods.get(&(owner.namespace.clone(), owner.pod.clone()))
}

/// The grants whose owner is now known, with the owner.
pub fn owners(grants: &[&Held], holdings: &[Holding], pods: &Pods) -> Vec<(Id, Owner)> {
    let mut newest: BTreeMap<(&str, &[String]), &Held> = BTreeMap::new();
    for grant in grants {
        let known = newest.entry(grant.key()).or_insert(grant);
        if known.allocation.created_ns < grant.allocation.created_ns {
            *known = grant;
        }
    }
    let mut found = Vec::new();
    for holding in holdings {
        // An owned newest grant: nothing was allocated since.
        let newest = newest.get(&holding.key()).filter(|grant| grant.owner.is_none());
        let Some(grant) = newest else { continue };
        let owner = Owner {
            namespace: holding.namespace.clone(),
            pod: holding.pod.clone(),
            uid: None,
            container: holding.container.clone(),
            init: false,
        };
        found.push((grant.id.clone(), with_uid(owner, grant, pods)));
    }
    found
}

/// UIDs that were missing and are now known, and init containers that are now recognised.
pub fn completed(grants: &[&Held], pods: &Pods) -> Vec<(Id, Owner)> {
    let mut found: Vec<(Id, Owner)> = grants
        .iter()
        .filter_map(|grant| {
            let owner = grant.owner.as_ref().filter(|owner| owner.uid.is_none())?;
            let owner = with_uid(owner.clone(), grant, pods);
            owner.uid.is_some().then(|| (grant.id.clone(), owner))
        })
        .collect();
    let mut by_id: BTreeMap<(&str, &str), Vec<&Held>> = BTreeMap::new();
    for grant in grants {
        for id in &grant.allocation.ids {
            by_id.entry((&grant.allocation.resource, id)).or_default().push(grant);
        }
    }
    for grant in grants.iter().filter(|grant| grant.owner.is_none()) {
        let sharing: Vec<&Held> = grant
            .allocation
            .ids
            .iter()
            .filter_map(|id| by_id.get(&(grant.allocation.resource.as_str(), id.as_str())))
            .flatten()
            .copied()
            .collect();
        found.extend(init_owner(grant, &sharing, grants, pods).map(|owner| (grant.id.clone(), owner)));
    }
    found
}

fn with_uid(owner: Owner, grant: &Held, pods: &Pods) -> Owner {
    // A pod of the same name that is being deleted, or is younger than the grant, is another one.
    let uid = pod(pods, &owner)
        .filter(|pod| !pod.deleting && pod.created_ns <= grant.allocation.created_ns.saturating_add(SLACK_NS))
        .map(|pod| pod.uid.clone());
    Owner { uid, ..owner }
}

/// `sharing`: the grants that have one of its ids.
fn init_owner(grant: &Held, sharing: &[&Held], grants: &[&Held], pods: &Pods) -> Option<Owner> {
    let app = sharing
        .iter()
        .filter(|other| other.allocation.created_ns >= grant.allocation.created_ns)
        .filter(|other| other.owner.as_ref().is_some_and(|owner| !owner.init && owner.uid.is_some()))
        .min_by_key(|other| other.allocation.created_ns)?;
    let owner = app.owner.as_ref()?;
    let pod = pod(pods, owner).filter(|pod| Some(&pod.uid) == owner.uid.as_ref())?;
    if pod.created_ns > grant.allocation.created_ns.saturating_add(SLACK_NS) {
        return None;
    }
    let resource = &grant.allocation.resource;
    let taken: BTreeSet<&str> = grants
        .iter()
        .filter_map(|other| other.owner.as_ref())
        .filter(|other| other.init && other.uid == owner.uid)
        .map(|other| other.container.as_str())
        .collect();
    let fitting: Vec<&str> = pod
        .containers
        .iter()
        .filter(|container| {
            container.init
                && container.asks_for(resource).map(|count| count as usize)
                    == Some(grant.allocation.ids.len())
        })
        .map(|container| container.name.as_str())
        .filter(|name| !taken.contains(name))
        .collect();
    let container = match fitting.as_slice() {
        [] => return None,
        [one] => (*one).to_owned(),
        _ => String::new(),
    };
    Some(Owner { container, init: true, ..owner.clone() })
}

/// Grants whose pod is gone. `holdings`: what the kubelet listed *after* the pods were seen as they are.
pub fn gone(grants: &[&Held], holdings: &[Holding], pods: &Pods, now_ns: u64) -> Vec<Id> {
    let listed: BTreeSet<(&str, &str, &str, &str)> = holdings
        .iter()
        .flat_map(|holding| {
            let Holding { namespace, pod, resource, ids, .. } = holding;
            ids.iter().map(move |id| (namespace.as_str(), pod.as_str(), resource.as_str(), id.as_str()))
        })
        .collect();
    let is_gone = |grant: &&&Held| {
        let age = now_ns.saturating_sub(grant.allocation.created_ns);
        match &grant.owner {
            Some(owner) => {
                let Allocation { resource, ids, .. } = &grant.allocation;
                let listed =
                    ids.iter().any(|id| listed.contains(&(&owner.namespace, &owner.pod, resource, id)));
                match (&owner.uid, pod(pods, owner)) {
                    (Some(uid), Some(pod)) => pod.uid != *uid,
                    (Some(_), None) => !listed,
                    (None, None) => !listed && age >= UNSEEN_NS,
                    (None, Some(_)) => false,
                }
            }
            None => age >= ORPHAN_NS && !pods.values().any(|pod| may_own(pod, grant, grants)),
        }
    };
    grants.iter().filter(is_gone).map(|grant| grant.id.clone()).collect()
}

/// Whether a grant without owner may be one of this pod's containers.
fn may_own(pod: &Pod, grant: &Held, grants: &[&Held]) -> bool {
    let resource = &grant.allocation.resource;
    let wanted = pod.containers.iter().filter(|container| container.asks_for(resource).is_some()).count();
    let known = grants
        .iter()
        .filter(|other| other.allocation.resource == *resource)
        .filter(|other| other.owner.as_ref().is_some_and(|owner| owner.uid.as_ref() == Some(&pod.uid)))
        .count();
    pod.created_ns <= grant.allocation.created_ns.saturating_add(SLACK_NS) && known < wanted
}

#[cfg(test)]
mod tests;
