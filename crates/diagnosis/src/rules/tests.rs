//! Each cause from a trace that shows it, and its look-alike.

use crate::fixtures::{
    CUDART_12, CUDART_13, DRIVER, EPOCH, SECOND, Trace, container, facts, verdict, verdict_at,
};
use crate::{Cause, Confidence, Container, ContainerState, Facts, Stage, Truth, Verdict};
use firstlight_contract::decode::Item;
use firstlight_contract::grant::PoolKind;
use firstlight_contract::metrics::Outcome;
use firstlight_contract::record::{Caller, Role};

pub(super) fn discovery(pid: u32) -> Trace {
    Trace::start(pid, Role::ListDevices, 1)
}

fn runner(pid: u32) -> Trace {
    Trace::start(pid, Role::Runner, 100)
}

#[track_caller]
pub(super) fn assert_is(verdict: &Verdict, cause: Cause, stage: Stage, confidence: Confidence) {
    assert_eq!(
        (verdict.cause, verdict.stage, verdict.confidence),
        (cause, stage, confidence),
        "{verdict:#?}"
    );
    assert!(!verdict.evidence.is_empty());
    assert_eq!(verdict.outcome == Outcome::Failure, cause.is_failure());
}

fn whole_with(name: &str, value: &str) -> Facts {
    Facts { environment: vec![(name.to_owned(), value.to_owned())], ..facts(PoolKind::Whole) }
}

#[test]
fn a_context_with_memory_is_success() {
    let verdict = verdict(vec![discovery(7).comes_up()]);
    assert_is(&verdict, Cause::Ok, Stage::Context, Confidence::Certain);
    assert_eq!((verdict.outcome, verdict.ready, verdict.confirmed), (Outcome::Success, Truth::True, false));
}

#[test]
fn launches_that_were_waited_for_in_a_runner_confirm_it() {
    let runner = runner(8).comes_up().gets("cuLaunchKernel", 0).launches(180).launches(400);
    let container = container(vec![discovery(7).comes_up(), runner]);
    let verdict = container.verdict(EPOCH + 3600 * SECOND, &facts(PoolKind::Whole));
    assert_is(&verdict, Cause::Ok, Stage::Serving, Confidence::Certain);
    assert!(verdict.confirmed);
    assert_eq!(container.launches(), 400);
}

#[test]
fn a_graph_that_was_launched_first_is_counted_once() {
    let runner = runner(8).comes_up().gets("cuGraphLaunch", 0).launches_graphs(1);
    let container = container(vec![runner]);
    assert_eq!(container.launches(), 1);
    assert!(
        !container.verdict(EPOCH + 3600 * SECOND, &facts(PoolKind::Whole)).confirmed,
        "nobody waited for it"
    );
}

#[test]
fn a_list_of_devices_without_a_context_is_no_success_yet() {
    let verdict = verdict(vec![discovery(7).enumerates()]);
    assert_is(&verdict, Cause::Unknown, Stage::Enumerated, Confidence::Unknown);
    assert_eq!(verdict.ready, Truth::Unknown);
}

#[test]
fn a_missing_record_forbids_success() {
    let mut trace = discovery(7).comes_up();
    trace.entries.remove(3);
    let verdict = verdict(vec![trace]);
    assert_ne!(verdict.outcome, Outcome::Success, "{verdict:#?}");
    assert!(verdict.evidence.iter().any(|sentence| sentence.contains("missing")), "{verdict:#?}");
}

#[test]
fn records_that_come_out_of_order_are_put_in_order() {
    let mut trace = discovery(7).comes_up();
    trace.entries.swap(4, 6);
    assert_eq!(verdict(vec![trace]).cause, Cause::Ok);
}

#[test]
fn a_failing_cuda_13_beside_a_working_cuda_12_is_normal() {
    let old = discovery(7).runtime(CUDART_13).opens(DRIVER).gets_with("cuDriverGetVersion", 0, (12_080, 0));
    let new = discovery(8).runtime(CUDART_12).comes_up();
    assert_eq!(verdict(vec![old, new]).cause, Cause::Ok);
}

