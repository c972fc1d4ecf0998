//! What a pod's preflight left before the containers started: the last words of its init container.

use super::probe::rows;
use crate::output::table;
use crate::show::Extent;
use firstlight_contract::names::added;
use firstlight_contract::preflight::{Finding, Outcome, Report};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// The report for this container, if it had a preflight that ended; `None`: for any.
pub(super) fn of(pod: &Pod, container: Option<&str>) -> Option<Report> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    let own = container.map(|name| format!("{}-{name}", added::PREFLIGHT));
    let named = |status: &&ContainerStatus| {
        status.name == added::PREFLIGHT
            || own.as_ref().map_or(status.name.starts_with(added::PREFLIGHT), |own| status.name == *own)
    };
    let status = statuses.iter().find(named)?;
    // A preflight that blocks is started again and again: between two starts it waits.
    let states = [status.state.as_ref(), status.last_state.as_ref()];
    let mut ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    Report::parse(ends.find_map(|end| end.message.as_deref())?)
}

/// For people: what did not go well, or everything.
pub(super) fn text(report: &Report, extent: Extent) -> String {
    let bad = |finding: &Finding| !matches!(finding.outcome, Outcome::Ok | Outcome::Skipped);
    let shown: Vec<&Finding> =
        report.findings.iter().filter(|finding| extent == Extent::Whole || bad(finding)).collect();
    if shown.is_empty() {
        return "preflight (before the start): everything that it tried went well\n".to_owned();
    }
    let lines = table(&rows(shown));
    lines.lines().fold("preflight (before the start)\n".to_owned(), |text, line| format!("{text}  {line}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, state: &str) -> Pod {
        let message = "firstlight-preflight 1\nlibc\tok\t0\tglibc\t2.39\ninit\tcode:999\t3\tcuInit\n";
        let end = json!({"terminated": {"exitCode": 1, "message": message}});
        let mut status = json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 1});
        status[state] = end;
        serde_json::from_value(json!({"metadata": {}, "status": {"initContainerStatuses": [status]}}))
            .unwrap()
    }

    #[test]
    fn the_last_words_are_found_while_it_waits_for_its_next_start() {
        for state in ["state", "lastState"] {
            let report = of(&pod("firstlight-preflight", state), Some("ollama")).unwrap();
            let text = text(&report, Extent::Tail);
            assert_eq!(text, "preflight (before the start)\n  init  code:999  3 ms  cuInit\n");
        }
    }

    #[test]
    fn each_container_has_its_own() {
        let pod = pod("firstlight-preflight-ollama", "state");
        assert!(of(&pod, Some("ollama")).is_some() && of(&pod, None).is_some());
        assert!(of(&pod, Some("other")).is_none());
        assert!(of(&Pod::default(), None).is_none());
    }

    #[test]
    fn what_went_well_is_shown_to_those_who_want_everything() {
        let report = Report::parse("firstlight-preflight 1\nlibc\tok\t0\tglibc\t2.39\n").unwrap();
        assert!(text(&report, Extent::Tail).contains("went well"));
        assert!(text(&report, Extent::Whole).contains("glibc  2.39"));
    }
}
