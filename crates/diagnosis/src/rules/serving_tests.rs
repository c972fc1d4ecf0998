//! What a process that serves a model was started for.

use super::tests::{assert_is, discovery};
use crate::fixtures::{EPOCH, SECOND, Trace, facts, verdict_at};
use crate::{Cause, Confidence, Facts, Stage, Truth, Verdict};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::metrics::Outcome;
use firstlight_contract::record::{Role, start};

const CHOSEN: u64 = start::GLIBC | start::BACKEND;

fn runner(second: u64, bits: u64) -> Trace {
    Trace::start_with(9, Role::Runner, second, bits)
}

/// What is said this many seconds after the beginning.
fn said_at(second: u64, traces: Vec<Trace>) -> Verdict {
    verdict_at(second, &running(), traces)
}

fn running() -> Facts {
    let state = crate::ContainerState::Running { since_ns: EPOCH };
    Facts { state, ..facts(PoolKind::Whole) }
}

#[test]
fn an_order_to_keep_off_the_gpu_is_no_failure_and_leaves_the_pod_ready() {
    let ordered = runner(10, start::GLIBC | start::NO_GPU_LAYERS);
    let verdict = said_at(60, vec![discovery(7).comes_up(), ordered]);
    assert_is(&verdict, Cause::CpuByDesign, Stage::Select, Confidence::Certain);
    assert_eq!((verdict.outcome, verdict.ready), (Outcome::Unknown, Truth::True));
    assert!(verdict.event().is_none(), "nobody is alarmed");
}

#[test]
fn without_the_order_a_runner_on_the_cpu_is_a_fallback() {
    let verdict = said_at(60, vec![discovery(7).comes_up(), runner(10, start::GLIBC)]);
    assert_is(&verdict, Cause::NeverAttempted, Stage::Select, Confidence::Likely);
    assert_eq!(verdict.ready, Truth::False);
    assert!(verdict.evidence.iter().any(|line| line.contains("without a GPU backend")), "{verdict:?}");
}

#[test]
fn an_order_does_not_hide_that_discovery_had_failed() {
    let failed = discovery(7).opens(crate::fixtures::DRIVER).gets("cuInit", 802);
    let verdict = said_at(60, vec![failed, runner(10, start::GLIBC | start::NO_GPU_LAYERS)]);
    assert_eq!(verdict.cause, Cause::FabricNotReady);
}

#[test]
fn a_model_served_by_vulkan_is_said_and_a_failure_of_cuda_before_it_comes_first() {
    let vulkan = || runner(10, CHOSEN | start::VULKAN);
    let verdict = said_at(60, vec![discovery(7), vulkan()]);
    assert_is(&verdict, Cause::VulkanInsteadOfCuda, Stage::Serving, Confidence::Likely);
    let failed = discovery(7).opens(crate::fixtures::DRIVER).gets("cuInit", 802);
    let first = said_at(60, vec![failed, vulkan()]);
    assert_eq!(first.cause, Cause::FabricNotReady);
    assert!(first.evidence.iter().any(|line| line.contains("by Vulkan")), "{first:?}");
    assert_ne!(said_at(60, vec![discovery(7), runner(10, CHOSEN)]).cause, Cause::VulkanInsteadOfCuda);
}

#[test]
fn a_context_without_a_launch_for_ten_minutes_is_a_claim_without_use() {
    let holds = || vec![discovery(7).comes_up(), runner(10, CHOSEN).comes_up()];
    assert_eq!(said_at(300, holds()).cause, Cause::Ok, "a large model may still be loading");
    let verdict = said_at(700, holds());
    assert_is(&verdict, Cause::GpuClaimedNotUsed, Stage::Serving, Confidence::Likely);
    let launched = vec![discovery(7).comes_up(), runner(10, CHOSEN).comes_up().launches(3)];
    assert_eq!(said_at(700, launched).cause, Cause::Ok);
}

#[test]
fn the_second_look_at_a_mig_device_fails_by_its_name() {
    let second = |bits, value: &str| {
        let trace = Trace::start_with(8, Role::EngineDiscovery, 5, bits);
        trace.opens(crate::fixtures::DRIVER).has(&format!("CUDA_VISIBLE_DEVICES={value}")).gets("cuInit", 100)
    };
    let listed =
        || Trace::start(7, Role::EngineDiscovery, 0).initialises().gets_with("cuDeviceGetCount", 0, (1, 0));
    let filtered = said_at(20, vec![listed(), second(start::GLIBC | start::SECOND_PASS, "GPU-8f2c")]);
    assert_is(&filtered, Cause::MigDeviceFiltered, Stage::DriverInit, Confidence::Likely);
    let first_pass = said_at(20, vec![listed(), second(start::GLIBC, "GPU-8f2c")]);
    assert_ne!(first_pass.cause, Cause::MigDeviceFiltered, "nobody but the second pass names devices so");
    let numbered = said_at(20, vec![listed(), second(start::GLIBC | start::SECOND_PASS, "0")]);
    assert_ne!(numbered.cause, Cause::MigDeviceFiltered);
}

#[test]
fn another_preloaded_library_is_suspected_where_a_call_hangs_or_nothing_was_recorded() {
    let other =
        || ("LD_PRELOAD".to_owned(), "/opt/firstlight/lib/libcuda.so.1:/opt/hami/libvgpu.so".to_owned());
    let hangs = || vec![discovery(7).opens(crate::fixtures::DRIVER).enters("cuInit")];
    let with = |facts: Facts| Facts { environment: vec![other()], ..facts };
    assert_eq!(verdict_at(60, &with(running()), hangs()).cause, Cause::ForeignShimFault);
    assert_eq!(said_at(60, hangs()).cause, Cause::DiscoveryTimeout);

    let ended = |exit_code| {
        let state = crate::ContainerState::Terminated { at_ns: EPOCH + 5 * SECOND, exit_code };
        Facts { state, injected: Some(true), ..facts(PoolKind::Whole) }
    };
    for (code, cause) in [(127, Cause::PreloadObjectBroken), (139, Cause::ForeignShimFault)] {
        assert_eq!(verdict_at(6, &with(ended(code)), vec![]).cause, cause);
        assert_eq!(verdict_at(6, &ended(code), vec![]).cause, Cause::RecorderNotLoaded, "{code}");
    }
    assert_eq!(verdict_at(6, &with(ended(0)), vec![]).cause, Cause::RecorderNotLoaded);
    let crashed = vec![discovery(7).initialises()];
    assert_eq!(verdict_at(6, &with(ended(139)), crashed.clone()).cause, Cause::ForeignShimFault);
    assert_ne!(verdict_at(6, &ended(139), crashed).cause, Cause::ForeignShimFault);
}

#[test]
fn a_container_that_is_ended_again_and_again_while_it_waits_for_the_driver_waits_too_long() {
    let waits = || vec![discovery(7).opens(crate::fixtures::DRIVER).enters("cuInit")];
    let again = |restarts| {
        let state = crate::ContainerState::Running { since_ns: EPOCH + 12 * SECOND };
        Facts { state, restarts, ..facts(PoolKind::Whole) }
    };
    assert_eq!(verdict_at(15, &again(1), waits()).cause, Cause::DiscoveryTimeout);
    assert_ne!(verdict_at(15, &again(0), waits()).cause, Cause::DiscoveryTimeout, "it was not started again");
    let answered = vec![discovery(7).initialises()];
    assert_ne!(verdict_at(15, &again(1), answered).cause, Cause::DiscoveryTimeout);
}