#[test]
fn cuinit_999_is_driver_init_failed_and_only_likely() {
    let verdict = verdict(vec![discovery(7).opens(DRIVER).enters("cuInit").gets("cuInit", 999)]);
    assert_is(&verdict, Cause::DriverInitFailed, Stage::DriverInit, Confidence::Likely);
    assert!(verdict.evidence[0].starts_with("cuInit returned 999 (CUDA_ERROR_UNKNOWN"), "{verdict:#?}");
    assert!(verdict.ruled_out.iter().any(|out| out.cause == Cause::DriverTooOld));
    assert_eq!((verdict.ready, verdict.fallback), (Truth::False, false));
}

#[test]
fn the_process_that_got_furthest_names_the_cause() {
    let old = discovery(7).runtime(CUDART_13).opens(DRIVER).gets_with("cuDriverGetVersion", 0, (12_080, 0));
    let failing = discovery(8)
        .runtime(CUDART_12)
        .opens(DRIVER)
        .gets_with("cuDriverGetVersion", 0, (12_080, 0))
        .gets("cuInit", 3);
    let verdict = verdict(vec![old, failing]);
    assert_is(&verdict, Cause::DriverInitFailed, Stage::DriverInit, Confidence::Likely);
    assert!(verdict.ruled_out.iter().any(|out| out.cause == Cause::DriverTooOld));
}

#[test]
fn cuinit_999_after_earlier_launches_is_a_lost_device() {
    let before = runner(8).comes_up().gets("cuLaunchKernel", 0).launches(9);
    let now = Trace::start(9, Role::Runner, 200).opens(DRIVER).gets("cuInit", 999);
    let verdict = verdict(vec![discovery(7).comes_up(), before, now]);
    assert_is(&verdict, Cause::CgroupDeviceLost, Stage::RunnerInit, Confidence::Likely);
    assert!(verdict.fallback);
    assert_eq!(verdict.event().unwrap().reason, "CudaFallback");
}

#[test]
fn cuinit_100_in_a_runner_after_a_good_discovery_is_a_gpu_lost_after_start() {
    let verdict = verdict(vec![discovery(7).comes_up(), runner(8).opens(DRIVER).gets("cuInit", 100)]);
    assert_is(&verdict, Cause::GpuLostAfterStart, Stage::RunnerInit, Confidence::Likely);
}

#[test]
fn a_new_runner_that_works_makes_up_for_one_that_failed() {
    let poisoned = runner(8).comes_up().gets("cuLaunchKernel", 700);
    let healthy = Trace::start(9, Role::Runner, 200).comes_up().launches(3);
    assert_eq!(verdict(vec![discovery(7).comes_up(), poisoned.clone()]).cause, Cause::DeviceErrorSticky);
    assert_eq!(verdict(vec![discovery(7).comes_up(), poisoned, healthy]).cause, Cause::Ok);
}

#[test]
fn cuinit_100_with_a_hiding_variable_is_hidden_by_env() {
    let trace = || vec![discovery(7).opens(DRIVER).gets("cuInit", 100)];
    let hidden = verdict_at(60, &whole_with("CUDA_VISIBLE_DEVICES", "-1"), trace());
    assert_is(&hidden, Cause::HiddenByEnv, Stage::DriverInit, Confidence::Certain);
    let not_hidden = verdict_at(60, &whole_with("CUDA_VISIBLE_DEVICES", "0"), trace());
    assert_is(&not_hidden, Cause::DriverInitFailed, Stage::DriverInit, Confidence::Likely);
    assert!(not_hidden.ruled_out.iter().any(|out| out.cause == Cause::HiddenByEnv));
}

