//! `run --memory` on one machine: what a program and its children find, and what they may have.

#[cfg(test)]
mod quota {
    use firstlight_contract::grant::Grant;
    use firstlight_contract::ledger::{Ledger, SIZE};
    use firstlight_testing::causes::{self, Made};
    use serde_json::Value;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};

    /// `run` with these options and words; `None`, said, where the artefacts are not built.
    fn run(options: &[&str], words: &[&str]) -> Option<Output> {
        if std::env::var_os("FIRSTLIGHT_ARTEFACTS").is_none() {
            eprintln!("skipped: needs FIRSTLIGHT_ARTEFACTS (make artefacts)");
            return None;
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-firstlight"));
        command.arg("run").args(options).arg("--").args(words).env_remove("LD_PRELOAD");
        Some(command.output().unwrap())
    }

    /// Asks for memory: see its source.
    fn program() -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/allocate.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quota-c");
        firstlight_testing::compiled(&source, &[], &folder).unwrap()
    }

    /// What the words print, and the verdict on them.
    fn judged(options: &[&str], words: &[&str]) -> Option<(String, Value)> {
        let output = run(&[options, &["-o", "json"]].concat(), words)?;
        let report: Value = serde_json::from_slice(&output.stderr).unwrap();
        Some((String::from_utf8(output.stdout).unwrap(), report["verdict"].clone()))
    }

    /// The same of a program that asks for so many MiB.
    fn allocating(options: &[&str], words: &[&str]) -> Option<(String, Value)> {
        judged(options, &[&[program().to_str().unwrap()], words].concat())
    }

    /// What a child of the program sees: the grant and the ledger, copied by a shell that a shell started.
    fn seen(options: &[&str], folder: &Path) -> Option<(Grant, Option<Vec<u8>>)> {
        let script = "sh -c 'cp \"$FIRSTLIGHT_GRANT\" \"$0/grant\"; \
                      ledger=$(sed -n s/^ledger=//p \"$FIRSTLIGHT_GRANT\"); \
                      [ -z \"$ledger\" ] || cp \"$ledger\" \"$0/ledger\"; \
                      [ -z \"$ledger\" ] || stat -c %b,%B \"$ledger\" >\"$0/blocks\"' \"$0\"";
        let output = run(options, &["sh", "-c", script, folder.to_str().unwrap()])?;
        assert!(output.status.success(), "{output:?}");
        let grant = Grant::parse(&fs::read(folder.join("grant")).unwrap()).unwrap();
        Some((grant, fs::read(folder.join("ledger")).ok()))
    }

    #[test]
    fn a_program_behind_a_quota_and_its_children_find_grant_and_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let Some((grant, ledger)) = seen(&["--memory", "1Gi"], folder.path()) else { return };
        assert_eq!((grant.quota_bytes, grant.devices[0].quota_bytes), (Some(1 << 30), Some(1 << 30)));
        let ledger = ledger.expect("there is a ledger");
        assert_eq!(ledger.len(), SIZE);
        assert_eq!(Ledger::read(&ledger).expect("it is one").holders.len(), 0, "nobody holds anything");
        let blocks = fs::read_to_string(folder.path().join("blocks")).unwrap();
        let (blocks, size) = blocks.trim().split_once(',').unwrap();
        let kept = blocks.parse::<usize>().unwrap() * size.parse::<usize>().unwrap();
        assert!(kept >= SIZE, "{kept} bytes of blocks: no hole that a full disk would leave without one");
        let folder_of = Path::new(grant.ledger.as_deref().unwrap()).parent().unwrap();
        assert!(fs::metadata(folder_of).is_err(), "it goes with the command");
    }

    #[test]
    fn a_driver_of_one_s_own_is_put_behind_the_same_quota() {
        let folder = tempfile::tempdir().unwrap();
        let driver = folder.path().join("libcuda.so.1");
        fs::write(&driver, "").unwrap();
        let options = ["--driver", driver.to_str().unwrap(), "--memory", "512Mi"];
        let Some((grant, ledger)) = seen(&options, folder.path()) else { return };
        assert_eq!((grant.quota_bytes, grant.devices.len()), (Some(512 << 20), 0));
        assert!(ledger.is_some());
    }

    #[test]
    fn without_a_quota_there_is_no_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let Some((grant, ledger)) = seen(&[], folder.path()) else { return };
        assert_eq!((grant.ledger, grant.quota_bytes, ledger), (None, None, None));
    }

    /// A row of the table of causes from two verdicts.
    fn row(how: &str, verdict: &Value, twin: &str, other: &Value) {
        let text = |verdict: &Value, key: &str| verdict[key].as_str().unwrap().to_owned();
        let words = |verdict: &Value| (text(verdict, "cause"), text(verdict, "confidence"));
        let ((cause, confidence), (alike, its)) = (words(verdict), words(other));
        let made = Made { how, cause: &cause, confidence: &confidence };
        let other = Made { how: twin, cause: &alike, confidence: &its };
        causes::row(env!("CARGO_TARGET_TMPDIR"), &cause, &made, &alike, &other).unwrap();
    }

    #[test]
    fn a_program_that_asks_for_more_than_its_quota_is_told_apart_from_one_with_too_small_a_device() {
        let Some((said, verdict)) = allocating(&["--memory", "1Gi"], &["1500"]) else { return };
        assert_eq!(said, "allocate=2\n");
        assert_eq!(
            (&verdict["cause"], &verdict["confidence"]),
            (&"quota-exceeded".into(), &"certain".into())
        );
        assert!(verdict["evidence"].to_string().contains("quota of 1.0 GiB"), "{verdict:#}");

        let (said, other) = allocating(&["--device-memory", "1Gi"], &["1500"]).unwrap();
        assert_eq!(said, "allocate=2\n");
        assert_eq!(other["cause"], "out-of-memory-at-load", "{other:#}");
        row("run --memory 1Gi, 1500 MiB asked for", &verdict, "run --device-memory 1Gi, the same", &other);
    }

    #[test]
    fn a_ledger_that_is_gone_is_told_apart_from_one_that_is_full() {
        let script = "rm $(sed -n s/^ledger=//p \"$FIRSTLIGHT_GRANT\"); exec \"$0\" 100";
        let program = program();
        let words = ["sh", "-c", script, program.to_str().unwrap()];
        let Some((_, verdict)) = judged(&["--memory", "1Gi"], &words) else { return };
        assert_eq!(
            (&verdict["cause"], &verdict["confidence"]),
            (&"quota-unavailable".into(), &"certain".into()),
            "{verdict:#}"
        );
        assert!(verdict["evidence"].to_string().contains("cannot be opened, errno 2"), "{verdict:#}");
        let (_, other) = allocating(&["--memory", "1Gi"], &["1500"]).unwrap();
        row(
            "the ledger removed, then memory asked for",
            &verdict,
            "run --memory 1Gi, 1500 MiB asked for",
            &other,
        );
    }

    #[test]
    fn a_child_shares_its_parent_s_quota() {
        let Some((said, _)) = allocating(&["--memory", "1Gi"], &["600", "and a child"]) else { return };
        assert_eq!(said, "parent=0\nallocate=2\n");
        let (said, _) = allocating(&["--memory", "2Gi"], &["600", "and a child"]).unwrap();
        assert_eq!(said, "parent=0\nallocate=0\n");
    }

    /// `e2e/hardware/quota.py` under a quota: what is told, each way to memory, other processes. What it printed.
    fn questioned(options: &[&str]) -> Option<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/hardware/quota.py");
        let (limit, bytes) = (["--memory", "1GiB"], (1_u64 << 30).to_string());
        let output = run(&[&limit, options].concat(), &["python3", script.to_str().unwrap(), &bytes])?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.ends_with("every answer is that of the quota\n"), "{said}");
        Some(said)
    }

    #[test]
    fn the_simulator_is_held_to_its_quota_to_the_byte() {
        let Some(said) = questioned(&[]) else { return };
        assert!(said.contains("the other one was killed: all is given at once: 0"), "{said}");
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn the_real_driver_is_held_to_its_quota_to_the_byte() {
        let said = questioned(&["--pool", "observer"]).expect("FIRSTLIGHT_ARTEFACTS (make artefacts)");
        assert!(!said.contains("this driver has none"), "{said}");
    }

    #[test]
    fn a_quota_that_is_no_size_is_refused_with_a_way_out() {
        let Some(output) = run(&["--memory", "1GB"], &["true"]) else { return };
        assert_eq!(output.status.code(), Some(125));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("--memory \"1GB\": write a size of at least 64MiB, in MiB or GiB, such as 8GiB"),
            "{text}"
        );
    }
}
