//! The metrics: one table of names, types, labels and help texts. The plugin registers from it, and
//! `docs/metrics.md` is written from it. Label values come from enums only, except namespace, pod and container
//! on per-pod series, which vanish with the pod.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What Prometheus makes of it.
    pub kind: MetricKind,
    /// Who serves it.
    pub scope: Scope,
    /// Its labels, in the order in which they are written.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// What Prometheus makes of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows, until its process starts again.
    Counter,
    /// A value of now.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl MetricKind {
    /// The word in `# TYPE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Who serves a metric, and what its series are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The plugin, about a container; the series go with the pod.
    Container,
    /// The plugin, about its node.
    Node,
    /// The webhook.
    Webhook,
    /// Plugin and webhook.
    Every,
}

macro_rules! metrics {
    ($($constant:ident $name:literal $kind:ident $scope:ident [$($label:literal),*] $help:literal)+) => {
        $(#[doc = $help] pub const $constant: &str = $name;)+

        /// The rows of the table, under the constants of their names.
        pub mod table {
            use super::{Metric, MetricKind, Scope};

            $(
                #[doc = $help]
                pub const $constant: Metric = Metric {
                    name: $name,
                    kind: MetricKind::$kind,
                    scope: Scope::$scope,
                    labels: &[$($label),*],
                    help: $help,
                };
            )+

            /// The whole table.
            pub const ALL: &[Metric] = &[$($constant),+];
        }
    };
}

metrics! {
    CUDA_INIT_TOTAL "firstlight_cuda_init_total" Counter Container
        ["namespace", "pod", "container", "kind", "outcome"]
        "Outcomes of CUDA initialisation in a container; all three are born at 0 with the grant."
    CUDA_INIT_STAGE "firstlight_cuda_init_stage" Gauge Container
        ["namespace", "pod", "container", "kind"]
        "Number of the stage that was reached, or at which it failed."
    CUDA_INIT_FAILURE_INFO "firstlight_cuda_init_failure_info" Gauge Container
        ["namespace", "pod", "container", "kind", "cause"]
        "1 while a failure stands, with its cause."
    GPU_IN_USE "firstlight_gpu_in_use" Gauge Container
        ["namespace", "pod", "container", "kind"]
        "1 while a process that serves a model has launched kernels."
    LAST_LAUNCH "firstlight_last_launch_timestamp_seconds" Gauge Container
        ["namespace", "pod", "container", "kind"]
        "When a kernel launch was last reported, seconds since the epoch."
    MEMORY_QUOTA "firstlight_memory_quota_bytes" Gauge Container
        ["namespace", "pod", "container", "kind", "device"]
        "Device memory that a container may use, bytes."
    MEMORY_USED "firstlight_memory_used_bytes" Gauge Container
        ["namespace", "pod", "container", "kind", "device"]
        "Device memory that the living processes of a container with a quota hold, as they count it, bytes."
    CUDA_INIT_DURATION "firstlight_cuda_init_duration_seconds" Histogram Node []
        "From a process's first driver call to a usable context, seconds."
    NODE_CUDA_INIT_TOTAL "firstlight_node_cuda_init_total" Counter Node ["outcome"]
        "Outcomes of CUDA initialisation on this node since the plugin's start; stays when a pod goes."
    DEVICE_HEALTHY "firstlight_device_healthy" Gauge Node ["pool", "device"]
        "1 while a device is healthy."
    DEVICE_UNHEALTHY_INFO "firstlight_device_unhealthy_info" Gauge Node ["pool", "device", "reason"]
        "1 while a device is unhealthy, with the reason; the sentence is in log and Event."
    UNACCOUNTED "firstlight_unaccounted_bytes" Gauge Node ["device"]
        "Memory of a card in parts that is in use, as NVML says, and that no container's quota counts, bytes; none while NVML says nothing."
    POOL_DRIVER_INFO "firstlight_pool_driver_info" Gauge Node ["pool", "mode"]
        "1 for the way in which NVIDIA's driver gets into the containers of a pool of real cards."
    DEVICES "firstlight_devices" Gauge Node ["pool", "state"]
        "Units that can be allocated, and those that are."
    GRANTS "firstlight_grants" Gauge Node ["state"]
        "Grants on the node's disk."
    ALLOCATE_DURATION "firstlight_allocate_duration_seconds" Histogram Node ["pool", "code"]
        "Time of an Allocate, seconds."
    REGISTRATIONS_TOTAL "firstlight_registrations_total" Counter Node ["pool", "result"]
        "Registrations with the kubelet."
    REGISTERED "firstlight_registered" Gauge Node ["pool"]
        "1 while the kubelet listens to the pool's devices."
    POD_RESOURCES_ERRORS_TOTAL "firstlight_pod_resources_errors_total" Counter Node ["code"]
        "Calls of the kubelet's PodResources that failed."
    RECORD_BYTES_DROPPED_TOTAL "firstlight_record_bytes_dropped_total" Counter Node []
        "Record bytes thrown away unread, because a file had grown beyond its bound."
    API_ERRORS_TOTAL "firstlight_api_errors_total" Counter Node ["what"]
        "Calls of the API server that failed."
    WEBHOOK_REVIEWS_TOTAL "firstlight_webhook_reviews_total" Counter Webhook ["rule", "outcome"]
        "Admission requests by rule and what became of them."
    WEBHOOK_REVIEW_DURATION "firstlight_webhook_review_duration_seconds" Histogram Webhook ["rule"]
        "Time from a request's header to its answer, seconds."
    WEBHOOK_CERTIFICATE_EXPIRY "firstlight_webhook_certificate_expiry_timestamp_seconds" Gauge Webhook []
        "When the certificate that is served expires, seconds since the epoch."
    WEBHOOK_CERTIFICATE_FAILURES_TOTAL "firstlight_webhook_certificate_failures_total" Counter Webhook []
        "Attempts to get a certificate that failed; the old one stays in use."
    WEBHOOK_CONFIG_FAILURES_TOTAL "firstlight_webhook_config_failures_total" Counter Webhook []
        "Changed configurations that were bad; the old one stays in use."
    NOT_INJECTED "firstlight_not_injected" Gauge Webhook ["namespace", "kind"]
        "Objects that carry the annotation and were not injected; each replica counts all of them."
    NOT_INJECTED_REST "firstlight_not_injected_rest" Gauge Webhook []
        "The same beyond the thousand that a replica keeps: they have no Event yet, and are counted here only."
    WEBHOOK_SEARCH_FAILURES_TOTAL "firstlight_webhook_search_failures_total" Counter Webhook []
        "Calls that failed in the search for what was not injected; they are made again."
    BUILD_INFO "firstlight_build_info" Gauge Every ["version"]
        "Constant 1."
}

/// Why a device is unhealthy, label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthReason {
    /// It was there once.
    Gone,
    /// Its PCI registers answer nothing.
    OffTheBus,
    /// The administrator excluded it from the driver.
    Excluded,
    /// Two pools claim it.
    Contested,
    /// The kernel module or the driver's libraries are missing, incomplete or of different versions.
    Driver,
    /// A device node is missing.
    DeviceNode,
    /// No CDI specification of the node names it, or one that does is of no use.
    Cdi,
    /// Another device plugin serves the node's cards.
    ForeignPlugin,
    /// It cannot be divided, because its memory is not known.
    MemoryUnknown,
    /// It is divided into more than it has.
    MemoryExceeded,
    /// It is divided by hardware (MIG).
    Mig,
    /// The driver reported an error of it.
    Xid,
    /// Its memory has errors that cannot be corrected.
    Ecc,
    /// NVML does not reach it any more.
    Lost,
    /// NVML does not answer when it is asked about it.
    NvmlHangs,
    /// Its compute mode refuses contexts that the pool needs.
    ComputeMode,
    /// No MPS control daemon runs where the pool says.
    Mps,
}

