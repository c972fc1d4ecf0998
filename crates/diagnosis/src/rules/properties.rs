//! Whatever arrives: the engine ends, does not panic, and says success only of a gapless chain.

use crate::container::MAX_PROCESSES;
use crate::driver::{Duty, duty, symbol};
use crate::fixtures::{DRIVER, EPOCH, SECOND, Trace, facts};
use crate::process::MAX_STEPS;
use crate::{Cause, Confidence, Container, ContainerState, Facts, Preflight};
use firstlight_contract::decode::{Entry, Item, decode_all};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::metrics::Outcome;
use firstlight_contract::preflight::{HEADER, Probe, Report};
use firstlight_contract::record::{Kind, MAX_ENCODED, Refusal, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet};

fn traces() -> Vec<Trace> {
    vec![
        Trace::start(1, Role::Serve, 0),
        Trace::start(7, Role::ListDevices, 1).comes_up(),
        Trace::start(8, Role::Runner, 2).comes_up().gets("cuLaunchKernel", 0).launches(5).launches(50),
        Trace::start(9, Role::Runner, 3).opens(DRIVER).gets("cuInit", 999),
        Trace::start(10, Role::Other, 4).unanswered("cuGetExportTable", 500).initialises(),
        Trace::start(11, Role::Runner, 5).comes_up().gets_with("cuMemAlloc_v2", 2, (99 << 30, 0)),
        Trace::start(14, Role::Runner, 5).comes_up().quota_refuses(
            "cuMemAlloc_v2",
            9 << 30,
            Refusal::Full,
            "1 2 3",
        ),
        Trace::start(12, Role::ListDevices, 6).misses_driver(&[("/usr/lib/libcuda.so.1", 2)]),
        Trace::start(13, Role::ListDevices, 7).opens(DRIVER).enters("cuInit"),
    ]
}

fn records() -> Vec<Entry> {
    traces().into_iter().flat_map(|trace| trace.entries).collect()
}

fn kinds() -> impl Strategy<Value = PoolKind> {
    select(PoolKind::ALL.to_vec())
}

fn states() -> impl Strategy<Value = ContainerState> {
    prop_oneof![
        Just(ContainerState::Unknown),
        Just(ContainerState::Waiting),
        (0u64..200).prop_map(|second| ContainerState::Running { since_ns: EPOCH + second * SECOND }),
        (any::<u64>(), any::<i32>())
            .prop_map(|(at_ns, exit_code)| ContainerState::Terminated { at_ns, exit_code }),
    ]
}

/// Reports of a preflight, also such as no preflight writes.
fn preflights() -> impl Strategy<Value = Option<Preflight>> {
    let outcome = prop_oneof![
        Just("ok".to_owned()),
        Just("absent".to_owned()),
        Just("failed".to_owned()),
        Just("timeout".to_owned()),
        select(vec![1, 2, 34, 35, 100, 103, 304, 801, 802, 803, 804, 999])
            .prop_map(|code| format!("code:{code}")),
        Just("signal:11".to_owned()),
        Just("errno:13".to_owned()),
    ];
    let line = (select(Probe::ALL.to_vec()), outcome, "[ -~]{0,40}", "[ -~]{0,40}").prop_map(
        |(probe, outcome, subject, detail)| {
            format!("{}\t{outcome}\t1\t{subject}\t{detail}\n", probe.as_str())
        },
    );
    let report = vec(line, 0..12).prop_map(|lines| Report::parse(&format!("{HEADER}\n{}", lines.concat())));
    (report, 0u64..200)
        .prop_map(|(report, second)| Some(Preflight { at_ns: EPOCH + second * SECOND, report: report? }))
}

/// Whether some process's records, as they arrived, hold every number up to the proof of a usable GPU. Written
/// without the engine's own bookkeeping.
fn proof_is_gapless(items: &[Item]) -> bool {
    let mut processes: BTreeMap<(u32, u64), Vec<&Entry>> = BTreeMap::new();
    for item in items {
        if let Item::Entry(entry) = item {
            processes.entry((entry.record.pid, entry.record.process)).or_default().push(entry);
        }
    }
    processes.values().any(|entries| {
        let numbers: BTreeSet<u32> = entries.iter().map(|entry| entry.record.sequence).collect();
        let first = |fits: &dyn Fn(&Entry, Duty) -> bool| {
            entries
                .iter()
                .filter(|entry| entry.record.kind == Kind::CallReturned && entry.record.result == 0)
                .filter(|entry| fits(entry, duty(symbol(entry.record.function).unwrap_or(""))))
                .map(|entry| entry.record.sequence)
                .min()
        };
        let count = first(&|entry, duty| duty == Duty::Count && entry.record.arg0 > 0);
        let context =
            first(&|entry, duty| duty == Duty::Context || duty == Duty::MemoryInfo && entry.record.arg1 > 0);
        let memory = first(&|entry, duty| {
            duty == Duty::TotalMemory && entry.record.arg0 > 0
                || duty == Duty::MemoryInfo && entry.record.arg1 > 0
        });
        let (Some(count), Some(context), Some(memory)) = (count, context, memory) else { return false };
        (0..=count.max(context).max(memory)).all(|number| numbers.contains(&number))
    })
}

fn judged(items: &[Item], second: u64, facts: &Facts) -> Result<(), TestCaseError> {
    let mut container = Container::new();
    container.observe(items);
    let verdict = container.verdict(EPOCH + second * SECOND, facts);
    prop_assert!(!verdict.evidence.is_empty());
    prop_assert!(verdict.message().len() <= crate::verdict::MAX_MESSAGE);
    prop_assert_eq!(verdict.outcome == Outcome::Failure, verdict.cause.is_failure());
    if verdict.outcome == Outcome::Success {
        prop_assert!(proof_is_gapless(items), "{:#?}", verdict);
    }
    if facts.kind == PoolKind::Simulated {
        prop_assert!(verdict.evidence.iter().all(|sentence| sentence.starts_with("Simulated")));
    }
    container.report(EPOCH + second * SECOND, facts);
    Ok(())
}

