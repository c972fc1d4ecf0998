//! The preflight in a running container, started through the API server with the caller's rights: what a fresh process
//! finds there now. The agent may not do that, and nobody else can see it.

use super::connect::root;
use super::diagnosing::Found;
use crate::output::{table, wrap};
use firstlight_contract::names::RESOURCE_PREFIX;
use firstlight_contract::paths::container::PREFLIGHT;
use firstlight_contract::preflight::{Document, Finding, Judgement};
use firstlight_contract::text::ForeignText;
use firstlight_diagnosis::report::VerdictReport;
use firstlight_diagnosis::{Cause, Confidence, Stage, preflight};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams};
use kube::{Client, Error};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The preflight ends after a minute, whatever the driver does; it speaks at its end only.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// Bytes of its document that are read.
const MOST: u64 = 1 << 20;

/// What came of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Probed {
    /// Why there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
    /// What it means beside the verdict on what ran before.
    #[serde(skip_serializing_if = "Option::is_none")]
    conclusion: Option<Judgement>,
}

/// Probes the container of each report.
pub(super) async fn all(client: &Client, found: &mut [Found], asked: Option<&str>) {
    for found in found {
        let container = found.container.as_deref().or(asked);
        let result = match tokio::time::timeout(PATIENCE, one(client, found, container)).await {
            Ok(result) => result,
            Err(_) => Err(format!("the preflight did not end within {} s", PATIENCE.as_secs())),
        };
        found.probe = Some(Probed::new(result, &found.report.verdict));
    }
}

async fn one(client: &Client, found: &Found, container: Option<&str>) -> Result<Document, String> {
    let pods = Api::<Pod>::namespaced(client.clone(), &found.namespace);
    let container = match container {
        Some(name) => name.to_owned(),
        // The condition is about the whole pod.
        None => pods.get(&found.pod).await.ok().and_then(|pod| with_device(&pod)).ok_or_else(|| {
            "which container has the GPU is not known; name it with -c CONTAINER".to_owned()
        })?,
    };
    let params = AttachParams::default().container(&container).stdin(false).stdout(true).stderr(true);
    let mut process = pods
        .exec(&found.pod, [PREFLIGHT, "--json"], &params)
        .await
        .map_err(|error| refused(error, &found.namespace, &container))?;
    let (out, err, status) = (process.stdout(), process.stderr(), process.take_status());
    let (out, err) = tokio::join!(read(out), read(err));
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    understood(&out, &err, status.as_ref(), &container)
}

/// The container that was given a device; where none was, the first.
fn with_device(pod: &Pod) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    let limits = |name: &&k8s_openapi::api::core::v1::Container| {
        let limits = name.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        limits.is_some_and(|limits| limits.keys().any(|key| key.starts_with(RESOURCE_PREFIX)))
    };
    containers.iter().find(limits).or(containers.first()).map(|container| container.name.clone())
}

/// All that comes, of which the first part is kept: nobody may make the other side wait.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut kept, Some(mut stream)) = (Vec::new(), stream) else { return Vec::new() };
    // What was read before an error counts; so does what the status says.
    let _ = (&mut stream).take(MOST).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    kept
}

/// The document, or in words why there is none.
fn understood(out: &[u8], err: &[u8], status: Option<&Status>, container: &str) -> Result<Document, String> {
    if let Ok(document) = serde_json::from_slice::<Document>(out) {
        // From now on it is known to be harmless.
        return Ok(Document::new(&document.report(), document.verdict()));
    }
    let message = status.and_then(|status| status.message.as_deref()).unwrap_or_default();
    let words = |text: &str| ForeignText::new(text.trim().as_bytes()).to_string();
    if message.contains("no such file or directory")
        || message.contains("not found") && message.contains(PREFLIGHT)
    {
        return Err(format!(
            "container {container} has no {PREFLIGHT}: the pod was given its device by an older version of Firstlight, \
             or by none; make the pod anew"
        ));
    }
    let err = String::from_utf8_lossy(err);
    Err(match (message, err.trim()) {
        ("", "") => {
            format!("the preflight in container {container} said nothing that this version understands")
        }
        ("", err) => format!("the preflight in container {container} failed: {}", words(err)),
        (message, "") => format!("the preflight in container {container} failed: {}", words(message)),
        (message, err) => {
            format!("the preflight in container {container} failed: {}; {}", words(message), words(err))
        }
    })
}

