//! The kubelet's APIs, generated from `plugin/proto` (see `tests/generated.rs`).

/// Device plugin API: `Registration` is served by the kubelet, `DevicePlugin` by us.
#[rustfmt::skip]
#[allow(
    missing_docs, unreachable_pub, unused_qualifications, missing_debug_implementations,
    clippy::all, clippy::pedantic, clippy::allow_attributes, clippy::allow_attributes_without_reason,
    clippy::str_to_string, clippy::use_self, clippy::rest_pat_in_fully_bound_structs,
    reason = "generated code"
)]
pub mod v1beta1;

/// PodResources API: which container holds which device.
#[rustfmt::skip]
#[allow(
    missing_docs, unreachable_pub, unused_qualifications, missing_debug_implementations,
    clippy::all, clippy::pedantic, clippy::allow_attributes, clippy::allow_attributes_without_reason,
    clippy::str_to_string, clippy::use_self, clippy::rest_pat_in_fully_bound_structs,
    reason = "generated code"
)]
pub mod v1;

/// The only version of the device plugin API that the kubelet accepts.
pub const DEVICE_PLUGIN_VERSION: &str = "v1beta1";
/// Health of a device that may be allocated.
pub const HEALTHY: &str = "Healthy";
/// Health of a device that may not be allocated.
pub const UNHEALTHY: &str = "Unhealthy";
/// The kubelet's registration socket, in its device plugin directory.
pub const KUBELET_SOCKET: &str = "kubelet.sock";
