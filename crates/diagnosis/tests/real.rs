//! What an H100 under driver 580.159.04 did where something was wrong, and what is said of it. The record files come
//! from `e2e/hardware/failures.sh`; `real/verdicts.txt` is compared, `UPDATE=1` writes it: read every line of the change.

#[cfg(test)]
mod real {
    use firstlight_contract::decode::decode_all;
    use firstlight_contract::grant::PoolKind;
    use firstlight_diagnosis::{Container, ContainerState, Facts, Report};
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// A while after the recordings.
    const LATER_NS: u64 = 1_795_700_000_000_000_000;
    /// Recordings in which CUDA came up, beside those that begin so.
    const FINE: [&str; 4] = ["module-works", "no-locked-memory", "no-ptx-allowed", "no-nvidia0-for-root"];

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real")
    }

    fn reports() -> BTreeMap<String, Report> {
        let mut reports = BTreeMap::new();
        for entry in fs::read_dir(folder()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "records") {
                continue;
            }
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut container = Container::new();
            container.observe(&decode_all(&fs::read(&path).unwrap()));
            let exit_code = if name == "cut-file" { 135 } else { 1 };
            let state = ContainerState::Terminated { at_ns: LATER_NS, exit_code };
            let facts =
                Facts { injected: Some(true), devices: Some(1), state, ..Facts::of(PoolKind::Observer) };
            reports.insert(name, container.report(LATER_NS, &facts));
        }
        reports
    }

    /// Whether CUDA came up in a recording: what is missing is not needed, or nothing is.
    fn is_fine(name: &str) -> bool {
        let needless = ["nvidia-uvm-tools", "no-proc-driver", "no-sys"];
        name.starts_with("works") || FINE.contains(&name) || needless.iter().any(|part| name.contains(part))
    }

    #[test]
    fn every_recording_has_the_verdict_that_stands_beside_it() {
        let mut text = String::new();
        for (name, report) in reports() {
            let verdict = &report.verdict;
            let (outcome, cause) = (verdict.outcome.as_str(), verdict.cause.as_str());
            writeln!(
                text,
                "{name:<28} {outcome:<8} {:<14} {:<8} {cause}",
                verdict.stage.as_str(),
                verdict.confidence.as_str()
            )
            .unwrap();
        }
        let path = folder().join("verdicts.txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "see the top of this file");
    }

    #[test]
    fn no_failure_of_a_real_driver_is_called_a_success_nor_the_other_way_round() {
        for (name, report) in reports() {
            let outcome = report.verdict.outcome.as_str();
            let wrong = if is_fine(&name) { "failure" } else { "success" };
            assert_ne!(outcome, wrong, "{name}: {:?}", report.verdict);
        }
    }

    #[test]
    fn the_records_of_a_real_driver_have_no_gap() {
        for (name, report) in reports() {
            assert!(report.processes.iter().all(|process| process.gapless), "{name}");
        }
    }
}