#[test]
fn the_library_s_place_tells_a_compat_library_from_a_mismatch() {
    let at = |path: &str| verdict(vec![discovery(7).opens(path).gets("cuInit", 803)]);
    assert_is(
        &at("/usr/local/cuda/compat/libcuda.so.1"),
        Cause::CompatOrStubDriver,
        Stage::DriverInit,
        Confidence::Certain,
    );
    assert_is(
        &at("/usr/lib/x86_64-linux-gnu/libcuda.so.1"),
        Cause::DriverUserKernelMismatch,
        Stage::DriverInit,
        Confidence::Likely,
    );
    let with_nvml = discovery(7).opens("/usr/lib/libcuda.so.1").gets("nvmlInit_v2", 18).gets("cuInit", 803);
    assert_is(
        &verdict(vec![with_nvml]),
        Cause::DriverUserKernelMismatch,
        Stage::DriverInit,
        Confidence::Certain,
    );
}

#[test]
fn codes_with_rows_of_their_own() {
    for (code, cause) in [
        (34, Cause::CompatOrStubDriver),
        (804, Cause::CompatOrStubDriver),
        (802, Cause::FabricNotReady),
        (3, Cause::DriverInitFailed),
        (304, Cause::DriverInitFailed),
    ] {
        let verdict = verdict(vec![discovery(7).opens(DRIVER).gets("cuInit", code)]);
        assert_is(&verdict, cause, Stage::DriverInit, Confidence::Likely);
    }
}

#[test]
fn a_low_version_and_nothing_after_it_is_driver_too_old() {
    let trace = || discovery(7).opens(DRIVER).gets_with("cuDriverGetVersion", 0, (11_080, 0));
    let known = verdict(vec![trace().runtime(CUDART_12)]);
    assert_is(&known, Cause::DriverTooOld, Stage::DriverVersion, Confidence::Certain);
    assert!(known.evidence[0].contains("CUDA 11.8"), "{known:#?}");
    assert_is(&verdict(vec![trace()]), Cause::DriverTooOld, Stage::DriverVersion, Confidence::Likely);
    let reached = trace().gets("cuInit", 999);
    assert_eq!(verdict(vec![reached]).cause, Cause::DriverInitFailed);
}

/// Ollama's `gpu-discover` loads the backend and then asks the driver itself, beside the runtime that has refused.
#[test]
fn a_probe_that_gets_further_than_the_runtime_does_not_hide_a_driver_that_is_too_old() {
    let old =
        |pid| discovery(pid).opens(DRIVER).runtime(CUDART_12).gets_with("cuDriverGetVersion", 0, (11_080, 0));
    let probe = old(8).unanswered("cuLibraryLoadData", 500).called_by(Caller::Ollama);
    let probe = probe.enters("cuInit").gets("cuInit", 0).gets_with("cuDeviceGetCount", 0, (1, 0));
    let verdict = verdict(vec![old(7), probe]);
    assert_is(&verdict, Cause::DriverTooOld, Stage::DriverVersion, Confidence::Certain);
}

#[test]
fn between_version_and_init_nothing_is_concluded() {
    let trace = discovery(7).opens(DRIVER).gets_with("cuDriverGetVersion", 0, (11_080, 0));
    assert_eq!(verdict_at(2, &facts(PoolKind::Whole), vec![trace]).cause, Cause::Unknown);
}

#[test]
fn a_missing_cugetexporttable_is_named() {
    let verdict = verdict(vec![discovery(7).unanswered("cuGetExportTable", 500).initialises()]);
    assert_is(&verdict, Cause::ExportTableMissing, Stage::Handshake, Confidence::Certain);
    assert!(verdict.evidence[0].contains("cuGetExportTable"));
}

#[test]
fn a_probe_that_counts_devices_beside_the_runtime_does_not_hide_the_missing_table() {
    let trace = discovery(7).unanswered("cuGetExportTable", 500).initialises().called_by(Caller::Ollama);
    let trace = trace.gets_with("cuDeviceGetCount", 0, (1, 0)).unanswered("cuDeviceGetName", 500);
    assert_is(&verdict(vec![trace]), Cause::ExportTableMissing, Stage::Handshake, Confidence::Certain);
}

