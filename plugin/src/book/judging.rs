//! Verdicts over time: when they are formed, when they count, what is told of them.
//!
//! A verdict is formed when records arrive and, since silence says something too, again and again afterwards.
//! Success counts at once. A failure counts after it has stood for three seconds: one backend that fails beside
//! another that works is normal. Everything else counts when a cause is named, or when nothing more comes.

use super::{Book, Entry, Id};
use crate::clock::seconds;
use crate::grants::Owner;
use crate::metrics::Metrics;
use firstlight_contract::metrics::Outcome;
use firstlight_diagnosis::{Cause, Event, Truth, Verdict};
use std::collections::BTreeMap;

/// A failure must stand for so long.
const FAILURE_STANDS_NS: u64 = seconds(3);
/// Without a further record for so long, nothing more is expected.
const QUIET_NS: u64 = seconds(30);
/// Without a further record for so long, time alone changes no verdict: longer than any patience of the rules, but one.
const OVER_NS: u64 = seconds(60);
/// The one: a GPU that is held for so long and not used.
const UNUSED_OVER_NS: u64 = seconds(660);
/// How often a container is judged while records come, and how often otherwise.
const SOON_NS: u64 = seconds(1);
const LATER_NS: u64 = seconds(10);

/// What stands: a verdict that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Settled {
    /// The outcome.
    pub outcome: Outcome,
    /// The cause.
    pub cause: Cause,
    /// Status of the condition.
    pub ready: Truth,
    /// Reason of the condition.
    pub reason: &'static str,
}

/// What was concluded about a grant's container.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing known, and any mix of them occurs")]
pub struct Judged {
    /// Stage reached, or at which it failed.
    pub stage: u8,
    /// Whether kernels ran in a process that serves a model.
    pub in_use: bool,
    /// How often each outcome was reached, in the order of [`Outcome::ALL`].
    pub counts: [u64; 3],
    /// What stands.
    pub settled: Option<Settled>,
    /// When a launch was last reported, nanoseconds since the epoch.
    pub last_launch_ns: Option<u64>,
    /// What stood when everything was told last.
    pub published: Option<Settled>,
    /// A process that serves a model holds a GPU and has not used it: time alone may still change the verdict.
    unused: bool,
    /// Events that were told: reason and cause. One or two: a set would take room for eleven.
    pub told: Vec<(&'static str, Cause)>,
    counted: Option<(Outcome, u32)>,
    /// Restarts of the container when `settled` was formed.
    settled_at: u32,
    failing_since_ns: Option<u64>,
    last_records_ns: u64,
    due_ns: u64,
    /// Records from before our start are being read again: node-level metrics have seen them already.
    replay: bool,
    /// The first verdict that counts was formed before our start.
    silent: bool,
}

impl Judged {
    /// Whether nothing is expected any more, of the container or of us: records of long ago need no memory.
    pub fn is_over(&self, now_ns: u64) -> bool {
        self.settled.is_some()
            && self.settled == self.published
            && !self.replay
            && now_ns.saturating_sub(self.last_records_ns) >= self.patience_ns()
    }

    fn patience_ns(&self) -> u64 {
        if self.unused { UNUSED_OVER_NS } else { OVER_NS }
    }

    /// Judge no more, until records arrive.
    pub fn rest(&mut self) {
        self.due_ns = u64::MAX;
    }

    /// Something that verdicts rest on has changed: judge at once.
    pub fn hurry(&mut self) {
        self.due_ns = 0;
    }

    /// Records have arrived: judge at once.
    pub fn records_arrived(&mut self, now_ns: u64) {
        self.last_records_ns = now_ns;
        self.due_ns = 0;
    }

    /// Whether what is read now was written before our start.
    pub fn set_replay(&mut self, replay: bool) {
        self.replay = replay;
    }

    /// Whether what is read now was written before our start.
    pub fn is_replay(&self) -> bool {
        self.replay
    }

    /// The file was read to its end for the first time: what comes now is new. The verdict on what is old is
    /// formed before the next read, and does not count on the node level.
    pub fn caught_up(&mut self) {
        if self.replay {
            self.replay = false;
            self.silent = self.last_records_ns > 0;
        }
    }

