//! Whether an object is an offender: annotated, and Firstlight did nothing for it. Pure.
//!
//! What is injected carries the mark from its creation, and a workload's template is written in the request that
//! annotates it. So nothing has to be waited for: what lacks it now was passed over.

use super::object::{Kind, Object, Workload, is_finished, template_asks};
use crate::mutate::ask::{Asks, read};
use crate::mutate::pod::NOT_INJECTED;
use firstlight_contract::names::annotation;
use firstlight_contract::pools::Pools;
use firstlight_contract::text::{ForeignText, printable};
use std::collections::BTreeSet;

/// What is known beside the object.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The pools that annotations may name.
    pub pools: &'a Pools,
    /// Namespaces about which the API server does not ask us.
    pub excluded: &'a BTreeSet<String>,
}

/// Why it was not injected, as far as it is known. Part of the Event's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The API server did not ask us, or not in time.
    Passed,
    /// Its namespace is excluded.
    Excluded,
    /// We were asked and found a mistake.
    Refused,
    /// Its annotations are wrong.
    Mistaken,
    /// It is a static pod.
    Static,
}

impl Why {
    /// A word for names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Excluded => "excluded",
            Self::Refused => "refused",
            Self::Mistaken => "mistaken",
            Self::Static => "static",
        }
    }
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Why it was not injected.
    pub why: Why,
    /// What happened, why, and the way out: at most 1 KiB, as an Event's note.
    pub note: String,
}

/// Longest note: an Event's may have 1 KiB (kubernetes, pkg/apis/core/validation/events.go).
const NOTE: usize = 1024;
/// Longest reason in it, so that the way out is never cut off.
const REASON: usize = 480;

/// Judges a pod.
pub fn pod(pod: &Object, world: World<'_>) -> Option<Offence> {
    if !pod.asks() || pod.annotation(annotation::INJECTED).is_some() {
        return None;
    }
    let (why, text) = match pod.annotation(annotation::INJECTION) {
        Some(said) => {
            // Another sentence without the mark: left alone on purpose, beside somebody else's GPU.
            let reason = bounded(&printable(said.strip_prefix(NOT_INJECTED)?));
            (Why::Refused, format!("Firstlight left the pod as it was: {reason}. {}", anew(pod, "Correct that, then delete")))
        }
        None if pod.is_static() => (
            Why::Static,
            "a static pod is made from a file on its node, and no webhook can change it: run it as a DaemonSet or \
             Deployment, or take the annotation away."
                .to_owned(),
        ),
        None => match common(pod, world) {
            Some((Why::Mistaken, text)) => {
                (Why::Mistaken, format!("{text} {}", anew(pod, "Correct that, then delete")))
            }
            Some(other) => other,
            None => (
                Why::Passed,
                format!(
                    "Firstlight did not inject the pod: when it was created the webhook could not be reached, or \
                     the annotation was not there yet. The containers of a pod cannot be changed later. {}",
                    anew(pod, "Delete")
                ),
            ),
        },
    };
    Some(Offence { why, note: note(pod, &text) })
}

/// Judges a workload of this kind; `whole` is asked for only where the annotation is there.
pub fn workload(kind: Kind, object: &Object, whole: &Workload, world: World<'_>) -> Option<Offence> {
    if !object.asks() || template_asks(whole) || is_finished(whole) {
        return None;
    }
    let (name, namespace) = (object.name(), object.namespace());
    let lower = kind.as_str().to_ascii_lowercase();
    let (why, text) = match common(object, world) {
        Some((Why::Mistaken, text)) => {
            let way =
                format!("{text} Correct it: kubectl -n {namespace} annotate --overwrite {lower} {name} …");
            (Why::Mistaken, way)
        }
        Some(other) => other,
        None if kind == Kind::Job => (
            Why::Passed,
            format!(
                "the Job's pod template does not carry it: the webhook could not be reached when it was written, or \
                 the Job had run before. The template of a Job that has run cannot be changed: delete the Job \
                 (kubectl -n {namespace} delete job {name}) and create it again with the annotation."
            ),
        ),
        None => (
            Why::Passed,
            format!(
                "the {}'s pod template does not carry it, so its pods get no GPU: the webhook could not be reached \
                 when it was written. Write it again: kubectl -n {namespace} annotate --overwrite {lower} {name} {}={}",
                kind.as_str(),
                annotation::GPU,
                // Without a mistake it is the name of a pool, or `true`: nothing that a shell takes for a command.
                object.annotation(annotation::GPU).unwrap_or_default()
            ),
        ),
    };
    Some(Offence { why, note: note(object, &text) })
}

