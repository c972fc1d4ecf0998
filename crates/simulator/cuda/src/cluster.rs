//! Clusters of blocks, which devices of capability 9.0 and later have; cuBLAS asks there how many fit.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Handle, driver, get, put};
use crate::attributes::{self, CLUSTER_LAUNCH};
use crate::kernel;
use crate::launch::{Attribute, Config};
use crate::state::{device, state};
use firstlight_simulator::machine::Shown;

/// `CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION` (cuda.h).
const CLUSTER_DIMENSION: u32 = 4;
/// `CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED`, and the largest clusters without and with it (CUDA C++ programming
/// guide, *Thread Block Clusters*).
const NON_PORTABLE: u32 = 14;
const PORTABLE: u32 = 8;
const LARGEST: u32 = 16;
/// More attributes than there are kinds.
const MOST_ATTRIBUTES: u32 = 64;

/// Blocks of a cluster, as the launch says; one where it does not.
fn size(config: &Config) -> Result<u32, Code> {
    for index in 0..config.count.min(MOST_ATTRIBUTES) {
        let at = config.attributes.wrapping_add(usize::try_from(index).unwrap_or(0));
        let Attribute { id, value: [x, y, z, ..], .. } = get(at)?;
        if id == CLUSTER_DIMENSION {
            return [y, z]
                .iter()
                .try_fold(x, |size, side| size.checked_mul(*side))
                .ok_or(Code::INVALID_VALUE);
        }
    }
    Ok(1)
}

/// Blocks of this launch that the device holds at a time, and the largest cluster of the kernel.
fn room(function: Handle, config: &Config) -> Result<(u32, u32), Code> {
    let state = state()?;
    let device: &Shown = device(state.current_device()?)?;
    if attributes::value(device, CLUSTER_LAUNCH)? == 0 {
        return Err(Code::NOT_SUPPORTED);
    }
    let threads = config.block.iter().try_fold(1_u32, |product, side| product.checked_mul(*side));
    let threads = threads.and_then(|threads| i32::try_from(threads).ok()).ok_or(Code::INVALID_VALUE)?;
    let shared = usize::try_from(config.shared).unwrap_or(usize::MAX);
    let each = kernel::resident(&state, function, device, threads, shared)?;
    let blocks = u32::try_from(each).unwrap_or(0) * u32::from(device.multiprocessors);
    let most = if kernel::is_set(&state, function, NON_PORTABLE)? { LARGEST } else { PORTABLE };
    Ok((blocks, most))
}

driver! {
    fn cuOccupancyMaxActiveClusters(out: *mut i32, function: Handle, config: *const u8) {
        let config: Config = get(config.cast())?;
        let (blocks, most) = room(function, &config)?;
        let size = size(&config)?;
        if size == 0 || size > most {
            return Err(Code::INVALID_CLUSTER_SIZE);
        }
        put(out, i32::try_from(blocks / size).unwrap_or(i32::MAX))
    }

    fn cuOccupancyMaxPotentialClusterSize(out: *mut i32, function: Handle, config: *const u8) {
        let config: Config = get(config.cast())?;
        let (blocks, most) = room(function, &config)?;
        // A power of two.
        let size = most.min(blocks).checked_ilog2().map_or(0, |exponent| 1_i32 << exponent);
        put(out, size)
    }
}
