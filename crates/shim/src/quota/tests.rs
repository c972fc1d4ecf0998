//! Several members in one process: each opens the ledger by itself, so to each the others are strangers. Leaving is
//! what death is: the lock goes, the words stay. What needs processes is in `tests/quota.rs`.

use super::map::At;
use super::turn::Turn;
use super::*;
use crate::sys;
use core::sync::atomic::Ordering::Relaxed;
use firstlight_contract::ledger::{DEVICES, LANES, SIZE, SLOTS, Word, header};
use proptest::collection::vec;
use proptest::prelude::*;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

const LIMIT: u64 = 6400 * UNIT;

/// A forked child holds for a moment what its parent had open, and with it locks: no test here runs meanwhile.
pub(super) static FORKING: RwLock<()> = RwLock::new(());

struct Ledger(NamedTempFile, #[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>);

impl Ledger {
    fn new() -> Self {
        let mut file = NamedTempFile::new().unwrap();
        let mut bytes = header().to_vec();
        bytes.resize(SIZE, 0);
        file.write_all(&bytes).unwrap();
        Self(file, FORKING.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn path(&self) -> Vec<u8> {
        let mut path = self.0.path().as_os_str().as_bytes().to_vec();
        path.push(0);
        path
    }

    fn try_member(&self) -> Result<Quota, Failure> {
        let quota = Quota::new();
        quota.join(&self.path(), &[LIMIT, LIMIT], 7).map(|()| quota)
    }

    fn member(&self) -> Quota {
        self.try_member().unwrap()
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.0.seek(SeekFrom::Start(at as u64)).unwrap();
        self.0.write_all(bytes).unwrap();
    }
}

/// The word of the first lane.
fn word(quota: &Quota, device: usize) -> Word {
    let place = quota.place().unwrap();
    let word = place.map.word(At { slot: place.slot, lane: 0 }, device).unwrap();
    Word::unpack(word.load(Relaxed))
}

/// What `charge` would have returned: to give back what was never charged.
fn made_up(device: usize, bytes: u64) -> Charge {
    charge(0, device, bytes).unwrap_or_default()
}

fn hold_turn(quota: &Quota) {
    let place = quota.place().unwrap();
    std::mem::forget(Turn::wait(&place.map, place.slot, |_| true).unwrap());
}

#[test]
fn what_is_charged_is_used_until_it_is_released() {
    let ledger = Ledger::new();
    let member = ledger.member();
    assert_eq!(member.used(0), (0, 0));
    let small = member.charge_in(0, 0, 1).unwrap();
    let large = member.charge_in(0, 0, UNIT + 1).unwrap();
    assert_eq!((small.bytes(), large.bytes()), (UNIT, 2 * UNIT));
    assert_eq!(member.used(0), (3 * UNIT, 3 * UNIT));
    assert_eq!(word(&member, 0), Word { used: 3, reserved: 100 });
    member.release(large);
    member.release(small);
    assert_eq!((member.used(0), member.used(1)), ((0, 0), (0, 0)));
    member.release(made_up(0, LIMIT));
    assert_eq!(word(&member, 0), Word { used: 0, reserved: 100 });
}

#[test]
fn the_last_byte_is_granted_and_not_one_more() {
    let ledger = Ledger::new();
    let (one, other) = (ledger.member(), ledger.member());
    one.charge_in(0, 0, LIMIT / 4).unwrap();
    other.charge_in(0, 0, LIMIT / 4 * 3).unwrap();
    let refused = Refused {
        cause: Cause::Full,
        asked: 1,
        used: LIMIT / 4,
        used_by_others: LIMIT / 4 * 3,
        limit: LIMIT,
    };
    assert_eq!(one.charge_in(0, 0, 1), Err(refused));
    one.charge_in(0, 1, LIMIT).unwrap();
    other.release(made_up(0, UNIT));
    one.charge_in(0, 0, 1).unwrap();
    assert_eq!(one.used(0), (LIMIT / 4 + UNIT, LIMIT));
}

#[test]
fn what_others_reserved_and_do_not_use_is_there_for_who_needs_it() {
    let ledger = Ledger::new();
    let (one, other) = (ledger.member(), ledger.member());
    one.charge_in(0, 0, LIMIT / 2).unwrap();
    one.release(made_up(0, LIMIT / 2));
    assert_eq!(word(&one, 0).reserved, 3200);
    other.charge_in(0, 0, LIMIT).unwrap();
    assert_eq!(word(&one, 0).reserved, 0);
}

#[test]
fn a_charge_can_grow_and_shrink() {
    let ledger = Ledger::new();
    let member = ledger.member();
    let charge = Charge { owner: 9, ..member.charge_in(0, 0, LIMIT / 2).unwrap() };
    assert_eq!(member.resize(charge, LIMIT + 1).unwrap_err().cause, Cause::Full);
    assert_eq!(member.used(0).0, LIMIT / 2);
    let grown = member.resize(charge, LIMIT).unwrap();
    assert_eq!((grown.bytes(), grown.owner, member.used(0).0), (LIMIT, 9, LIMIT));
    let shrunk = member.resize(grown, 1).unwrap();
    assert_eq!((shrunk.bytes(), member.used(0).0), (UNIT, UNIT));
    member.release(shrunk);
    assert_eq!(member.used(0).0, 0);
}

#[test]
fn devices_without_a_line_are_numbered_in_the_order_of_their_first_use() {
    let ledger = Ledger::new();
    let (one, other) = (ledger.member(), ledger.member());
    let uuid = |last: u8| [7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0, 0, 0, 0, last];
    assert_eq!((one.number_of(uuid(1), 2), other.number_of(uuid(2), 2)), (Some(2), Some(3)));
    assert_eq!((other.number_of(uuid(1), 2), one.number_of(uuid(2), 2)), (Some(2), Some(3)));
    assert_eq!(one.number_of([0; 16], 2), Some(4));
    let more = (3..).map_while(|last| one.number_of(uuid(last), 2)).count();
    assert_eq!(more, DEVICES - 5);
    assert_eq!(Quota::new().number_of(uuid(1), 0), None);
}

#[test]
fn threads_in_different_lanes_share_one_quota() {
    let ledger = Ledger::new();
    let (member, other) = (ledger.member(), ledger.member());
    let charges: Vec<Charge> =
        (0..LANES).map(|lane| member.charge_in(lane, 0, LIMIT / LANES as u64).unwrap()).collect();
    assert_eq!(member.used(0), (LIMIT, LIMIT));
    assert_eq!(member.charge_in(1, 0, 1).unwrap_err().cause, Cause::Full);
    for charge in charges {
        member.release(charge);
    }
    assert_eq!(other.used(0), (0, 0));
    member.charge_in(LANES + 2, 0, LIMIT).unwrap();
}

#[test]
fn what_the_dead_used_goes_to_the_next_who_needs_it() {
    let ledger = Ledger::new();
    let (first, dying, third) = (ledger.member(), ledger.member(), ledger.member());
    dying.charge_in(0, 0, LIMIT).unwrap();
    dying.charge_in(0, 1, LIMIT / 2).unwrap();
    assert_eq!(first.charge_in(0, 0, 1).unwrap_err().cause, Cause::Full);
    drop(dying);
    assert_eq!((first.used(0), third.used(1)), ((0, 0), (0, 0)));
    first.charge_in(0, 0, LIMIT).unwrap();
    third.charge_in(0, 1, LIMIT).unwrap();
}

#[test]
fn who_joins_cleans_up_after_the_dead() {
    let ledger = Ledger::new();
    let (_first, dying) = (ledger.member(), ledger.member());
    dying.charge_in(0, 0, LIMIT).unwrap();
    drop(dying);
    let next = ledger.member();
    let place = next.place().unwrap();
    assert_eq!((place.slot, place.map.taken()), (2, 3));
    assert!((0..SLOTS).all(|slot| !place.map.is_dirty(slot)));
    // The slot is clean now, and free.
    assert_eq!(ledger.member().place().unwrap().slot, 1);
}

#[test]
fn a_dead_process_whose_turn_it_was_is_overtaken() {
    let ledger = Ledger::new();
    let (dying, waiting) = (ledger.member(), ledger.member());
    hold_turn(&dying);
    drop(dying);
    let begin = Instant::now();
    waiting.charge_in(0, 0, LIMIT).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1));
    // And when somebody joins, who cleans up.
    hold_turn(&waiting);
    drop(waiting);
    let (zero, heir) = (ledger.member(), ledger.member());
    assert_eq!((zero.place().unwrap().slot, heir.place().unwrap().slot), (0, 1));
    zero.charge_in(0, 0, LIMIT).unwrap();
}

#[test]
fn who_inherits_the_slot_of_the_dead_ends_its_turn() {
    let ledger = Ledger::new();
    let dying = ledger.member();
    hold_turn(&dying);
    drop(dying);
    let begin = Instant::now();
    let heir = ledger.member();
    heir.charge_in(0, 0, LIMIT).unwrap();
    assert_eq!(heir.place().unwrap().slot, 0);
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn who_waits_for_a_turn_that_does_not_come_is_refused() {
    let ledger = Ledger::new();
    let (stopped, waiting) = (ledger.member(), ledger.member());
    hold_turn(&stopped);
    let begin = Instant::now();
    assert_eq!(waiting.charge_in(0, 0, 1).unwrap_err().cause, Cause::Busy);
    assert!(begin.elapsed() > Duration::from_secs(2) && begin.elapsed() < Duration::from_secs(6));
}

#[test]
fn what_has_no_limit_or_no_place_is_refused() {
    let ledger = Ledger::new();
    let member = ledger.member();
    for device in [2, DEVICES - 1, DEVICES, usize::MAX] {
        assert_eq!(member.charge_in(0, device, 1).unwrap_err().cause, Cause::Full);
        member.release(made_up(device, 1));
        assert_eq!(member.used(device), (0, 0));
    }
    for bytes in [LIMIT + 1, u64::from(u32::MAX) * UNIT, u64::MAX] {
        assert_eq!(member.charge_in(0, 0, bytes).unwrap_err().cause, Cause::Full);
    }
    assert_eq!(Quota::new().charge_in(0, 0, 1).unwrap_err().cause, Cause::Away);
}

#[test]
fn what_is_no_ledger_is_not_joined() {
    let join = |path: &[u8]| Quota::new().join(path, &[LIMIT], 0).unwrap_err();
    assert_eq!(join(b"/nonexistent\0"), Failure::Open(sys::ENOENT));
    assert_eq!((join(b"/nonexistent"), join(&[b'/'; 300])), (Failure::Path, Failure::Path));
    let mut ledger = Ledger::new();
    ledger.write(8, &[2]);
    assert_eq!(ledger.try_member().unwrap_err(), Failure::Foreign);
    let short = Ledger::new();
    short.0.as_file().set_len(SIZE as u64 - 1).unwrap();
    assert_eq!(short.try_member().unwrap_err(), Failure::Foreign);
}

#[test]
fn there_are_so_many_slots_and_one_that_dies_makes_room() {
    let ledger = Ledger::new();
    let mut members: Vec<Quota> = (0..SLOTS).map(|_| ledger.member()).collect();
    assert_eq!(ledger.try_member().unwrap_err(), Failure::NoSlot);
    members[100].charge_in(0, 0, LIMIT).unwrap();
    drop(members.remove(100));
    let next = ledger.member();
    assert_eq!(next.place().unwrap().slot, 100);
    next.charge_in(0, 0, LIMIT).unwrap();
}

#[test]
fn a_ledger_that_is_gone_refuses_what_only_the_dead_could_make_room_for() {
    let ledger = Ledger::new();
    let (member, dying) = (ledger.member(), ledger.member());
    dying.charge_in(0, 0, LIMIT / 2).unwrap();
    drop((dying, ledger));
    member.charge_in(0, 0, LIMIT / 2).unwrap();
    assert_eq!(member.charge_in(0, 0, 1).unwrap_err().cause, Cause::Away);
}

#[derive(Clone, Debug)]
enum Step {
    Charge(usize, usize, u64),
    Release(usize),
    Replace(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let units = prop_oneof![1..20_u64, 1..2000_u64, 1..7000_u64];
    prop_oneof![
        6 => (0..4_usize, 0..6_usize, units).prop_map(|(member, lane, units)| Step::Charge(member, lane, units * UNIT)),
        3 => (0..4_usize).prop_map(Step::Release),
        1 => (0..4_usize).prop_map(Step::Replace),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_fits_is_granted_and_what_does_not_is_refused(steps in vec(step(), 1..150)) {
        let ledger = Ledger::new();
        let mut members: Vec<(Quota, Vec<Charge>)> = (0..4).map(|_| (ledger.member(), Vec::new())).collect();
        for step in steps {
            let all: u64 = members.iter().flat_map(|(_, held)| held).map(|charge| charge.bytes()).sum();
            match step {
                Step::Charge(member, lane, bytes) => {
                    let charge = members[member].0.charge_in(lane, 0, bytes);
                    prop_assert_eq!(charge.is_ok(), all + bytes <= LIMIT, "{} of {} after {}", bytes, LIMIT, all);
                    members[member].1.extend(charge);
                }
                Step::Release(member) => {
                    if let Some(charge) = members[member].1.pop() {
                        members[member].0.release(charge);
                    }
                }
                // Mostly into another slot: the old one is given up last.
                Step::Replace(member) => members[member] = (ledger.member(), Vec::new()),
            }
            let all: u64 = members.iter().flat_map(|(_, held)| held).map(|charge| charge.bytes()).sum();
            for (member, held) in &members {
                prop_assert_eq!(member.used(0), (held.iter().map(|charge| charge.bytes()).sum(), all));
            }
            let map = &members[0].0.place().unwrap().map;
            let nobody = At { slot: SLOTS, lane: 0 };
            prop_assert!(map.taken_by_others(nobody, 0) * UNIT <= LIMIT);
        }
    }

    #[test]
    fn garbage_in_the_ledger_only_refuses(
        early in vec((24..SIZE, any::<u8>()), 0..2000),
        late in vec((0..SIZE, any::<u8>()), 0..2000),
        lock: u64,
        charges in vec(1..2000_u64, 1..40),
    ) {
        let mut ledger = Ledger::new();
        for (at, byte) in early {
            ledger.write(at, &[byte]);
        }
        ledger.write(64, &lock.to_le_bytes());
        let member = ledger.member();
        let own = own_bytes(&member);
        for (at, byte) in late.iter().filter(|(at, _)| !own.contains(at)) {
            ledger.write(*at, &[*byte]);
        }
        // Not one whose turn it is for ever: that is another test.
        ledger.write(64, &(lock | 0xFFFF).to_le_bytes());
        let granted: u64 =
            charges.iter().map(|units| units * UNIT).filter(|bytes| member.charge_in(0, 0, *bytes).is_ok()).sum();
        prop_assert!(granted <= LIMIT);
        prop_assert_eq!(member.used(0).0, granted);
        // In its own slot, too: nothing breaks.
        for (at, byte) in &late {
            ledger.write(*at, &[*byte]);
        }
        ledger.write(64, &(lock | 0xFFFF).to_le_bytes());
        for units in &charges {
            let _ = member.charge_in(0, 0, units * UNIT);
            member.release(made_up(1, units * UNIT));
            let _ = member.used(1);
        }
        let place = member.place().unwrap();
        place.map.lock().store(u64::MAX, Relaxed);
    }
}

fn own_bytes(member: &Quota) -> core::ops::Range<usize> {
    let begin =
        usize::try_from(firstlight_contract::ledger::lock_byte(member.place().unwrap().slot)).unwrap();
    begin..begin + firstlight_contract::ledger::SLOT_SIZE
}
