//! Names of the metrics and the values of their labels. Label values come from enums only, except namespace,
//! pod and container on per-pod series, which vanish with the pod.

/// Counter of CUDA init outcomes per container: `{namespace,pod,container,kind,outcome}`, born at 0 with the
/// grant.
pub const CUDA_INIT_TOTAL: &str = "firstlight_cuda_init_total";
/// Gauge: number of the stage reached (see the diagnosis): `{namespace,pod,container,kind}`.
pub const CUDA_INIT_STAGE: &str = "firstlight_cuda_init_stage";
/// Info: the cause of a failure: `{namespace,pod,container,kind,cause}`.
pub const CUDA_INIT_FAILURE_INFO: &str = "firstlight_cuda_init_failure_info";
/// Gauge: 1 while a runner has launched kernels: `{namespace,pod,container,kind}`.
pub const GPU_IN_USE: &str = "firstlight_gpu_in_use";
/// Gauge: time of the last reported launch, seconds since the epoch.
pub const LAST_LAUNCH: &str = "firstlight_last_launch_timestamp_seconds";
/// Gauge: memory quota, bytes: `{namespace,pod,container,kind,device}`.
pub const MEMORY_QUOTA: &str = "firstlight_memory_quota_bytes";
/// Node level histogram of the time from a process's first driver call to a usable context, seconds.
pub const CUDA_INIT_DURATION: &str = "firstlight_cuda_init_duration_seconds";
/// Gauge: 1 while a device is healthy: `{pool,device}`.
pub const DEVICE_HEALTHY: &str = "firstlight_device_healthy";
/// Gauge: devices by `{pool,state}`; state is `allocatable` or `allocated`.
pub const DEVICES: &str = "firstlight_devices";
/// Info: constant 1: `{version}`.
pub const BUILD_INFO: &str = "firstlight_build_info";

/// Outcome of a CUDA initialisation, label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A usable GPU was seen.
    Success,
    /// A certain or likely cause of failure was found.
    Failure,
    /// Neither is proven.
    Unknown,
}

impl Outcome {
    /// All values, in label order.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Unknown];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }
}