#[test]
fn a_refused_table_is_named_unless_the_runtime_went_on() {
    let refused = verdict(vec![discovery(7).initialises().table("cudart-interface", 801)]);
    assert_is(&refused, Cause::ExportTableRefused, Stage::Handshake, Confidence::Certain);
    assert!(refused.evidence[0].contains("6bd5fb6c5bf4e74a8987d93912fd9df9"));
    let optional = discovery(7).initialises().table("optional-12-9", 801);
    assert_eq!(verdict(vec![optional]).cause, Cause::Unknown);
    let went_on = discovery(7).initialises().table("context-checks", 801).table("integrity-check", 0);
    assert_eq!(verdict(vec![went_on]).cause, Cause::Unknown);
}

#[test]
fn a_lookup_that_does_not_find_cuinit_is_broken() {
    let verdict = verdict(vec![discovery(7).opens(DRIVER).unanswered("cuInit", 500)]);
    assert_is(&verdict, Cause::SymbolLookupBroken, Stage::DriverFind, Confidence::Certain);
}

#[test]
fn a_failing_or_missing_device_query_is_named() {
    let failing = verdict(vec![discovery(7).initialises().gets("cuDeviceGetCount", 999)]);
    assert_is(&failing, Cause::DeviceQueryFailed, Stage::Enumerate, Confidence::Likely);
    let missing = discovery(7).unanswered("cuDeviceGetUuid", 500).initialises().gets_with(
        "cuDeviceGetCount",
        0,
        (1, 0),
    );
    assert_is(&verdict(vec![missing]), Cause::DeviceQueryFailed, Stage::Enumerate, Confidence::Certain);
    let by_a_tool = discovery(7).called_by(Caller::Program).enumerates().gets("cuDeviceGetAttribute", 1);
    assert_eq!(verdict(vec![by_a_tool]).cause, Cause::Unknown);
}

#[test]
fn the_code_tells_why_there_is_no_context() {
    for (code, cause) in
        [(2, Cause::NoRoomForContext), (801, Cause::VgpuProfileUnsupported), (719, Cause::ContextFailed)]
    {
        let verdict = verdict(vec![discovery(7).enumerates().gets("cuDevicePrimaryCtxRetain", code)]);
        assert_is(&verdict, cause, Stage::Context, Confidence::Likely);
    }
    let no_answer =
        discovery(7).enumerates().gets("cuDevicePrimaryCtxRetain", 0).gets("cuMemGetInfo_v2", 999);
    // The device's memory is known from the enumeration: the context exists, the query of free memory failed.
    assert_eq!(verdict(vec![no_answer]).cause, Cause::MemoryInfoWrong);
}

#[test]
fn an_allocation_beyond_the_free_memory_is_certain() {
    let runner = runner(8).comes_up().gets_with("cuMemAlloc_v2", 2, (60 << 30, 0));
    let failed = verdict(vec![discovery(7).comes_up(), runner.clone()]);
    assert_is(&failed, Cause::OutOfMemoryAtLoad, Stage::Allocate, Confidence::Certain);
    let went_on = runner.gets("cuLaunchKernel", 0).launches(12);
    assert_eq!(verdict(vec![discovery(7).comes_up(), went_on]).cause, Cause::Ok);
}

