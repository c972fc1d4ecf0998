//! How two devices reach each other: through the host, and nothing nearer is claimed.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, check, nvml, put, put_list};
use crate::handle::{self, Handle, find_card};
use firstlight_simulator::machine::Machine;

/// `NVML_TOPOLOGY_INTERNAL`: one device.
const SAME: u32 = 0;
/// `NVML_TOPOLOGY_SYSTEM`: the farthest that there is.
const SYSTEM: u32 = 50;
const LEVELS: [u32; 6] = [SAME, 10, 20, 30, 40, SYSTEM];

/// `NVML_P2P_STATUS_OK` and `NVML_P2P_STATUS_NOT_SUPPORTED`.
const POSSIBLE: u32 = 0;
const IMPOSSIBLE: u32 = 5;

nvml! {
    fn nvmlDeviceGetTopologyCommonAncestor(one: Handle, other: Handle, out: *mut u32) {
        let (one, other) = (find_card(one)?, find_card(other)?);
        put(out, if one.index == other.index { SAME } else { SYSTEM })
    }

    fn nvmlDeviceGetTopologyNearestGpus(handle: Handle, level: u32, count: *mut u32, out: *mut Handle) {
        check(count)?;
        let own = find_card(handle)?.index;
        if !LEVELS.contains(&level) {
            return Err(Code::INVALID_ARGUMENT);
        }
        let indices = 0..Machine::of_process().devices.len();
        let others = indices.filter(|index| level == SYSTEM && *index != own);
        put_list(count, out, &others.map(handle::of).collect::<Vec<_>>())
    }

    /// Reading and writing (0, 1) work as in the driver; NVLink, atomics and the PCI bus (2 to 4) do not exist.
    fn nvmlDeviceGetP2PStatus(one: Handle, other: Handle, capability: u32, out: *mut u32) {
        if find_card(one)?.index == find_card(other)?.index {
            return Err(Code::INVALID_ARGUMENT);
        }
        match capability {
            0 | 1 => put(out, POSSIBLE),
            2..=4 => put(out, IMPOSSIBLE),
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }

    fn nvmlDeviceOnSameBoard(one: Handle, other: Handle, out: *mut i32) {
        let (one, other) = (find_card(one)?, find_card(other)?);
        put(out, i32::from(one.index == other.index))
    }
}
