//! The arithmetic: what becomes of a slot's word when its process charges, releases, reserves more, or is trimmed by
//! another. Words come from a file that the container can write, so nothing here believes or overflows.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use firstlight_contract::ledger::Word;

/// Attempts at changing a word that others change, too. Each failure is somebody else's success.
const TRIES: u32 = 1 << 20;

/// Parts of a quota that are reserved at once, so that few charges must ask the other processes.
const PARTS: u32 = 64;

/// Changes a word by a step, unless the step says no.
#[inline]
pub(super) fn change(word: &AtomicU64, step: impl Fn(Word) -> Option<Word>) -> bool {
    let mut seen = word.load(Relaxed);
    for _ in 0..TRIES {
        let Some(next) = step(Word::unpack(seen)) else { return false };
        match word.compare_exchange_weak(seen, next.pack(), SeqCst, Relaxed) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
}

/// What a word counts against the quota. Used without having been reserved is garbage, and counts.
pub(super) fn taken(word: Word) -> u64 {
    u64::from(if word.used > word.reserved { word.used } else { word.reserved })
}

/// Uses more of what is reserved; `None` if that does not suffice.
#[inline]
pub(super) fn spent(word: Word, units: u32, limit: u32) -> Option<Word> {
    let used = word.used.checked_add(units)?;
    (used <= word.reserved && used <= limit).then_some(Word { used, ..word })
}

/// Uses less.
#[inline]
pub(super) fn returned(word: Word, units: u32) -> Word {
    Word { used: word.used.saturating_sub(units), ..word }
}

/// Reserves no more than what is used; `None` if it does not already.
pub(super) fn trimmed(word: Word) -> Option<Word> {
    (word.reserved > word.used).then_some(Word { reserved: word.used, ..word })
}

/// Uses more, and reserves more for that, up to the limit together with what all others have taken.
pub(super) fn raised(word: Word, units: u32, others: u64, limit: u32) -> Option<Word> {
    let used = word.used.checked_add(units)?;
    let left = u32::try_from(u64::from(limit).checked_sub(others)?).ok()?;
    if used > left || word.reserved > left {
        return None;
    }
    let missing = used.saturating_sub(word.reserved);
    if missing == 0 {
        return Some(Word { used, ..word });
    }
    let ahead = word.reserved.saturating_add(limit.div_ceil(PARTS)).min(left);
    Some(Word { used, reserved: used.max(ahead) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(reserved: u32, used: u32) -> Word {
        Word { reserved, used }
    }

    #[test]
    fn a_charge_takes_from_what_is_reserved_and_a_release_gives_back() {
        assert_eq!(spent(word(10, 3), 7, 100), Some(word(10, 10)));
        assert_eq!(spent(word(10, 3), 8, 100), None);
        assert_eq!(spent(word(u32::MAX, u32::MAX), 1, u32::MAX), None);
        assert_eq!(returned(word(10, 3), 2), word(10, 1));
        assert_eq!(returned(word(10, 3), 4), word(10, 0));
        assert_eq!(
            (trimmed(word(10, 3)), trimmed(word(3, 3)), trimmed(word(2, 3))),
            (Some(word(3, 3)), None, None)
        );
    }

    #[test]
    fn a_part_of_the_quota_is_reserved_ahead_if_it_is_left() {
        assert_eq!(raised(word(0, 0), 1, 0, 6400), Some(word(100, 1)));
        assert_eq!(raised(word(0, 0), 900, 0, 6400), Some(word(900, 900)));
        assert_eq!(raised(word(100, 100), 1, 6250, 6400), Some(word(150, 101)));
        assert_eq!(raised(word(100, 100), 50, 6250, 6400), Some(word(150, 150)));
        assert_eq!(raised(word(100, 100), 51, 6250, 6400), None);
    }

    proptest! {
        #[test]
        fn whatever_the_word_was_the_limit_holds(reserved: u32, used: u32, units: u32, others: u64, limit: u32) {
            let before = word(reserved, used);
            if let Some(after) = spent(before, units, limit) {
                prop_assert!(after.used <= limit && after.used <= after.reserved);
            }
            for others in [0, others % (1 << 32), others] {
                if let Some(after) = raised(before, units, others, limit) {
                    prop_assert!(others + taken(after) <= u64::from(limit));
                    prop_assert!(after.used <= after.reserved && after.reserved >= reserved);
                }
            }
        }

        #[test]
        fn what_fits_is_granted(used in 0..1000_u32, ahead in 0..1000_u32, units in 0..2000_u32, others in 0..3000_u64) {
            let (before, limit) = (word(used + ahead, used), 4000);
            let fits = others + u64::from((used + units).max(used + ahead)) <= u64::from(limit);
            prop_assert_eq!(raised(before, units, others, limit).is_some(), fits);
        }
    }
}
