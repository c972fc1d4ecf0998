//! What is written down.

use crate::common::{Place, about, artefacts, client, compiled, driver, lines, told};
use firstlight_contract::record::{Kind, Role, start};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn the_first_record_says_what_the_process_is() {
    let place = Place::with_driver(&driver());
    let mut ollama = place.program(&client());
    ollama.arg0("/usr/bin/ollama").args(["runner", "--model", "/m"]).env("GGML_CUDA_INIT", "1");
    lines(&ollama.output().unwrap());
    let chain = place.chain();
    let (kind, _, _, role, bits) = told(&chain[0]);
    assert_eq!((kind, role), (Kind::Start, Role::EngineRunner as u64));
    assert_eq!(bits, start::GLIBC | start::SECOND_PASS);
    assert_eq!(chain[0].text.as_str(), "/usr/bin/ollama runner --model");
}

#[test]
fn a_musl_process_starts_with_a_record_too() {
    let musl = compiled("client-musl", "client.c", "musl-gcc", &[]);
    let place = Place::with_driver(&driver());
    lines(&place.program(&musl).output().unwrap());
    let (kind, _, _, _, bits) = told(&place.chain()[0]);
    assert_eq!((kind, bits), (Kind::Start, start::MUSL));
}

#[test]
fn the_whole_way_from_init_to_a_synchronised_launch_is_told_in_order() {
    let place = Place::with_driver(&driver());
    place.run(&[
        "version",
        "init",
        "count",
        "table",
        "context",
        "memory",
        "allocate:10",
        "launch",
        "synchronise",
    ]);
    let chain = place.chain();
    let stages: Vec<_> = chain
        .iter()
        .map(told)
        .filter(|(kind, ..)| {
            !matches!(
                kind,
                Kind::Module | Kind::DriverOpening | Kind::DriverOpened | Kind::Start | Kind::Launches
            )
        })
        .collect();
    let (low, high) = (0x4ae7_f45b_6cfb_d56b, 0xf99d_fd12_39d9_8789);
    assert_eq!(
        stages,
        [
            (Kind::CallReturned, "cuDriverGetVersion", 0, 13050, 0),
            (Kind::CallEntered, "cuInit", 0, 0, 0),
            (Kind::CallReturned, "cuInit", 0, 0, 0),
            (Kind::CallReturned, "cuDeviceGetCount", 0, 2, 0),
            (Kind::TableAsked, "cuGetExportTable", 0, low, high),
            (Kind::CallEntered, "cuDevicePrimaryCtxRetain", 0, 0, 1),
            (Kind::CallReturned, "cuDevicePrimaryCtxRetain", 0, 0, 1),
            (Kind::CallReturned, "cuMemGetInfo_v2", 0, 1000, 2000),
            (Kind::CallReturned, "cuMemAlloc_v2", 0, 10, 0),
            (Kind::CallReturned, "cuLaunchKernel", 0, 0, 0),
            (Kind::CallReturned, "cuCtxSynchronize", 0, 0, 0),
        ]
    );
}

#[test]
fn a_failing_init_tells_what_hides_devices_and_which_nodes_are_there() {
    let place = Place::with_driver(&driver());
    let mut failing = place.program(&client());
    failing.env("DRIVER_INIT", "100").env("CUDA_VISIBLE_DEVICES", "-1").args(["init"; 3]);
    lines(&failing.output().unwrap());
    let chain = place.chain();
    let told_of = |kind: Kind| chain.iter().filter(move |entry| entry.record.kind == kind);
    let variables: Vec<_> = told_of(Kind::Environment).map(|entry| entry.text.as_str().to_owned()).collect();
    assert_eq!(variables, ["CUDA_VISIBLE_DEVICES=-1"], "once");
    let nodes: Vec<_> = told_of(Kind::DeviceNode).map(|entry| entry.text.as_str().to_owned()).collect();
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    assert_eq!(nodes[..2], ["/dev/nvidiactl", "/dev/nvidia-uvm"]);
    for entry in told_of(Kind::DeviceNode) {
        assert_eq!(entry.record.result == 2, !Path::new(entry.text.as_str()).exists(), "{entry:?}");
    }
    let init = about(&chain, Kind::CallReturned, "cuInit").record.sequence;
    assert!(told_of(Kind::DeviceNode).all(|entry| entry.record.sequence < init), "before what they explain");
}