    /// Takes in a verdict; says which outcome counts now, if one does.
    fn take(&mut self, verdict: &Verdict, restarts: u32, any_records: bool, now_ns: u64) -> Option<Outcome> {
        let failing = verdict.outcome == Outcome::Failure;
        let since = failing.then(|| self.failing_since_ns.unwrap_or(now_ns));
        self.failing_since_ns = since;
        let quiet = any_records && now_ns.saturating_sub(self.last_records_ns) >= QUIET_NS;
        let counts = match verdict.outcome {
            Outcome::Success => true,
            Outcome::Failure => since.is_some_and(|since| now_ns.saturating_sub(since) >= FAILURE_STANDS_NS),
            Outcome::Unknown => verdict.cause != Cause::Unknown || quiet || verdict.ready == Truth::False,
        };
        self.stage = verdict.stage.number();
        self.in_use = verdict.confirmed;
        let recent = now_ns.saturating_sub(self.last_records_ns) < 2 * QUIET_NS;
        self.due_ns = now_ns.saturating_add(if recent || !counts { SOON_NS } else { LATER_NS });
        let condition = verdict.condition();
        let settled = Settled {
            outcome: verdict.outcome,
            cause: verdict.cause,
            ready: condition.status,
            reason: condition.reason,
        };
        if !counts {
            // What stood was about an instance of the container that is gone.
            if verdict.outcome == Outcome::Unknown && self.settled.is_some() && self.settled_at != restarts {
                self.settled = Some(settled);
                self.settled_at = restarts;
            }
            return None;
        }
        self.settled = Some(settled);
        self.settled_at = restarts;
        if self.counted == Some((verdict.outcome, restarts)) {
            return None;
        }
        self.counted = Some((verdict.outcome, restarts));
        for (count, outcome) in self.counts.iter_mut().zip(Outcome::ALL) {
            *count += u64::from(outcome == verdict.outcome);
        }
        Some(verdict.outcome)
    }
}

/// The condition that a pod should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCondition {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// UID.
    pub uid: String,
    /// Status.
    pub status: Truth,
    /// Reason.
    pub reason: &'static str,
    /// Message.
    pub message: String,
}

/// An Event that was not told yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedEvent {
    /// The grant.
    pub grant: Id,
    /// Whose container it is about.
    pub owner: Owner,
    /// What stands.
    pub cause: Cause,
    /// The Event.
    pub event: Event,
}

impl Book {
    /// Judges what is due: one grant, or all.
    pub fn judge(&self, now_ns: u64, metrics: &Metrics, only: Option<&Id>) {
        let mut inner = self.lock();
        let is_due = |entry: &Entry| entry.judged.due_ns <= now_ns && entry.held.owner.is_some();
        let due: Vec<Id> = match only {
            Some(id) => inner
                .grants
                .get(id)
                .filter(|entry| is_due(entry))
                .map(|_| Id::clone(id))
                .into_iter()
                .collect(),
            None => {
                inner.grants.iter().filter(|(_, entry)| is_due(entry)).map(|(id, _)| id.clone()).collect()
            }
        };
        let mut news = false;
        for id in due {
            let Some(entry) = inner.grants.get(&id) else { continue };
            let facts = inner.facts(entry);
            let verdict = entry.container.verdict(now_ns, &facts);
            let any_records = entry.container.records() > 0;
            let Some(entry) = inner.grants.get_mut(&id) else { continue };
            let before = entry.judged.settled;
            entry.judged.last_launch_ns = entry.container.last_launch_ns();
            entry.judged.unused = entry
                .container
                .processes()
                .iter()
                .any(|process| process.is_runner() && process.usable() && process.launches() == 0);
            let counted = entry.judged.take(&verdict, facts.restarts, any_records, now_ns);
            if let Some(outcome) = counted
                && !std::mem::take(&mut entry.judged.silent)
            {
                metrics.outcomes.with_label_values(&[outcome.as_str()]).inc();
            }
            news |= entry.judged.settled != before;
            entry.forget_if_over(now_ns);
        }
        drop(inner);
        if news {
            self.judged.notify_one();
        }
    }

