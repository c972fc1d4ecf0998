//! What is charged, by name: a table for each lane, so that threads which free what they allocated do not take turns.

use crate::quota::Charge;
use crate::quota::live::{Live, NotKept};
use crate::thread;
use firstlight_contract::ledger::LANES;

/// The tables.
pub(super) struct Kept([Live<Charge>; LANES]);

impl Kept {
    pub(super) const fn new() -> Self {
        Self([const { Live::new() }; LANES])
    }

    /// Keeps a charge in the table of its lane. Returns the one that the name had there: its end was not seen.
    #[inline]
    pub(super) fn insert(&self, name: u64, charge: Charge) -> Result<Option<Charge>, NotKept> {
        self.0.get(charge.lane()).map_or(Err(NotKept), |table| table.insert(name, charge))
    }

    /// Forgets a name; what was charged for it. Looked for where the calling thread's are, then elsewhere.
    #[inline]
    pub(super) fn remove(&self, name: u64) -> Option<Charge> {
        let own = thread::number() % LANES;
        let first = self.0.get(own).and_then(|table| table.remove(name));
        if first.is_some() {
            return first;
        }
        let others = self.0.iter().enumerate().filter(|(lane, _)| *lane != own);
        others.map(|(_, table)| table).find_map(|table| table.remove(name))
    }

    /// Whether something is charged for a name.
    pub(super) fn has(&self, name: u64) -> bool {
        self.0.iter().any(|table| table.change(name, |_| ()).is_some())
    }

    /// Forgets all that are chosen, and hands each on.
    pub(super) fn drain(&self, chosen: impl Fn(&Charge) -> bool, mut each: impl FnMut(Charge)) {
        for table in &self.0 {
            table.drain(|_, charge| chosen(charge), &mut each);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_thread_keeps_another_finds() {
        let kept = Kept::new();
        let charges: Vec<Charge> = (0..LANES).map(|lane| Charge::default().in_lane(lane)).collect();
        for (name, charge) in (1..).zip(&charges) {
            assert_eq!(kept.insert(name, *charge), Ok(None));
        }
        let kept = &kept;
        std::thread::scope(|scope| {
            // Before the others take them.
            let looked = scope.spawn(move || assert!(kept.has(2) && kept.has(4) && !kept.has(5)));
            looked.join().unwrap();
            for (name, charge) in (1..).zip(&charges) {
                scope.spawn(move || assert_eq!(kept.remove(name), Some(*charge)));
            }
        });
        assert!((1..).zip(&charges).all(|(name, _)| kept.remove(name).is_none()));
    }

    #[test]
    fn whoever_kept_it_is_drained() {
        let kept = Kept::new();
        for lane in 0..LANES {
            let charge = Charge::default().in_lane(lane).with_owner(u16::try_from(lane % 2).unwrap());
            kept.insert(lane as u64 + 1, charge).unwrap();
        }
        let mut drained = 0;
        kept.drain(|charge| charge.owner() == 1, |_| drained += 1);
        assert_eq!((drained, kept.has(1), kept.has(2)), (LANES / 2, true, false));
    }
}