#[test]
fn a_driver_that_ends_the_process_when_it_is_loaded_was_about_to_be_opened() {
    let flags = ["-shared", "-fPIC", "-DDIES", "-Wl,-soname,libcuda.so.1", "-ldl"];
    let deadly = compiled("driver-dies.so", "driver.c", "gcc", &flags);
    let place = Place::with_driver(&deadly);
    let output = place.program(&client()).arg("init").output().unwrap();
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    let chain = place.chain();
    let last = chain.last().unwrap();
    assert_eq!((last.record.kind, last.text.as_str()), (Kind::DriverOpening, deadly.to_str().unwrap()));
}

#[test]
fn an_init_that_works_tells_nothing_of_its_surroundings() {
    let place = Place::with_driver(&driver());
    let mut healthy = place.program(&client());
    lines(&healthy.env("CUDA_VISIBLE_DEVICES", "0").arg("init").output().unwrap());
    let telling = |kind: Kind| matches!(kind, Kind::Environment | Kind::DeviceNode);
    assert!(!place.chain().iter().any(|entry| telling(entry.record.kind)));
}

#[test]
fn of_a_simulated_gpu_no_nodes_are_told() {
    let place = Place::simulated(&driver());
    let mut failing = place.program(&client());
    lines(&failing.env("DRIVER_INIT", "999").arg("init").output().unwrap());
    let chain = place.chain();
    assert_eq!(told(about(&chain, Kind::CallReturned, "cuInit")).2, 999);
    assert!(!chain.iter().any(|entry| entry.record.kind == Kind::DeviceNode));
}

#[test]
fn the_first_failure_is_written_and_its_repeats_are_counted() {
    let place = Place::with_driver(&driver());
    let mut failing = place.program(&client());
    failing.env("DRIVER_INIT", "802").args(["init"; 5]);
    assert_eq!(lines(&failing.output().unwrap()), ["init=802"; 5]);
    let chain = place.chain();
    assert_eq!(told(about(&chain, Kind::CallReturned, "cuInit")).2, 802);
    let repeats: Vec<_> = chain
        .iter()
        .filter(|entry| entry.record.kind == Kind::Repeated)
        .map(|entry| entry.record.arg0)
        .collect();
    assert_eq!(repeats, [1, 2, 4], "at each power of two");
}

#[test]
fn a_failure_after_a_success_is_written_with_what_was_asked_for() {
    let place = Place::with_driver(&driver());
    let said = place.run(&["allocate:10", "allocate:20", "allocate:5000"]);
    assert_eq!(said, ["allocate:10=0", "allocate:20=0", "allocate:5000=2"]);
    let outcomes: Vec<_> = place
        .chain()
        .iter()
        .map(told)
        .filter(|(kind, ..)| *kind == Kind::CallReturned)
        .map(|(_, _, result, bytes, _)| (result, bytes))
        .collect();
    assert_eq!(outcomes, [(0, 10), (2, 5000)]);
}

#[test]
fn launches_are_counted_and_the_count_is_written_by_a_later_wait() {
    let place = Place::with_driver(&driver());
    place.run(&["launch1000", "graph", "graph", "sleep", "sleep", "synchronise"]);
    let chain = place.chain();
    let last = chain.iter().rfind(|entry| entry.record.kind == Kind::Launches).unwrap();
    assert_eq!((last.record.arg0, last.record.arg1), (1000, 2));
}

#[test]
fn a_launch_that_fails_after_many_good_ones_is_recorded_and_not_counted() {
    let place = Place::with_driver(&driver());
    let steps =
        ["launch1000", "launch-fails:719", "launch-fails:719", "launch", "sleep", "sleep", "synchronise"];
    let said = place.run(&steps);
    assert_eq!(said[1..4], ["launch-fails:719=719", "launch-fails:719=719", "launch=0"]);
    let chain = place.chain();
    let outcomes: Vec<_> = chain.iter().map(told).filter(|told| told.1 == "cuLaunchKernel").collect();
    let kinds: Vec<_> = outcomes.iter().map(|(kind, _, result, ..)| (*kind, *result)).collect();
    assert_eq!(kinds, [(Kind::CallReturned, 0), (Kind::CallReturned, 719), (Kind::Repeated, 719)]);
    let last = chain.iter().rfind(|entry| entry.record.kind == Kind::Launches).unwrap();
    assert_eq!(last.record.arg0, 1001);
}