fn refused(error: Error, namespace: &str, container: &str) -> String {
    match error {
        Error::Api(status) if status.code == 403 => format!(
            "the API server does not allow you to create pods/exec in namespace {namespace}; whoever may, can probe"
        ),
        Error::Api(status) => {
            let words = ForeignText::new(status.message.trim().as_bytes());
            format!("container {container} cannot be entered: {words}")
        }
        other => format!("container {container} cannot be entered: {}", root(other)),
    }
}

impl Probed {
    fn new(result: Result<Document, String>, verdict: &VerdictReport) -> Self {
        match result {
            Ok(document) => {
                let late = failed_in_discovery(verdict) && preflight::came_up(&document.report());
                Self { error: None, document: Some(document), conclusion: late.then(|| too_early(verdict)) }
            }
            Err(why) => Self { error: Some(why), ..Self::default() },
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let Some(document) = &self.document else {
            let why = self.error.as_deref().unwrap_or_default();
            return format!("probe      not possible: {}\n", wrap(why, 110, 11));
        };
        let mut text = "probe (now, in the container)\n".to_owned();
        for line in table(&rows(&document.report().findings)).lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {line}");
        }
        for (word, judgement) in [("finds", &document.verdict), ("with the diagnosis", &self.conclusion)] {
            let Some(Judgement { stage, cause, confidence, evidence, fix }) = judgement else { continue };
            let _ = writeln!(text, "  {word}: {cause} · {confidence} · {stage}");
            for sentence in evidence.iter().chain([fix]) {
                let _ = writeln!(text, "    {}", wrap(sentence, 110, 4));
            }
        }
        text
    }
}

/// Findings for a table.
pub(super) fn rows<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Vec<Vec<String>> {
    findings.into_iter().map(row).collect()
}

fn row(finding: &Finding) -> Vec<String> {
    let Finding { probe, outcome, millis, subject, detail } = finding;
    let time = if *millis == 0 { String::new() } else { format!("{millis} ms") };
    vec![probe.as_str().to_owned(), outcome.to_string(), time, subject.to_string(), detail.to_string()]
}

/// Whether what failed is what a probe repeats: everything up to Ollama's choice among devices.
fn failed_in_discovery(verdict: &VerdictReport) -> bool {
    verdict.outcome == "failure" && verdict.stage_number <= Stage::Filter.number()
}

