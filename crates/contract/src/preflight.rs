//! What the preflight found in a container: the report that it leaves as the init container's termination message.
//!
//! One finding a line, five fields with tabs (⇥) between them, in the order in which things were tried:
//!
//! ```text
//! firstlight-preflight 1
//! load ⇥ failed ⇥ 12 ⇥ /usr/lib/ollama/cuda_v13/libggml-cuda.so ⇥ libcublas.so.13: cannot open shared object file
//! device ⇥ errno:13 ⇥ 0 ⇥ /dev/nvidia-uvm
//! init ⇥ code:999 ⇥ 3 ⇥ cuInit
//! ```
//!
//! The container's author can write anything there: a reader takes what it understands and counts the rest.

#[cfg(feature = "serde")]
mod document;

use crate::text::ForeignText;
#[cfg(feature = "serde")]
pub use document::{Document, Judgement, Line};
use std::fmt;
use std::time::Duration;

/// First line of a report.
pub const HEADER: &str = "firstlight-preflight 1";
/// The kubelet keeps this much of a termination message (`MaxContainerTerminationMessageLength`,
/// `k8s.io/kubernetes/pkg/kubelet/container`), in bytes.
pub const MAX_BYTES: usize = 4096;
/// Findings that are taken from a report.
pub const MAX_FINDINGS: usize = 128;

