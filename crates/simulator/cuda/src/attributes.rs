//! Device attributes (`CUdevice_attribute`). The runtime reads 111 of them for each device; one error, and it ends
//! with code 3. So every id in range has a value, 0 where nothing better is known.

use crate::abi::Code;
use firstlight_simulator::machine::Shown;

/// Highest id known to a driver of CUDA 13.0.
const LAST: i32 = 147;
/// Whether blocks can be launched in clusters.
pub(crate) const CLUSTER_LAUNCH: i32 = 120;

/// What belongs to a compute capability.
struct Generation {
    /// Resident threads and blocks of a multiprocessor.
    threads: i32,
    blocks: i32,
    /// Shared memory of a multiprocessor and, opted in, of a block; bytes.
    shared: i32,
    shared_optin: i32,
    bus_width: i32,
}

const fn generation(major: u8, minor: u8) -> Generation {
    let (threads, blocks, shared, shared_optin, bus_width) = match (major, minor) {
        (7, 5) => (1024, 16, 65536, 65536, 256),
        (8, 0) => (2048, 32, 167_936, 166_912, 5120),
        (8, 6) => (1536, 16, 102_400, 101_376, 384),
        (8, 9) => (1536, 24, 102_400, 101_376, 384),
        _ => (2048, 32, 233_472, 232_448, 5120),
    };
    Generation { threads, blocks, shared, shared_optin, bus_width }
}

/// The value of an attribute.
pub(crate) fn value(device: &Shown, attribute: i32) -> Result<i32, Code> {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let (major, minor) = (device.model.capability_major, device.model.capability_minor);
    let kind = generation(major, minor);
    Ok(match attribute {
        1..=3 | 111 => 1024,
        4 => 64,
        5 | 11 => i32::MAX,
        6 | 7 => 65535,
        8 => 49152,
        9 | 12 | 82 => 65536,
        10 => 32,
        13 => 1_410_000,
        14 => 512,
        // Copy/compute overlap, host mapping, concurrent kernels, ECC, unified addressing, priorities, L1 caches,
        // managed memory, pageable access, hints, virtual memory (102), pools (115) …
        15 | 19 | 31 | 32 | 41 | 78..=80 | 83 | 89 | 90 | 95 | 98 | 99 | 102 | 115 => 1,
        16 => i32::from(device.multiprocessors),
        33 => number(device.pci.bus),
        34 => number(device.pci.device),
        36 => 1_215_000,
        37 => kind.bus_width,
        38 => 41_943_040,
        39 => kind.threads,
        40 => i32::from(device.copy_engines),
        50 => number(device.pci.domain),
        75 => i32::from(major),
        76 => i32::from(minor),
        81 => kind.shared,
        97 => kind.shared_optin,
        106 => kind.blocks,
        119 => 9,
        CLUSTER_LAUNCH => i32::from(major >= 9),
        134 => -1,
        1..=LAST => 0,
        _ => return Err(Code::INVALID_VALUE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_simulator::machine::Machine;

    #[test]
    fn every_id_that_a_runtime_reads_has_a_value() {
        let machine = Machine::new(None, None, None);
        assert!((1..=LAST).all(|id| value(&machine.visible[0], id).is_ok()));
        assert_eq!(value(&machine.visible[0], 0), Err(Code::INVALID_VALUE));
        assert_eq!(value(&machine.visible[0], LAST + 1), Err(Code::INVALID_VALUE));
        assert_eq!(value(&machine.visible[0], 75), Ok(8));
    }
}