/// What pods and workloads have in common.
fn common(object: &Object, world: World<'_>) -> Option<(Why, String)> {
    let namespace = object.namespace();
    if world.excluded.contains(namespace) {
        let text = format!(
            "the namespace {namespace} is excluded from Firstlight (webhook.excludedNamespaces in the chart's \
             values, and the namespace of Firstlight itself): use another namespace, or take the annotation away."
        );
        return Some((Why::Excluded, text));
    }
    let asks =
        annotation::ASKS.iter().fold(Asks::default(), |asks, key| asks.with(key, object.annotation(key)));
    let mistakes: Vec<String> =
        read(&asks, world.pools).mistakes.into_iter().map(|mistake| mistake.sentence).collect();
    if mistakes.is_empty() {
        return None;
    }
    Some((
        Why::Mistaken,
        format!("nothing can be given for that: {}.", bounded(&printable(&mistakes.join("; ")))),
    ))
}

/// How a pod is made anew.
fn anew(pod: &Object, start: &str) -> String {
    let (name, namespace) = (pod.name(), pod.namespace());
    let delete = format!("kubectl -n {namespace} delete pod {name}");
    match pod.controller() {
        Some((kind, controller)) => {
            format!("{start} it, and its {kind} {controller} makes a new one: {delete}")
        }
        None => format!("{start} it ({delete}) and create it again."),
    }
}

fn note(object: &Object, text: &str) -> String {
    let value = ForeignText::new(object.annotation(annotation::GPU).unwrap_or_default().as_bytes());
    cut(&format!("{} is \"{}\", but {text}", annotation::GPU, value.as_str()), NOTE)
}

fn bounded(reason: &str) -> String {
    cut(reason, REASON)
}

