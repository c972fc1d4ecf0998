//! The driver that the simulator claims to be: CUDA 13.0 with the branch it came with. 13000 satisfies every
//! runtime of CUDA 12 and 13 (a runtime asks for its own major version only), and ≥ 570 is what Ollama wants of NVML.

/// `cuDriverGetVersion`: 1000·major + 10·minor.
pub const CUDA_VERSION: i32 = 13000;
/// NVML's driver version.
pub const DRIVER_VERSION: &str = "580.65.06";
/// NVML's own version.
pub const NVML_VERSION: &str = "13.580.65.06";
