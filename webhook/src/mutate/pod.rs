//! The pod rule: what a pod that asks is given, and what is said of it.
//!
//! Adds what is missing and never replaces what the author wrote. A second pass over its own result changes
//! nothing, since sidecar injectors that run later make the API server ask again.

use super::ask::{Asks, Mistake, read, unknown};
use super::choose::choose;
use super::gate::Gate;
use super::object::{Metadata, Pod, PodSpec};
use super::patch::{Patch, Value, step};
use super::plan::Plan;
use super::preflight::Preflight;
use super::{Answer, Policy, Request};
use firstlight_contract::names::annotation;

/// Stands before the reason in [`annotation::INJECTION`] of a pod that could not be injected.
pub const NOT_INJECTED: &str = "not injected: ";

/// Answers a request about a pod.
pub fn pod(request: &Request<'_, Pod<'_>>, policy: Policy<'_>) -> Answer {
    let pod = &request.object;
    let asks = Asks::of(pod.ours());
    let metadata = pod.metadata.as_ref();
    let mirror = metadata.and_then(|metadata| metadata.annotations.as_ref()).is_some_and(|ours| ours.mirror);
    // Containers of an existing pod cannot be changed, static pods not at all.
    if request.update || mirror || !asks.anything() {
        return Answer::default();
    }
    let Some(spec) = &pod.spec else { return Answer::default() };
    let mut check = check(&asks, spec, policy);
    let mut answer = Answer {
        warnings: unknown(pod.ours()).chain(std::mem::take(&mut check.warnings)).collect(),
        ..Answer::default()
    };
    if !check.mistakes.is_empty() {
        let sentences: Vec<String> = check.mistakes.into_iter().map(|mistake| mistake.sentence).collect();
        let said = sentences.join("; ");
        // A controller creates what its template says: this request changed nothing, and a refusal would
        // stop a workload that somebody else's change (of the pools, say) made wrong.
        if !metadata.is_some_and(Metadata::controlled) {
            return Answer { refusal: Some(said), ..Answer::default() };
        }
        mark(pod, &[(annotation::INJECTION, &format!("{NOT_INJECTED}{said}"))], &mut answer.patch);
        answer.warnings.extend(sentences);
        return answer;
    }
    for plan in &check.plans {
        plan.write(&mut answer.patch);
    }
    check.gate.write(&mut answer.patch);
    if let Err(error) = check.preflight.write(request.review, spec, &check.plans, &mut answer.patch) {
        // What the rule could read and the copy cannot: text that is no UTF-8, which no API server sends.
        answer.warnings.push(format!("no preflight: the pod's containers cannot be copied: {error}"));
        check.preflight = Preflight::default();
    }
    if answer.patch.is_empty() && pod.annotation(annotation::INJECTED).is_some() {
        return answer;
    }
    let said: Vec<String> = (check.plans.iter().map(Plan::sentence))
        .chain(check.preflight.sentences(&check.plans))
        .chain(check.gate.sentence())
        .collect();
    let said = said.join(" ");
    let mut marks = vec![(annotation::INJECTION, said.as_str())];
    if check.plans.iter().any(|plan| !plan.foreign) {
        marks.push((annotation::INJECTED, policy.version));
    }
    mark(pod, &marks, &mut answer.patch);
    answer
}

fn mark(pod: &Pod<'_>, marks: &[(&str, &str)], patch: &mut Patch) {
    // A pod that asks has annotations.
    for (key, value) in marks.iter().filter(|(key, value)| pod.annotation(key) != Some(value)) {
        patch.add(&format!("/metadata/annotations/{}", step(key)), &Value::Text(value));
    }
}

/// What an ask would do to a pod.
#[derive(Debug, Default)]
pub struct Check<'p, 'a> {
    /// What is wrong; then there are no plans.
    pub mistakes: Vec<Mistake>,
    /// What is odd.
    pub warnings: Vec<String>,
    plans: Vec<Plan<'p, 'a>>,
    gate: Gate,
    preflight: Preflight,
}

/// Checks an ask against a pod's containers and plans the changes.
pub fn check<'p, 'a>(asks: &Asks<'p>, spec: &'p PodSpec<'a>, policy: Policy<'p>) -> Check<'p, 'a> {
    let reading = read(asks, policy.pools);
    let mut check = Check { mistakes: reading.mistakes, ..Check::default() };
    let Some(ask) = reading.ask else { return check };
    match choose(&ask, spec) {
        Ok(chosen) => {
            let counted = asks.get(annotation::COUNT).is_some();
            check.plans = chosen.into_iter().map(|one| Plan::new(one, &ask, counted)).collect();
            let notes = check
                .plans
                .iter()
                .flat_map(|plan| plan.notes.iter().map(|note| format!("container {}: {note}", plan.name())));
            check.warnings.extend(notes);
            check.gate = Gate::new(ask.gate, spec, &check.plans);
            check.warnings.extend(check.gate.warning());
            check.preflight = Preflight::new(ask.preflight, spec, &check.plans);
            check.warnings.extend(check.preflight.without.iter().cloned());
        }
        Err(mistake) => check.mistakes.push(mistake),
    }
    check
}
