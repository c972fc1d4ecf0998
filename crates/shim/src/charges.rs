//! What a call of the driver's is charged, where the grant has a quota: before the driver is asked, so that what does not
//! fit is never taken; given back when the driver has freed it.
//!
//! ```text
//! entry ──► charges::entries ──► take: the quota ──no──► CUDA_ERROR_OUT_OF_MEMORY, and a record
//!                                  │ yes
//!                                  ▼
//!                  what the entry would be without a quota (a wrapper, or the driver's function)
//!                                  │
//!                                  ├─ it failed ──► give
//!                                  └─ it worked ──► keep, by address ──► … a free ──► give
//! ```
//!
//! Without a quota nothing of this is in any call's way: an entry with an effect is then what it would be without.
//!
//! | module | what |
//! |---|---|
//! | [`terms`] | what the grant says of quotas |
//! | [`devices`] | which of the quota's devices a device of the driver's is |
//! | [`owners`] | contexts, graphs and modules, with which memory ends |
//! | [`entries`] | calls that allocate at an address, and free |
//! | [`created`] | memory without an address, and its mappings |
//! | [`contexts`] | contexts, and their limits |
//! | [`foreign`] | memory of other processes and interfaces |
//! | [`modules`], [`graphs`] | memory that comes with code, and with graphs |
//! | [`figures`] | the memory that is told of |
//!
//! What is not seen: memory that a stream-ordered pool keeps after a free, what a captured graph takes when it is
//! launched, and what the driver needs for itself beyond the fixed charge of a context.

mod calls;
pub mod contexts;
pub mod created;
pub mod devices;
pub mod entries;
pub mod figures;
pub mod foreign;
pub mod graphs;
pub mod modules;
pub mod owners;
pub mod terms;

use crate::quota::live::Live;
use crate::quota::{Budget as _, Cause, Charge, Failure, Quota, Refused};
use crate::recorder::{Note, RECORDER};
use crate::{grant, outcome, start, sys};
use calls::{ask, onward, read, write};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use firstlight_contract::grant::value;
use firstlight_contract::record::{Kind, Refusal};
use owners::Owner;

/// `CUDA_ERROR_OUT_OF_MEMORY` (cuda.h).
const OUT_OF_MEMORY: i32 = 2;

static QUOTA: Quota = Quota::new();
/// What is charged, by address (see [`key`]).
static LIVE: Live<Charge> = Live::new();

const UNKNOWN: u32 = 0;
const UNLIMITED: u32 = 1;
const LIMITED: u32 = 2;
static MODE: AtomicU32 = AtomicU32::new(UNKNOWN);

/// Whether the grant has a quota.
#[inline]
pub fn is_limited() -> bool {
    match MODE.load(Relaxed) {
        UNLIMITED => false,
        LIMITED => true,
        _ => decide(),
    }
}

#[cold]
fn decide() -> bool {
    let limited = grant::with(terms::are_there);
    MODE.store(if limited { LIMITED } else { UNLIMITED }, Relaxed);
    limited
}

/// What a number names, so that numbers of different kinds can stand in one table. Addresses have at most 57 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Address = 0,
    Array = 1,
    External = 2,
    /// The fixed charge of a device's contexts.
    Contexts = 3,
    /// A limit of a context; the next ones are its other limits.
    Limit = 4,
    Context = 16,
    Graph = 17,
    Executable = 18,
    Module = 19,
    /// The primary context of a device.
    Primary = 20,
}

fn key(name: Name, number: usize) -> u64 {
    number as u64 ^ (name as u64) << 58
}

/// Charges so many bytes; the code that the client gets if that is refused. Where no owner is known nothing is charged:
/// the driver will refuse by itself, or it is no device of the quota's.
#[inline]
fn take(function: u16, bytes: u64, owner: Option<Owner>) -> Result<Option<Charge>, i32> {
    let Some(owner) = owner else { return Ok(None) };
    if !QUOTA.is_joined()
        && let Err(failure) = join()
    {
        return Err(away(function, bytes, owner.device, failure));
    }
    match QUOTA.charge(owner.device, bytes) {
        Ok(charge) => Ok(Some(charge.with_owner(owner.tag))),
        Err(refused) => Err(refuse(function, owner.device, &refused)),
    }
}

/// Gives a charge back.
#[inline]
fn give(charge: Charge) {
    QUOTA.release(charge);
}

/// Keeps a charge for as long as a name is in use; whether that worked.
#[inline]
fn keep(name: u64, charge: Charge) -> bool {
    match LIVE.insert(name, charge) {
        Ok(None) => true,
        Ok(Some(before)) => {
            // Its end was not seen.
            give(before);
            true
        }
        Err(_) => false,
    }
}

