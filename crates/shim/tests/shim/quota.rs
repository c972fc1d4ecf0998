//! The quota, in front of a driver that gives whatever it is asked for (`tests/c/memory.c`): each way to memory is charged,
//! and given back. The quota of device 0 is 1 MiB, that of device 1 is 2 MiB.

use crate::common::{Place, about, artefacts, compiled, lines, told};
use firstlight_contract::ledger::{Ledger, SIZE, header};
use firstlight_contract::record::{Kind, Refusal};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

const LIMIT: u64 = 1 << 20;
const CONTEXT: u64 = 4096;

/// A grant with two parts of cards, and the program that holds memory.
struct Quota(Place);

impl Quota {
    fn new() -> Self {
        Self::with(&format!(
            "device.0.uuid=GPU-00000000-0000-0000-0000-00000000000a\ndevice.0.quota={LIMIT}\n\
             device.0.context={CONTEXT}\n\
             device.1.uuid=GPU-00000000-0000-0000-0000-00000000000b\ndevice.1.quota={}\n",
            2 * LIMIT
        ))
    }

    fn with(lines: &str) -> Self {
        let driver =
            compiled("memory.so", "memory.c", "gcc", &["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]);
        let place = Place::with_driver(&driver);
        let ledger = place.folder().join("ledger");
        let mut bytes = header().to_vec();
        bytes.resize(SIZE, 0);
        std::fs::write(&ledger, bytes).unwrap();
        let grant = place.folder().join("grant");
        let text = std::fs::read_to_string(&grant).unwrap();
        std::fs::write(grant, format!("{text}ledger={}\n{lines}", ledger.display())).unwrap();
        Self(place)
    }

    fn holder(&self, steps: &[&str]) -> Command {
        let mut command = self.0.program(&compiled("holder", "holder.c", "gcc", &["-ldl"]));
        command.args(steps);
        command
    }

    /// Runs the steps behind the usual beginning: a primary context of device 0, which is step 2. What the steps answered.
    fn run(&self, steps: &[&str]) -> Vec<String> {
        let begin = ["init", "retain:0", "set:2"];
        let answers = lines(&self.holder(&[&begin[..], steps].concat()).output().unwrap());
        assert_eq!(answers[..3], ["0", "0", "0"]);
        answers[3..].to_vec()
    }

    fn ledger(&self) -> Ledger {
        Ledger::read(&std::fs::read(self.0.folder().join("ledger")).unwrap()).unwrap()
    }
}

/// Takes memory by the first steps and gives it back by the others; in between so much more is used than the context.
#[track_caller]
fn costs(take: &[&str], bytes: u64, give: &[&str]) {
    let steps = [take, &["used"], give, &["used"]].concat();
    let answers = Quota::new().run(&steps);
    let used = |index: usize| answers[index].parse::<u64>().unwrap() - CONTEXT;
    let done = answers[..take.len()].iter().chain(&answers[take.len() + 1..answers.len() - 1]);
    assert!(done.clone().all(|answer| answer == "0"), "{steps:?}: {answers:?}");
    assert_eq!((used(take.len()), used(answers.len() - 1)), (bytes, 0), "{steps:?}: {answers:?}");
}

#[test]
fn memory_at_an_address_is_charged_until_it_is_freed() {
    costs(&["allocate:100000"], 100_096, &["free:4"]);
    costs(&["lookup:4096"], 4096, &["free:4"]);
    costs(&["managed:4096"], 4096, &["free:4"]);
    costs(&["async:4096"], 4096, &["free-async:4"]);
    costs(&["pool:4096"], 4096, &["free:4"]);
}

#[test]
fn rows_are_charged_as_long_as_the_driver_makes_them() {
    costs(&["pitch:200,10"], 2560, &["free:4"]);
    costs(&["pitch:1000,10"], 40960, &["free:4"]);
}

#[test]
fn arrays_are_charged_by_their_elements() {
    costs(&["array:64,64"], 16384, &["free-array:4"]);
    costs(&["mipmapped:64,3"], 16384 + 4096 + 1024, &["free-mipmapped:4"]);
}

#[test]
fn created_memory_is_charged_until_its_last_handle_and_its_last_mapping_are_gone() {
    costs(&["create:65536"], 65536, &["release:4"]);
    costs(&["create:65536", "map:4,0", "map:4,1", "release:4"], 65536, &["unmap:0,2"]);
    costs(&["create:65536", "map:4,0", "map:4,1", "release:4", "unmap:1,1"], 65536, &["unmap:0,1"]);
    costs(&["create:65536", "retain-handle:4", "release:4"], 65536, &["release:4"]);
    costs(&["create:65536", "map:4,3", "release:4"], 65536, &["unmap:0,9"]);
    costs(&["create:65536,1"], 0, &["release:4"]);
}

#[test]
fn memory_of_others_is_charged_while_it_is_open() {
    costs(&["open:65536"], 65536, &["close:4"]);
    costs(&["external:65536"], 65536, &["free-external:4"]);
    // A mapping of more than the quota is refused, so the page is device 1's quota at most.
    let answers = Quota::new().run(&["import", "map:4,0", "used"]);
    assert_eq!(answers, ["0", "2", "4096"], "a page of 2 MiB is more than the quota of 1 MiB");
}

#[test]
fn variables_of_a_module_are_charged_once_and_until_it_is_unloaded() {
    costs(&["global:a", "global:b", "global:a"], 8192, &["unload"]);
}

#[test]
fn what_is_set_aside_for_a_context_is_charged() {
    let (heap, stack) = (format!("limit:2,{}", (8 << 20) + 65536), format!("limit:0,{}", 1024 + 64));
    costs(&[&heap], 65536, &["limit:2,8388608"]);
    // 10 multiprocessors with 100 threads each.
    costs(&[&stack], 64000, &["limit:0,1024"]);
    costs(&["limit:5,128"], 0, &[]);
}

#[test]
fn nodes_that_allocate_are_charged_while_their_graph_or_what_was_made_of_it_lives() {
    costs(&["graph", "node:4,4096", "special-node:4,4096"], 8192, &["free-graph:4"]);
    costs(&["graph", "node:4,4096"], 4096, &["free:5", "free-graph:4"]);
    costs(&["graph", "node:4,4096", "instantiate:4", "free-graph:4"], 4096, &["free-executable:6"]);
    costs(&["graph", "node:4,4096", "instantiate:4", "free-executable:6"], 4096, &["free-graph:4"]);
    let two = ["graph", "node:4,4096", "instantiate:4", "instantiate:4", "free-graph:4", "free-executable:6"];
    costs(&two, 4096, &["free-executable:7"]);
}

#[test]
fn a_context_costs_a_device_once_and_ends_with_its_memory() {
    let answers = Quota::new().run(&[
        "allocate:4096",
        "context:0",
        "allocate:8192",
        "used",
        "destroy:5",
        "set:2",
        "used",
        "release-primary:0",
        "set:0x1000",
        "used",
    ]);
    assert_eq!(answers, ["0", "0", "0", "16384", "0", "0", "8192", "0", "0", "0"]);
    let answers =
        Quota::new().run(&["retain:0", "allocate:4096", "reset:0", "used", "release-primary:0", "used"]);
    assert_eq!(answers, ["0", "0", "0", "4096", "0", "4096"], "it was retained twice");
}

#[test]
fn each_device_has_its_own_quota() {
    let quota = Quota::new();
    let answers = quota.run(&[
        "retain:1",
        "set:4",
        "allocate:2097152",
        "allocate:1",
        "set:2",
        "allocate:1000000",
        "used",
    ]);
    assert_eq!(answers, ["0", "0", "0", "2", "0", "0", "1004288"]);
}

#[test]
fn what_the_driver_refuses_or_fails_to_free_changes_nothing() {
    let quota = Quota::new();
    let answers = quota.run(&[
        "allocate:666",
        "managed:666",
        "async:666",
        "pitch:666,2",
        "array:666,2",
        "create:666",
        "limit:2,666",
        "free:0xbad",
        "release:0xbad",
        "map:0xbad,0",
        "used",
    ]);
    assert_eq!(answers, ["304", "304", "304", "304", "304", "304", "304", "1", "1", "1", "4096"]);
}

#[test]
fn over_the_quota_the_client_gets_what_the_driver_would_say_and_one_record_tells() {
    let quota = Quota::new();
    let most = LIMIT - CONTEXT;
    let (all, more) = (format!("allocate:{most}"), format!("allocate:{}", most + 1));
    let answers = quota.run(&[&more, &all, "allocate:1", "used", "free:5", &all, "used"]);
    assert_eq!(answers, ["2", "0", "2", "1048576", "0", "0", "1048576"]);
    let chain = quota.0.chain();
    let refused: Vec<_> = chain.iter().filter(|entry| entry.record.kind == Kind::QuotaRefused).collect();
    assert_eq!(refused.len(), 2);
    assert_eq!(told(refused[0]), (Kind::QuotaRefused, "cuMemAlloc_v2", 2, most + 1, 0));
    assert_eq!(refused[0].text.as_str(), format!("{CONTEXT} 0 {LIMIT}"));
    assert_eq!(told(refused[1]), (Kind::QuotaRefused, "cuMemAlloc_v2", 2, 1, 0));
    // The driver was asked for what fits only.
    about(&chain, Kind::CallReturned, "cuMemAlloc_v2");
    assert!(chain.iter().all(|entry| entry.record.kind != Kind::CallReturned || entry.record.result == 0));
}

#[test]
fn a_context_that_the_quota_has_no_room_for_is_refused() {
    let quota = Quota::with(
        "device.0.uuid=GPU-00000000-0000-0000-0000-00000000000a\ndevice.0.quota=4096\ndevice.0.context=4097\n",
    );
    let answers = lines(&quota.holder(&["init", "retain:0", "context:0"]).output().unwrap());
    assert_eq!(answers, ["0", "2", "2"]);
}

#[test]
fn everybody_who_is_asked_tells_the_same_figures() {
    let quota = Quota::new();
    let answers = quota.run(&["allocate:4096", "figures"]);
    let (free, used) = (LIMIT - 8192, 8192);
    let wanted = format!("{free} {LIMIT} {LIMIT} | {LIMIT} {free} {used} | {LIMIT} 0 {free} {used}");
    assert_eq!(answers[1], wanted);
}

#[test]
fn processes_share_the_quota_and_what_a_killed_one_held_is_there_for_the_next() {
    let quota = Quota::new();
    let steps = ["init", "retain:0", "set:2", "allocate:900000", "wait"];
    let mut first = quota.holder(&steps).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = BufReader::new(first.stdout.take().unwrap()).lines();
    assert!((0..4).all(|_| answers.next().unwrap().unwrap() == "0"));
    assert_eq!(quota.run(&["used", "allocate:200000"]), ["908288", "2"]);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(quota.run(&["used", "allocate:1000000"]), ["4096", "0"]);
}

#[test]
fn a_forked_child_shares_the_quota() {
    let answers = Quota::new().run(&["allocate:600000", "fork:400000", "fork:600000", "allocate:400000"]);
    assert_eq!(answers, ["0", "0", "2", "0"]);
}

#[test]
fn devices_that_the_grant_does_not_name_have_what_it_says_of_all_others() {
    let quota = Quota::with("quota=8192\n");
    let answers =
        quota.run(&["allocate:8192", "allocate:1", "retain:1", "set:6", "allocate:8192", "allocate:1"]);
    assert_eq!(answers, ["0", "2", "0", "0", "0", "2"]);
    assert_eq!(quota.ledger().names.len(), 2);
}

#[test]
fn a_device_that_has_no_quota_is_not_limited() {
    let quota = Quota::with("device.0.uuid=GPU-00000000-0000-0000-0000-0000000000ff\ndevice.0.quota=1\n");
    assert_eq!(quota.run(&["allocate:8192", "used"]), ["0", "0"]);
}

#[test]
fn without_a_ledger_nothing_is_given_and_a_record_says_why() {
    let quota = Quota::new();
    std::fs::remove_file(quota.0.folder().join("ledger")).unwrap();
    let answers = lines(&quota.holder(&["init", "retain:0", "set:0x1000", "allocate:1"]).output().unwrap());
    assert_eq!(answers, ["0", "2", "0", "2"]);
    let chain = quota.0.chain();
    let refused = about(&chain, Kind::QuotaRefused, "cuDevicePrimaryCtxRetain");
    assert_eq!(refused.record.arg1, (Refusal::Away as u64) << 32);
    assert!(
        refused.text.as_str().ends_with("ledger: cannot be opened, errno 2"),
        "{}",
        refused.text.as_str()
    );
}

#[test]
fn a_grant_without_a_quota_leaves_the_driver_s_own_functions_in_place() {
    let place = Place::with_driver(&compiled(
        "memory.so",
        "memory.c",
        "gcc",
        &["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"],
    ));
    let holder = compiled("holder", "holder.c", "gcc", &["-ldl"]);
    let answers = lines(
        &place
            .program(&holder)
            .args(["init", "retain:0", "set:2", "allocate:2097152", "used"])
            .output()
            .unwrap(),
    );
    assert_eq!(answers, ["0", "0", "0", "0", "0"]);
    assert!(artefacts().join("libcuda.so.1").exists());
}
