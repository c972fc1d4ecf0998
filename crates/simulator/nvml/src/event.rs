//! Event sets. The one event that can happen is the loss of a device: XID 79, once for each set.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, check, nvml, put};
use crate::handle::{self, Handle, find_card};
use crate::layout::{EventV1, EventV2, NO_INSTANCE};
use crate::{driver, session};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// `nvmlEventSet_t`; never 0 and never used again.
type SetHandle = u64;

/// `nvmlEventTypeXidCriticalError`.
const XID: u64 = 8;
/// "GPU has fallen off the bus" (NVIDIA, *Xid Errors*).
const FALLEN_OFF_THE_BUS: u64 = 79;
/// How often the driver is asked.
const STEP: Duration = Duration::from_millis(20);

/// The devices of a set by index; `true`: its loss was told.
type Set = BTreeMap<usize, bool>;

#[derive(Default)]
struct Sets {
    serial: u64,
    sets: BTreeMap<SetHandle, Set>,
}

static SETS: Mutex<Sets> = Mutex::new(Sets { serial: 0, sets: BTreeMap::new() });

fn sets() -> MutexGuard<'static, Sets> {
    SETS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// At the last shutdown.
pub(crate) fn free_all() {
    sets().sets.clear();
}

/// A loss that was not told yet; it is told now.
fn next(set: SetHandle) -> Result<Option<usize>, Code> {
    let mut sets = sets();
    let devices = sets.sets.get_mut(&set).ok_or(Code::INVALID_ARGUMENT)?;
    let lost = devices.iter_mut().find(|(index, told)| !**told && driver::ask(**index, None).lost);
    Ok(lost.map(|(index, told)| {
        *told = true;
        *index
    }))
}

fn wait(set: SetHandle, milliseconds: u32) -> Result<EventV1, Code> {
    let begin = Instant::now();
    let limit = Duration::from_millis(milliseconds.into());
    loop {
        if !session::is_open() {
            return Err(Code::UNINITIALIZED);
        }
        if let Some(index) = next(set)? {
            return Ok(EventV1 { device: handle::of(index), kind: XID, data: FALLEN_OFF_THE_BUS });
        }
        let left = limit.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Err(Code::TIMEOUT);
        }
        std::thread::sleep(left.min(STEP));
    }
}

fn register(handle: Handle, kinds: u64, set: SetHandle) -> Done {
    // Those of all its instances, too; an instance has none of its own (nvml.h).
    let index = find_card(handle)?.index;
    if kinds & !XID != 0 {
        return Err(Code::NOT_SUPPORTED);
    }
    let mut sets = sets();
    let devices = sets.sets.get_mut(&set).ok_or(Code::INVALID_ARGUMENT)?;
    if kinds != 0 {
        devices.entry(index).or_insert(false);
    }
    Ok(())
}

nvml! {
    fn nvmlEventSetCreate(out: *mut SetHandle) {
        check(out)?;
        let mut sets = sets();
        sets.serial += 1;
        let set = (0x4e << 40) | (sets.serial << 4);
        sets.sets.insert(set, Set::new());
        put(out, set)
    }

    fn nvmlEventSetFree(set: SetHandle) {
        sets().sets.remove(&set).map(|_| ()).ok_or(Code::INVALID_ARGUMENT)
    }

    fn nvmlDeviceGetSupportedEventTypes(handle: Handle, out: *mut u64) {
        find_card(handle)?;
        put(out, XID)
    }

    fn nvmlDeviceRegisterEvents(handle: Handle, kinds: u64, set: SetHandle) {
        register(handle, kinds, set)
    }

    fn nvmlEventSetWait(set: SetHandle, out: *mut EventV1, milliseconds: u32) {
        check(out)?;
        put(out, wait(set, milliseconds)?)
    }

    fn nvmlEventSetWait_v2(set: SetHandle, out: *mut EventV2, milliseconds: u32) {
        check(out)?;
        let first = wait(set, milliseconds)?;
        put(out, EventV2 { first, gpu_instance: NO_INSTANCE, compute_instance: NO_INSTANCE })
    }
}