/// What becomes of a charge after the call: kept by the name that the driver gave if it succeeded. A name that cannot be
/// kept is undone, because its end would not be known.
#[inline]
fn settle(
    function: u16,
    charge: Option<Charge>,
    result: i32,
    name: impl FnOnce() -> u64,
    undo: impl FnOnce(),
) -> i32 {
    let Some(charge) = charge else { return result };
    if result == 0 && keep(name(), charge) {
        return result;
    }
    if result == 0 {
        undo();
    }
    give(charge);
    if result == 0 { away(function, charge.bytes(), charge.device(), Failure::NoMemory) } else { result }
}

/// Gives back all that an owner had.
fn end(tag: u16) {
    LIVE.drain(|_, charge| charge.owner() == tag, give);
}

/// Takes this process's place in the ledger.
#[cold]
fn join() -> Result<(), Failure> {
    grant::with(|text| {
        let mut kept = [0; 256];
        let path = value(text, b"ledger").and_then(|path| start::terminated(path, &mut kept));
        QUOTA.join(path.ok_or(Failure::Path)?, &terms::limits(text), sys::now(sys::Clock::Boottime))
    })
}

/// Records beyond the first few are written when their number doubles.
const EAGER: u32 = 4;
static REFUSALS: AtomicU32 = AtomicU32::new(0);

/// Records that the quota refused; the code for the client.
#[cold]
fn refuse(function: u16, device: usize, refused: &Refused) -> i32 {
    let mut text = Text::new();
    text.number(refused.used);
    text.bytes(b" ");
    text.number(refused.used_by_others);
    text.bytes(b" ");
    text.number(refused.limit);
    let refusal = match refused.cause {
        Cause::Full => Refusal::Full,
        Cause::Busy => Refusal::Busy,
        Cause::Away => Refusal::Away,
    };
    record(function, refused.asked, device, refusal, text.written());
    OUT_OF_MEMORY
}

/// The same where the process has no place in the ledger.
#[cold]
fn away(function: u16, asked: u64, device: usize, failure: Failure) -> i32 {
    let mut text = Text::new();
    grant::with(|grant| text.bytes(value(grant, b"ledger").unwrap_or(b"the grant names no ledger")));
    let (what, errno): (&[u8], i32) = match failure {
        Failure::NoMemory => (b": no memory to count in", 0),
        Failure::Path => (b": no usable path", 0),
        Failure::Open(errno) => (b": cannot be opened, errno ", errno),
        Failure::Foreign => (b": not a ledger of this version", 0),
        Failure::Map(errno) => (b": cannot be mapped, errno ", errno),
        Failure::Lock(errno) => (b": cannot be locked, errno ", errno),
        Failure::NoSlot => (b": as many processes as it has places for", 0),
        Failure::Busy => (b": another thread is joining it", 0),
    };
    text.bytes(what);
    if errno != 0 {
        text.number(u64::from(errno.unsigned_abs()));
    }
    record(function, asked, device, Refusal::Away, text.written());
    OUT_OF_MEMORY
}

fn record(function: u16, asked: u64, device: usize, refusal: Refusal, text: &[u8]) {
    let number = REFUSALS.fetch_add(1, Relaxed).wrapping_add(1);
    if number <= EAGER || number.is_power_of_two() {
        let arg1 = device as u64 | (refusal as u64) << 32;
        let (caller, result) = (outcome::caller_of(function), OUT_OF_MEMORY);
        let note =
            Note { function, caller, result, arg0: asked, arg1, ..Note::new(Kind::QuotaRefused, text) };
        RECORDER.write(&note);
    }
}

/// A text that is put together.
struct Text {
    bytes: [u8; 320],
    length: usize,
}

impl Text {
    const fn new() -> Self {
        Self { bytes: [0; 320], length: 0 }
    }

    fn bytes(&mut self, more: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(more) {
            *to = *from;
            self.length = self.length.wrapping_add(1);
        }
    }

    /// In decimal.
    fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut used = 0_usize;
        for digit in digits.iter_mut().rev() {
            *digit = b'0'.wrapping_add((number % 10) as u8);
            number /= 10;
            used = used.wrapping_add(1);
            if number == 0 {
                break;
            }
        }
        self.bytes(digits.get(digits.len().wrapping_sub(used)..).unwrap_or(&[]));
    }

    fn written(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal_and_a_text_that_is_full_is_cut() {
        let mut text = Text::new();
        for number in [0, 7, 10, u64::MAX] {
            text.number(number);
            text.bytes(b" ");
        }
        assert_eq!(text.written(), b"0 7 10 18446744073709551615 ");
        text.bytes(&[b'x'; 400]);
        text.number(12);
        assert_eq!(text.written().len(), 320);
    }

    #[test]
    fn names_of_different_kinds_differ() {
        let address = 0x7fff_ffff_f000;
        let names = [Name::Address, Name::Array, Name::External, Name::Contexts, Name::Limit, Name::Module];
        for (index, name) in names.iter().enumerate() {
            assert!(names.iter().skip(index + 1).all(|other| key(*name, address) != key(*other, address)));
        }
        assert_eq!(key(Name::Address, address), address as u64);
    }
}
