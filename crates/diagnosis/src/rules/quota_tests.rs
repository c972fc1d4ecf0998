//! What the quota refused, beside what the driver refused.

use super::tests::{assert_is, discovery};
use crate::fixtures::{Trace, facts, verdict, verdict_at};
use crate::{Cause, Confidence, Stage, Truth, Verdict};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::record::{Refusal, Role};

const ALLOCATE: &str = "cuMemAlloc_v2";
/// This process uses 3 GiB, others 1 GiB, of a quota of 10 GiB.
const NUMBERS: &str = "3221225472 1073741824 10737418240";

fn runner() -> Trace {
    Trace::start(8, Role::Runner, 100).comes_up()
}

fn refused() -> Trace {
    runner().quota_refuses(ALLOCATE, 8 << 30, Refusal::Full, NUMBERS)
}

fn said(runner: Trace) -> Verdict {
    verdict(vec![discovery(7).comes_up(), runner])
}

#[test]
fn memory_that_the_quota_refused_is_quota_exceeded_with_the_numbers() {
    let verdict = said(refused());
    assert_is(&verdict, Cause::QuotaExceeded, Stage::Allocate, Confidence::Certain);
    assert_eq!(
        verdict.evidence[0],
        "cuMemAlloc_v2 of 8.0 GiB in process 8 (runner) was refused by the quota of 10.0 GiB for device 0: the process \
         uses 3.0 GiB, others of the container use 1.0 GiB."
    );
    assert!(verdict.ruled_out.iter().any(|out| out.cause == Cause::OutOfMemoryAtLoad), "{verdict:#?}");
    assert_eq!((verdict.ready, verdict.fallback), (Truth::False, true));
}

#[test]
fn what_the_driver_refuses_itself_is_out_of_memory() {
    let by_the_driver = runner().gets_with(ALLOCATE, 2, (60 << 30, 0));
    assert_is(&said(by_the_driver.clone()), Cause::OutOfMemoryAtLoad, Stage::Allocate, Confidence::Certain);
    let of_a_slice = verdict_at(3600, &facts(PoolKind::Slice), vec![discovery(7).comes_up(), by_the_driver]);
    assert!(of_a_slice.ruled_out.iter().any(|out| out.cause == Cause::QuotaExceeded), "{of_a_slice:#?}");
}

#[test]
fn a_process_that_launches_after_a_refusal_works_and_can_be_confirmed() {
    let went_on = refused().gets("cuLaunchKernel", 0).launches(12);
    let verdict = said(went_on);
    assert_is(&verdict, Cause::Ok, Stage::Serving, Confidence::Certain);
    assert!(verdict.confirmed);
    assert!(
        verdict.evidence.iter().any(|line| line.contains("quota refused cuMemAlloc_v2 of 8.0 GiB")),
        "{verdict:#?}"
    );
}

#[test]
fn a_process_that_gets_less_after_a_refusal_is_not_red_while_it_loads() {
    let loading = || vec![refused().gets_with(ALLOCATE, 0, (1 << 30, 0))];
    assert_eq!(verdict_at(160, &facts(PoolKind::Slice), loading()).cause, Cause::Ok);
    let for_ever = verdict_at(3600, &facts(PoolKind::Slice), loading());
    assert_eq!(for_ever.cause, Cause::GpuClaimedNotUsed, "but it is not green for ever");
}

#[test]
fn a_second_refusal_counts_after_the_first_was_got_over() {
    let again = refused().gets("cuLaunchKernel", 0).launches(12);
    let again = again.quota_refuses(ALLOCATE, 9 << 30, Refusal::Full, NUMBERS);
    assert_eq!(said(again.clone()).cause, Cause::QuotaExceeded);
    assert_eq!(said(again.launches(90)).cause, Cause::Ok);
}

#[test]
fn what_the_driver_says_after_a_refusal_was_got_over_is_the_driver_s() {
    let went_on = || refused().gets("cuLaunchKernel", 0).launches(12);
    assert_eq!(said(went_on().gets("cuStreamSynchronize", 719)).cause, Cause::DeviceErrorSticky);
    assert_eq!(said(went_on().gets_with(ALLOCATE, 2, (8 << 30, 0))).cause, Cause::OutOfMemoryAtLoad);
    let again = said(went_on().gets_again(ALLOCATE, 2));
    assert_is(&again, Cause::OutOfMemoryAtLoad, Stage::Allocate, Confidence::Likely);
    assert!(!again.evidence.concat().contains("0 bytes"), "a call that came again tells no size: {again:#?}");
}

#[test]
fn what_failed_before_the_refusal_comes_first() {
    let poisoned = runner().gets("cuLaunchKernel", 700).quota_refuses(ALLOCATE, 1, Refusal::Full, NUMBERS);
    assert_eq!(said(poisoned).cause, Cause::DeviceErrorSticky);
}

#[test]
fn a_context_that_the_quota_has_no_room_for_is_quota_exceeded_before_the_driver_s_own_code() {
    const CONTEXT: &str = "cuDevicePrimaryCtxRetain";
    let by_quota =
        discovery(7).enumerates().quota_refuses(CONTEXT, 256 << 20, Refusal::Full, "0 0 134217728");
    let refused = verdict(vec![by_quota.clone()]);
    assert_is(&refused, Cause::QuotaExceeded, Stage::Context, Confidence::Certain);
    let by_driver = discovery(7).enumerates().gets(CONTEXT, 2);
    assert_is(&verdict(vec![by_driver]), Cause::NoRoomForContext, Stage::Context, Confidence::Likely);
    let at_last = by_quota.gets(CONTEXT, 0).gets_with("cuMemGetInfo_v2", 0, (1 << 30, 2 << 30));
    assert_eq!(verdict(vec![at_last]).cause, Cause::Ok);
}

#[test]
fn a_ledger_that_cannot_be_used_is_quota_unavailable_with_the_reason() {
    let away = said(runner().quota_refuses(ALLOCATE, 8 << 30, Refusal::Away, "open: errno 13"));
    assert_is(&away, Cause::QuotaUnavailable, Stage::Allocate, Confidence::Certain);
    assert!(away.evidence[0].contains("ledger cannot be used (open: errno 13)"), "{away:#?}");
    assert!(away.ruled_out.iter().any(|out| out.cause == Cause::QuotaExceeded));
    let busy = said(runner().quota_refuses(ALLOCATE, 8 << 30, Refusal::Busy, NUMBERS));
    assert_is(&busy, Cause::QuotaUnavailable, Stage::Allocate, Confidence::Certain);
    let unknown = said(runner().quota_refuses_for(ALLOCATE, 8 << 30, 9, "moon"));
    assert_is(&unknown, Cause::QuotaUnavailable, Stage::Allocate, Confidence::Likely);
    assert!(unknown.evidence[0].contains("unknown here (moon)"), "{unknown:#?}");
}

#[test]
fn numbers_that_cannot_be_read_are_shown_as_they_are() {
    let verdict = said(runner().quota_refuses(ALLOCATE, 8 << 30, Refusal::Full, "1 2"));
    assert!(verdict.evidence[0].contains("for device 0, which is used up (1 2)"), "{verdict:#?}");
}

#[test]
fn a_simulated_gpu_s_quota_is_as_real_as_a_card_s() {
    let verdict = verdict_at(3600, &facts(PoolKind::Simulated), vec![discovery(7).comes_up(), refused()]);
    assert_eq!(verdict.cause, Cause::QuotaExceeded);
    assert!(!verdict.fix.contains("firstlight.dev/simulate"), "the fault was not ordered: {}", verdict.fix);
}