macro_rules! probes {
    ($($variant:ident = $word:literal $subject:literal),+ $(,)?) => {
        /// What was tried.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Probe { $(#[doc = $subject] $variant),+ }

        impl Probe {
            /// All probes, in the order in which they are tried.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Word of the report.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

probes! {
    Libc = "libc" "The C library of the image; subject: `glibc`, `musl` or `none`, detail: its version.",
    Ollama = "ollama" "Ollama's program; subject: its path, detail: its version as it says itself.",
    Environment = "environment" "A variable that decides about GPUs; subject: its name, detail: its value.",
    Privileges = "privileges" "A program that the loader treats as privileged (set-id or file capabilities, which make it ignore `LD_PRELOAD`); subject: the program, detail: why.",
    Preload = "preload" "An object that is preloaded beside ours; subject: its path, and where it is named if not in `LD_PRELOAD`, detail: which functions of the C library it replaces. `failed`: no program starts with it, detail: the loader's words. `absent`, `skipped`: the loader passes over it, and programs run.",
    Runtime = "runtime" "A CUDA runtime (libcudart) beside a backend; subject: its path, detail: its version and build id.",
    Driver = "driver" "A file named libcuda.so.1 on the loader's path, in its order; subject: its path, detail: the path behind its links, where that is another (that of our shim, where it is the same file). `failed`: the loader passes over it, detail: why.",
    Device = "device" "The open of one of the driver's device nodes; subject: its path.",
    Module = "module" "The kernel module; subject: `/proc/driver/nvidia/version`, detail: its version.",
    Load = "load" "dlopen of a GPU backend as Ollama does it; subject: its path, detail: dlerror. `absent`: there is none at this path.",
    Nvml = "nvml" "nvmlInit_v2; subject: the library, detail: the driver's version.",
    Open = "open" "dlopen of libcuda.so.1; subject: the name or path that was opened, detail: the file that came, or dlerror.",
    Version = "version" "cuDriverGetVersion; detail: the version, 1000·major + 10·minor.",
    Init = "init" "cuInit.",
    Table = "table" "cuGetExportTable for the tables that every runtime needs; subject: the name of one that was not served, or cuGetExportTable, detail: how many were served, and which were not that only some need. What comes after it does not need them and is tried all the same.",
    Count = "count" "cuDeviceGetCount; detail: the number. Where it is 0, nothing more is tried.",
    Query = "query" "The queries of a device; subject: the function that failed, or the device's name, detail: UUID, PCI id, compute capability, memory.",
    Context = "context" "cuDevicePrimaryCtxRetain and cuCtxSetCurrent, for each device.",
    Memory = "memory" "cuMemGetInfo, for each device; detail: free and total bytes, with a slash between them. `failed`: they cannot be true.",
    Allocate = "allocate" "cuMemAlloc of a little memory; detail: the bytes.",
    Code = "code" "cuModuleLoadData of a small module.",
    Launch = "launch" "cuLaunchKernel and cuCtxSynchronize of an empty kernel.",
    RuntimeCount = "runtime-count" "cudaGetDeviceCount of a CUDA runtime beside a backend; subject: the library, detail: the number of devices, or cudaGetErrorString.",
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It went well.
    Ok,
    /// What was looked for is not there.
    Absent,
    /// A system call failed with this errno.
    Errno(i32),
    /// A driver, NVML or runtime function answered this code.
    Code(u32),
    /// It failed, and the detail says how.
    Failed,
    /// The probing process died by this signal.
    Signal(i32),
    /// It did not return in time and was killed.
    TimedOut,
    /// It was not tried, and the detail says why.
    Skipped,
}

impl Probe {
    /// The probes of the driver itself, one after the other in one process.
    pub const DRIVER: [Self; 11] = [
        Self::Open,
        Self::Version,
        Self::Init,
        Self::Table,
        Self::Count,
        Self::Query,
        Self::Context,
        Self::Memory,
        Self::Allocate,
        Self::Code,
        Self::Launch,
    ];

    /// The probe of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|probe| probe.as_str() == word)
    }
}

impl Outcome {
    /// Whether the probe was made and did not go well.
    pub fn is_bad(self) -> bool {
        !matches!(self, Self::Ok | Self::Skipped)
    }

    /// The outcome that [`fmt::Display`] wrote.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word.split_once(':') {
            None => match word {
                "ok" => Self::Ok,
                "absent" => Self::Absent,
                "failed" => Self::Failed,
                "timeout" => Self::TimedOut,
                "skipped" => Self::Skipped,
                _ => return None,
            },
            Some(("errno", number)) => Self::Errno(number.parse().ok()?),
            Some(("code", number)) => Self::Code(number.parse().ok()?),
            Some(("signal", number)) => Self::Signal(number.parse().ok()?),
            Some(_) => return None,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => out.write_str("ok"),
            Self::Absent => out.write_str("absent"),
            Self::Errno(number) => write!(out, "errno:{number}"),
            Self::Code(number) => write!(out, "code:{number}"),
            Self::Failed => out.write_str("failed"),
            Self::Signal(number) => write!(out, "signal:{number}"),
            Self::TimedOut => out.write_str("timeout"),
            Self::Skipped => out.write_str("skipped"),
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was tried.
    pub probe: Probe,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took, milliseconds.
    pub millis: u32,
    /// On what: a path, a name. Cut and escaped.
    pub subject: ForeignText,
    /// More words. Cut and escaped.
    pub detail: ForeignText,
}

impl Finding {
    /// A finding without subject and detail, which took no time worth mentioning.
    pub fn new(probe: Probe, outcome: Outcome) -> Self {
        let nothing = ForeignText::default;
        Self { probe, outcome, millis: 0, subject: nothing(), detail: nothing() }
    }

    /// On what.
    #[must_use]
    pub fn on(self, subject: impl AsRef<[u8]>) -> Self {
        Self { subject: ForeignText::new(subject.as_ref()), ..self }
    }

    /// More words.
    #[must_use]
    pub fn saying(self, detail: impl AsRef<[u8]>) -> Self {
        Self { detail: ForeignText::new(detail.as_ref()), ..self }
    }

    /// How long it took.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { millis: u32::try_from(time.as_millis()).unwrap_or(u32::MAX), ..self }
    }

    /// Reads a line, without its end.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(Self {
            probe: Probe::from_word(fields.next()?)?,
            outcome: Outcome::parse(fields.next()?)?,
            millis: fields.next()?.parse().ok()?,
            subject: ForeignText::new(fields.next().unwrap_or_default().as_bytes()),
            detail: ForeignText::new(fields.next().unwrap_or_default().as_bytes()),
        })
    }

    fn line(&self, with_detail: bool) -> String {
        let Self { probe, outcome, millis, subject, detail } = self;
        let mut line = format!("{}\t{outcome}\t{millis}", probe.as_str());
        // Foreign text holds neither tabs nor line ends: they are escaped.
        let detail = if with_detail { detail.as_str() } else { "" };
        if !subject.is_empty() || !detail.is_empty() {
            line = format!("{line}\t{subject}");
        }
        if !detail.is_empty() {
            line = format!("{line}\t{detail}");
        }
        line
    }
}

/// The line, without its end.
impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.line(true))
    }
}

/// A report, in the order in which things were tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The findings, at most [`MAX_FINDINGS`] when they were parsed.
    pub findings: Vec<Finding>,
    /// Lines that no reader of this version understands.
    pub foreign_lines: usize,
}

