//! The page `docs/metrics.md`, from the table of metrics.

use crate::metrics::{
    BUILD_INFO, CUDA_INIT_FAILURE_INFO, CUDA_INIT_TOTAL, GPU_IN_USE, NODE_CUDA_INIT_TOTAL, NOT_INJECTED,
    Scope, UNACCOUNTED, WEBHOOK_CERTIFICATE_EXPIRY, table,
};
use std::fmt::Write as _;

/// What the values of each label are.
const LABELS: [(&str, &str); 17] = [
    ("namespace", "the user's pod or workload, not ours: scrape with `honor_labels: true`"),
    ("pod", "the user's pod"),
    ("container", "the user's container"),
    (
        "kind",
        "kind of the pool: `whole`, `slice`, `simulated`, `observer` or `custom`; of an object that was not injected: `Pod`, \
         `Deployment`, `StatefulSet`, `DaemonSet`, `CronJob`, `Job`",
    ),
    (
        "outcome",
        "of a CUDA initialisation: `success`, `failure`, `unknown`; of an admission request: `mutated`, \
         `unchanged`, `warned`, `refused`, `error`",
    ),
    ("cause", "an id of [causes.md](causes.md)"),
    ("device", "a device's UUID on a container's series, its name in the pool on a node's"),
    ("pool", "name of a pool"),
    (
        "state",
        "of devices: `allocatable`, `allocated`; of grants: `owned`, or `unknown` while no pod is known to hold it",
    ),
    (
        "reason",
        "why a device is unhealthy: `gone`, `off-the-bus`, `excluded`, `contested` (two pools claim it), `driver`, \
         `device-node`, `cdi`, `foreign-plugin`, `mps`, `memory-unknown`, `memory-exceeded`; from the prober: `mig`, `xid`, `ecc`, \
         `lost`, `nvml-hangs`, `compute-mode`",
    ),
    ("mode", "how the driver gets into containers: `direct`, `cdi`, `runtime`"),
    ("code", "a gRPC code, such as `OK` or `InvalidArgument`"),
    ("result", "`ok` or `error`"),
    ("what", "`condition`, `event` or `watch`"),
    ("rule", "`workloads` or `pods`"),
    ("version", "Firstlight's version"),
    ("le", "upper bound of a histogram's bucket, as everywhere"),
];

const SECTIONS: [(&str, &str, Scope); 4] = [
    (
        "Per container",
        "Served by the plugin on the container's node. The series are born with the grant, before the container \
         starts, and go with the pod.",
        Scope::Container,
    ),
    ("Per node", "Served by the plugin.", Scope::Node),
    ("Webhook", "Served by each replica of the webhook.", Scope::Webhook),
    ("Both", "Served by plugin and webhook.", Scope::Every),
];

/// The text of `docs/metrics.md`.
pub fn metrics() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Generated from the table in `crates/contract` (`UPDATE=1 cargo test -p firstlight-contract`).\n\n\
         The plugin serves `/metrics` on port 9400 of its pod on each node, the webhook on port 8080 of each \
         replica; both ports are named `metrics`. With the Prometheus operator, `metrics.podMonitor.enabled=true` \
         in the chart's values makes both targets. Without it, scrape pods with the label \
         `app.kubernetes.io/name=firstlight` at the port named `metrics`, with `honor_labels: true`: otherwise \
         Prometheus renames the labels that name the user's pod to `exported_namespace` and so on.\n\n\
         Label values come from fixed lists, except those that name a pod, a pool or a device. A container has at \
         most eight series, and two for each device.\n",
    );
    for (title, text, scope) in SECTIONS {
        // Writing to a String cannot fail.
        let _ =
            write!(page, "\n## {title}\n\n{text}\n\n| metric | type | labels | what |\n|---|---|---|---|\n");
        for metric in table::ALL.iter().filter(|metric| metric.scope == scope) {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            let _ = writeln!(
                page,
                "| `{}` | {} | {labels} | {} |",
                metric.name,
                metric.kind.as_str(),
                metric.help
            );
        }
    }
    page.push_str("\n## Labels\n\n| label | values |\n|---|---|\n");
    for (label, values) in LABELS {
        let _ = writeln!(page, "| `{label}` | {values} |");
    }
    page.push_str("\n## Questions\n\n");
    for (question, query) in questions() {
        let _ = write!(page, "{question}\n\n```promql\n{query}\n```\n\n");
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn questions() -> [(&'static str, String); 8] {
    [
        (
            "Which containers reached a usable GPU, and which did not?",
            format!("max by (namespace, pod, container, outcome) ({CUDA_INIT_TOTAL}) > 0"),
        ),
        (
            "From which causes do containers fail now?",
            format!("count by (cause) ({CUDA_INIT_FAILURE_INFO} == 1)"),
        ),
        ("What was annotated, and never injected?", format!("max by (namespace, kind) ({NOT_INJECTED}) > 0")),
        ("Which containers work on a simulated GPU?", format!("{GPU_IN_USE}{{kind=\"simulated\"}} == 1")),
        (
            "How many initialisations failed in the last hour, also those of pods that are gone?",
            format!("sum(increase({NODE_CUDA_INIT_TOTAL}{{outcome=\"failure\"}}[1h]))"),
        ),
        (
            "On which cards was memory in use for ten minutes that no quota counts, more than a GiB?",
            format!("min_over_time({UNACCOUNTED}[10m]) > 2^30"),
        ),
        (
            "Does the webhook's certificate expire within a week?",
            format!("{WEBHOOK_CERTIFICATE_EXPIRY} - time() < 7 * 24 * 3600"),
        ),
        ("Do all parts have the same version?", format!("count by (version) ({BUILD_INFO})")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metric, MetricKind};
    use std::collections::BTreeSet;

    #[test]
    fn every_label_is_explained_and_no_other() {
        let histogram = |kind| if kind == MetricKind::Histogram { &["le"][..] } else { &[] };
        let used: BTreeSet<&str> = table::ALL
            .iter()
            .flat_map(|metric| metric.labels.iter().chain(histogram(metric.kind)))
            .copied()
            .collect();
        assert_eq!(used, LABELS.map(|(label, _)| label).into());
    }

    #[test]
    fn names_say_type_and_unit_as_prometheus_asks() {
        for metric in table::ALL {
            assert!(metric.name.starts_with("firstlight_"), "{}", metric.name);
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == MetricKind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{}", metric.name);
        }
        let names: BTreeSet<&str> = table::ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), table::ALL.len());
    }

    #[test]
    fn a_container_has_at_most_eight_series_and_two_a_device() {
        let per_container = table::ALL.iter().filter(|metric| metric.scope == Scope::Container);
        let (by_device, others): (Vec<&Metric>, Vec<&Metric>) =
            per_container.partition(|metric| metric.labels.contains(&"device"));
        // Three outcomes of one metric.
        assert!(others.len() + 2 <= 8 && by_device.len() <= 2);
    }
}