#[test]
fn the_code_tells_why_work_failed() {
    for (symbol, code, cause) in [
        ("cuLibraryLoadData", 209, Cause::ArchitectureNotInBuild),
        ("cuLibraryLoadData", 221, Cause::PtxJitUnavailable),
        ("cuLaunchKernel", 700, Cause::DeviceErrorSticky),
        ("cuStreamSynchronize", 719, Cause::DeviceErrorSticky),
        ("cuLaunchKernel", 1, Cause::ComputeFailed),
        ("cuLaunchKernel", 999, Cause::ComputeFailed),
        ("cuMemAlloc_v2", 999, Cause::ComputeFailed),
    ] {
        let verdict = verdict(vec![discovery(7).comes_up(), runner(8).comes_up().gets(symbol, code)]);
        assert_eq!((verdict.cause, verdict.outcome), (cause, Outcome::Failure), "{symbol} {code}");
    }
}

#[test]
fn a_device_that_falls_off_the_bus_under_work_is_lost() {
    let runner = runner(8).comes_up().gets("cuLaunchKernel", 0).launches(50).gets("cuLaunchKernel", 999);
    let verdict = verdict(vec![discovery(7).comes_up(), runner.clone()]);
    assert_is(&verdict, Cause::GpuLostAfterStart, Stage::Health, Confidence::Likely);
    let said_by_nvml = runner.gets("nvmlDeviceGetMemoryInfo", 15);
    let verdict = self::verdict(vec![discovery(7).comes_up(), said_by_nvml]);
    assert_is(&verdict, Cause::GpuLostAfterStart, Stage::Health, Confidence::Certain);
}

#[test]
fn a_needed_function_that_is_missing_is_named_until_kernels_run() {
    let trace = runner(8).unanswered("cuLaunchKernel", 500).comes_up();
    let missing = verdict(vec![discovery(7).comes_up(), trace]);
    assert_is(&missing, Cause::ApiNotProvided, Stage::Compute, Confidence::Likely);
    let harmless = runner(8).unanswered("cuGraphicsGLRegisterBuffer", 500).comes_up().launches(3);
    assert_eq!(verdict(vec![discovery(7).comes_up(), harmless]).cause, Cause::Ok);
}

#[test]
fn a_call_that_never_returns_is_a_timeout_after_twenty_seconds() {
    let trace = || vec![discovery(7).opens(DRIVER).enters("cuInit")];
    let waiting = verdict_at(15, &facts(PoolKind::Whole), trace());
    assert_is(&waiting, Cause::Unknown, Stage::DriverFind, Confidence::Unknown);
    let hanging = verdict_at(40, &facts(PoolKind::Whole), trace());
    assert_is(&hanging, Cause::DiscoveryTimeout, Stage::DriverInit, Confidence::Likely);
}

#[test]
fn a_slow_call_that_returns_is_no_failure() {
    let trace =
        discovery(7).opens(DRIVER).enters("cuInit").later(40).gets("cuInit", 0).enumerates().comes_up();
    assert_eq!(verdict(vec![trace]).cause, Cause::Ok);
}

#[test]
fn a_killed_discovery_child_beside_one_that_works_is_normal() {
    let killed = Trace::start(7, Role::DiscoveryServer, 1).initialises().enters("cuDevicePrimaryCtxRetain");
    assert_eq!(verdict(vec![killed, discovery(8).comes_up()]).cause, Cause::Ok);
}

#[test]
fn the_search_and_the_allocation_tell_why_there_is_no_driver() {
    let trace = |errno| vec![discovery(7).misses_driver(&[("/usr/lib/libcuda.so.1", errno)])];
    let with = |kind, devices, errno| verdict_at(60, &Facts { devices, ..facts(kind) }, trace(errno)).cause;
    assert_eq!(with(PoolKind::Observer, Some(0), 2), Cause::GpuNotRequested);
    assert_eq!(with(PoolKind::Observer, Some(1), 2), Cause::DriverNotInjected);
    assert_eq!(with(PoolKind::Observer, Some(1), 13), Cause::DriverLibraryNotFound);
    assert_eq!(with(PoolKind::Custom, Some(1), 2), Cause::DriverLibraryNotFound);
}