fn cut(text: &str, most: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most - MARK.len());
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(annotations: &Value, owner: bool) -> Object {
        let owners = owner.then(|| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "ollama-7c", "uid": "r", "controller": true}]));
        serde_json::from_value(json!({"metadata": {"name": "ollama", "namespace": "ai", "uid": "u",
            "annotations": annotations, "ownerReferences": owners}}))
        .unwrap()
    }

    fn asking() -> Object {
        object(&json!({"firstlight.dev/gpu": "simulated"}), true)
    }

    fn whole(template: &Value, status: &Value) -> Workload {
        serde_json::from_value(
            json!({"metadata": {}, "spec": {"template": {"metadata": {"annotations": template}}},
            "status": status}),
        )
        .unwrap()
    }

    fn judged<T>(excluded: &[&str], judge: impl FnOnce(World<'_>) -> T) -> T {
        let pools = Pools::parse("pools: [{name: simulated, kind: simulated}]").unwrap();
        let excluded = excluded.iter().map(|name| (*name).to_owned()).collect();
        judge(World { pools: &pools, excluded: &excluded })
    }

    fn judged_pod(object: &Object) -> Option<Offence> {
        judged(&[], |world| pod(object, world))
    }

    #[test]
    fn a_pod_that_carries_the_annotation_and_no_mark_is_one_at_once() {
        let offence = judged_pod(&asking()).unwrap();
        assert_eq!(offence.why, Why::Passed);
        assert_eq!(
            offence.note,
            "firstlight.dev/gpu is \"simulated\", but Firstlight did not inject the pod: when it was created the \
             webhook could not be reached, or the annotation was not there yet. The containers of a pod cannot be \
             changed later. Delete it, and its ReplicaSet ollama-7c makes a new one: kubectl -n ai delete pod ollama"
        );
        let bare = judged_pod(&object(&json!({"firstlight.dev/gpu": "simulated"}), false)).unwrap();
        assert!(
            bare.note.ends_with("Delete it (kubectl -n ai delete pod ollama) and create it again."),
            "{bare:?}"
        );
    }

    #[test]
    fn what_asks_for_nothing_or_was_injected_or_is_going_is_none() {
        let mut going = asking();
        going.0.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let injected =
            object(&json!({"firstlight.dev/gpu": "simulated", "firstlight.dev/injected": "0.1.0"}), true);
        for pod in
            [object(&json!({}), true), object(&json!({"firstlight.dev/count": "1"}), true), injected, going]
        {
            assert_eq!(judged_pod(&pod), None, "{pod:?}");
        }
    }

    #[test]
    fn a_pod_that_the_webhook_refused_says_its_reason() {
        let said =
            "not injected: firstlight.dev/gpu is \"gone\": no pool has this name; allowed are simulated";
        let pod = object(&json!({"firstlight.dev/gpu": "gone", "firstlight.dev/injection": said}), true);
        let offence = judged_pod(&pod).unwrap();
        assert_eq!(offence.why, Why::Refused);
        assert!(
            offence.note.contains("no pool has this name; allowed are simulated. Correct that, then delete"),
            "{offence:?}"
        );
    }

    #[test]
    fn a_pod_that_the_webhook_left_alone_on_purpose_is_none() {
        let said = "container ollama: asks for nvidia.com/gpu already and is left as it is";
        assert_eq!(
            judged_pod(&object(
                &json!({"firstlight.dev/gpu": "simulated", "firstlight.dev/injection": said}),
                true
            )),
            None
        );
    }

    #[test]
    fn a_static_pod_is_told_that_nothing_can_change_it() {
        let pod =
            object(&json!({"firstlight.dev/gpu": "simulated", "kubernetes.io/config.mirror": "x"}), false);
        let offence = judged_pod(&pod).unwrap();
        assert_eq!(offence.why, Why::Static);
        assert!(offence.note.contains("DaemonSet"), "{offence:?}");
    }

    #[test]
    fn an_excluded_namespace_is_the_reason() {
        let (one, two) = judged(&["ai"], |world| {
            (
                pod(&asking(), world),
                workload(Kind::Deployment, &asking(), &whole(&json!({}), &json!({})), world),
            )
        });
        for offence in [one.unwrap(), two.unwrap()] {
            assert_eq!(offence.why, Why::Excluded);
            assert!(offence.note.contains("the namespace ai is excluded"), "{offence:?}");
        }
    }

    #[test]
    fn an_empty_or_unknown_pool_is_named_with_those_that_there_are() {
        for value in ["", "off", "true"] {
            let offence = judged_pod(&object(&json!({"firstlight.dev/gpu": value}), true)).unwrap();
            assert_eq!(offence.why, Why::Mistaken);
            assert!(offence.note.contains("allowed are simulated"), "{offence:?}");
            assert!(offence.note.ends_with("delete pod ollama"), "{offence:?}");
        }
    }

    #[test]
    fn a_deployment_whose_template_lacks_the_annotation_is_told_to_write_it_again() {
        let judge = |template| {
            judged(&[], |world| workload(Kind::Deployment, &asking(), &whole(&template, &json!({})), world))
        };
        let offence = judge(json!({"other": "x"})).unwrap();
        assert_eq!(offence.why, Why::Passed);
        let way = "kubectl -n ai annotate --overwrite deployment ollama firstlight.dev/gpu=simulated";
        assert!(offence.note.ends_with(way), "{offence:?}");
        // Whatever it says: the pods ask for themselves.
        assert_eq!(judge(json!({"firstlight.dev/gpu": "other"})), None);
    }

    #[test]
    fn a_job_is_to_be_made_anew_and_a_finished_one_is_left_in_peace() {
        let judge =
            |status| judged(&[], |world| workload(Kind::Job, &asking(), &whole(&json!({}), &status), world));
        assert!(judge(json!({})).unwrap().note.contains("delete the Job"));
        assert_eq!(judge(json!({"conditions": [{"type": "Complete", "status": "True"}]})), None);
    }

    #[test]
    fn foreign_text_is_cut_and_escaped_and_the_way_out_survives() {
        let long = "\u{1b}[31m".repeat(60_000);
        for annotations in [
            json!({"firstlight.dev/gpu": long}),
            json!({"firstlight.dev/gpu": long, "firstlight.dev/injection": format!("not injected: {long}")}),
        ] {
            let offence = judged_pod(&object(&annotations, true)).unwrap();
            assert!(offence.note.len() <= NOTE && !offence.note.contains('\u{1b}'), "{offence:?}");
            assert!(offence.note.ends_with("kubectl -n ai delete pod ollama"), "{offence:?}");
        }
    }

    #[test]
    fn a_value_that_a_shell_would_run_stands_in_no_command() {
        let object = object(&json!({"firstlight.dev/gpu": "$(reboot)"}), false);
        let offence =
            judged(&[], |world| workload(Kind::Deployment, &object, &whole(&json!({}), &json!({})), world))
                .unwrap();
        assert!(offence.note.ends_with("annotate --overwrite deployment ollama …"), "{offence:?}");
    }
}
