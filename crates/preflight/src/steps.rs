//! The dynamic half's steps: what each is about, and what its end means. Pure.

use crate::child::{End, Ended};
use crate::wire::{self, Said, step};
use firstlight_contract::preflight::{Finding, Outcome, Probe};
use firstlight_contract::text::ForeignText;
use std::path::PathBuf;
use std::time::Duration;

const LOADING: &str = "error while loading shared libraries: ";

/// A step: one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Starting at all.
    Libc,
    /// Loading a backend.
    Load(PathBuf),
    /// Asking NVML.
    Nvml,
    /// Asking the driver.
    Driver,
    /// Asking a runtime.
    Runtime(PathBuf),
}

impl Step {
    /// Arguments of the dynamic half.
    pub fn words(&self) -> (&'static str, Option<&PathBuf>) {
        match self {
            Self::Libc => (step::LIBC, None),
            Self::Load(path) => (step::LOAD, Some(path)),
            Self::Nvml => (step::NVML, None),
            Self::Driver => (step::DRIVER, None),
            Self::Runtime(path) => (step::RUNTIME, Some(path)),
        }
    }

    /// What it tries, in this order.
    pub fn probes(&self) -> &'static [Probe] {
        match self {
            Self::Libc => &[Probe::Libc],
            Self::Load(_) => &[Probe::Load],
            Self::Nvml => &[Probe::Nvml],
            Self::Driver => &Probe::DRIVER,
            Self::Runtime(_) => &[Probe::RuntimeCount],
        }
    }

    /// How long it may take, given the limit of a step: a backend and its libraries are a gigabyte, which a cold
    /// disk reads in its own time, and Ollama waits for that, too.
    pub fn limit(&self, limit: Duration) -> Duration {
        if matches!(self, Self::Load(_)) { limit * 3 } else { limit }
    }

    fn subject(&self) -> String {
        match self {
            Self::Libc => "glibc".to_owned(),
            Self::Load(path) | Self::Runtime(path) => path.to_string_lossy().into_owned(),
            Self::Nvml | Self::Driver => String::new(),
        }
    }
}

/// Findings that are taken from one process: a driver that writes into our pipe shall not fill the report.
const MOST: usize = 96;

/// What the process found, and what its end means: whatever ended it before it was done belongs to the probe that it
/// had begun, and those behind it were not tried.
pub fn findings(step: &Step, ended: &Ended) -> Vec<Finding> {
    let (mut found, mut begun, mut done) = (Vec::<Finding>::new(), None::<(Probe, ForeignText)>, false);
    for line in String::from_utf8_lossy(&ended.out).lines() {
        match wire::read(line) {
            Some(Said::Begin(probe, subject)) => begun = Some((probe, subject)),
            Some(Said::Found(finding)) if step.probes().contains(&finding.probe) && found.len() < MOST => {
                begun = None;
                found.push(finding);
            }
            Some(Said::End) => done = true,
            Some(Said::Found(_)) | None => {}
        }
    }
    if !done {
        let next = || {
            let last = found.last().map(|finding| finding.probe);
            let first = step.probes().first().copied().unwrap_or(Probe::Libc);
            (last.unwrap_or(first), ForeignText::new(step.subject().as_bytes()))
        };
        let (probe, subject) = begun.unwrap_or_else(next);
        let finding = broken(probe, ended);
        found.push(Finding { subject, ..finding });
    }
    skip_the_rest(step, &mut found);
    found
}

fn broken(probe: Probe, ended: &Ended) -> Finding {
    let complaint = ended.complaint();
    // The loader begins with the program, which everybody knows, and says that it was loading.
    let complaint = complaint.split_once(LOADING).map_or(complaint.as_str(), |(_, words)| words);
    match ended.how {
        End::Signalled(signal) => Finding::new(probe, Outcome::Signal(signal)).saying(complaint),
        End::TimedOut => Finding::new(probe, Outcome::TimedOut).saying(complaint),
        End::Exited(code) => {
            let words = if complaint.is_empty() { "and said nothing" } else { complaint };
            Finding::new(probe, Outcome::Failed)
                .saying(format!("the process ended with code {code}: {words}"))
        }
    }
    .after(ended.silent)
}

fn skip_the_rest(step: &Step, found: &mut Vec<Finding>) {
    let Some(last) = found.last().map(|finding| finding.probe) else { return };
    let behind = step.probes().iter().skip_while(|probe| **probe != last).skip(1);
    let why = format!("after {}", last.as_str());
    found.extend(behind.map(|probe| Finding::new(*probe, Outcome::Skipped).saying(&why)));
}

/// A step that was not taken.
pub fn skipped(step: &Step, why: &str) -> Vec<Finding> {
    let finding = |probe: &Probe| Finding::new(*probe, Outcome::Skipped).on(step.subject()).saying(why);
    step.probes().iter().map(finding).collect()
}

/// Objects that glibc's loader passes over, from what it says at the start of each program, which then runs:
/// `ERROR: ld.so: object 'X' from LD_PRELOAD cannot be preloaded (why): ignored.`
pub fn not_preloaded(complaints: &str) -> Vec<Finding> {
    let one = |line: &str| {
        let rest = line.split_once("ERROR: ld.so: object '")?.1;
        let (object, rest) = rest.split_once("' from ")?;
        let (place, rest) = rest.split_once(" cannot be preloaded")?;
        let why =
            rest.split_once('(').and_then(|(_, rest)| rest.split_once("): ")).map_or("", |(why, _)| why);
        let missing = why.starts_with("cannot open shared object file");
        let outcome = if missing { Outcome::Absent } else { Outcome::Skipped };
        Some(Finding::new(Probe::Preload, outcome).on(object).saying(format!("{why} (from {place})")))
    };
    complaints.lines().filter_map(one).take(16).collect()
}

