//! The mapped ledger: where its words are, as atomic numbers. Nothing but this file knows addresses.
#![expect(unsafe_code, reason = "words of a mapping")]

use super::step;
use crate::sys::shared;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use firstlight_contract::ledger::{
    DEVICES, HEADER_SIZE, LOCK_AT, PID_AT, SIZE, SLOT_SIZE, SLOTS, TAKEN_AT, TOKEN_AT, WORDS_AT, Word,
};

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

    /// What a slot has of a device; `None` if there is no such slot or device.
    #[inline]
    pub(super) fn word(&self, slot: usize, device: usize) -> Option<&AtomicU64> {
        const {
            assert!(
                HEADER_SIZE.is_multiple_of(8) && SLOT_SIZE.is_multiple_of(8) && WORDS_AT.is_multiple_of(8)
            );
        };
        let inside = slot < SLOTS && device < DEVICES;
        let at = slot.wrapping_mul(SLOT_SIZE).wrapping_add(device.wrapping_mul(8));
        inside.then(|| self.number(at.wrapping_add(HEADER_SIZE + WORDS_AT)))
    }

    /// The same, read.
    pub(super) fn read(&self, slot: usize, device: usize) -> Word {
        self.word(slot, device).map_or(Word::default(), |word| Word::unpack(word.load(SeqCst)))
    }

    /// Whether a slot has anything of any device.
    pub(super) fn is_dirty(&self, slot: usize) -> bool {
        (0..DEVICES).any(|device| self.read(slot, device) != Word::default())
    }

    /// Takes from a slot what it has; to be called by whoever holds its lock.
    pub(super) fn clear(&self, slot: usize) {
        for word in (0..DEVICES).filter_map(|device| self.word(slot, device)) {
            word.store(0, SeqCst);
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

    /// What all slots but one have taken of a device. Whoever holds the lock may believe that it is no less: meanwhile
    /// words only become smaller.
    pub(super) fn taken_by_others(&self, own: usize, device: usize) -> u64 {
        self.others(own, device).map(|(_, word)| step::taken(word)).fold(0, u64::saturating_add)
    }

    /// Words of all slots but one that have anything of a device.
    pub(super) fn others(&self, own: usize, device: usize) -> impl Iterator<Item = (usize, Word)> {
        let words = (0..SLOTS).map(move |slot| (slot, self.read(slot, device)));
        words.filter(move |(slot, word)| *slot != own && *word != Word::default())
    }
}
