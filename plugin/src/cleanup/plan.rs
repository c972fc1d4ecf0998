//! What may go: what lies on the disk and what the kubelet lists in, one verdict for each thing out. Pure.
//!
//! The kubelet replays an Allocate response at each container restart: a grant stays while a live pod holds one
//! of its devices, a build while such a grant names it. In doubt things stay.

use crate::book::identity::Holding;
use crate::grants::Stored;
use std::path::PathBuf;

/// The state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Everything in it.
    pub found: Vec<Found>,
    /// Whether an agent works in it, or did until just now.
    pub agent: bool,
}

/// One thing in the state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where, below the state directory.
    pub path: PathBuf,
    /// What it is.
    pub what: What,
}

/// What a thing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A grant; `None`: it cannot be read.
    Grant(Option<Box<Stored>>),
    /// The libraries of one build.
    Build,
    /// Libraries whose installation did not end.
    Unfinished,
    /// The sockets at which agents listen to the prober.
    Sockets,
    /// Not ours: why.
    Foreign(&'static str),
}

/// What becomes of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Remove,
    /// It is ours and stays for now: why.
    Keep(String),
    /// It is not ours: why.
    Foreign(&'static str),
}

/// A thing and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where, below the state directory.
    pub path: PathBuf,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// One step for each thing, grants first.
pub fn plan(disk: &Disk, holdings: &[Holding]) -> Vec<Step> {
    let user = |stored: &Stored| holdings.iter().find(|holding| uses(holding, stored));
    let readable = || {
        disk.found.iter().filter_map(|found| match &found.what {
            What::Grant(Some(stored)) => Some(stored),
            _ => None,
        })
    };
    let unreadable = disk.found.iter().any(|found| found.what == What::Grant(None));
    // Whose grant cannot be read may replay from any build.
    let in_doubt =
        holdings.iter().find(|holding| unreadable || !readable().any(|stored| explains(stored, holding)));
    let verdict = |found: &Found| {
        let kept = match &found.what {
            What::Foreign(why) => return Verdict::Foreign(why),
            What::Unfinished | What::Sockets => None,
            What::Grant(Some(stored)) => user(stored).map(|holding| format!("{} uses it", who(holding))),
            What::Grant(None) => {
                in_doubt.map(|holding| format!("it cannot be read; {} may use it", who(holding)))
            }
            What::Build => readable()
                .filter(|stored| found.path.as_os_str() == stored.allocation.build.as_str())
                .find(|stored| user(stored).is_some())
                .map(|stored| format!("grant {} names it", stored.grant.id))
                .or_else(|| in_doubt.map(|holding| format!("{} may use it", who(holding)))),
        };
        match kept {
            Some(why) => Verdict::Keep(why),
            // What it has just handed out may not be listed yet, and it hands out more.
            None if disk.agent => {
                Verdict::Keep("an agent works here, or did until a moment ago; uninstall it first".to_owned())
            }
            None => Verdict::Remove,
        }
    };
    let (grants, others): (Vec<&Found>, Vec<&Found>) =
        disk.found.iter().partition(|found| matches!(found.what, What::Grant(_)));
    let step = |found: &Found| Step { path: found.path.clone(), verdict: verdict(found) };
    grants.into_iter().chain(others).map(step).collect()
}

/// Whether this holder may replay this grant. Init containers are not listed, but share ids with the others of
/// their pod; an owner that is known and another one had the ids before.
fn uses(holding: &Holding, stored: &Stored) -> bool {
    let ours = stored.owner.as_ref().is_none_or(|owner| {
        (owner.namespace.as_str(), owner.pod.as_str()) == (holding.namespace.as_str(), holding.pod.as_str())
    });
    ours && stored.allocation.resource == holding.resource
        && stored.allocation.ids.iter().any(|id| holding.ids.contains(id))
}

/// Whether this is the grant of just this holder, not only of an init container beside it.
fn explains(stored: &Stored, holding: &Holding) -> bool {
    uses(holding, stored) && holding.ids.iter().all(|id| stored.allocation.ids.contains(id))
}

fn who(holding: &Holding) -> String {
    format!("pod {}/{}, container {},", holding.namespace, holding.pod, holding.container)
}

#[cfg(test)]
mod tests;