impl Report {
    /// Reads a report; `None` if the text does not begin with [`HEADER`].
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return None;
        }
        let mut report = Self::default();
        for line in lines {
            match Finding::parse(line) {
                Some(finding) if report.findings.len() < MAX_FINDINGS => report.findings.push(finding),
                _ => report.foreign_lines = report.foreign_lines.saturating_add(1),
            }
        }
        Some(report)
    }

    /// The findings of one probe.
    pub fn of(&self, probe: Probe) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.probe == probe)
    }

    /// The text, at most `limit` bytes: what went well is left out first, from the end; then details are.
    pub fn encode(&self, limit: usize) -> String {
        let whole = |keep: &dyn Fn(&Finding) -> bool, detail: bool| {
            let lines =
                self.findings.iter().filter(|finding| keep(finding)).map(|finding| finding.line(detail));
            std::iter::once(HEADER.to_owned()).chain(lines).collect::<Vec<_>>().join("\n") + "\n"
        };
        let candidates = [
            whole(&|_| true, true),
            whole(&|finding| finding.outcome != Outcome::Ok || !finding.detail.is_empty(), true),
            whole(&|finding| finding.outcome.is_bad(), true),
            whole(&|finding| finding.outcome.is_bad(), false),
        ];
        let [.., shortest] = &candidates;
        let fits = candidates.iter().find(|text| text.len() <= limit);
        fits.cloned().unwrap_or_else(|| {
            // Whole lines only.
            let mut end = 0;
            for line in shortest.split_inclusive('\n') {
                if end + line.len() > limit {
                    break;
                }
                end += line.len();
            }
            shortest.get(..end).unwrap_or_default().to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn a_finding() -> impl Strategy<Value = Finding> {
        let outcome = prop_oneof![
            Just(Outcome::Ok),
            Just(Outcome::Absent),
            Just(Outcome::Failed),
            Just(Outcome::TimedOut),
            Just(Outcome::Skipped),
            (0..200).prop_map(Outcome::Errno),
            any::<u32>().prop_map(Outcome::Code),
            (1..65).prop_map(Outcome::Signal),
        ];
        (0..Probe::ALL.len(), outcome, any::<u32>(), ".{0,60}", ".{0,60}").prop_map(
            |(probe, outcome, millis, subject, detail)| Finding {
                probe: Probe::ALL[probe],
                outcome,
                millis,
                subject: ForeignText::new(subject.as_bytes()),
                detail: ForeignText::new(detail.as_bytes()),
            },
        )
    }

    proptest! {
        #[test]
        fn a_report_that_fits_is_read_back_as_it_was(findings in proptest::collection::vec(a_finding(), 0..20)) {
            let report = Report { findings, foreign_lines: 0 };
            prop_assert_eq!(Report::parse(&report.encode(usize::MAX)), Some(report));
        }

        #[test]
        fn a_report_keeps_to_its_limit_and_what_is_left_is_read_back(
            findings in proptest::collection::vec(a_finding(), 0..60),
            limit in HEADER.len() + 1..MAX_BYTES,
        ) {
            let text = Report { findings: findings.clone(), foreign_lines: 0 }.encode(limit);
            prop_assert!(text.len() <= limit);
            let read = Report::parse(&text).unwrap();
            prop_assert_eq!(read.foreign_lines, 0);
            prop_assert!(read.findings.iter().all(|one| findings.iter().any(|other|
                (one.probe, one.outcome, &one.subject) == (other.probe, other.outcome, &other.subject))));
        }

        #[test]
        fn no_text_is_too_odd_to_be_read(text in "(firstlight-preflight 1\n)?(.|\n|\t){0,400}") {
            if let Some(report) = Report::parse(&text) {
                prop_assert!(report.findings.len() <= MAX_FINDINGS);
            }
        }
    }

    #[test]
    fn what_failed_outlives_what_went_well() {
        let finding = |outcome, subject: &str| Finding {
            probe: Probe::Device,
            outcome,
            millis: 0,
            subject: ForeignText::new(subject.as_bytes()),
            detail: ForeignText::default(),
        };
        let mut findings: Vec<Finding> =
            (0..300).map(|number| finding(Outcome::Ok, &format!("/dev/nvidia{number}"))).collect();
        findings.push(finding(Outcome::Errno(13), "/dev/nvidia-uvm"));
        let text = Report { findings, foreign_lines: 0 }.encode(MAX_BYTES);
        assert_eq!(text, "firstlight-preflight 1\ndevice\terrno:13\t0\t/dev/nvidia-uvm\n");
    }

    #[test]
    fn lines_of_a_later_version_are_counted_and_left() {
        let report = Report::parse("firstlight-preflight 1\nteleport\tok\t1\ninit\tcode:999\t3\n").unwrap();
        assert_eq!(report.foreign_lines, 1);
        assert_eq!(report.findings.first().map(|finding| finding.outcome), Some(Outcome::Code(999)));
    }
}
