//! The memory that is told of: the quota and what is left of it, the same from everybody who is asked.
#![expect(unsafe_code, reason = "calls of the client's, with its out-pointers")]

use super::entries::is_narrow;
use super::{QUOTA, ask, devices, join, owners, read, write};
use crate::front;
use crate::rows::{self, id_of};
use crate::{outcome, wrappers};

/// What a card has, or a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figures {
    free: u64,
    total: u64,
}

/// What the quota leaves of a card's figures.
fn within(device: usize, card: Figures) -> Figures {
    if !QUOTA.is_joined() && join().is_err() {
        // Nothing can be allocated.
        return Figures { free: 0, ..card };
    }
    let (limit, (_, used)) = (QUOTA.limit(device), QUOTA.used(device));
    Figures { free: card.free.min(limit.saturating_sub(used)), total: card.total.min(limit) }
}

/// Writes a size as the function's clients expect it.
///
/// # Safety
/// The pointer must be null or the client's.
unsafe fn tell(function: u16, pointer: usize, bytes: u64) {
    if is_narrow(function) {
        // SAFETY: as the caller vouches.
        unsafe { write::<u32>(pointer, u32::try_from(bytes).unwrap_or(u32::MAX)) };
    } else {
        // SAFETY: as the caller vouches.
        unsafe { write::<u64>(pointer, bytes) };
    }
}

/// # Safety
/// Called as `cuMemGetInfo`.
pub unsafe extern "C" fn info<const ID: u16>(free: usize, total: usize) -> i32 {
    let Some(real) = front::real(ID) else { return outcome::missing(ID) };
    let (mut own_free, mut own_total) = (0_u64, 0_u64);
    let places = [(&raw mut own_free) as usize, (&raw mut own_total) as usize, 0, 0, 0, 0];
    // SAFETY: two places that are large enough; zero where the driver writes the lower half only.
    let result = unsafe { wrappers::short(real, places) };
    let card = Figures { free: own_free, total: own_total };
    let told = match owners::current() {
        Some(owner) if result == 0 => within(owner.device, card),
        _ => card,
    };
    for (pointer, bytes) in [(free, told.free), (total, told.total)] {
        // SAFETY: the client's out-pointers. What the driver writes on failure is passed on.
        unsafe { tell(ID, pointer, bytes) };
    }
    wrappers::told_memory(ID, result, told.free, told.total);
    result
}

/// # Safety
/// Called as `cuDeviceTotalMem`.
pub unsafe extern "C" fn total<const ID: u16>(out: usize, device: usize) -> i32 {
    let Some(real) = front::real(ID) else { return outcome::missing(ID) };
    // SAFETY: the client's arguments.
    let result = unsafe { wrappers::short(real, [out, device, 0, 0, 0, 0]) };
    if result == 0
        && let Some(number) = devices::number(wrappers::int(device))
    {
        // SAFETY: written on success.
        let total = unsafe { super::entries::word(ID, out) } as u64;
        // SAFETY: the client's out-pointer.
        unsafe { tell(ID, out, within(number, Figures { free: 0, total }).total) };
    }
    // SAFETY: as for every query.
    unsafe { wrappers::told(ID, result, out, device) };
    result
}

/// Bytes of a UUID's text (`NVML_DEVICE_UUID_V2_BUFFER_SIZE`, nvml.h).
const UUID_SIZE: usize = 96;

/// # Safety
/// Called as `nvmlDeviceGetMemoryInfo`.
pub unsafe extern "C" fn nvml<const ID: u16>(device: usize, out: usize) -> i32 {
    let Some(real) = front::real(ID) else { return outcome::missing(ID) };
    // SAFETY: the client's arguments.
    let result = unsafe { wrappers::short(real, [device, out, 0, 0, 0, 0]) };
    if result == 0
        && out != 0
        && let Some(number) = number(device)
    {
        let second = rows::symbol(ID) == b"nvmlDeviceGetMemoryInfo_v2\0";
        // `nvmlMemory_t` is total, free, used; `nvmlMemory_v2_t` version, total, reserved, free, used (nvml.h).
        let at = |index: usize| out.wrapping_add(index.wrapping_mul(8));
        let (total_at, free_at, used_at) = if second { (at(1), at(3), at(4)) } else { (at(0), at(1), at(2)) };
        // SAFETY: words of the client's structure, written on success.
        let word = |at: usize| unsafe { read::<u64>(at) };
        let told = within(number, Figures { free: word(free_at), total: word(total_at) });
        let used = told.total.saturating_sub(told.free);
        // What the card keeps for itself is not the part's.
        let reserved_at = if second { at(2) } else { 0 };
        for (at, bytes) in [(total_at, told.total), (free_at, told.free), (used_at, used), (reserved_at, 0)] {
            // SAFETY: as above, or null.
            unsafe { write(at, bytes) };
        }
    }
    // SAFETY: as for every query.
    unsafe { wrappers::told(ID, result, device, out) };
    result
}

/// The number of an NVML device in the quota.
fn number(device: usize) -> Option<usize> {
    let mut text = [0_u8; UUID_SIZE];
    let arguments = [device, (&raw mut text) as usize, UUID_SIZE, 0, 0, 0];
    // SAFETY: writes at most so many bytes through the second argument.
    let answer = unsafe { ask(const { id_of("nvmlDeviceGetUUID") }, arguments) };
    let length = text.iter().position(|byte| *byte == 0)?;
    let uuid = super::terms::uuid(text.get(..length)?).filter(|_| answer == Some(0))?;
    devices::of_uuid(uuid)
}
