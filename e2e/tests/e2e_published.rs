//! What is shipped beside the programs works: every question of the dashboard, the rendered manifests, the command
//! line against a cluster.

use std::fs;

use anyhow::{Context, Result};
use firstlight_contract::names::annotation;
use firstlight_e2e::harness::install;
use firstlight_e2e::harness::scenario::{Scenario, scenario};
use firstlight_e2e::harness::workload::{OLLAMA, annotated, ollama};
use serde_json::Value;

const HEALTHY: [(&str, &str); 1] = [(annotation::GPU, "simulated")];
const BROKEN: [(&str, &str); 2] =
    [(annotation::GPU, "simulated"), (annotation::SIMULATE, "refuse-table=integrity-check:801")];

/// A GPU that works, one that does not: the names of both pods.
fn one_of_each(s: &Scenario) -> Result<(String, String)> {
    s.create(&annotated(ollama("healthy", OLLAMA), &HEALTHY))?;
    s.create(&annotated(ollama("broken", OLLAMA), &BROKEN))?;
    let (healthy, broken) = (s.ready_pod("healthy")?, s.ready_pod("broken")?);
    s.gpu_ready(&healthy, "True")?;
    s.gpu_ready(&broken, "False")?;
    Ok((healthy, broken))
}

/// Title and expression of every question that the dashboard asks.
fn questions() -> Result<Vec<(String, String)>> {
    let path = install::root().join("charts/firstlight/dashboards/firstlight.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let mut questions = Vec::new();
    for panel in dashboard.get("panels").and_then(Value::as_array).context("the dashboard has no panels")? {
        let title = panel.get("title").and_then(Value::as_str).unwrap_or_default();
        for target in panel.get("targets").and_then(Value::as_array).into_iter().flatten() {
            let expression = target.get("expr").and_then(Value::as_str).context("a target without expr")?;
            questions.push((title.to_owned(), expression.to_owned()));
        }
    }
    Ok(questions)
}

#[test]
#[ignore = "needs the local cluster"]
fn prometheus_answers_every_question_of_the_dashboard() -> Result<()> {
    scenario(|s| {
        let (healthy, _) = one_of_each(s)?;
        s.generate(&healthy)?;
        // Only what has a quota counts what it uses.
        s.create(&annotated(ollama("part", OLLAMA), &[(annotation::GPU, "parts")]))?;
        s.ready_pod("part")?;
        let questions = questions()?;
        assert!(questions.len() > 10, "{questions:?}");
        for (title, expression) in questions {
            let expression = expression.replace("$namespace", &s.namespace);
            s.metric(&expression, |found| found.value.is_finite())
                .with_context(|| format!("panel {title:?}"))?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn the_api_server_accepts_the_rendered_manifests() -> Result<()> {
    scenario(|s| {
        let file = install::root().join("manifests/firstlight.yaml").display().to_string();
        // Helm's release is there already; what is asked is whether every object is valid.
        let said = s.kubectl.run([
            "apply",
            "--dry-run=server",
            "--server-side",
            "--force-conflicts",
            "--validate=strict",
            "-f",
            &file,
        ])?;
        assert!(said.contains("daemonset.apps/firstlight-plugin"), "{said}");
        Ok(())
    })
}

#[test]
#[ignore = "needs the local cluster"]
fn the_command_line_tells_the_same_story() -> Result<()> {
    scenario(|s| {
        let (healthy, broken) = one_of_each(s)?;
        let (code, text) = s.firstlight(&["status"])?;
        assert_eq!(code, Some(0), "{text}");
        let rows: Vec<&str> = text.lines().skip(1).collect();
        assert!(rows.first().is_some_and(|row| row.contains(&broken)), "worst first: {text}");
        assert!(rows.iter().any(|row| row.contains(&healthy)), "{text}");

        let (_, text) = s.firstlight(&["diagnose", &broken, "--output", "json"])?;
        let report: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let verdict = |name: &str| report.pointer(&format!("/verdict/{name}")).and_then(Value::as_str);
        assert_eq!(
            (verdict("outcome"), verdict("cause")),
            (Some("failure"), Some("export-table-refused")),
            "{text}"
        );
        assert!(report.pointer("/timeline/0").is_some(), "the report came from the agent: {text}");

        let (_, text) = s.firstlight(&["diagnose", &healthy])?;
        assert!(text.contains("success"), "{text}");
        Ok(())
    })
}
