//! The slow way to a charge: ask what all others have reserved, and if too little is left take back what the dead had
//! and what the living do not use.
//!
//! One process at a time does this ([`super::turn`]). While it does, words of others only become smaller: their
//! processes use what they have reserved already and release. So the sum is never too small, and what is granted is
//! never more than the quota. A slot is emptied only by whoever holds its lock, so never under a new process.

use super::Cause;
use super::file::File;
use super::map::At;
use super::place::Place;
use super::step;
use super::turn::Turn;
use firstlight_contract::ledger::SLOTS;

/// Times that reservations are taken back before a charge is refused: what others release meanwhile shall count.
const PASSES: u32 = 2;

/// Charges so many units to a word of this process.
#[cold]
pub(super) fn charge(place: &Place, own: At, device: usize, units: u32) -> Result<(), Cause> {
    let limit = place.limit(device);
    if units > limit {
        return Err(Cause::Full);
    }
    let Some(_turn) = Turn::wait(&place.map, place.slot, |slot| place.is_alive(slot)) else {
        return Err(Cause::Busy);
    };
    if is_raised(place, own, device, units) {
        return Ok(());
    }
    let file = place.file();
    for _ in 0..PASSES {
        if let Some(file) = &file {
            reclaim(place, file, device);
        }
        trim(place, own, device);
        if is_raised(place, own, device, units) {
            return Ok(());
        }
    }
    // Without the file nobody was found dead, but somebody may be.
    Err(if file.is_some() { Cause::Full } else { Cause::Away })
}

/// Takes back what the dead have of any device. When a process joins, so that they do not become many.
pub(super) fn sweep(place: &Place) {
    if !(0..SLOTS).any(|slot| slot != place.slot && place.map.is_dirty(slot)) {
        return;
    }
    let turn = Turn::wait(&place.map, place.slot, |slot| place.is_alive(slot));
    if let (Some(_turn), Some(file)) = (turn, place.file()) {
        for slot in (0..SLOTS).filter(|slot| *slot != place.slot && place.map.is_dirty(*slot)) {
            empty_if_dead(place, &file, slot);
        }
    }
}

fn is_raised(place: &Place, own: At, device: usize, units: u32) -> bool {
    let others = place.map.taken_by_others(own, device);
    let limit = place.limit(device);
    let word = place.map.word(own, device);
    word.is_some_and(|word| step::change(word, |word| step::raised(word, units, others, limit)))
}

fn reclaim(place: &Place, file: &File, device: usize) {
    for slot in (0..SLOTS).filter(|slot| *slot != place.slot && place.map.has(*slot, device)) {
        empty_if_dead(place, file, slot);
    }
}

fn empty_if_dead(place: &Place, file: &File, slot: usize) {
    if file.take(slot) == Ok(true) {
        place.map.clear(slot);
        file.give(slot);
    }
}

/// Of other processes and of this one's other lanes.
fn trim(place: &Place, own: At, device: usize) {
    for word in place.map.others(own, device).filter_map(|at| place.map.word(at, device)) {
        step::change(word, step::trimmed);
    }
}
