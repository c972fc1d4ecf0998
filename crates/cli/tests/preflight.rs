//! `preflight` on one machine: unpacked and run, on a simulated driver and on none.

#[cfg(test)]
mod preflight {
    use serde_json::Value;
    use std::process::{Command, Output};

    /// The command; `None`, said, where the artefacts are not built.
    fn preflight(words: &[&str]) -> Option<Output> {
        if std::env::var_os("FIRSTLIGHT_ARTEFACTS").is_none() {
            eprintln!("skipped: needs FIRSTLIGHT_ARTEFACTS (make artefacts)");
            return None;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-firstlight"));
        command.arg("preflight").args(words).env_remove("LD_PRELOAD").env_remove("LD_LIBRARY_PATH");
        Some(command.output().unwrap())
    }

    /// Outcomes of a probe in the document on standard output.
    fn outcomes(output: &Output, probe: &str) -> Vec<String> {
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = document["findings"].as_array().unwrap();
        let of = findings.iter().filter(|finding| finding["probe"] == probe);
        of.map(|finding| finding["outcome"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_simulated_driver_passes_and_a_fault_is_found_at_its_stage() {
        let Some(output) = preflight(&["--pool", "simulated", "--", "--json"]) else { return };
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            (outcomes(&output, "launch"), outcomes(&output, "nvml")),
            (vec!["ok".to_owned()], vec!["ok".to_owned()])
        );
        let output = preflight(&["--simulate", "context-returns=2", "--", "--json"]).unwrap();
        assert_eq!(outcomes(&output, "context"), ["code:2"]);
        assert_eq!(outcomes(&output, "launch"), ["skipped"]);
    }

    #[test]
    fn without_options_nothing_stands_before_the_installed_driver() {
        let Some(output) = preflight(&[]) else { return };
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("\nopen ") && !text.contains("LD_PRELOAD"), "{text}");
    }

    #[test]
    fn its_own_mistakes_are_passed_on() {
        let Some(output) = preflight(&["--", "--mode", "maybe"]) else { return };
        assert_eq!(output.status.code(), Some(2));
        let Some(output) = preflight(&["--simulate", "explode"]) else { return };
        assert_eq!(output.status.code(), Some(125));
        assert!(String::from_utf8_lossy(&output.stderr).contains("--simulate"), "{output:?}");
    }
}
