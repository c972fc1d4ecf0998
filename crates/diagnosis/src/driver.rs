//! The boundary to the list of driver functions: names, duties, codes and tables, in the words of the rules.

use firstlight_driver_api::tables::{self, Table};
use firstlight_driver_api::{Library, by_id, by_symbol, codes};

/// What a driver function is for, as far as the rules care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Duty {
    Version,
    Init,
    Count,
    DeviceQuery,
    Context,
    MemoryInfo,
    TotalMemory,
    Allocate,
    CodeLoad,
    Launch,
    Synchronize,
    Nvml,
    Other,
}

/// The exported symbol of a function id.
pub(crate) fn symbol(id: u16) -> Option<&'static str> {
    by_id(id).map(|function| function.symbol)
}

/// A symbol without its ABI suffix: `cuMemGetInfo_v2` is `cuMemGetInfo`.
pub(crate) fn base(symbol: &str) -> &str {
    let symbol = symbol.strip_suffix("_ptsz").or_else(|| symbol.strip_suffix("_ptds")).unwrap_or(symbol);
    match symbol.rsplit_once("_v") {
        Some((base, digits)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            base
        }
        _ => symbol,
    }
}

/// The duty of a symbol, with or without its ABI suffix.
pub(crate) fn duty(symbol: &str) -> Duty {
    match base(symbol) {
        "cuDriverGetVersion" => Duty::Version,
        "cuInit" => Duty::Init,
        "cuDeviceGetCount" => Duty::Count,
        "cuDeviceGet"
        | "cuModuleGetLoadingMode"
        | "cuDeviceGetName"
        | "cuDeviceGetAttribute"
        | "cuDeviceGetUuid"
        | "cuDeviceGetPCIBusId"
        | "cuMemGetAllocationGranularity" => Duty::DeviceQuery,
        "cuDeviceTotalMem" => Duty::TotalMemory,
        "cuDevicePrimaryCtxRetain" | "cuCtxCreate" => Duty::Context,
        "cuMemGetInfo" => Duty::MemoryInfo,
        "cuMemAlloc"
        | "cuMemAllocPitch"
        | "cuMemAllocManaged"
        | "cuMemAllocAsync"
        | "cuMemAllocFromPoolAsync"
        | "cuMemCreate" => Duty::Allocate,
        "cuModuleLoad"
        | "cuModuleLoadData"
        | "cuModuleLoadDataEx"
        | "cuModuleLoadFatBinary"
        | "cuLibraryLoadData"
        | "cuLibraryLoadFromFile" => Duty::CodeLoad,
        "cuLaunch"
        | "cuLaunchGrid"
        | "cuLaunchKernel"
        | "cuLaunchKernelEx"
        | "cuLaunchCooperativeKernel"
        | "cuGraphLaunch" => Duty::Launch,
        "cuCtxSynchronize" | "cuStreamSynchronize" | "cuEventSynchronize" => Duty::Synchronize,
        name if name.starts_with("nvml") => Duty::Nvml,
        _ if by_symbol(symbol).is_some_and(|function| function.library == Library::Nvml) => Duty::Nvml,
        _ => Duty::Other,
    }
}

/// Functions of which the runtime's first call fails if the driver lacks them (every name was left out alone
/// under libcudart 12.9 and 13.5; `cuGetExportTable` and the lookup itself have rules of their own).
pub(crate) const NEEDED_TO_LIST: [&str; 6] = [
    "cuDeviceGet",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem",
    "cuDeviceGetUuid",
];

/// Functions without which no runner of Ollama can work: a runtime that asked for one and got none answers 36
/// at its first use. Functions that llama.cpp does without where they are missing are not listed.
pub(crate) const NEEDED_TO_RUN: [&str; 14] = [
    "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent",
    "cuCtxGetCurrent",
    "cuMemGetInfo",
    "cuMemAlloc",
    "cuMemFree",
    "cuMemcpyHtoDAsync",
    "cuMemcpyDtoHAsync",
    "cuMemsetD8Async",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuLibraryLoadData",
    "cuEventCreate",
    "cuLaunchKernel",
];

/// Whether the rules ask for this name: what lacks it can decide a verdict.
pub(crate) fn is_needed(base: &str) -> bool {
    const FIRST: [&str; 4] = ["cuInit", "cuDriverGetVersion", "cuGetProcAddress", "cuGetExportTable"];
    FIRST.contains(&base) || NEEDED_TO_LIST.contains(&base) || NEEDED_TO_RUN.contains(&base)
}

