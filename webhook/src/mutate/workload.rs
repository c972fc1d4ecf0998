//! The workload rule: copies the asking annotations from a workload into its pod template, so that its pods
//! carry them, and takes them out again.
//!
//! The mark `firstlight.dev/propagated` on the template lists what was copied. Only that is ever changed or
//! removed; what the author wrote into the template himself stays.

use super::ask::{Asks, unknown};
use super::object::{Metadata, Pod, Workload, ours};
use super::patch::{Patch, Value, step};
use super::pod::check;
use super::{Answer, Policy, Request};
use firstlight_contract::names::{DOMAIN, annotation};

/// Answers a request about a workload.
pub fn workload(request: &Request<'_, Workload<'_>>, policy: Policy<'_>) -> Answer {
    let object = &request.object;
    let Some((template, path)) = object.template() else { return Answer::default() };
    let before = request.old.as_ref();
    let sides = Sides {
        asked: Asks::of(ours(object.metadata.as_ref())),
        asked_before: before.map(|old| Asks::of(ours(old.metadata.as_ref()))),
        own: Asks::of(template.ours()),
        own_before: before.and_then(Workload::template).map(|(template, _)| Asks::of(template.ours())),
    };
    let controlled = object.metadata.as_ref().is_some_and(Metadata::controlled);
    // The Job of a CronJob has its template from there, with what we copied, but not the CronJob's annotations.
    if controlled && !sides.asked.anything() {
        return Answer::default();
    }
    let marker = template.annotation(annotation::PROPAGATED);
    let copy = sides.copy(marker);
    let mut answer = Answer {
        warnings: unknown(ours(object.metadata.as_ref())).chain(copy.warnings.iter().cloned()).collect(),
        ..Answer::default()
    };
    if let Some(spec) = template.spec.as_ref().filter(|_| copy.result.anything()) {
        let check = check(&copy.result, spec, policy);
        answer.warnings.extend(check.warnings);
        let changed = |key: &&str| request.old.is_none() && !controlled || sides.changed(key);
        let fresh = check.mistakes.iter().any(|mistake| mistake.keys.iter().any(changed));
        let sentences: Vec<String> = check.mistakes.into_iter().map(|mistake| mistake.sentence).collect();
        if fresh {
            return Answer { refusal: Some(sentences.join("; ")), ..Answer::default() };
        }
        // What is wrong already is not copied further; but it does not stop a removal.
        let wrong = !sentences.is_empty();
        answer.warnings.extend(sentences);
        if wrong && sides.asked.anything() {
            return answer;
        }
    }
    copy.write(template, marker, path, &mut answer.patch);
    if !answer.patch.is_empty() && request.kind == "Job" && before.is_some_and(ran) {
        answer.patch = Patch::default();
        answer.warnings.push(
            "the pod template of a Job that has run cannot be changed: delete the Job and create it again"
                .to_owned(),
        );
    }
    answer
}

/// Whether a Job's template is immutable: only one that was suspended from the start may still change its
/// template's annotations (Kubernetes, KEP-2926).
fn ran(job: &Workload<'_>) -> bool {
    let suspended = job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true));
    let started = job.status.as_ref().is_some_and(|status| status.start_time.is_some());
    started || !suspended
}

/// Our annotations on both objects, now and before.
#[derive(Debug)]
struct Sides<'a> {
    asked: Asks<'a>,
    asked_before: Option<Asks<'a>>,
    own: Asks<'a>,
    own_before: Option<Asks<'a>>,
}

/// What the template is to carry.
#[derive(Debug)]
struct Copy<'a> {
    result: Asks<'a>,
    /// The keys that are there because we copied them, without the domain.
    marked: Vec<&'static str>,
    warnings: Vec<String>,
}

impl<'a> Sides<'a> {
    /// Whether this request changed an annotation that asks, on the workload or in its template. Taking an ask
    /// back is always fine.
    fn changed(&self, key: &str) -> bool {
        let differs = |now: &Asks<'_>, before: &Option<Asks<'_>>| {
            before.as_ref().is_some_and(|before| now.get(key) != before.get(key))
        };
        (self.asked.anything() && differs(&self.asked, &self.asked_before))
            || differs(&self.own, &self.own_before)
    }

    fn copy(&self, marker: Option<&str>) -> Copy<'a> {
        let mut copy = Copy { result: self.own, marked: Vec::new(), warnings: Vec::new() };
        for key in annotation::ASKS {
            let wanted = self.asked.get(key).filter(|_| self.asked.anything());
            let own = self.own.get(key);
            let marked = marker.is_some_and(|marker| marker.split(',').any(|word| word.trim() == short(key)));
            // Somebody wrote over our copy in this very request: it is his now.
            let overwritten =
                own != wanted && self.own_before.as_ref().is_some_and(|before| before.get(key) != own);
            match (own, wanted) {
                (None, Some(_)) => {
                    copy.result = copy.result.with(key, wanted);
                    copy.marked.push(short(key));
                }
                (Some(_), Some(_)) if marked && !overwritten => {
                    copy.result = copy.result.with(key, wanted);
                    copy.marked.push(short(key));
                }
                (Some(_), None) if marked && !overwritten => copy.result = copy.result.with(key, None),
                (Some(own), Some(wanted)) if own != wanted => copy.warnings.push(format!(
                    "{key}: the pod template says {own:?} itself, so {wanted:?} is not copied"
                )),
                (_, _) => {}
            }
        }
        copy
    }
}

fn short(key: &'static str) -> &'static str {
    key.strip_prefix(DOMAIN).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key)
}

impl Copy<'_> {
    fn write(&self, template: &Pod<'_>, marker: Option<&str>, path: &str, patch: &mut Patch) {
        let marked = self.marked.join(",");
        let mark = Some(marked.as_str()).filter(|marked| !marked.is_empty());
        let own = Asks::of(template.ours());
        let entries = annotation::ASKS.map(|key| (key, own.get(key), self.result.get(key)));
        let changes: Vec<(&str, Option<&str>)> = entries
            .into_iter()
            .chain([(annotation::PROPAGATED, marker, mark)])
            .filter(|(_, before, after)| before != after)
            .map(|(key, _, after)| (key, after))
            .collect();
        if changes.is_empty() {
            return;
        }
        let annotations = template.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
        if annotations.is_some() {
            for (key, after) in changes {
                let path = format!("{path}/metadata/annotations/{}", step(key));
                match after {
                    Some(value) => patch.add(&path, &Value::Text(value)),
                    None => patch.remove(&path),
                }
            }
            return;
        }
        let all = changes.into_iter().filter_map(|(key, after)| after.map(|value| (key, Value::Text(value))));
        let all = Value::Map(all.collect());
        if template.metadata.is_some() {
            patch.add(&format!("{path}/metadata/annotations"), &all);
        } else {
            patch.add(&format!("{path}/metadata"), &Value::Map(vec![("annotations", all)]));
        }
    }
}