#[test]
fn silence_has_three_names() {
    let whole = facts(PoolKind::Whole);
    assert_eq!(verdict_at(60, &whole, vec![]).cause, Cause::RecorderNotLoaded);
    assert_eq!(verdict_at(3, &whole, vec![]).cause, Cause::Unknown);
    let serve = || vec![Trace::start(1, Role::Serve, 0)];
    assert_eq!(verdict_at(60, &whole, serve()).cause, Cause::NeverAttempted);
    let hidden = verdict_at(60, &whole_with("OLLAMA_LLM_LIBRARY", "cpu"), serve());
    assert_is(&hidden, Cause::HiddenByEnv, Stage::Select, Confidence::Likely);
    let not_injected = Facts { injected: Some(false), ..whole };
    assert_eq!(verdict_at(60, &not_injected, vec![]).cause, Cause::NotInjected);
}

#[test]
fn a_runner_that_leaves_the_gpu_alone_is_a_fallback_after_twenty_seconds() {
    let traces = || vec![discovery(7).comes_up(), runner(8)];
    assert_eq!(verdict_at(110, &facts(PoolKind::Whole), traces()).ready, Truth::True);
    let verdict = verdict_at(125, &facts(PoolKind::Whole), traces());
    assert_eq!((verdict.cause, verdict.ready), (Cause::NeverAttempted, Truth::False), "{verdict:#?}");
    assert_eq!(verdict.event().unwrap().reason, "CudaFallback");
}

#[test]
fn after_a_restart_only_new_processes_count() {
    let restarted = Facts {
        state: ContainerState::Running { since_ns: EPOCH + 500 * SECOND },
        restarts: 1,
        ..facts(PoolKind::Whole)
    };
    let verdict = verdict_at(503, &restarted, vec![discovery(7).comes_up()]);
    assert_ne!(verdict.outcome, Outcome::Success);
    assert_ne!(verdict.ready, Truth::True);
}

#[test]
fn after_a_restart_silence_is_no_missing_recorder_where_the_first_instance_had_one() {
    let restarted = Facts {
        state: ContainerState::Running { since_ns: EPOCH + 500 * SECOND },
        restarts: 1,
        ..facts(PoolKind::Whole)
    };
    let verdict = verdict_at(900, &restarted, vec![discovery(7).comes_up()]);
    assert_is(&verdict, Cause::Unknown, Stage::Process, Confidence::Unknown);
}

#[test]
fn a_clock_that_was_set_back_after_the_container_started_hides_no_process() {
    let started_tomorrow = Facts {
        state: ContainerState::Running { since_ns: EPOCH + 86_400 * SECOND },
        ..facts(PoolKind::Whole)
    };
    let verdict = verdict_at(60, &started_tomorrow, vec![discovery(7).comes_up()]);
    assert_eq!(verdict.outcome, Outcome::Success, "{verdict:#?}");
    // Set back in the middle of a process, and forward again.
    let mut jumps = discovery(7).comes_up();
    for (index, entry) in jumps.entries.iter_mut().enumerate() {
        entry.record.time_ns = [EPOCH + 86_400 * SECOND, EPOCH, 0][index % 3];
    }
    let verdict = verdict_at(60, &facts(PoolKind::Whole), vec![jumps]);
    assert_eq!(verdict.outcome, Outcome::Success, "{verdict:#?}");
}

#[test]
fn two_containers_that_write_into_one_file_stay_apart_although_both_begin_with_process_1() {
    let mut ours = Trace::start(1, Role::ListDevices, 0).comes_up();
    let mut theirs = Trace::start(1, Role::ListDevices, 0).opens(DRIVER).gets("cuInit", 999);
    for entry in &mut theirs.entries {
        entry.record.process += 1;
    }
    let mut mixed = Container::new();
    let (mut left, mut right) = (ours.entries.drain(..), theirs.entries.drain(..));
    loop {
        let pair = [left.next(), right.next()];
        if pair.iter().all(Option::is_none) {
            break;
        }
        mixed.observe(&pair.into_iter().flatten().map(Item::Entry).collect::<Vec<_>>());
    }
    assert_eq!(mixed.processes().len(), 2);
    assert!(mixed.processes().iter().all(|process| process.gapless), "{:#?}", mixed.processes());
    assert_eq!(mixed.verdict(EPOCH + 60 * SECOND, &facts(PoolKind::Whole)).outcome, Outcome::Success);
}