/// A CUDA driver code for a sentence: `999 (CUDA_ERROR_UNKNOWN, unknown error)`.
pub(crate) fn say_code(number: i32) -> String {
    let code = number.cast_unsigned();
    match (codes::cuda_name(code), codes::runtime_text(code)) {
        (Some(name), Some(text)) => format!("{number} ({name}, {text})"),
        (Some(name), None) => format!("{number} ({name})"),
        (None, _) => number.to_string(),
    }
}

/// An NVML code for a sentence: `15 (NVML_ERROR_GPU_IS_LOST)`.
pub(crate) fn say_nvml_code(number: i32) -> String {
    codes::nvml_name(number.cast_unsigned())
        .map_or_else(|| number.to_string(), |name| format!("{number} ({name})"))
}

/// The UUID of a private table as 32 hexadecimal digits, in memory order.
pub(crate) fn uuid(arg0: u64, arg1: u64) -> String {
    format!("{:016x}{:016x}", arg0.swap_bytes(), arg1.swap_bytes())
}

fn table_row(uuid: &str) -> Option<&'static Table> {
    let value = u128::from_str_radix(uuid, 16).ok()?;
    tables::by_uuid(&value.to_be_bytes())
}

/// A name for a private table, if it is one that the runtime is known to ask for.
pub(crate) fn table(uuid: &str) -> Option<&'static str> {
    table_row(uuid).map(|table| table.name)
}

/// Whether the runtime goes on without this table.
pub(crate) fn table_is_optional(uuid: &str) -> bool {
    table_row(uuid).is_some_and(|table| table.optional)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_driver_api::FUNCTIONS;

    #[test]
    fn a_suffix_of_the_abi_does_not_change_the_duty() {
        assert_eq!(base("cuStreamGetCaptureInfo_v3_ptsz"), "cuStreamGetCaptureInfo");
        assert_eq!(duty("cuMemGetInfo_v2"), Duty::MemoryInfo);
        assert_eq!(duty("cuCtxCreate_v3"), Duty::Context);
        assert_eq!(duty("cuLaunchKernel_ptsz"), Duty::Launch);
        assert_eq!(duty("cuDevice_view"), Duty::Other);
    }

    #[test]
    fn every_function_that_the_shim_records_has_a_duty() {
        use firstlight_driver_api::Action;
        for function in FUNCTIONS.iter().flat_map(|list| list.iter()) {
            let fits = match function.action {
                Action::Init => duty(function.symbol) == Duty::Init,
                Action::Version => duty(function.symbol) == Duty::Version,
                Action::Context => duty(function.symbol) == Duty::Context,
                Action::MemoryInfo => duty(function.symbol) == Duty::MemoryInfo,
                Action::Allocate => duty(function.symbol) == Duty::Allocate,
                Action::Load => duty(function.symbol) == Duty::CodeLoad,
                Action::Launch | Action::GraphLaunch => duty(function.symbol) == Duty::Launch,
                Action::Query => {
                    matches!(duty(function.symbol), Duty::Count | Duty::DeviceQuery | Duty::TotalMemory)
                }
                Action::Nvml => duty(function.symbol) == Duty::Nvml,
                Action::Forward | Action::Lookup | Action::Table | Action::Cold => true,
            };
            assert!(
                fits,
                "{} is recorded, and the rules take it for {:?}",
                function.symbol,
                duty(function.symbol)
            );
        }
    }

    #[test]
    fn what_the_rules_need_is_in_the_list_of_functions() {
        for name in NEEDED_TO_LIST.iter().chain(&NEEDED_TO_RUN) {
            let known = FUNCTIONS.iter().flat_map(|list| list.iter()).any(|function| function.name == *name);
            assert!(known, "{name}");
        }
    }

    #[test]
    fn a_table_is_named_by_its_bytes_in_memory_order() {
        let bytes = u64::from_le_bytes([0x6b, 0xd5, 0xfb, 0x6c, 0x5b, 0xf4, 0xe7, 0x4a]);
        assert!(uuid(bytes, 0).starts_with("6bd5fb6c5bf4e74a"));
        assert_eq!(table("6bd5fb6c5bf4e74a8987d93912fd9df9"), Some("cudart-interface"));
        assert!(table_is_optional("f8cff95121468b4eb9e2fb469e7c0dd9"));
    }
}
