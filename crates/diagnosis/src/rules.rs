//! From processes and facts to a verdict.
//!
//! 1. The newest process that serves a model decides, if it failed or came up.
//! 2. Otherwise one process with a usable GPU is enough: a backend that fails beside one that works is normal.
//! 3. Otherwise the process that got furthest names the cause; earlier ends are its look-alikes.
//! 4. Otherwise nothing is proven: waiting, never attempted, no records.

mod examine;
mod init;
mod nothing;
mod preflight;
#[cfg(test)]
mod preflight_tests;
#[cfg(test)]
mod properties;
mod quota;
#[cfg(test)]
mod quota_tests;
mod serving;
#[cfg(test)]
mod serving_tests;
#[cfg(test)]
mod surroundings_tests;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use init::code;

use crate::catalogue::Cause;
use crate::container::Container;
use crate::facts::Facts;
use crate::process::Process;
use crate::stage::Stage;
use crate::step::{say_bytes, say_version};
use crate::verdict::{Confidence, RuledOut, Truth, Verdict, Voice};
use firstlight_contract::grant::PoolKind;
use firstlight_contract::metrics::Outcome;
use firstlight_contract::record::Role;
use std::borrow::Cow;

/// After this time without a further record, a process is taken to have stopped where its records end.
pub(crate) const QUIET_NS: u64 = 2_000_000_000;
/// After this time without a return, a driver call is taken to hang; Ollama's own limits are 15 and 30 seconds.
pub(crate) const HANG_NS: u64 = 20_000_000_000;
/// After this time without a context, a process that serves a model does without the GPU.
pub(crate) const RUNNER_PATIENCE_NS: u64 = 20_000_000_000;
/// After this time with a context and without a launch, a process that serves a model is said not to use the GPU.
pub(crate) const UNUSED_NS: u64 = 600_000_000_000;
/// After this time without any record, the recorder is taken not to be loaded.
pub(crate) const FIRST_RECORD_NS: u64 = 10_000_000_000;
/// After this time without a driver call, a container is said to have attempted nothing.
pub(crate) const FIRST_CALL_NS: u64 = 30_000_000_000;

/// What an examination of one process found wrong.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) stage: Stage,
    pub(crate) cause: Cause,
    pub(crate) confidence: Confidence,
    /// Sentences without the voice.
    pub(crate) evidence: Vec<String>,
    pub(crate) ruled_out: Vec<(Cause, String)>,
}

impl Finding {
    pub(crate) fn new(stage: Stage, cause: Cause, confidence: Confidence, first: String) -> Self {
        Self { stage, cause, confidence, evidence: vec![first], ruled_out: Vec::new() }
    }

    pub(crate) fn and(mut self, sentence: impl Into<String>) -> Self {
        self.evidence.push(sentence.into());
        self
    }

    pub(crate) fn not(mut self, cause: Cause, why: impl Into<String>) -> Self {
        self.ruled_out.push((cause, why.into()));
        self
    }
}

/// What a judgement looks at.
pub(crate) struct Case<'a> {
    pub(crate) container: &'a Container,
    pub(crate) facts: &'a Facts,
    pub(crate) now_ns: u64,
    pub(crate) processes: Vec<Cow<'a, Process>>,
}

/// The verdict on a container.
pub(crate) fn judge(container: &Container, now_ns: u64, facts: &Facts) -> Verdict {
    let processes =
        container.present(facts).filter(|process| !process.is_probe()).map(Process::settled).collect();
    let case = Case { container, facts, now_ns: facts.horizon(now_ns), processes };
    let verdict = case.judge();
    case.with_preflight(case.with_end(verdict))
}

/// The furthest stage that a process reached.
pub(crate) fn reached(process: &Process) -> Stage {
    let learnt = &process.learnt;
    match () {
        () if learnt.confirmed_ns.is_some() => Stage::Serving,
        () if process.launched() => Stage::Compute,
        () if process.usable() && process.is_runner() => Stage::RunnerInit,
        () if process.usable() => Stage::Context,
        () if learnt.init_ok_ns.is_some() => Stage::Enumerated,
        () if learnt.init == Some(0) && learnt.tables > 0 => Stage::Handshake,
        () if learnt.init == Some(0) => Stage::DriverInit,
        () if learnt.version.is_some() => Stage::DriverVersion,
        () if learnt.driver.is_some() => Stage::DriverFind,
        () => Stage::Process,
    }
}

/// A process for a sentence: `process 42 (runner)`.
pub(crate) fn who(process: &Process) -> String {
    let program = process.argv.split(' ').next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    match (process.role, program) {
        (Role::Other, "") => format!("process {}", process.pid),
        (Role::Other, program) => format!("process {} ({program})", process.pid),
        (role, _) => format!("process {} ({})", process.pid, role.as_str()),
    }
}

