//! What lies around a `cuInit` that failed, and around a driver that was being opened: causes and their look-alikes.

use super::tests::{assert_is, discovery};
use crate::fixtures::{DRIVER, EACCES, ENOENT, EPOCH, SECOND, Trace, facts, verdict, verdict_at};
use crate::{Cause, Confidence, ContainerState, Facts, Stage};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::record::Role;

#[test]
fn a_variable_of_the_process_hides_too_and_ollama_s_own_children_leave_a_doubt() {
    let trace = |role, value: &str| {
        vec![
            Trace::start(7, role, 0)
                .opens(DRIVER)
                .has(&format!("CUDA_VISIBLE_DEVICES={value}"))
                .gets("cuInit", 100),
        ]
    };
    let hidden = verdict(trace(Role::Other, ""));
    assert_is(&hidden, Cause::HiddenByEnv, Stage::DriverInit, Confidence::Certain);
    assert_eq!(verdict(trace(Role::Runner, "-1")).confidence, Confidence::Likely);
    let named = verdict(trace(Role::Other, "7"));
    assert_is(&named, Cause::DriverInitFailed, Stage::DriverInit, Confidence::Likely);
    assert!(named.evidence.iter().any(|line| line.contains("CUDA_VISIBLE_DEVICES=\"7\"")), "{named:?}");
}

/// A process that finds the nodes so, and whose `cuInit` fails: the driver's, the card's, that of unified memory.
fn without_nodes(control: i32, card: i32, unified: i32, code: i32) -> Vec<Trace> {
    behind(DRIVER, control, card, unified, code)
}

/// The same, with the driver at this path.
fn behind(driver: &str, control: i32, card: i32, unified: i32, code: i32) -> Vec<Trace> {
    let trace = discovery(7).opens(driver).finds("/dev/nvidiactl", control).finds("/dev/nvidia-uvm", unified);
    vec![trace.finds("/dev/nvidia0", card).gets("cuInit", code)]
}

#[test]
fn only_the_node_of_unified_memory_missing_is_uvm_device_missing() {
    for errno in [ENOENT, EACCES] {
        let verdict = verdict(without_nodes(0, 0, errno, 999));
        assert_is(&verdict, Cause::UvmDeviceMissing, Stage::DriverInit, Confidence::Certain);
    }
    assert_eq!(verdict(without_nodes(0, 0, ENOENT, 304)).cause, Cause::DriverInitFailed, "another matter");
    let fine = verdict(without_nodes(0, 0, 0, 999));
    assert_is(&fine, Cause::DriverInitFailed, Stage::DriverInit, Confidence::Likely);
    assert!(fine.ruled_out.iter().any(|out| out.cause == Cause::UvmDeviceMissing), "{fine:?}");
}

#[test]
fn nodes_of_the_driver_that_are_missing_were_not_injected_or_not_asked_for() {
    let missing = || without_nodes(ENOENT, ENOENT, ENOENT, 100);
    let whole = facts(PoolKind::Whole);
    assert_is(&verdict(missing()), Cause::DriverNotInjected, Stage::DriverInit, Confidence::Certain);
    assert_eq!(verdict(without_nodes(ENOENT, 0, 0, 999)).cause, Cause::DriverInitFailed, "another matter");
    let nothing_asked = Facts { devices: Some(0), ..whole.clone() };
    assert_eq!(verdict_at(60, &nothing_asked, missing()).cause, Cause::GpuNotRequested);
    let not_known = Facts { devices: None, ..whole };
    assert_eq!(verdict_at(60, &not_known, missing()).confidence, Confidence::Likely);
    let wsl = verdict(behind("/usr/lib/wsl/lib/libcuda.so.1", ENOENT, ENOENT, ENOENT, 100));
    assert_eq!(wsl.cause, Cause::DriverInitFailed, "there they are never there");
    let forbidden = verdict(without_nodes(EACCES, 0, 0, 100));
    assert_is(&forbidden, Cause::DriverInitFailed, Stage::DriverInit, Confidence::Likely);
    assert!(
        forbidden.evidence.iter().any(|line| line.contains("/dev/nvidiactl may not be opened")),
        "{forbidden:?}"
    );
}

#[test]
fn a_process_that_ends_while_it_opens_the_driver_could_not_load_it() {
    let ended = Facts {
        state: ContainerState::Terminated { at_ns: EPOCH + 5 * SECOND, exit_code: 135 },
        ..facts(PoolKind::Custom)
    };
    let verdict = verdict_at(6, &ended, vec![discovery(7).begins_to_open(DRIVER)]);
    assert_is(&verdict, Cause::DriverLibraryNotFound, Stage::DriverFind, Confidence::Likely);
    assert!(verdict.evidence.iter().any(|line| line.contains("signal 7")), "{verdict:?}");
    let opened = discovery(7).begins_to_open(DRIVER).opens(DRIVER);
    assert_ne!(verdict_at(6, &ended, vec![opened]).cause, Cause::DriverLibraryNotFound);
}

#[test]
fn a_driver_of_somebody_s_own_needs_no_nodes_of_nvidia() {
    let verdict = verdict_at(60, &facts(PoolKind::Custom), without_nodes(ENOENT, ENOENT, ENOENT, 100));
    assert_is(&verdict, Cause::DriverInitFailed, Stage::DriverInit, Confidence::Likely);
}
