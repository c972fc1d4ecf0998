//! Memory pools. A pool keeps nothing back: what is freed is the device's again at once.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, get, put};
use crate::memory::{allocate_on, hand_out, release};
use crate::ranges::Memory;
use crate::state::{Kind, Pool, State, device, is, state};
use crate::stream;
use std::collections::BTreeMap;

/// `CUmemPool_attribute`: three switches (int) and the release threshold (64 bits) can be set; the others are figures.
const SWITCHES: std::ops::RangeInclusive<u32> = 1..=3;
const THRESHOLD: u32 = 4;
const RESERVED_NOW: u32 = 5;
const RESERVED_MOST: u32 = 6;
const USED_NOW: u32 = 7;
const USED_MOST: u32 = 8;

/// A pool that holds nothing.
pub(crate) fn empty(ordinal: i32) -> Pool {
    Pool { device: ordinal, attributes: BTreeMap::new(), used_bytes: 0, most_used_bytes: 0 }
}

/// Of `CUmemPoolProps` (cuda.h) and `CUmemAllocationProp`: what is read here.
#[repr(C)]
#[derive(Clone, Copy)]
struct Properties {
    kind: i32,
    handles: i32,
    location: Location,
}

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Location {
    pub(crate) kind: i32,
    pub(crate) id: i32,
}

/// `CU_MEM_LOCATION_TYPE_DEVICE`.
pub(crate) const ON_DEVICE: i32 = 1;

fn allocate(state: &mut State, out: *mut u64, bytes: usize, pool: Handle, stream: Handle) -> Done {
    let ordinal = state.pools.get(&pool).ok_or(Code::INVALID_VALUE)?.device;
    stream::outside_capture(state, stream)?;
    let (context, _) = state.context(0)?;
    let base = allocate_on(state, context, ordinal, bytes as u64, Memory::Pool(pool), 0)?;
    let charged = state.ranges.starting(base).map_or(0, |range| range.charged);
    if let Some(pool) = state.pools.get_mut(&pool) {
        pool.used_bytes += charged;
        pool.most_used_bytes = pool.most_used_bytes.max(pool.used_bytes);
    }
    hand_out(state, out, base)
}

driver! {
    fn cuDeviceGetDefaultMemPool(out: *mut Handle, ordinal: i32) {
        put(out, state()?.per_device(ordinal)?.default_pool)
    }

    fn cuDeviceGetMemPool(out: *mut Handle, ordinal: i32) {
        put(out, state()?.per_device(ordinal)?.pool)
    }

    fn cuDeviceSetMemPool(ordinal: i32, pool: Handle) {
        let mut state = state()?;
        if state.pools.get(&pool).ok_or(Code::INVALID_VALUE)?.device != ordinal {
            return Err(Code::INVALID_DEVICE);
        }
        state.per_device(ordinal)?.pool = pool;
        Ok(())
    }

    fn cuMemPoolCreate(out: *mut Handle, properties: *const u8) {
        let mut state = state()?;
        let properties: Properties = get(properties.cast())?;
        // Pinned device memory that is not exported: nothing else can be shared with another process.
        if properties.kind != 1 || properties.location.kind != ON_DEVICE {
            return Err(Code::INVALID_VALUE);
        }
        if properties.handles != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        device(properties.location.id)?;
        let pool = state.mint(Kind::Pool);
        put(out, pool)?;
        state.pools.insert(pool, empty(properties.location.id));
        Ok(())
    }

    fn cuMemPoolDestroy(pool: Handle) {
        let mut state = state()?;
        if !is(pool, Kind::Pool) || state.devices.iter().any(|device| device.default_pool == pool) {
            return Err(Code::INVALID_VALUE);
        }
        state.pools.remove(&pool).ok_or(Code::INVALID_VALUE)?;
        for device in &mut state.devices {
            if device.pool == pool {
                device.pool = device.default_pool;
            }
        }
        Ok(())
    }

    fn cuMemPoolTrimTo(pool: Handle, _keep: usize) {
        state()?.pools.get(&pool).map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    fn cuMemPoolSetAttribute(pool: Handle, attribute: u32, value: Raw) {
        let mut state = state()?;
        let pool = state.pools.get_mut(&pool).ok_or(Code::INVALID_VALUE)?;
        let value = match attribute {
            THRESHOLD | RESERVED_MOST | USED_MOST => get(value.cast::<u64>())?,
            switch if SWITCHES.contains(&switch) => u64::from(get(value.cast::<u32>())?),
            _ => return Err(Code::INVALID_VALUE),
        };
        match attribute {
            // The marks can only be set back.
            RESERVED_MOST | USED_MOST if value == 0 => pool.most_used_bytes = pool.used_bytes,
            RESERVED_MOST | USED_MOST => return Err(Code::INVALID_VALUE),
            _ => drop(pool.attributes.insert(attribute, value)),
        }
        Ok(())
    }

    fn cuMemPoolGetAttribute(pool: Handle, attribute: u32, value: Raw) {
        let state = state()?;
        let pool = state.pools.get(&pool).ok_or(Code::INVALID_VALUE)?;
        let stored = pool.attributes.get(&attribute).copied();
        match attribute {
            switch if SWITCHES.contains(&switch) => {
                put(value.cast::<u32>(), u32::try_from(stored.unwrap_or(1)).unwrap_or(1))
            }
            THRESHOLD => put(value.cast::<u64>(), stored.unwrap_or(0)),
            RESERVED_NOW | USED_NOW => put(value.cast::<u64>(), pool.used_bytes),
            RESERVED_MOST | USED_MOST => put(value.cast::<u64>(), pool.most_used_bytes),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    /// Every device reaches all memory, so access is neither given nor taken.
    fn cuMemPoolSetAccess(pool: Handle, _access: *const u8, _count: usize) {
        state()?.pools.get(&pool).map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    /// 3: reading and writing.
    fn cuMemPoolGetAccess(out: *mut u32, pool: Handle, _location: *const u8) {
        state()?.pools.get(&pool).ok_or(Code::INVALID_VALUE)?;
        put(out, 3)
    }

    fn cuMemAllocAsync(out: *mut u64, bytes: usize, stream: Handle) {
        let mut state = state()?;
        let ordinal = state.current_device()?;
        let pool = state.per_device(ordinal)?.pool;
        allocate(&mut state, out, bytes, pool, stream)
    }

    fn cuMemAllocFromPoolAsync(out: *mut u64, bytes: usize, pool: Handle, stream: Handle) {
        allocate(&mut *state()?, out, bytes, pool, stream)
    }

    fn cuMemFreeAsync(base: u64, stream: Handle) {
        let mut state = state()?;
        stream::outside_capture(&mut state, stream)?;
        match state.ranges.starting(base) {
            Some(range) if matches!(range.memory, Memory::Pool(_) | Memory::Device) => release(&mut state, base),
            _ => Err(Code::INVALID_VALUE),
        }
    }
}
