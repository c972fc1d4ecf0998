//! `run --driver` on drivers that are no switches of the simulator: written here, each wrong in a way of its own, under
//! NVIDIA's own runtime.

#[cfg(test)]
mod foreign {
    use serde_json::Value;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    fn compile(source: &str, output: &Path, flags: &[&str]) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let status = Command::new("gcc").args(flags).arg("-o").arg(output).arg(&source).arg("-ldl").status();
        assert!(status.unwrap().success(), "gcc {}", source.display());
    }

    /// NVIDIA's runtime from the products; `None`, said, where they are not built.
    fn runtime() -> Option<PathBuf> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/firstlight"));
        let cache = std::env::var_os("FIRSTLIGHT_CACHE").map(PathBuf::from).or_else(home)?;
        let path = cache.join("current/cudart/lib/13.0/libcudart.so.13");
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
        let (client, driver) = (folder.path().join("client"), folder.path().join("libcuda.so.1"));
        compile("../shim/tests/c/runtime.c", &client, &[]);
        compile("tests/c/crippled.c", &driver, &[&["-shared", "-fPIC"], wrong].concat());
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