/// What failed does not fail any more.
fn too_early(verdict: &VerdictReport) -> Judgement {
    let row = Cause::DiscoveryBeforeDriverReady.row();
    // What is simulated says so, whoever says it.
    let voice = if verdict.simulated { "Simulated: " } else { "" };
    Judgement {
        stage: verdict.stage.clone(),
        cause: row.id.to_owned(),
        confidence: Confidence::Certain.as_str().to_owned(),
        evidence: vec![
            format!(
                "{voice}a fresh probe in the same container came up now, from the driver to a launched kernel."
            ),
            format!("{voice}what Ollama started before had failed ({}).", verdict.cause),
        ],
        fix: format!("{voice}{}.", row.fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::grant::PoolKind;
    use firstlight_contract::preflight::{Outcome, Probe, Report};
    use firstlight_diagnosis::{Container, Facts};
    use serde_json::json;

    const EARLY: &str = "with the diagnosis: discovery-before-driver-ready · certain";

    fn document(findings: &[(Probe, Outcome, &str)]) -> Document {
        let findings = findings
            .iter()
            .map(|(probe, outcome, detail)| Finding::new(*probe, *outcome).on(probe.as_str()).saying(detail));
        Document::new(&Report { findings: findings.collect(), foreign_lines: 0 }, None)
    }

    fn verdict(outcome: &str, stage: Stage) -> VerdictReport {
        let report = Container::new().report(0, &Facts::of(PoolKind::Observer));
        VerdictReport { outcome: outcome.to_owned(), stage_number: stage.number(), ..report.verdict }
    }

    fn works() -> Document {
        document(&[
            (Probe::Load, Outcome::Failed, "libcublas.so.12: cannot open"),
            (Probe::Load, Outcome::Ok, ""),
            (Probe::Launch, Outcome::Ok, ""),
            (Probe::RuntimeCount, Outcome::Code(35), ""),
            (Probe::RuntimeCount, Outcome::Ok, "1"),
        ])
    }

    #[test]
    fn where_discovery_failed_and_a_probe_succeeds_a_restart_is_advised() {
        let probed = |document: Document, outcome: &str, stage| {
            Probed::new(Ok(document), &verdict(outcome, stage)).text().contains(EARLY)
        };
        assert!(probed(works(), "failure", Stage::DriverInit));
        let simulated = VerdictReport { simulated: true, ..verdict("failure", Stage::DriverInit) };
        assert!(Probed::new(Ok(works()), &simulated).text().contains("Simulated: a fresh probe"));
        assert!(!probed(works(), "success", Stage::DriverInit));
        assert!(!probed(works(), "failure", Stage::Allocate), "a probe does not load a model");
        let refused =
            document(&[(Probe::Launch, Outcome::Ok, ""), (Probe::RuntimeCount, Outcome::Code(36), "")]);
        assert!(!probed(refused, "failure", Stage::Handshake));
        let unloaded = document(&[(Probe::Load, Outcome::Failed, "x"), (Probe::Launch, Outcome::Ok, "")]);
        assert!(!probed(unloaded, "failure", Stage::BackendLoad));
        assert!(!probed(document(&[(Probe::Init, Outcome::Code(999), "")]), "failure", Stage::DriverInit));
    }

    #[test]
    fn what_a_container_says_is_escaped() {
        let document = document(&[(Probe::Load, Outcome::Failed, "x")]);
        let mut value = serde_json::to_value(document).unwrap();
        value["findings"][0]["detail"] = json!("\u{1b}[2J");
        let document = understood(value.to_string().as_bytes(), b"", None, "ollama").unwrap();
        let text = Probed::new(Ok(document), &verdict("failure", Stage::BackendLoad)).text();
        assert!(text.contains("\\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_container_without_the_program_is_told_from_one_in_which_it_fails() {
        let status = |message: &str| Status { message: Some(message.to_owned()), ..Status::default() };
        let missing = status(&format!(
            "Internal error occurred: error executing command in container: failed to exec in container: failed to \
             start exec \"1\": OCI runtime exec failed: exec failed: unable to start container process: exec: \
             \"{PREFLIGHT}\": stat {PREFLIGHT}: no such file or directory"
        ));
        let words = |out: &[u8], err: &[u8], status: Option<&Status>| {
            understood(out, err, status, "ollama").unwrap_err()
        };
        assert!(words(b"", b"", Some(&missing)).contains("older version of Firstlight"));
        let failed = status("command terminated with non-zero exit code: exit code 2");
        let text = words(b"", b"error: what\n", Some(&failed));
        assert!(text.contains("exit code 2; error: what"), "{text}");
        assert!(words(b"[]", b"", None).contains("said nothing that this version understands"));
    }

    #[test]
    fn the_container_with_the_device_is_probed() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [
            {"name": "sidecar"},
            {"name": "ollama", "resources": {"limits": {"firstlight.dev/simulated": "1"}}}]}}))
        .unwrap();
        assert_eq!(with_device(&pod).as_deref(), Some("ollama"));
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [{"name": "one"}]}}))
                .unwrap();
        assert_eq!(with_device(&pod).as_deref(), Some("one"));
    }
}