#[test]
fn a_container_that_ran_out_of_memory_is_not_said_to_have_waited_for_the_driver() {
    let restarted = |out_of_memory| Facts {
        state: ContainerState::Running { since_ns: EPOCH + 500 * SECOND },
        restarts: 1,
        out_of_memory,
        ..facts(PoolKind::Whole)
    };
    let waits = || vec![discovery(7).opens(DRIVER).enters("cuInit")];
    assert_eq!(verdict_at(501, &restarted(false), waits()).cause, Cause::DiscoveryTimeout);
    let verdict = verdict_at(501, &restarted(true), waits());
    assert_is(&verdict, Cause::Unknown, Stage::Process, Confidence::Unknown);
    assert!(verdict.evidence[0].contains("OOMKilled"), "{verdict:#?}");
}

#[test]
fn a_crash_after_a_success_without_a_function_is_named() {
    let crashed = Facts {
        state: ContainerState::Terminated { at_ns: EPOCH + 5 * SECOND, exit_code: 139 },
        ..facts(PoolKind::Custom)
    };
    let trace = discovery(7).initialises().unanswered("cuLaunchKernel", 0);
    assert_eq!(verdict_at(6, &crashed, vec![trace]).cause, Cause::DummySymbolCrash);
    let harmless = discovery(7).initialises().unanswered("cuGraphicsGLRegisterBuffer", 0);
    assert_ne!(verdict_at(6, &crashed, vec![harmless]).cause, Cause::DummySymbolCrash);
}

#[test]
fn every_sentence_about_a_simulated_gpu_begins_with_simulated() {
    let traces: Vec<Vec<Trace>> = vec![
        vec![],
        vec![Trace::start(1, Role::Serve, 0)],
        vec![discovery(7).comes_up()],
        vec![discovery(7).comes_up(), runner(8).comes_up().gets("cuLaunchKernel", 700)],
        vec![discovery(7).opens(DRIVER).gets("cuInit", 999)],
        vec![discovery(7).enumerates()],
        vec![discovery(7).misses_driver(&[("/opt/firstlight/driver/libcuda.so.1", 2)])],
        vec![discovery(7).comes_up(), runner(8)],
    ];
    for trace in traces {
        let verdict = verdict_at(3600, &facts(PoolKind::Simulated), trace);
        let whys = verdict.ruled_out.iter().map(|out| &out.why);
        let sentences = verdict.evidence.iter().chain(whys).chain([&verdict.fix]);
        for sentence in sentences {
            assert!(sentence.starts_with("Simulated"), "{sentence}");
        }
        assert!(verdict.headline().starts_with("Simulated"));
        assert!(verdict.message().starts_with("Simulated"));
    }
}

#[test]
fn success_on_a_simulated_gpu_is_never_mistaken_for_a_gpu() {
    let verdict = verdict_at(60, &facts(PoolKind::Simulated), vec![discovery(7).comes_up()]);
    assert_eq!(verdict.condition().reason, "SimulatedGpu");
    assert_eq!(self::verdict(vec![discovery(7).comes_up()]).condition().reason, "GpuUsable");
}

#[test]
fn garbage_alone_is_not_called_a_missing_recorder() {
    let mut container = Container::new();
    container.observe(&[Item::Garbage { bytes: 640 }]);
    let verdict = container.verdict(EPOCH + 60 * SECOND, &facts(PoolKind::Whole));
    assert_eq!(verdict.cause, Cause::Unknown);
    assert!(verdict.evidence[0].contains("640 bytes"));
}