impl HealthReason {
    /// All values, in the table's order.
    pub const ALL: [Self; 17] = [
        Self::Gone,
        Self::OffTheBus,
        Self::Excluded,
        Self::Contested,
        Self::Driver,
        Self::DeviceNode,
        Self::Cdi,
        Self::ForeignPlugin,
        Self::MemoryUnknown,
        Self::MemoryExceeded,
        Self::Mig,
        Self::Xid,
        Self::Ecc,
        Self::Lost,
        Self::NvmlHangs,
        Self::ComputeMode,
        Self::Mps,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::OffTheBus => "off-the-bus",
            Self::Excluded => "excluded",
            Self::Contested => "contested",
            Self::Driver => "driver",
            Self::DeviceNode => "device-node",
            Self::Cdi => "cdi",
            Self::ForeignPlugin => "foreign-plugin",
            Self::MemoryUnknown => "memory-unknown",
            Self::MemoryExceeded => "memory-exceeded",
            Self::Mig => "mig",
            Self::Xid => "xid",
            Self::Ecc => "ecc",
            Self::Lost => "lost",
            Self::NvmlHangs => "nvml-hangs",
            Self::ComputeMode => "compute-mode",
            Self::Mps => "mps",
        }
    }
}

/// How NVIDIA's driver gets into the containers of a pool, label `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DriverWay {
    /// We mount the node's libraries.
    Direct,
    /// The container runtime injects it by a CDI specification.
    Cdi,
    /// NVIDIA's container runtime injects it.
    Runtime,
}

impl DriverWay {
    /// All values, in label order.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Cdi, Self::Runtime];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Cdi => "cdi",
            Self::Runtime => "runtime",
        }
    }
}

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
