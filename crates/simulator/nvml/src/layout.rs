//! Structures of nvml.h. The sizes are those of the header; the tests compile a client against it.

/// `nvmlMemory_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) used: u64,
}

/// `nvmlMemory_v2_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct MemoryV2 {
    pub(crate) version: u32,
    pub(crate) total: u64,
    pub(crate) reserved: u64,
    pub(crate) free: u64,
    pub(crate) used: u64,
}

/// `nvmlPciInfo_t` as the first functions wrote it: shorter than today's, whose beginning it is.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PciInfoV1 {
    pub(crate) bus_id: [u8; 16],
    pub(crate) domain: u32,
    pub(crate) bus: u32,
    pub(crate) device: u32,
    pub(crate) device_id: u32,
}

/// The same with what `nvmlDeviceGetPciInfo_v2` added.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PciInfoV2 {
    pub(crate) first: PciInfoV1,
    pub(crate) subsystem_id: u32,
    pub(crate) reserved: [u32; 4],
}

/// `nvmlPciInfo_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PciInfo {
    pub(crate) first: PciInfoV1,
    pub(crate) subsystem_id: u32,
    pub(crate) bus_id: [u8; 32],
}

/// `nvmlPciInfoExt_v1_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct PciInfoExt {
    pub(crate) version: u32,
    pub(crate) domain: u32,
    pub(crate) bus: u32,
    pub(crate) device: u32,
    pub(crate) device_id: u32,
    pub(crate) subsystem_id: u32,
    pub(crate) base_class: u32,
    pub(crate) sub_class: u32,
    pub(crate) bus_id: [u8; 32],
}

/// `nvmlUUID_v1_t`, the union as its longer half.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Uuid {
    pub(crate) version: u32,
    pub(crate) kind: u32,
    pub(crate) value: [u8; 41],
}

/// `nvmlProcessInfo_v1_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ProcessV1 {
    pub(crate) pid: u32,
    pub(crate) used: u64,
}

/// `nvmlProcessInfo_v2_t`, which the third version of the functions uses, too.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct ProcessV2 {
    pub(crate) first: ProcessV1,
    pub(crate) gpu_instance: u32,
    pub(crate) compute_instance: u32,
}

/// `nvmlDeviceAttributes_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Attributes {
    pub(crate) multiprocessors: u32,
    pub(crate) copy_engines: u32,
    pub(crate) decoders: u32,
    pub(crate) encoders: u32,
    pub(crate) jpeg: u32,
    pub(crate) ofa: u32,
    pub(crate) gpu_slices: u32,
    pub(crate) compute_slices: u32,
    pub(crate) memory_mib: u64,
}

/// `nvmlEventData_t` as `nvmlEventSetWait` writes it; the second version appends two instances.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct EventV1 {
    pub(crate) device: u64,
    pub(crate) kind: u64,
    pub(crate) data: u64,
}

/// `nvmlEventData_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct EventV2 {
    pub(crate) first: EventV1,
    pub(crate) gpu_instance: u32,
    pub(crate) compute_instance: u32,
}

/// `nvmlFieldValue_t`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FieldValue {
    pub(crate) field: u32,
    pub(crate) scope: u32,
    pub(crate) timestamp: i64,
    pub(crate) latency: i64,
    pub(crate) kind: u32,
    pub(crate) result: u32,
    pub(crate) value: u64,
}

/// What a structure with a version says of itself: its size and the version in the highest byte.
#[expect(clippy::cast_possible_truncation, reason = "sizes below 100; no conversion is const")]
pub(crate) const fn version<T>(number: u32) -> u32 {
    size_of::<T>() as u32 | (number << 24)
}

/// "No instance", where there is no MIG.
pub(crate) const NO_INSTANCE: u32 = u32::MAX;

/// A text in a field of fixed length, the rest zero; the last byte always is.
pub(crate) fn field<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let room = N.saturating_sub(1);
    for (to, from) in bytes.iter_mut().take(room).zip(text.bytes()) {
        *to = from;
    }
    bytes
}

const _: () = {
    assert!(size_of::<Memory>() == 24);
    assert!(size_of::<MemoryV2>() == 40);
    assert!(size_of::<PciInfoV1>() == 32);
    assert!(size_of::<PciInfoV2>() == 52);
    assert!(size_of::<PciInfo>() == 68);
    assert!(size_of::<PciInfoExt>() == 64);
    assert!(size_of::<Uuid>() == 52);
    assert!(size_of::<ProcessV1>() == 16);
    assert!(size_of::<ProcessV2>() == 24);
    assert!(size_of::<Attributes>() == 40);
    assert!(size_of::<EventV1>() == 24);
    assert!(size_of::<EventV2>() == 32);
    assert!(size_of::<FieldValue>() == 40);
};
