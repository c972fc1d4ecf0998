//! `run --driver` on drivers that are no switches of the simulator: written here, each wrong in a way of its own, under
//! NVIDIA's own runtime.

#[cfg(test)]
mod foreign {
    use serde_json::Value;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    fn compiled(source: &str, flags: &[&str]) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign-c");
        firstlight_testing::compiled(&source, flags, &folder).unwrap()
    }

    /// NVIDIA's runtime from the products; `None`, said, where they are not built.
    fn runtime() -> Option<PathBuf> {
        let path = firstlight_testing::runtime("13.0");
        let there = path.exists() && std::env::var_os("FIRSTLIGHT_ARTEFACTS").is_some();
        if !there {
            eprintln!(
                "skipped: needs {} (make deps) and FIRSTLIGHT_ARTEFACTS (make artefacts)",
                path.display()
            );
        }
        there.then_some(path)
    }

    /// The verdict on NVIDIA's runtime over a driver that is wrong in this way.
    fn verdict(wrong: &[&str]) -> Option<Value> {
        let runtime = runtime()?;
        let folder = tempfile::tempdir().unwrap();
        let client = compiled("../shim/tests/c/runtime.c", &[]);
        let driver = folder.path().join("libcuda.so.1");
        let crippled = compiled("tests/c/crippled.c", &[&["-shared", "-fPIC"], wrong].concat());
        std::fs::copy(crippled, &driver).unwrap();
        let report = folder.path().join("report.json");
        let output = Command::new(env!("CARGO_BIN_EXE_kubectl-firstlight"))
            .args(["run", "--driver"])
            .arg(&driver)
            .arg("--report")
            .arg(&report)
            .arg("--")
            .arg(&client)
            .arg(runtime)
            .env_remove("LD_PRELOAD")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
        Some(report.get("verdict").unwrap().clone())
    }

    fn assert_says(verdict: &Value, cause: &str, evidence: &str) {
        assert_eq!(verdict["cause"], cause, "{verdict:#}");
        assert!(verdict["evidence"].to_string().contains(evidence), "{evidence}: {verdict:#}");
    }

    #[test]
    fn a_driver_without_the_export_table_lacks_the_export_table() {
        let Some(verdict) = verdict(&["-DNO_TABLES"]) else { return };
        assert_says(
            &verdict,
            "export-table-missing",
            "asked the driver for cuGetExportTable and got no function",
        );
        assert_eq!(verdict["confidence"], "certain", "{verdict:#}");
    }

    #[test]
    fn a_driver_that_says_success_and_gives_nothing_lacks_what_it_did_not_give() {
        let Some(verdict) = verdict(&["-DNULLS", "-DNO_TABLES"]) else { return };
        assert_says(
            &verdict,
            "export-table-missing",
            "asked the driver for cuGetExportTable and got no function",
        );
    }

    #[test]
    fn a_driver_of_functions_that_do_nothing_could_not_describe_its_devices() {
        let Some(verdict) = verdict(&["-DCONSTANTS"]) else { return };
        assert_says(&verdict, "device-query-failed", "0 bytes of memory");
    }

    #[test]
    fn a_driver_that_knows_no_table_refused_the_first_that_the_runtime_needs() {
        let Some(verdict) = verdict(&[]) else { return };
        assert_says(&verdict, "export-table-refused", "6bd5fb6c5bf4e74a8987d93912fd9df9");
    }
}
