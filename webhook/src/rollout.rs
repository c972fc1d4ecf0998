//! When a new certificate is used: after the API servers have learnt to trust it. Pure.
//!
//! ```text
//! Secret   old authority, old leaf │ new + old authority, new leaf
//! caBundle old                     │   new + old
//! served   old leaf                │   old leaf     new leaf
//!                                  renewed          settled
//! ```

use crate::authority::{Shared, merge};
use crate::tls::{Pair, certificates};
use std::time::{Duration, Instant, SystemTime};

/// What a configuration's caBundle is to be: what is shared, with those authorities in it now that are ours and
/// still valid, since other replicas may still serve their certificates.
pub fn bundle(shared: &Shared, current: &str, now: SystemTime) -> String {
    let merged = merge(&shared.bundle, current, now);
    // A bundle is bounded, and clocks differ: ours must not be the one that is cut off.
    let newest = newest(&shared.bundle);
    if certificates(&merged).is_ok_and(|all| all.iter().any(|one| newest.as_ref() == Some(one))) {
        merged
    } else {
        shared.bundle.clone()
    }
}

fn newest(bundle: &str) -> Option<rustls_pki_types::CertificateDer<'static>> {
    certificates(bundle).ok()?.into_iter().next()
}

/// What to do with a shared pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is served already.
    Keep,
    /// Serve it from now on.
    Serve,
    /// Serve what is served now for this long.
    Wait(Duration),
}

/// What this replica knows of the API servers' trust.
#[derive(Debug)]
pub struct Rollout {
    settle: Duration,
    trusted: Option<Trusted>,
}

#[derive(Debug)]
struct Trusted {
    authority: Option<rustls_pki_types::CertificateDer<'static>>,
    settled: Instant,
}

impl Rollout {
    /// Nothing is known. API servers read a new caBundle within `settle`.
    pub fn new(settle: Duration) -> Self {
        Self { settle, trusted: None }
    }

    /// Every caBundle has the authorities of what is shared. `fresh`: somebody may have written it only now.
    pub fn trusted(&mut self, shared: &Shared, fresh: bool, now: Instant) {
        let authority = newest(&shared.bundle);
        match &self.trusted {
            Some(trusted) if trusted.authority == authority => {}
            // What a replica finds in its place when it starts has been there before.
            None if !fresh => self.trusted = Some(Trusted { authority, settled: now }),
            _ => self.trusted = Some(Trusted { authority, settled: now + self.settle }),
        }
    }

    /// How long it takes until API servers trust what is shared.
    pub fn settles_in(&self, now: Instant) -> Duration {
        self.trusted.as_ref().map_or(self.settle, |trusted| trusted.settled.saturating_duration_since(now))
    }

