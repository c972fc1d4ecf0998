//! `run --memory` on one machine: what a program and its children find, and what they may have.

#[cfg(test)]
mod quota {
    use firstlight_contract::grant::Grant;
    use firstlight_contract::ledger::{Ledger, SIZE};
    use serde_json::Value;
    use std::fs;
    use std::path::Path;
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

    /// A program that asks for so many MiB, and the verdict on it: its output and the report's verdict.
    fn allocating(options: &[&str], words: &[&str]) -> Option<(String, Value)> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/allocate.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quota-c");
        let program = firstlight_testing::compiled(&source, &[], &folder).unwrap();
        let output =
            run(&[options, &["-o", "json"]].concat(), &[&[program.to_str().unwrap()], words].concat())?;
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stderr).unwrap();
        Some((String::from_utf8(output.stdout).unwrap(), report["verdict"].clone()))
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

    #[test]
    fn a_device_that_is_too_small_refuses_by_itself() {
        let Some((said, verdict)) = allocating(&["--device-memory", "1Gi"], &["1500"]) else { return };
        assert_eq!(said, "allocate=2\n");
        assert_eq!(verdict["cause"], "out-of-memory-at-load", "{verdict:#}");
    }

    #[test]
    #[ignore = "needs the shim's entries to charge the quota"]
    fn a_program_that_asks_for_more_than_its_quota_is_refused_and_told_so() {
        let Some((said, verdict)) = allocating(&["--memory", "1Gi"], &["1500"]) else { return };
        assert_eq!(said, "allocate=2\n");
        assert_eq!(
            (&verdict["cause"], &verdict["confidence"]),
            (&"quota-exceeded".into(), &"certain".into())
        );
        assert!(verdict["evidence"].to_string().contains("quota of 1.0 GiB"), "{verdict:#}");
    }

    #[test]
    #[ignore = "needs the shim's entries to charge the quota"]
    fn a_child_shares_its_parent_s_quota() {
        let Some((said, _)) = allocating(&["--memory", "1Gi"], &["600", "and a child"]) else { return };
        assert_eq!(said, "parent=0\nallocate=2\n");
        let (said, _) = allocating(&["--memory", "2Gi"], &["600", "and a child"]).unwrap();
        assert_eq!(said, "parent=0\nallocate=0\n");
    }

    #[test]
    fn a_quota_that_is_no_size_is_refused_with_a_way_out() {
        let Some(output) = run(&["--memory", "1GB"], &["true"]) else { return };
        assert_eq!(output.status.code(), Some(125));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("--memory \"1GB\": write a size of at least 64MiB, such as 8GiB"), "{text}");
    }
}