/// What dlerror says without the part that everybody knows: the folder of the object, or the object that was asked for.
pub fn loader_words(asked: &str, words: &str) -> String {
    if let Some(rest) = words.strip_prefix(asked).and_then(|rest| rest.strip_prefix(": ")) {
        return rest.to_owned();
    }
    match words.split_once(": ") {
        Some((object, rest)) if object.starts_with('/') => {
            format!("{}: {rest}", object.rsplit('/').next().unwrap_or(object))
        }
        _ => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ended(how: End, out: &str) -> Ended {
        let silent = Duration::from_millis(7);
        Ended { how, out: out.as_bytes().to_vec(), err: b"oh no\n".to_vec(), took: silent, silent }
    }

    fn told(step: &Step, how: End, out: &str) -> Vec<String> {
        findings(step, &ended(how, out)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_process_that_was_done_is_believed_whatever_it_did_afterwards() {
        let out = "begin\tnvml\tx\nnoise\nnvml\tok\t4\tx\t580.1\nend\n";
        assert_eq!(told(&Step::Nvml, End::Signalled(11), out), ["nvml\tok\t4\tx\t580.1"]);
    }

    #[test]
    fn what_was_found_before_a_crash_is_kept_and_the_rest_was_not_tried() {
        let out =
            "begin\topen\tlibcuda.so.1\nopen\tok\t1\tlibcuda.so.1\nbegin\tversion\tcuDriverGetVersion\n";
        let told = told(&Step::Driver, End::Signalled(11), out);
        assert_eq!(
            told[..2],
            ["open\tok\t1\tlibcuda.so.1", "version\tsignal:11\t7\tcuDriverGetVersion\toh no"]
        );
        assert_eq!(told[2], "init\tskipped\t0\t\tafter version");
        assert_eq!(told.len(), Probe::DRIVER.len());
    }

    #[test]
    fn a_process_that_hangs_is_a_timeout_of_what_it_had_begun() {
        let told = told(&Step::Load("/x.so".into()), End::TimedOut, "begin\tload\t/x.so\n");
        assert_eq!(told, ["load\ttimeout\t7\t/x.so\toh no"]);
    }

    #[test]
    fn a_driver_that_ends_the_process_is_told_from_one_that_answers() {
        let told = told(&Step::Driver, End::Exited(0), "begin\topen\tlibcuda.so.1\n");
        assert_eq!(told[0], "open\tfailed\t7\tlibcuda.so.1\tthe process ended with code 0: oh no");
    }

    #[test]
    fn a_process_that_never_spoke_failed_at_its_first_probe() {
        let told = told(&Step::Runtime("/x/libcudart.so.13".into()), End::Exited(127), "");
        assert_eq!(
            told,
            ["runtime-count\tfailed\t7\t/x/libcudart.so.13\tthe process ended with code 127: oh no"]
        );
    }

    #[test]
    fn a_driver_that_prints_findings_of_another_step_is_not_believed() {
        assert_eq!(told(&Step::Nvml, End::Exited(0), "init\tok\t1\nend\n"), [""; 0]);
    }

    proptest! {
        #[test]
        fn whatever_a_process_says_its_step_has_findings_and_not_many(
            lines in proptest::collection::vec("(begin\t)?(open|init|nvml|load|end)(\tok\t1)?(\t[a-z]{0,9})?", 0..200),
            code in 0..2,
        ) {
            let how = if code == 0 { End::Exited(0) } else { End::TimedOut };
            let told = findings(&Step::Driver, &ended(how, &lines.join("\n")));
            prop_assert!(told.len() <= MOST + 1 + Probe::DRIVER.len());
            prop_assert!(told.iter().all(|finding| Probe::DRIVER.contains(&finding.probe) || lines.iter().any(|line| line.starts_with("begin"))));
            prop_assert!(!told.is_empty() || lines.iter().any(|line| line == "end"));
        }
    }

    #[test]
    fn the_loaders_complaint_names_the_object_and_the_reason() {
        let line = "ERROR: ld.so: object '/x/a.so' from LD_PRELOAD cannot be preloaded (wrong ELF class: ELFCLASS32): ignored.";
        let told: Vec<String> = not_preloaded(line).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["preload\tskipped\t0\t/x/a.so\twrong ELF class: ELFCLASS32 (from LD_PRELOAD)"]);
        assert!(not_preloaded("ERROR: ld.so: object 'x").is_empty());
    }

    #[test]
    fn the_loaders_words_keep_what_is_interesting() {
        let backend = "/usr/lib/ollama/cuda_v13/libggml-cuda.so";
        let words = |words: &str| loader_words(backend, words);
        assert_eq!(words(&format!("{backend}: undefined symbol: cuMemMap")), "undefined symbol: cuMemMap");
        let missing = "libcublas.so.13: cannot open shared object file: No such file or directory";
        assert_eq!(words(missing), missing);
        assert_eq!(
            words("/usr/lib/ollama/libggml-base.so: file too short"),
            "libggml-base.so: file too short"
        );
    }
}
