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
/// Counter of init outcomes of all containers of a node since the plugin's start: `{outcome}`. Stays when a pod
/// and its series go.
pub const NODE_CUDA_INIT_TOTAL: &str = "firstlight_node_cuda_init_total";
/// Histogram: time of an Allocate, seconds: `{pool,code}`.
pub const ALLOCATE_DURATION: &str = "firstlight_allocate_duration_seconds";
/// Counter of registrations with the kubelet: `{pool,result}`; result is `ok` or `error`.
pub const REGISTRATIONS_TOTAL: &str = "firstlight_registrations_total";
/// Gauge: 1 while the kubelet listens to the pool's devices: `{pool}`.
pub const REGISTERED: &str = "firstlight_registered";
/// Counter of PodResources calls that failed: `{code}`, a gRPC code.
pub const POD_RESOURCES_ERRORS_TOTAL: &str = "firstlight_pod_resources_errors_total";
/// Counter of record bytes that were thrown away unread, because a file had grown beyond its bound.
pub const RECORD_BYTES_DROPPED_TOTAL: &str = "firstlight_record_bytes_dropped_total";
/// Counter of calls to the API server that failed: `{what}`; `condition`, `event` or `watch`.
pub const API_ERRORS_TOTAL: &str = "firstlight_api_errors_total";
/// Gauge: grants on the node's disk: `{state}`; `owned` or `unknown`.
pub const GRANTS: &str = "firstlight_grants";
/// Info: constant 1: `{version}`.
pub const BUILD_INFO: &str = "firstlight_build_info";

/// Counter of the webhook: admission requests by `{rule,outcome}`.
pub const WEBHOOK_REVIEWS_TOTAL: &str = "firstlight_webhook_reviews_total";
/// Histogram of the webhook: time of a request from its header to its answer, seconds: `{rule}`.
pub const WEBHOOK_REVIEW_DURATION: &str = "firstlight_webhook_review_duration_seconds";
/// Gauge of the webhook: when the certificate that is served expires, seconds since the epoch; 0 without one.
pub const WEBHOOK_CERTIFICATE_EXPIRY: &str = "firstlight_webhook_certificate_expiry_timestamp_seconds";
/// Counter of the webhook: attempts to get a certificate that failed; the old one stays in use.
pub const WEBHOOK_CERTIFICATE_FAILURES_TOTAL: &str = "firstlight_webhook_certificate_failures_total";
/// Counter of the webhook: changed configurations that were bad; the old one stays in use.
pub const WEBHOOK_CONFIG_FAILURES_TOTAL: &str = "firstlight_webhook_config_failures_total";

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
