//! Which of the quota's devices a device of the driver's is. Ordinals are the process's own affair
//! (`CUDA_VISIBLE_DEVICES`), so devices are known by UUID.
#![expect(unsafe_code, reason = "asks the driver")]

use super::{QUOTA, ask, join, terms};
use crate::grant;
use crate::rows::id_of;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use firstlight_contract::ledger::DEVICES;

/// Ordinals that are remembered.
const ORDINALS: usize = 64;
/// Not one of the quota's.
const NONE: u8 = u8::MAX;

/// By ordinal: 0 not known yet, [`NONE`], or the number and one.
static NUMBERS: [AtomicU8; ORDINALS] = [const { AtomicU8::new(0) }; ORDINALS];

/// The number of a device (`CUdevice`) in the quota; `None` if it has no quota.
pub fn number(device: i32) -> Option<usize> {
    let kept = usize::try_from(device).ok().and_then(|ordinal| NUMBERS.get(ordinal));
    match kept.map(|kept| kept.load(Relaxed)) {
        Some(NONE) => None,
        None | Some(0) => {
            // Of a device that is not there the driver will say so.
            let found = of_uuid(uuid(device)?);
            let word = found.map_or(Ok(NONE), |number| u8::try_from(number.wrapping_add(1)));
            if let (Some(kept), Ok(word)) = (kept, word) {
                kept.store(word, Relaxed);
            }
            found
        }
        Some(number) => Some(usize::from(number.wrapping_sub(1))),
    }
}

/// The number of the device with this UUID; `None` if it has no quota.
pub fn of_uuid(uuid: [u8; 16]) -> Option<usize> {
    let (line, others, named) =
        grant::with(|text| (terms::device_of(text, uuid), terms::others(text).is_some(), terms::named(text)));
    if line.is_some() || !others {
        return line;
    }
    // Without a place in the ledger it is refused whatever its number is.
    let joined = QUOTA.is_joined() || join().is_ok();
    let numbered = if joined { QUOTA.number_of(uuid, named) } else { None };
    Some(numbered.unwrap_or(DEVICES))
}

fn uuid(device: i32) -> Option<[u8; 16]> {
    let mut uuid = [0; 16];
    for function in [const { id_of("cuDeviceGetUuid_v2") }, const { id_of("cuDeviceGetUuid") }] {
        // SAFETY: both write 16 bytes through the first argument.
        let answer =
            unsafe { ask(function, [(&raw mut uuid) as usize, device.cast_unsigned() as usize, 0, 0, 0, 0]) };
        match answer {
            Some(0) => return Some(uuid),
            // A driver without UUIDs (CUDA 9.1): its devices are told apart by their ordinals.
            None => {}
            Some(_) => return None,
        }
    }
    let [a, b, c, d] = device.to_le_bytes();
    Some([0, 0, 0, 0, 0, 0, 0, 0, b'#', 0, 0, 0, a, b, c, d])
}
