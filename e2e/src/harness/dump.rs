//! What a person wants to see when a test has failed.
#![expect(clippy::print_stderr, reason = "shown beside the test's failure")]

use super::install::NAMESPACE;
use super::scenario::Scenario;

/// Prints pods, Events and logs of the test's namespace and of Firstlight. Never fails.
pub fn everything(scenario: &Scenario) {
    eprintln!("\n===== namespace {} =====", scenario.namespace);
    for namespace in [scenario.namespace.as_str(), NAMESPACE] {
        for words in [&["get", "all", "-o", "wide"][..], &["get", "events", "--sort-by=.lastTimestamp"]] {
            show(scenario, namespace, words);
        }
    }
    show(scenario, &scenario.namespace, &["describe", "pods"]);
    let mut pods = Vec::new();
    for namespace in [scenario.namespace.as_str(), NAMESPACE] {
        let names = scenario.kubectl.run(["-n", namespace, "get", "pods", "-o", "name"]).unwrap_or_default();
        pods.extend(names.lines().map(|name| (namespace.to_owned(), name.to_owned())));
    }
    for (namespace, pod) in pods {
        show(scenario, &namespace, &["logs", &pod, "--all-containers", "--tail=400", "--prefix"]);
    }
}

fn show(scenario: &Scenario, namespace: &str, words: &[&str]) {
    eprintln!("----- kubectl -n {namespace} {}", words.join(" "));
    match scenario.kubectl.run(["-n", namespace].iter().chain(words)) {
        Ok(text) => text.lines().filter(|line| !is_probe(line)).for_each(|line| eprintln!("{line}")),
        Err(error) => eprintln!("{error:#}"),
    }
}

/// Whether a line of Ollama's log is about a probe of the kubelet: hundreds of them say nothing.
fn is_probe(line: &str) -> bool {
    line.contains("[GIN]") && line.contains(" 200 ") && line.trim_end().ends_with("\"/\"")
}