#[test]
fn what_still_waits_is_written_at_the_end_of_the_process() {
    let place = Place::with_driver(&driver());
    let unknown: Vec<_> = (0..20).map(|number| format!("own:cuCoffee{number}")).collect();
    let steps: Vec<_> = unknown.iter().map(String::as_str).chain(["launch1000", "graph"]).collect();
    place.run(&steps);
    let chain = place.chain();
    let asked = chain.iter().filter(|entry| entry.record.kind == Kind::LookupUnanswered);
    assert_eq!(asked.count(), 20);
    assert_eq!(told(chain.last().unwrap()), (Kind::Launches, "", 0, 1000, 1));
}

#[test]
fn launches_of_all_threads_are_in_the_sum() {
    let place = Place::with_driver(&driver());
    place.run(&["race", "sleep", "sleep", "synchronise"]);
    let chain = place.chain();
    let last = chain.iter().rfind(|entry| entry.record.kind == Kind::Launches).unwrap();
    assert_eq!(last.record.arg0, 8000);
}

#[test]
fn launches_are_counted_where_the_shim_is_opened_late() {
    let musl = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"];
    let sides = [
        (client(), driver()),
        (
            compiled("client-late-musl", "client.c", "musl-gcc", &[]),
            compiled("driver-musl.so", "driver.c", "musl-gcc", &musl),
        ),
    ];
    for (client, driver) in sides {
        let place = Place::with_driver(&driver);
        let mut late = place.program(&client);
        late.env_remove("LD_PRELOAD").env("LD_LIBRARY_PATH", artefacts());
        assert_eq!(
            lines(&late.args(["race", "sleep", "sleep", "synchronise"]).output().unwrap())[0],
            "race=0"
        );
        let chain = place.chain();
        let last = chain.iter().rfind(|entry| entry.record.kind == Kind::Launches).unwrap();
        assert_eq!(last.record.arg0, 8000);
    }
}

#[test]
fn a_forked_child_begins_a_chain_of_its_own_and_counts_its_own_launches() {
    let place = Place::with_driver(&driver());
    let mut forking = place.program(&client());
    let out = place.folder().join("out");
    forking.env("CLIENT_OUT", &out).args(["launch1000", "fork", "launch", "sleep", "sleep", "synchronise"]);
    lines(&forking.output().unwrap());
    let chains = place.chains();
    assert_eq!(chains.len(), 2);
    let (parent, child) = (&chains[0], &chains[1]);
    let (kind, _, _, parents_pid, _) = told(&child[0]);
    assert_eq!((kind, parents_pid), (Kind::Forked, u64::from(parent[0].record.pid)));
    let launches = |chain: &[firstlight_contract::decode::Entry]| {
        chain.iter().rfind(|entry| entry.record.kind == Kind::Launches).map(|entry| entry.record.arg0)
    };
    assert_eq!((launches(parent), launches(child)), (Some(1001), Some(1)));
}

#[test]
fn what_was_entered_is_on_disk_when_the_process_is_killed_inside() {
    let place = Place::with_driver(&driver());
    let mut hanging = place.program(&client());
    hanging.env("DRIVER_HANG", "1").args(["version", "init"]).stdout(Stdio::null());
    let mut child = hanging.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !place.entries().iter().any(|entry| told(entry).0 == Kind::CallEntered) {
        assert!(Instant::now() < deadline, "cuInit was never entered");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let chain = place.chain();
    assert_eq!(told(chain.last().unwrap()), (Kind::CallEntered, "cuInit", 0, 0, 0));
}

#[test]
fn nvml_and_the_driver_tell_one_story() {
    let nvml = compiled("nvml.so", "nvml.c", "gcc", &["-shared", "-fPIC"]);
    let place = Place::with_driver(&nvml);
    assert_eq!(
        place.run(&["nvml:nvmlInit_v2", "nvml:nvmlDeviceGetCount_v2"]),
        ["nvml:nvmlInit_v2=0", "nvml:nvmlDeviceGetCount_v2=0"]
    );
    let chain = place.chain();
    assert_eq!(told(about(&chain, Kind::DriverOpened, "")).3, 1, "it is NVML");
    assert_eq!(told(about(&chain, Kind::CallReturned, "nvmlDeviceGetCount_v2")).3, 3);
}
