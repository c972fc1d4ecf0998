//! Each fault on order ends in the verdict that names its cause.

use anyhow::Result;
use firstlight_contract::metrics;
use firstlight_contract::names::{annotation, event};
use firstlight_e2e::harness::scenario::{Scenario, scenario};
use firstlight_e2e::harness::workload::{OLLAMA, annotated, ollama};
use serde_json::Value;

/// An Ollama on a simulated GPU with this fault: the pod's name.
fn broken_ollama(s: &Scenario, fault: &str) -> Result<String> {
    let asks = [(annotation::GPU, "simulated"), (annotation::SIMULATE, fault)];
    s.create(&annotated(ollama("ollama", OLLAMA), &asks))?;
    s.ready_pod("ollama")
}

/// Condition, Event and metric of a pod name this cause.
fn everybody_says(s: &Scenario, pod: &str, event: &str, cause: &str, reason: &str) -> Result<()> {
    let condition = s.gpu_ready(pod, "False")?;
    assert_eq!(condition.reason, reason, "{condition:?}");
    assert!(condition.message.contains("imulated"), "what is simulated says so: {condition:?}");
    s.event(pod, event)?;
    let series = format!(
        "{}{{namespace=\"{}\",pod=\"{pod}\",cause=\"{cause}\"}}",
        metrics::CUDA_INIT_FAILURE_INFO,
        s.namespace
    );
    s.metric(&series, |found| found.value > 0.0).map(drop)
}

/// A fault that Ollama's discovery meets.
fn discovery_fails(fault: &str, cause: &str, reason: &str) -> Result<()> {
    scenario(|s| {
        let pod = broken_ollama(s, fault)?;
        everybody_says(s, &pod, event::CUDA_INIT_FAILED, cause, reason)?;
        assert!(
            s.logged(&pod, "inference compute")?.contains("library=cpu"),
            "the silent fallback that this is about"
        );
        Ok(())
    })
}

/// A fault that only a model meets: discovery is content.
fn a_model_fails(fault: &str, cause: &str, reason: &str) -> Result<()> {
    scenario(|s| {
        let pod = broken_ollama(s, fault)?;
        s.gpu_ready(&pod, "True")?;
        // Whether Ollama falls back or answers with an error is Ollama's business.
        let _answer = s.generate(&pod);
        everybody_says(s, &pod, event::CUDA_FALLBACK, cause, reason)
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn a_driver_without_the_export_table_is_export_table_missing() -> Result<()> {
    discovery_fails("no-export-table", "export-table-missing", "ExportTableMissing")
}

#[test]
#[ignore = "needs the local cluster"]
fn a_refused_table_is_export_table_refused() -> Result<()> {
    discovery_fails("refuse-table=context-local-storage:801", "export-table-refused", "ExportTableRefused")
}

#[test]
#[ignore = "needs the local cluster"]
fn a_driver_of_cuda_11_is_driver_too_old() -> Result<()> {
    discovery_fails("driver-version=11080", "driver-too-old", "DriverTooOld")
}

#[test]
#[ignore = "needs the local cluster"]
fn init_with_803_is_driver_user_kernel_mismatch() -> Result<()> {
    discovery_fails("init-returns=803", "driver-user-kernel-mismatch", "DriverUserKernelMismatch")
}

#[test]
#[ignore = "needs the local cluster"]
fn init_with_802_is_fabric_not_ready() -> Result<()> {
    discovery_fails("init-returns=802", "fabric-not-ready", "FabricNotReady")
}

#[test]
#[ignore = "needs the local cluster"]
fn a_device_query_that_fails_is_device_query_failed() -> Result<()> {
    discovery_fails("query-returns=999", "device-query-failed", "DeviceQueryFailed")
}

#[test]
#[ignore = "needs the local cluster"]
fn a_context_that_finds_no_memory_is_no_room_for_context() -> Result<()> {
    discovery_fails("context-returns=2", "no-room-for-context", "NoRoomForContext")
}

#[test]
#[ignore = "needs the local cluster"]
fn a_context_that_is_not_supported_is_vgpu_profile_unsupported() -> Result<()> {
    discovery_fails("context-returns=801", "vgpu-profile-unsupported", "VgpuProfileUnsupported")
}

#[test]
#[ignore = "needs the local cluster"]
fn a_hanging_init_is_discovery_timeout_while_ollama_still_waits() -> Result<()> {
    scenario(|s| {
        let asks = [(annotation::GPU, "simulated"), (annotation::SIMULATE, "hang=cuInit:60")];
        s.create(&annotated(ollama("ollama", OLLAMA), &asks))?;
        // Ollama answers nobody before each of its probes has had its 30 s.
        let running = |pod: &Value| pod.pointer("/status/phase").is_some_and(|phase| phase == "Running");
        let pod = s.pod_where("ollama", "running", running)?;
        everybody_says(s, &pod, event::CUDA_INIT_FAILED, "discovery-timeout", "DiscoveryTimeout")
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn an_allocation_that_fails_is_out_of_memory_at_load() -> Result<()> {
    a_model_fails("allocate-returns=2", "out-of-memory-at-load", "OutOfMemoryAtLoad")
}

#[test]
#[ignore = "needs the local cluster"]
fn a_launch_without_kernel_image_is_architecture_not_in_build() -> Result<()> {
    a_model_fails("launch-returns=209", "architecture-not-in-build", "ArchitectureNotInBuild")
}

#[test]
#[ignore = "needs the local cluster"]
fn a_launch_that_faults_is_device_error_sticky() -> Result<()> {
    a_model_fails("launch-returns=719", "device-error-sticky", "DeviceErrorSticky")
}

#[test]
#[ignore = "needs the local cluster"]
fn a_device_that_falls_off_the_bus_is_gpu_lost_after_start() -> Result<()> {
    a_model_fails("lost-after-launches=5", "gpu-lost-after-start", "GpuLostAfterStart")
}