/// `1 launch`, `7 launches`.
fn say_launches(count: u64) -> String {
    format!("{count} launch{}", if count == 1 { "" } else { "es" })
}

impl Case<'_> {
    fn judge(&self) -> Verdict {
        let findings: Vec<Option<Finding>> =
            self.processes.iter().map(|process| self.examine(process)).collect();
        let pairs = || self.processes.iter().map(AsRef::as_ref).zip(&findings);
        let newest = pairs()
            .filter(|(process, _)| self.is_worker(process))
            .max_by_key(|(process, _)| process.started_ns);
        if let Some((process, finding)) = newest {
            let seen = self.usable_before(process);
            if let Some(verdict) = self.serving(process, finding.as_ref(), &findings) {
                return verdict;
            }
            match finding {
                Some(finding) if seen || process.usable() => {
                    return self.failure(process, finding, true, &findings);
                }
                None if process.usable() => return self.success(process),
                None if seen && process.is_runner() && self.waited(process, RUNNER_PATIENCE_NS) => {
                    return self.left_alone(process);
                }
                _ => {}
            }
        }
        let working = pairs()
            .filter(|(process, finding)| process.usable() && finding.is_none())
            .max_by_key(|(process, _)| (reached(process), process.started_ns));
        if let Some((process, _)) = working {
            return self.success(process);
        }
        let furthest = pairs()
            .filter_map(|(process, finding)| Some((process, finding.as_ref()?)))
            .max_by_key(|(process, finding)| (finding.stage, std::cmp::Reverse(process.started_ns)));
        if let Some((process, finding)) = furthest {
            return self.failure(process, finding, false, &findings);
        }
        if self.container.forgotten().usable_ns.is_some() {
            return self.success_long_ago();
        }
        self.nothing()
    }

    /// Whether this process decides about the container: it serves a model, or, where no process is Ollama's,
    /// it called the driver.
    fn is_worker(&self, process: &Process) -> bool {
        let ollama = self.processes.iter().any(|process| process.role != Role::Other);
        if ollama { process.is_runner() } else { process.called_driver() }
    }

    /// Whether another process saw a usable GPU before this one started.
    pub(crate) fn usable_before(&self, process: &Process) -> bool {
        self.earlier(process).any(Process::usable) || self.container.forgotten().usable_ns.is_some()
    }

    /// The processes that started before this one.
    pub(crate) fn earlier<'b>(&'b self, process: &'b Process) -> impl Iterator<Item = &'b Process> {
        self.processes.iter().map(AsRef::as_ref).filter(move |other| {
            other.started_ns < process.started_ns && (other.pid, other.token) != (process.pid, process.token)
        })
    }

    /// Whether nothing more is to be expected of this process right now.
    pub(crate) fn quiet(&self, process: &Process) -> bool {
        self.facts.ended() || self.now_ns.saturating_sub(process.last_ns) >= QUIET_NS
    }

    /// Whether this much time has passed since the process started.
    pub(crate) fn waited(&self, process: &Process, time_ns: u64) -> bool {
        self.now_ns.saturating_sub(process.started_ns) >= time_ns
    }

    pub(crate) fn simulated(&self) -> bool {
        self.facts.kind == PoolKind::Simulated
    }

    fn voice(&self) -> Voice {
        Voice { simulated: self.simulated() }
    }

    fn verdict(&self, outcome: Outcome, finding: &Finding) -> Verdict {
        let voice = self.voice();
        let row = finding.cause.row();
        let ready = match outcome {
            Outcome::Success => Truth::True,
            Outcome::Failure => Truth::False,
            Outcome::Unknown => Truth::Unknown,
        };
        Verdict {
            outcome,
            stage: finding.stage,
            cause: finding.cause,
            confidence: finding.confidence,
            evidence: finding.evidence.iter().map(|sentence| voice.say(sentence)).collect(),
            ruled_out: finding
                .ruled_out
                .iter()
                .map(|(cause, why)| RuledOut { cause: *cause, why: voice.say(why) })
                .collect(),
            fix: voice.say(&self.fix(row.fix, finding.cause)),
            ready,
            fallback: false,
            confirmed: false,
            simulated: self.simulated(),
        }
    }

    /// In a simulated pool the driver does what it was told: the advice for a real one would mislead.
    fn fix(&self, fix: &str, cause: Cause) -> String {
        if self.simulated() && cause.is_failure() && cause.is_the_drivers() {
            return format!(
                "if this fault was ordered with the annotation firstlight.dev/simulate, remove it; on a real GPU: {fix}."
            );
        }
        format!("{fix}.")
    }

    pub(crate) fn unproven(&self, finding: &Finding) -> Verdict {
        self.verdict(Outcome::Unknown, finding)
    }

    pub(crate) fn failing(&self, finding: &Finding) -> Verdict {
        self.verdict(Outcome::Failure, finding)
    }

    fn failure(
        &self,
        process: &Process,
        finding: &Finding,
        fallback: bool,
        findings: &[Option<Finding>],
    ) -> Verdict {
        let mut finding = finding.clone();
        if finding.cause == Cause::Unknown {
            finding.confidence = Confidence::Unknown;
        }
        if !process.gapless {
            finding.confidence = finding.confidence.min(Confidence::Likely);
            finding.evidence.push(format!("some records of {} are missing.", who(process)));
        }
        let same = findings.iter().flatten().filter(|other| other.cause == finding.cause).count();
        if same > 1 {
            finding.evidence.push(format!("{same} processes ended the same way."));
        }
        if let Some(runner) =
            self.processes.iter().find(|process| process.is_runner() && process.is_for_vulkan())
        {
            let instead = format!(
                "meanwhile {} serves the model by Vulkan: it looks healthy, and is not CUDA.",
                who(runner)
            );
            finding.evidence.push(instead);
        }
        self.name_look_alikes(&mut finding, findings);
        finding.evidence.extend(provenance(process));
        let outcome = if finding.cause.is_failure() { Outcome::Failure } else { Outcome::Unknown };
        let mut verdict = self.verdict(outcome, &finding);
        verdict.fallback = fallback && (process.usable() || self.usable_before(process));
        verdict
    }

    fn name_look_alikes(&self, finding: &mut Finding, findings: &[Option<Finding>]) {
        for (process, other) in self.processes.iter().zip(findings) {
            let Some(other) = other else { continue };
            let known = finding.ruled_out.iter().any(|(cause, _)| *cause == other.cause);
            if other.cause == finding.cause || other.stage >= finding.stage || known {
                continue;
            }
            let why = format!(
                "{} stopped at {}, but another process got further, to {}.",
                who(process),
                other.stage,
                finding.stage
            );
            finding.ruled_out.push((other.cause, why));
        }
    }

    fn success(&self, process: &Process) -> Verdict {
        let learnt = &process.learnt;
        let lists = learnt.count.map_or_else(String::new, |devices| {
            format!(" lists {devices} device{} and", if devices == 1 { "" } else { "s" })
        });
        let memory = match (learnt.free_memory, learnt.total_memory) {
            (Some((free, total)), _) => {
                format!(" with {} of {} memory free", say_bytes(free), say_bytes(total))
            }
            (None, 0) => String::new(),
            (None, total) => format!(" with {} of memory", say_bytes(total)),
        };
        let first = format!("{}{lists} holds a context{memory}.", who(process));
        let mut finding = Finding::new(reached(process), Cause::Ok, Confidence::Certain, first);
        let launches = self.container.launches();
        let confirmed = learnt.confirmed_ns.is_some() && self.is_worker(process);
        finding = match (launches, confirmed) {
            (0, _) => finding.and("no kernel has been launched yet: that is confirmed by the first request."),
            (count, true) => {
                finding.and(format!("{} so far, waited for without an error.", say_launches(count)))
            }
            (count, false) => finding.and(format!("{} so far.", say_launches(count))),
        };
        finding.evidence.extend(provenance(process));
        if let Some(failure) = &learnt.work_failure {
            let note = format!("{} failed once on the way and the process went on.", failure.symbol);
            finding.evidence.push(note);
        }
        if let Some(refused) = &learnt.quota_refused {
            let note = format!("the quota refused {} and the process went on.", quota::call(refused));
            finding.evidence.push(note);
        }
        let mut verdict = self.verdict(Outcome::Success, &finding);
        verdict.confirmed = confirmed;
        verdict
    }

    /// Says how the kernel ended the container: what was going on then proves nothing.
    fn with_end(&self, mut verdict: Verdict) -> Verdict {
        if self.facts.out_of_memory {
            let sentence = "the kernel ended the container (OOMKilled): it had used up its limit of host memory, \
                            which is not the GPU's.";
            let place = if verdict.cause == Cause::Unknown { 0 } else { verdict.evidence.len() };
            verdict.evidence.insert(place, self.voice().say(sentence));
        }
        verdict
    }

    fn success_long_ago(&self) -> Verdict {
        let first = format!(
            "a process saw a usable GPU; its records were dropped after {} more processes.",
            self.container.processes_forgotten()
        );
        self.verdict(Outcome::Success, &Finding::new(Stage::Context, Cause::Ok, Confidence::Certain, first))
    }
}

/// Which driver and which runtime a process used.
fn provenance(process: &Process) -> Option<String> {
    let driver = process.driver()?;
    let version = process
        .driver_version()
        .map_or_else(String::new, |version| format!(", which speaks CUDA {}", say_version(version)));
    let runtime = process.runtime().map_or_else(String::new, |path| format!("; the runtime is {path}"));
    Some(format!("the driver is {driver}{version}{runtime}."))
}