proptest! {
    #[test]
    fn any_subset_in_any_order_gives_a_verdict_and_no_false_success(
        picks in vec(any::<Index>(), 0..160),
        second in 0u64..200,
        kind in kinds(),
        state in states(),
        preflight in preflights(),
        preload in select(vec![None, Some("/opt/other.so")]),
    ) {
        let all = records();
        let items: Vec<Item> = picks.iter().map(|pick| Item::Entry(pick.get(&all).clone())).collect();
        let environment = preload.map(|path: &str| ("LD_PRELOAD".to_owned(), path.to_owned())).into_iter().collect();
        judged(&items, second, &Facts { state, environment, preflight, ..facts(kind) })?;
    }

    #[test]
    fn what_is_certain_stays_so_while_time_passes_and_nobody_does_anything(
        which in any::<Index>(),
        cut in any::<Index>(),
        preflight in preflights(),
        seconds in vec(3u64..500, 2..6),
    ) {
        let mut trace = which.get(&traces()).clone();
        trace.entries.truncate(cut.index(trace.entries.len()) + 1);
        let mut container = Container::new();
        container.observe(&trace.items());
        let mut times = seconds;
        times.sort_unstable();
        let facts = Facts { preflight, ..facts(PoolKind::Whole) };
        let mut certain: Option<Cause> = None;
        for second in times {
            let verdict = container.verdict(EPOCH + second * SECOND, &facts);
            if let Some(cause) = certain.filter(|cause| *cause != Cause::Ok) {
                prop_assert_eq!(verdict.cause, cause);
            }
            if verdict.confidence == Confidence::Certain {
                certain = Some(verdict.cause);
            }
        }
    }

    #[test]
    fn a_trace_with_records_left_out_gives_no_false_success(
        left_out in vec(any::<Index>(), 1..4),
        second in 10u64..200,
    ) {
        let mut all = Trace::start(7, Role::ListDevices, 1).comes_up().entries;
        for index in left_out {
            if !all.is_empty() {
                all.remove(index.index(all.len()));
            }
        }
        let items: Vec<Item> = all.into_iter().map(Item::Entry).collect();
        judged(&items, second, &facts(PoolKind::Whole))?;
    }

    #[test]
    fn corrupted_bytes_give_a_verdict_and_no_false_success(
        flips in vec((any::<Index>(), any::<u8>()), 0..40),
        cut in any::<Index>(),
        second in 0u64..200,
    ) {
        let mut bytes: Vec<u8> = records()
            .iter()
            .flat_map(|entry| entry.record.encode(entry.text.as_str().as_bytes(), &mut [0; MAX_ENCODED]).to_vec())
            .collect();
        for (index, mask) in flips {
            let position = index.index(bytes.len());
            bytes[position] ^= mask;
        }
        let bytes = &bytes[..cut.index(bytes.len())];
        judged(&decode_all(bytes), second, &facts(PoolKind::Simulated))?;
    }

    #[test]
    fn records_in_pieces_give_the_verdict_of_the_whole(sizes in vec(1usize..9, 1..80), second in 0u64..200) {
        let items: Vec<Item> = records().into_iter().map(Item::Entry).collect();
        let mut whole = Container::new();
        whole.observe(&items);
        let mut pieces = Container::new();
        let mut rest = items.as_slice();
        for size in sizes.iter().cycle() {
            let (head, tail) = rest.split_at((*size).min(rest.len()));
            pieces.observe(head);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        let facts = facts(PoolKind::Whole);
        let now = EPOCH + second * SECOND;
        prop_assert_eq!(pieces.verdict(now, &facts), whole.verdict(now, &facts));
        prop_assert_eq!(pieces.report(now, &facts), whole.report(now, &facts));
    }

    #[test]
    fn forged_records_are_bounded(
        forged in vec((0u32..500, any::<u32>(), 0u8..20, any::<u16>(), any::<i32>(), any::<u64>()), 0..600),
    ) {
        let template = records().remove(0);
        let items: Vec<Item> = forged
            .into_iter()
            .filter_map(|(pid, sequence, kind, function, result, argument)| {
                let mut entry = template.clone();
                entry.record.pid = pid;
                entry.record.sequence = sequence % 200;
                entry.record.kind = Kind::from_u8(kind)?;
                entry.record.function = function;
                entry.record.result = result;
                entry.record.arg0 = argument;
                entry.record.time_ns = argument;
                Some(Item::Entry(entry))
            })
            .collect();
        let mut container = Container::new();
        container.observe(&items);
        prop_assert!(container.processes().len() <= MAX_PROCESSES);
        prop_assert!(container.processes().iter().all(|process| process.steps.len() <= MAX_STEPS));
        judged(&items, 60, &facts(PoolKind::Observer))?;
    }
}

#[test]
fn a_thousand_processes_are_counted_and_sixty_four_kept() {
    let mut container = Container::new();
    for pid in 0..1000 {
        container.observe(&Trace::start(pid, Role::ListDevices, u64::from(pid)).comes_up().items());
    }
    assert_eq!(container.processes().len(), MAX_PROCESSES);
    assert_eq!(container.processes_forgotten(), 1000 - MAX_PROCESSES as u64);
    assert_eq!(container.take_init_durations_ns().len(), 256);
}
