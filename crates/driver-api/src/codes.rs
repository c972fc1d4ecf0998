//! Names and texts of result codes.

use crate::code_names::{CUDA, NVML};

/// The name of a `CUresult`, such as `CUDA_ERROR_UNKNOWN` (cuda.h).
pub fn cuda_name(code: u32) -> Option<&'static str> {
    find(&CUDA, code)
}

/// The name of an `nvmlReturn_t`, such as `NVML_ERROR_GPU_IS_LOST` (nvml.h).
pub fn nvml_name(code: u32) -> Option<&'static str> {
    find(&NVML, code)
}

/// The text that `cudaGetErrorString` gives for a code, for those that CUDA init is known to end with. ggml
/// prints it behind `failed to initialize CUDA:`.
pub fn runtime_text(code: u32) -> Option<&'static str> {
    find(&TEXTS, code)
}

fn find(table: &'static [(u32, &'static str)], code: u32) -> Option<&'static str> {
    table.iter().find(|(number, _)| *number == code).map(|(_, name)| *name)
}

/// Read from the runtimes 12.8 to 13.5, where they are identical.
static TEXTS: [(u32, &str); 25] = [
    (1, "invalid argument"),
    (2, "out of memory"),
    (3, "initialization error"),
    (34, "CUDA driver is a stub library"),
    (35, "CUDA driver version is insufficient for CUDA runtime version"),
    (36, "API call is not supported in the installed CUDA driver"),
    (46, "CUDA-capable device(s) is/are busy or unavailable"),
    (100, "no CUDA-capable device is detected"),
    (101, "invalid device ordinal"),
    (103, "integrity checks failed"),
    (200, "device kernel image is invalid"),
    (201, "invalid device context"),
    (209, "no kernel image is available for execution on the device"),
    (221, "PTX JIT compiler library not found"),
    (222, "the provided PTX was compiled with an unsupported toolchain."),
    (304, "OS call failed or operation not supported on this OS"),
    (400, "invalid resource handle"),
    (500, "named symbol not found"),
    (700, "an illegal memory access was encountered"),
    (719, "unspecified launch failure"),
    (801, "operation not supported"),
    (802, "system not yet initialized"),
    (803, "system has unsupported display driver / cuda driver combination"),
    (804, "forward compatibility was attempted on non supported HW"),
    (999, "unknown error"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_headers() {
        assert_eq!(cuda_name(999), Some("CUDA_ERROR_UNKNOWN"));
        assert_eq!(cuda_name(0), Some("CUDA_SUCCESS"));
        assert_eq!(nvml_name(15), Some("NVML_ERROR_GPU_IS_LOST"));
        assert_eq!(cuda_name(12345), None);
    }

    /// 35 and 103 are the runtime's own: no driver returns them.
    #[test]
    fn every_text_belongs_to_a_code_of_the_driver_or_is_the_runtimes_own() {
        let foreign = TEXTS.iter().map(|(code, _)| *code).filter(|code| cuda_name(*code).is_none());
        assert!(foreign.eq([35, 103]));
    }
}
