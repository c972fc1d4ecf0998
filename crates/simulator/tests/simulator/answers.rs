//! The driver and its NVML beside those of a real GPU: questions at the edges, and what an H100 under 580.159.04 said.
//! `e2e/hardware/run.sh` asks a real one again.

use crate::common::{Machine, artefacts, driver};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const REAL: &str = include_str!("../answers-580.159.04.txt");

/// A part, the beginning of a question in it (empty: all), and why the simulator answers it in another way.
type Difference = (&'static str, &'static str, &'static str);

const DIFFERENCES: &[Difference] = &[
    ("cuda: one client from first lookup to release", "stream without a context", WRITES),
    ("cuda: after the last release", "stream", WRITES),
    ("cuda: lookups of null", "", CRASHES),
    ("cuda: a name in no room", "", CRASHES),
    (
        "cuda: export tables",
        "",
        "no runtime asks for this table, or for more slots of the others than it uses",
    ),
    ("cuda: limits", "limit 6", "no part of a cache that does not exist persists"),
    ("cuda: limits", "limit 7", "no graphics context shares memory with it"),
    ("cuda: images", "module of PTX, then nonsense", NOT_COMPILED),
    ("cuda: images", "module of PTX of version 1.0", NOT_COMPILED),
    ("cuda: images", "module of PTX with a wrong instruction", NOT_COMPILED),
    ("cuda: images", "module of PTX that calls what is not there", NOT_COMPILED),
    ("cuda: images", "module of the header of a cubin, then zeros", "compiled code is not read"),
    ("cuda: launches", "attribute 2 of a function", NOT_COMPILED),
    ("cuda: launches", "attribute 4 of a function", NOT_COMPILED),
    ("cuda: launches", "attribute 5 of a function", NOT_COMPILED),
    ("cuda: launches", "launch with 65 threads of 64", NOT_COMPILED),
    ("nvml: devices", "device 1, version 1", WRITES),
    ("nvml: devices", "device 99, version 1", WRITES),
    ("nvml: devices", "device 4294967295, version 1", WRITES),
    ("nvml: texts", "name in 12 bytes", "names of simulated devices are short"),
    ("nvml: figures", "attributes", "a whole device has attributes, too, and clients ask for them"),
    ("nvml: topology", "common ancestor of a device and itself", TO_ITSELF),
    ("nvml: topology", "peer status 0 of a device and itself", TO_ITSELF),
    ("nvml: topology", "peer status 4 of a device and itself", TO_ITSELF),
    ("nvml: topology", "peer status 5 of a device and itself", TO_ITSELF),
    ("nvml: topology", "peer status 99 of a device and itself", TO_ITSELF),
    ("nvml: topology", "devices at level 99, no room", "a level that is none is an error, not an empty list"),
];

/// NVML's answer where only a card has what was asked for: temperatures, clocks, power, serial numbers, MIG.
const NOT_SUPPORTED: &str = "3";
const TO_ITSELF: &str = "nobody asks how a device reaches itself";
const WRITES: &str = "what the real one leaves there on failure is no handle";
const CRASHES: &str = "the real driver reads through null and ends the process";
const NOT_COMPILED: &str = "PTX is read for what it declares and not compiled";

/// What was answered, part by part.
fn parts(answers: &str) -> BTreeMap<&str, Vec<(String, &str)>> {
    let mut parts: BTreeMap<&str, Vec<(String, &str)>> = BTreeMap::new();
    let mut name = "";
    for line in answers.lines() {
        if let Some(begun) = line.strip_prefix("== ") {
            name = begun;
            parts.entry(name).or_default();
            continue;
        }
        let (question, answer) = line.split_once(": ").unwrap_or((line, ""));
        let part = parts.entry(name).or_default();
        let before = part.iter().filter(|(known, _)| known.split('#').next() == Some(question)).count();
        part.push((format!("{question}#{before}"), answer));
    }
    parts
}

fn asked(machine: &Machine) -> String {
    let questions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/questions");
    let mut command: Command = machine.program(Path::new("python3"));
    let output = command.arg("-B").arg(questions).arg(driver()).env("LC_ALL", "C.UTF-8").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(artefacts().join("libnvidia-ml.so.1").exists());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn driver_and_nvml_answer_as_real_ones_except_where_said_why() {
    let told = asked(&Machine::of_model("SIM-H100"));
    let (real, simulated) = (parts(REAL), parts(&told));
    let mut unexplained = Vec::new();
    let mut seen = Vec::new();
    for (part, answers) in &simulated {
        let theirs = real.get(part).unwrap_or_else(|| {
            panic!("no real driver was asked the part `{part}`: e2e/hardware/run.sh does, its questions-real.txt is the file")
        });
        let all: BTreeMap<_, _> = theirs.iter().map(|(question, answer)| (question, *answer)).collect();
        let ours: BTreeMap<_, _> = answers.iter().map(|(question, answer)| (question, *answer)).collect();
        for question in all.keys().chain(ours.keys().filter(|question| !all.contains_key(*question))) {
            let (theirs, ours) = (all.get(*question), ours.get(*question));
            let lacking = ours.is_some_and(|ours| ours.split(' ').next() == Some(NOT_SUPPORTED));
            if theirs == ours || (part.starts_with("nvml: ") && lacking) {
                continue;
            }
            let bare = question.split('#').next().unwrap_or_default();
            let known = |(of, which, _): &&Difference| of == part && (which.is_empty() || *which == bare);
            match DIFFERENCES.iter().find(known) {
                Some(known) => seen.push(*known),
                None => unexplained.push(format!("{part}, {bare}: real {theirs:?}, simulated {ours:?}")),
            }
        }
    }
    assert_eq!(unexplained, Vec::<String>::new());
    let gone: Vec<_> = DIFFERENCES.iter().filter(|known| !seen.contains(known)).collect();
    assert!(gone.is_empty(), "these differences are no more; take them out of the list: {gone:?}");
}

#[test]
fn every_real_answer_belongs_to_a_question_that_is_still_asked() {
    let told = asked(&Machine::of_model("SIM-H100"));
    let simulated = parts(&told);
    let gone: Vec<_> = parts(REAL).into_keys().filter(|part| !simulated.contains_key(part)).collect();
    assert_eq!(gone, Vec::<&str>::new());
}
