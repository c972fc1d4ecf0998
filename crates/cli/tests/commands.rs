//! Whole commands: what is printed, and the exit code. `UPDATE=1` rewrites the golden files.

#[cfg(test)]
mod commands {
    use firstlight_contract::record::{Caller, Kind, MAX_ENCODED, NO_FUNCTION, Record, Role};
    use firstlight_driver_api::by_symbol;
    use std::fs;
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output, Stdio};

    fn firstlight(arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-firstlight"));
        command.args(arguments).env_remove("LD_PRELOAD");
        command
    }

    fn output(arguments: &[&str]) -> Output {
        firstlight(arguments).output().unwrap()
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn assert_golden(name: &str, found: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, found).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, golden, "tests/golden/{name} differs; UPDATE=1 rewrites it");
    }

    /// A record file as the shim writes it, with ten foreign bytes in the middle.
    fn record_file(folder: &Path) -> PathBuf {
        let function = |symbol: &str| by_symbol(symbol).unwrap().id;
        let rows = [
            (Kind::Start, NO_FUNCTION, 0, (Role::Runner as u64, 0), "llama-server --model x"),
            (Kind::DriverOpened, NO_FUNCTION, 0, (0, 0), "/opt/firstlight/driver/libcuda.so.1"),
            (Kind::LookupUnanswered, NO_FUNCTION, 500, (12_090, 0), "cuGLGetDevices"),
            (Kind::CallReturned, function("cuDriverGetVersion"), 0, (13_000, 0), ""),
            (Kind::CallEntered, function("cuInit"), 0, (0, 0), ""),
            (Kind::CallReturned, function("cuInit"), 999, (0, 0), ""),
            (Kind::DriverSearched, NO_FUNCTION, 2, (0, 0), "/evil\u{1b}[2J/libcuda.so.1"),
        ];
        let mut bytes = Vec::new();
        for (sequence, (kind, function, result, (arg0, arg1), text)) in (0..).zip(rows) {
            let record = Record {
                kind,
                time_ns: 1_700_000_000_000_000_000 + u64::from(sequence) * 1_000_000,
                pid: 42,
                tid: 42,
                process: 7,
                sequence,
                function,
                caller: Caller::Runtime,
                result,
                arg0,
                arg1,
            };
            bytes.extend_from_slice(record.encode(text.as_bytes(), &mut [0; MAX_ENCODED]));
            if sequence == 2 {
                bytes.extend_from_slice(b"ten bytes!");
            }
        }
        let path = folder.join("records");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn decoded(format: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = record_file(folder.path());
        let output = output(&["decode", file.to_str().unwrap(), "-o", format]);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    }

    #[test]
    fn decode_prints_a_line_a_record() {
        assert_golden("decode.txt", &decoded("table"));
    }

    #[test]
    fn decode_prints_json_and_yaml() {
        assert_golden("decode.json", &decoded("json"));
        assert_golden("decode.yaml", &decoded("yaml"));
    }

    #[test]
    fn decode_reads_standard_input() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = fs::read(record_file(folder.path())).unwrap();
        let mut child =
            firstlight(&["decode", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        assert_golden("decode.txt", &text(&child.wait_with_output().unwrap().stdout));
    }

    #[test]
    fn decode_names_a_file_that_is_not_there() {
        let output = output(&["decode", "/nowhere/records"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("/nowhere/records"));
    }

    #[test]
    fn explain_prints_a_cause() {
        assert_golden("explain.txt", &text(&output(&["explain", "export-table-missing"]).stdout));
    }

    #[test]
    fn explain_without_a_cause_lists_them_all() {
        assert_golden("explain-all.txt", &text(&output(&["explain"]).stdout));
    }

    #[test]
    fn explain_suggests_what_was_meant() {
        let output = output(&["explain", "driver-to-old"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("did you mean driver-too-old?"), "{output:?}");
    }

    #[test]
    fn help_names_every_exit_code() {
        assert_golden("help.txt", &text(&output(&["--help"]).stdout));
    }

    #[test]
    fn a_wrong_word_is_a_usage_error() {
        assert_eq!(output(&["explode"]).status.code(), Some(2));
    }

    #[test]
    fn completion_is_printed_for_each_shell() {
        for shell in ["bash", "zsh", "fish"] {
            let output = output(&["completion", shell]);
            assert!(output.status.success());
            assert!(text(&output.stdout).contains("firstlight"), "{shell}");
        }
    }

    #[test]
    fn a_reader_who_leaves_is_no_error() {
        let mut child = firstlight(&["explain", "-o", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    }
}
