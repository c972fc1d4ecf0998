//! Records and a preflight together.

use super::tests::discovery;
use crate::fixtures::{DRIVER, EPOCH, SECOND, Trace, facts, verdict_at};
use crate::{Cause, Confidence, ContainerState, Facts, Preflight, Verdict};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::metrics::Outcome;
use firstlight_contract::preflight::{HEADER, Report};
use firstlight_contract::text::ForeignText;

/// Facts of a container in which a preflight, made at this second, found these lines.
fn told(second: u64, lines: &str) -> Facts {
    let report = Report::parse(&format!("{HEADER}\n{}", lines.replace('|', "\t"))).unwrap();
    assert_eq!(report.foreign_lines, 0, "{lines}");
    let state = ContainerState::Running { since_ns: EPOCH };
    let preflight = Some(Preflight { at_ns: EPOCH + second * SECOND, report });
    Facts { state, injected: Some(true), preflight, ..facts(PoolKind::Whole) }
}

fn said(second: u64, lines: &str, traces: Vec<Trace>) -> Verdict {
    verdict_at(60, &told(second, lines), traces)
}

const NO_CUBLAS: &str = "load|failed|1|/b.so|libcublas.so.13: cannot open shared object file";

#[test]
fn the_loaders_words_explain_why_nothing_was_attempted() {
    let verdict = said(0, NO_CUBLAS, vec![discovery(7)]);
    assert_eq!(
        (verdict.cause, verdict.confidence),
        (Cause::BackendRuntimeLibraryMissing, Confidence::Certain)
    );
    assert_eq!(verdict.outcome, Outcome::Failure);
    assert!(verdict.evidence[0].contains("libcublas.so.13"), "{verdict:?}");
}

#[test]
fn a_gpu_that_came_up_is_not_talked_away() {
    assert_eq!(said(0, NO_CUBLAS, vec![discovery(7).comes_up()]).cause, Cause::Ok);
}

#[test]
fn files_and_permissions_make_a_code_certain() {
    let failed = || vec![discovery(7).opens(DRIVER).gets("cuInit", 999)];
    assert_eq!(said(0, "init|code:802|1", failed()).confidence, Confidence::Likely);
    let nodes = "device|ok|0|/dev/nvidiactl\ndevice|errno:1|0|/dev/nvidia-uvm\ninit|code:999|1";
    let verdict = said(0, nodes, failed());
    assert_eq!((verdict.cause, verdict.confidence), (Cause::UvmDeviceMissing, Confidence::Certain));
    assert!(verdict.ruled_out.iter().any(|out| out.cause == Cause::DriverInitFailed), "{verdict:?}");
}

#[test]
fn what_a_preflight_only_guesses_waits_for_the_containers_own_programs() {
    let waiting = said(0, "init|code:999|1", vec![]);
    assert_ne!(waiting.outcome, Outcome::Failure, "{waiting:?}");
    let certain = said(0, "table|absent|0", vec![]);
    assert_eq!(certain.cause, Cause::ExportTableMissing);
}

#[test]
fn a_probe_that_comes_up_after_a_failed_discovery_says_that_it_was_too_early() {
    let failed = || vec![discovery(7).opens(DRIVER).gets("cuInit", 999)];
    let up = "init|ok|1\ncount|ok|0||1\nlaunch|ok|0";
    let verdict = said(30, up, failed());
    assert_eq!((verdict.cause, verdict.confidence), (Cause::DiscoveryBeforeDriverReady, Confidence::Certain));
    assert_eq!(
        said(0, up, vec![discovery(7).later(5).opens(DRIVER).gets("cuInit", 999)]).cause,
        Cause::DriverInitFailed,
        "made before"
    );
    assert_eq!(said(30, "init|code:999|1", failed()).cause, Cause::DriverInitFailed, "the probe fails, too");
}

#[test]
fn a_privileged_program_explains_silence_and_nothing_else() {
    let privileged = "privileges|failed|0|/usr/bin/ollama|cap_sys_nice";
    let silent = said(0, privileged, vec![]);
    assert_eq!((silent.cause, silent.confidence), (Cause::SecureModeLoader, Confidence::Certain));
    let plain = said(0, "privileges|ok|0|/usr/bin/ollama", vec![]);
    assert_eq!(plain.cause, Cause::RecorderNotLoaded);
    let failed = vec![discovery(7).opens(DRIVER).gets("cuInit", 802)];
    assert_eq!(said(0, privileged, failed).cause, Cause::FabricNotReady);
}

#[test]
fn a_probe_that_comes_up_is_no_success_of_ollamas() {
    let mut probe = discovery(9).later(30).comes_up().launches(1);
    probe.entries[0].text = ForeignText::new(b"/opt/firstlight/bin/firstlight-preflight-dynamic driver");
    let failed = discovery(7).opens(DRIVER).gets("cuInit", 999);
    let verdict = said(0, "init|ok|1", vec![failed, probe.clone()]);
    assert_eq!(verdict.cause, Cause::DriverInitFailed);
    assert_ne!(said(0, "init|ok|1", vec![probe]).outcome, Outcome::Success, "nobody else ran");
}

#[test]
fn what_a_preflight_is_certain_of_stays_when_a_call_hangs_meanwhile() {
    let hangs = || vec![discovery(7).opens(DRIVER).enters("cuInit")];
    let facts = told(0, "table|absent|0");
    for second in [3, 28, 300] {
        assert_eq!(verdict_at(second, &facts, hangs()).cause, Cause::ExportTableMissing, "{second}");
    }
}