    /// What to do with the shared pair, while another one is served or none is.
    pub fn step(&self, served: Option<&Pair>, shared: &Pair, now: Instant, today: SystemTime) -> Step {
        match served {
            // Better an unknown certificate than none.
            None => Step::Serve,
            Some(served) if served.same(shared) => Step::Keep,
            Some(served) if served.validity.until <= today => Step::Serve,
            Some(_) => match self.settles_in(now) {
                Duration::ZERO => Step::Serve,
                rest => Step::Wait(rest),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Renewal, Terms, renew, verify};

    const SETTLE: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    fn terms() -> Terms {
        Terms {
            dns_name: "hook.ns.svc".to_owned(),
            ca: Duration::from_hours(20),
            leaf: Duration::from_hours(10),
        }
    }

    fn renewed(shared: Option<&Shared>, now: SystemTime) -> Shared {
        match renew(shared, &terms(), now).unwrap() {
            Renewal::Replace(shared, _) => shared,
            Renewal::Keep => panic!("kept"),
        }
    }

    fn pair(shared: &Shared, now: SystemTime) -> Pair {
        Pair::parse(&shared.leaf, &shared.leaf_key, now).unwrap()
    }

    #[test]
    fn the_first_certificate_is_served_at_once_and_ready_when_api_servers_have_read_the_bundle() {
        let (now, today) = (Instant::now(), SystemTime::now());
        let shared = renewed(None, today);
        let mut rollout = Rollout::new(SETTLE);
        assert_eq!(rollout.step(None, &pair(&shared, today), now, today), Step::Serve);
        assert_eq!(rollout.settles_in(now), SETTLE, "nobody trusts it yet");
        rollout.trusted(&shared, true, now);
        assert_eq!(rollout.settles_in(now + 2 * SECOND), 3 * SECOND);
        rollout.trusted(&shared, false, now + 3 * SECOND);
        assert_eq!(rollout.settles_in(now + SETTLE), Duration::ZERO);
    }

    #[test]
    fn a_replica_that_finds_everything_in_place_is_ready_at_once() {
        let (now, today) = (Instant::now(), SystemTime::now());
        let mut rollout = Rollout::new(SETTLE);
        rollout.trusted(&renewed(None, today), false, now);
        assert_eq!(rollout.settles_in(now), Duration::ZERO);
    }

    #[test]
    fn a_new_certificate_under_a_known_authority_is_served_at_once() {
        let (now, today) = (Instant::now(), SystemTime::now());
        let first = renewed(None, today);
        let mut rollout = Rollout::new(SETTLE);
        rollout.trusted(&first, false, now);
        let later = today + Duration::from_hours(8);
        let second = renewed(Some(&first), later);
        rollout.trusted(&second, true, now + SECOND);
        let (old, new) = (pair(&first, today), pair(&second, later));
        assert_eq!(rollout.step(Some(&old), &new, now + SECOND, later), Step::Serve);
        assert_eq!(rollout.step(Some(&new), &new, now + SECOND, later), Step::Keep);
    }

    #[test]
    fn a_new_authority_settles_before_its_certificate_is_served_on_every_replica() {
        let (now, today) = (Instant::now(), SystemTime::now());
        let first = renewed(None, today);
        let later = today + Duration::from_hours(14);
        let second = renewed(Some(&first), later);
        let old = pair(&renewed(Some(&first), today + Duration::from_hours(8)), later);
        let new = pair(&second, later);
        // The one that made it, and one that finds it.
        for fresh in [true, false] {
            let mut rollout = Rollout::new(SETTLE);
            rollout.trusted(&first, false, now);
            rollout.trusted(&second, fresh, now + SECOND);
            assert_eq!(rollout.step(Some(&old), &new, now + 2 * SECOND, later), Step::Wait(4 * SECOND));
            assert_eq!(rollout.step(Some(&old), &new, now + SECOND + SETTLE, later), Step::Serve);
            let expired = today + Duration::from_hours(40);
            assert_eq!(rollout.step(Some(&old), &new, now + 2 * SECOND, expired), Step::Serve);
        }
    }

    #[test]
    fn the_bundle_trusts_old_and_new_certificates_while_both_are_served() {
        let today = SystemTime::now();
        let first = renewed(None, today);
        let later = today + Duration::from_hours(14);
        let old_leaf = renewed(Some(&first), today + Duration::from_hours(8)).leaf;
        let second = renewed(Some(&first), later);
        // A deleted Secret: the new authority knows nothing of the old one, but the configuration does.
        let stranger = renewed(None, later);
        for shared in [&second, &stranger] {
            let bundle = bundle(shared, &first.bundle, later);
            assert_eq!(verify(&old_leaf, &bundle, "hook.ns.svc", later), Ok(()));
            assert_eq!(verify(&shared.leaf, &bundle, "hook.ns.svc", later), Ok(()));
            assert_eq!(super::bundle(shared, &bundle, later), bundle, "it comes to rest");
        }
        assert_eq!(bundle(&first, "\n", today), first.bundle);
    }

    #[test]
    fn authorities_from_the_future_do_not_push_ours_out() {
        let today = SystemTime::now();
        let ours = renewed(None, today);
        let future: String =
            (1..4).map(|hour| renewed(None, today + Duration::from_hours(hour)).bundle).collect();
        let bundle = bundle(&ours, &future, today);
        assert_eq!(verify(&ours.leaf, &bundle, "hook.ns.svc", today), Ok(()));
    }
}
