//! What a pointer points to (`CUpointer_attribute`).
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Raw, driver, item, put, put_or_zero};
use crate::ranges::{Memory, Range};
use crate::state::{State, state};

/// `CU_MEMORYTYPE_HOST`, `CU_MEMORYTYPE_DEVICE`.
const HOST: u32 = 1;
const DEVICE: u32 = 2;
/// The last attribute of CUDA 12.
const LAST: u32 = 20;

fn answer(state: &State, out: Raw, attribute: u32, address: u64, range: &Range) -> Done {
    let flag = |yes: bool| u32::from(yes);
    match attribute {
        1 => put(out.cast(), if range.context == 0 { primary(state, range.device) } else { range.context }),
        2 => put(out.cast(), if range.on_device() { DEVICE } else { HOST }),
        3 => put(out.cast(), address),
        // Host memory and managed memory have a host pointer; a device's memory has none that may be used.
        4 if !range.on_device() || range.memory == Memory::Managed => put(out.cast(), address),
        4 => put_or_zero(out.cast::<u64>(), Err(Code::INVALID_VALUE)),
        6 | 10 | 15 => put(out.cast(), 0_u8),
        8 => put(out.cast(), flag(range.memory == Memory::Managed)),
        9 => put(out.cast(), range.device),
        // A buffer's number and its start are the same thing here.
        7 | 11 | 19 | 20 => put(out.cast(), range.base),
        12 | 18 => put(out.cast(), range.bytes),
        13 => put(out.cast(), 1_u8),
        14 => put(out.cast(), 0_u64),
        16 => put(out.cast(), 3_u32),
        17 => put(out.cast(), if let Memory::Pool(pool) = range.memory { pool } else { 0 }),
        _ => Err(Code::INVALID_VALUE),
    }
}

fn primary(state: &State, ordinal: i32) -> u64 {
    let device = usize::try_from(ordinal).ok().and_then(|index| state.devices.get(index));
    device.map_or(0, |device| device.primary)
}

/// What an attribute is for memory that this driver does not know.
fn nothing(out: Raw, attribute: u32) -> Done {
    match attribute {
        2 | 16 => put(out.cast(), 0_u32),
        9 => put(out.cast(), -2_i32),
        6 | 8 | 10 | 13 | 15 => put(out.cast(), 0_u8),
        1..=LAST => put(out.cast(), 0_u64),
        _ => Err(Code::INVALID_VALUE),
    }
}

driver! {
    fn cuPointerGetAttribute(out: Raw, attribute: u32, address: u64) {
        let state = state()?;
        let range = state.ranges.at(address).ok_or(Code::INVALID_VALUE)?;
        answer(&state, out, attribute, address, range)
    }

    /// Unlike for one attribute, an unknown pointer is no error here: each attribute gets its null value.
    fn cuPointerGetAttributes(count: u32, attributes: *const u32, out: *const Raw, address: u64) {
        let state = state()?;
        let count = usize::try_from(count).unwrap_or(0);
        for index in 0..count {
            let (attribute, out): (u32, Raw) = (item(attributes, index)?, item(out, index)?);
            match state.ranges.at(address) {
                Some(range) => answer(&state, out, attribute, address, range).or_else(|_| nothing(out, attribute))?,
                None => nothing(out, attribute)?,
            }
        }
        Ok(())
    }
}