    /// Conditions that pods should have and, as far as we know, do not have. `told`: what was written, by UID.
    pub fn wanted_conditions(
        &self,
        now_ns: u64,
        told: &BTreeMap<String, (Truth, &'static str)>,
    ) -> Vec<WantedCondition> {
        let inner = self.lock();
        let mut by_pod: BTreeMap<&str, Vec<(&Owner, &Entry)>> = BTreeMap::new();
        for (owner, entry) in inner.shown().filter(|(owner, _)| !owner.init) {
            if let Some(uid) = &owner.uid {
                by_pod.entry(uid).or_default().push((owner, entry));
            }
        }
        let (mut wanted, mut to_wake) = (Vec::new(), Vec::new());
        for (uid, containers) in by_pod {
            // The worst container speaks for the pod; one of which nothing is known yet keeps it from being good.
            let rank = |entry: &Entry| match entry.judged.settled.map(|settled| settled.ready) {
                Some(Truth::False) => 0,
                Some(Truth::Unknown) => 1,
                None => 2,
                Some(Truth::True) => 3,
            };
            let Some((owner, entry)) = containers.iter().min_by_key(|(_, entry)| rank(entry)) else {
                continue;
            };
            let Some(settled) = &entry.judged.settled else { continue };
            let Some(pod) = inner.pods.get(&(owner.namespace.clone(), owner.pod.clone())) else { continue };
            if pod.uid != uid || is_told(told.get(uid), pod.condition.as_ref(), *settled) {
                continue;
            }
            if entry.forgotten.is_some() {
                to_wake.push(entry.held.id.clone());
                continue;
            }
            let verdict = entry.container.verdict(now_ns, &inner.facts(entry));
            let mut message = verdict.condition().message;
            if pod.containers.iter().filter(|container| !container.init).count() > 1 {
                message = format!("{}: {message}", owner.container);
            }
            wanted.push(WantedCondition {
                namespace: owner.namespace.clone(),
                pod: owner.pod.clone(),
                uid: uid.to_owned(),
                status: settled.ready,
                reason: settled.reason,
                message,
            });
        }
        drop(inner);
        self.wake(&to_wake);
        wanted
    }

    /// Events that were not told yet.
    pub fn wanted_events(&self, now_ns: u64) -> Vec<WantedEvent> {
        let inner = self.lock();
        let mut wanted = Vec::new();
        let told_or_more = |entry: &Entry| entry.forgotten.is_none();
        for (owner, entry) in
            inner.shown().filter(|(owner, entry)| owner.uid.is_some() && !owner.init && told_or_more(entry))
        {
            let Some(settled) = entry.judged.settled else { continue };
            let verdict = entry.container.verdict(now_ns, &inner.facts(entry));
            let Some(event) = verdict.event().filter(|_| verdict.outcome == settled.outcome) else {
                continue;
            };
            if entry.judged.told.contains(&(event.reason, verdict.cause)) {
                continue;
            }
            let grant = entry.held.id.clone();
            wanted.push(WantedEvent { grant, owner: owner.clone(), cause: verdict.cause, event });
        }
        wanted
    }

    /// An Event was told.
    pub fn event_told(&self, grant: &str, reason: &'static str, cause: Cause) {
        if let Some(entry) = self.lock().grants.get_mut(grant) {
            let told = &mut entry.judged.told;
            told.reserve_exact(1);
            told.push((reason, cause));
        }
    }
}

fn is_told(
    told: Option<&(Truth, &'static str)>,
    in_api: Option<&(String, String)>,
    settled: Settled,
) -> bool {
    match (told, in_api) {
        (Some((status, reason)), _) => *status == settled.ready && *reason == settled.reason,
        (None, Some((status, reason))) => status == settled.ready.as_str() && reason == settled.reason,
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::grant::PoolKind;
    use firstlight_diagnosis::{Container, Facts};

    fn verdict(outcome: Outcome) -> Verdict {
        let nothing = Container::new().verdict(0, &Facts::of(PoolKind::Simulated));
        Verdict { outcome, ..nothing }
    }

    #[test]
    fn success_counts_at_once_and_once() {
        let mut judged = Judged::default();
        assert_eq!(judged.take(&verdict(Outcome::Success), 0, true, 10), Some(Outcome::Success));
        assert_eq!(judged.take(&verdict(Outcome::Success), 0, true, 20), None);
        assert_eq!(judged.counts, [1, 0, 0]);
    }

    #[test]
    fn a_failure_that_a_success_follows_within_seconds_never_counts() {
        let mut judged = Judged::default();
        assert_eq!(judged.take(&verdict(Outcome::Failure), 0, true, seconds(1)), None);
        assert_eq!(judged.take(&verdict(Outcome::Failure), 0, true, seconds(3)), None);
        assert_eq!(judged.take(&verdict(Outcome::Success), 0, true, seconds(3)), Some(Outcome::Success));
        assert_eq!(judged.counts, [1, 0, 0]);
    }

    #[test]
    fn a_failure_that_stands_counts() {
        let mut judged = Judged::default();
        judged.take(&verdict(Outcome::Failure), 0, true, seconds(1));
        assert_eq!(judged.take(&verdict(Outcome::Failure), 0, true, seconds(4)), Some(Outcome::Failure));
    }

    #[test]
    fn a_restarted_container_counts_again() {
        let mut judged = Judged::default();
        judged.take(&verdict(Outcome::Success), 0, true, 10);
        assert_eq!(judged.take(&verdict(Outcome::Success), 1, true, 20), Some(Outcome::Success));
        assert_eq!(judged.counts, [2, 0, 0]);
    }

    #[test]
    fn a_restart_ends_what_stood_and_says_nothing_of_its_own() {
        let mut judged = Judged::default();
        judged.take(&verdict(Outcome::Success), 0, true, 10);
        assert_eq!(judged.take(&verdict(Outcome::Unknown), 0, true, 20), None);
        assert_eq!(
            judged.settled.map(|settled| settled.outcome),
            Some(Outcome::Success),
            "the same instance"
        );
        assert_eq!(judged.take(&verdict(Outcome::Unknown), 1, true, 30), None);
        assert_eq!(judged.settled.map(|settled| settled.ready), Some(Truth::Unknown));
        assert_eq!(judged.counts, [1, 0, 0]);
        assert_eq!(judged.take(&verdict(Outcome::Success), 1, true, 40), Some(Outcome::Success));
    }

    #[test]
    fn waiting_for_the_first_record_counts_as_nothing() {
        let mut judged = Judged::default();
        assert_eq!(judged.take(&verdict(Outcome::Unknown), 0, false, seconds(1000)), None);
        assert_eq!(judged.counts, [0, 0, 0]);
    }
}
