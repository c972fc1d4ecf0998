//! The mapped ledger: where its words are, as atomic numbers. Nothing but this file knows addresses.
#![expect(unsafe_code, reason = "words of a mapping")]

use super::step;
use crate::sys::shared;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use firstlight_contract::ledger::{
    DEVICES, HEADER_SIZE, LANES, LOCK_AT, NAMES_AT, PID_AT, SIZE, SLOT_SIZE, SLOTS, TAKEN_AT, TOKEN_AT,
    WORDS_AT, Word, word_at,
};

/// Which of the words for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) slot: usize,
    pub(super) lane: usize,
}

/// The mapping. Zeroes are none; whoever has one of those must not ask it.
#[derive(Debug)]
pub(super) struct Map {
    start: usize,
}

impl Map {
    /// Maps an open ledger, whose size was looked at.
    pub(super) fn new(descriptor: usize) -> Result<Self, i32> {
        shared::map_file(descriptor, SIZE).map(|start| Self { start })
    }

    /// Unmaps; the locks that the mapping kept are gone.
    ///
    /// # Safety
    /// Nobody asks this map or a copy of it any more.
    pub(super) unsafe fn end(&self) {
        // SAFETY: made by `new`; the rest is the caller's promise.
        unsafe { shared::unmap(self.start, SIZE) };
    }

    /// The offset must be a multiple of 8 below `SIZE`.
    #[inline]
    fn number(&self, at: usize) -> &AtomicU64 {
        // SAFETY: aligned and within the mapping, which lives as long as this object; all processes use atomics.
        unsafe { &*(self.start.wrapping_add(at) as *const AtomicU64) }
    }

    /// The word of a place for a device; `None` if there is no such place or device.
    #[inline]
    pub(super) fn word(&self, at: At, device: usize) -> Option<&AtomicU64> {
        const {
            assert!(
                HEADER_SIZE.is_multiple_of(8) && SLOT_SIZE.is_multiple_of(8) && WORDS_AT.is_multiple_of(8)
            );
        };
        let inside = at.slot < SLOTS && at.lane < LANES && device < DEVICES;
        let offset = at.slot.wrapping_mul(SLOT_SIZE).wrapping_add(HEADER_SIZE);
        inside.then(|| self.number(offset.wrapping_add(word_at(at.lane, device))))
    }

    /// The same, read.
    fn read(&self, at: At, device: usize) -> Word {
        self.word(at, device).map_or(Word::default(), |word| Word::unpack(word.load(SeqCst)))
    }

    /// Units that a slot uses of a device.
    pub(super) fn used(&self, slot: usize, device: usize) -> u64 {
        let lanes = (0..LANES).map(|lane| u64::from(self.read(At { slot, lane }, device).used));
        lanes.fold(0, u64::wrapping_add)
    }

    /// Whether a slot has anything of any device.
    pub(super) fn is_dirty(&self, slot: usize) -> bool {
        (0..DEVICES).any(|device| self.has(slot, device))
    }

    /// Whether a slot has anything of a device.
    pub(super) fn has(&self, slot: usize, device: usize) -> bool {
        (0..LANES).any(|lane| self.read(At { slot, lane }, device) != Word::default())
    }

    /// Takes from a slot what it has; to be called by whoever holds its lock.
    pub(super) fn clear(&self, slot: usize) {
        for lane in 0..LANES {
            for word in (0..DEVICES).filter_map(|device| self.word(At { slot, lane }, device)) {
                word.store(0, SeqCst);
            }
        }
    }

    /// Says whose slot it is, for those who look from outside.
    pub(super) fn sign(&self, slot: usize, pid: u32, token: u64) {
        if slot < SLOTS {
            let at = HEADER_SIZE.wrapping_add(slot.wrapping_mul(SLOT_SIZE));
            self.number(at.wrapping_add(PID_AT)).store(u64::from(pid), SeqCst);
            self.number(at.wrapping_add(TOKEN_AT)).store(token, SeqCst);
        }
        self.taken_word().fetch_max(u32::try_from(slot).unwrap_or(0).wrapping_add(1), SeqCst);
    }

    /// Whether a place among the names has this name; enters it if the place is free. Entering stops between the two
    /// words if the process is killed there: the next one of this name finishes it.
    pub(super) fn name(&self, device: usize, low: u64, high: u64) -> bool {
        if device >= DEVICES {
            return false;
        }
        let at = NAMES_AT.wrapping_add(device.wrapping_mul(16));
        let is = |word: &AtomicU64, value: u64| {
            word.compare_exchange(0, value, SeqCst, SeqCst).map_or_else(|seen| seen == value, |_| true)
        };
        is(self.number(at), low) && is(self.number(at.wrapping_add(8)), high)
    }

    fn taken_word(&self) -> &AtomicU32 {
        // SAFETY: aligned and within the mapping, which lives as long as this object.
        unsafe { &*(self.start.wrapping_add(TAKEN_AT) as *const AtomicU32) }
    }

    /// Slots that were ever taken, as the file says: good enough for a question, not for a permission.
    pub(super) fn taken(&self) -> usize {
        (self.taken_word().load(Relaxed) as usize).min(SLOTS)
    }

    /// Who may raise a reservation: see [`super::turn`].
    pub(super) fn lock(&self) -> &AtomicU64 {
        self.number(LOCK_AT)
    }

    /// What all words but one have taken of a device. Whoever holds the lock may believe that it is no less: meanwhile
    /// words only become smaller.
    pub(super) fn taken_by_others(&self, own: At, device: usize) -> u64 {
        self.others(own, device).map(|at| step::taken(self.read(at, device))).fold(0, u64::saturating_add)
    }

    /// Where, beside one place, there is anything of a device.
    pub(super) fn others(&self, own: At, device: usize) -> impl Iterator<Item = At> {
        let places = (0..SLOTS).flat_map(|slot| (0..LANES).map(move |lane| At { slot, lane }));
        places.filter(move |at| *at != own && self.read(*at, device) != Word::default())
    }
}
