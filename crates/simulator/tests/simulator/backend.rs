//! The real ggml CUDA backend with cuBLAS, as the real `llama-server` loads it.

use crate::common::{Machine, product};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `llama-server` of Ollama's folder with its CUDA plugin, on this machine.
pub(crate) fn server(machine: &Machine, lib: &Path) -> Command {
    let mut command = machine.program(&lib.join("llama-server"));
    let path = std::env::join_paths([lib, &lib.join("cuda_v13"), crate::common::artefacts()]).unwrap();
    command
        .env("LD_LIBRARY_PATH", path)
        .env("GGML_BACKEND_PATH", lib.join("cuda_v13/libggml-cuda.so"))
        .arg("--offline");
    command
}

#[test]
fn the_real_backend_lists_every_device() {
    let Some(lib) = product("ollama/lib/ollama") else { return };
    let output = server(&Machine::of(2), &lib).arg("--list-devices").output().unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("CUDA0: SIM-A10 (8192 MiB, 8192 MiB free)"), "{told}");
    assert!(told.contains("CUDA1: SIM-A10 (8192 MiB, 8192 MiB free)"), "{told}");
}

/// A server that is ended when the test is.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn the_real_backend_generates_with_every_layer_on_the_device() {
    generates(&Machine::of(1));
}

/// Starts the real server and lets it generate.
pub(crate) fn generates(machine: &Machine) {
    let (Some(lib), Some(model)) = (product("ollama/lib/ollama"), product("model/tiny.gguf")) else { return };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = server(machine, &lib);
    command.arg("--model").arg(&model).args([
        "--port",
        &port.to_string(),
        "--host",
        "127.0.0.1",
        "-ngl",
        "99",
    ]);
    command.args(["--ctx-size", "256", "--verbose"]).stdout(Stdio::null()).stderr(log.reopen().unwrap());
    let mut served = Served(command.spawn().unwrap());
    // What a model of random weights says is no text.
    let told = || String::from_utf8_lossy(&std::fs::read(log.path()).unwrap()).into_owned();

    let begun = Instant::now();
    let healthy = || ask(port, "GET /health HTTP/1.0\r\n\r\n").is_some_and(|answer| answer.contains(" 200 "));
    while !healthy() {
        assert!(served.0.try_wait().unwrap().is_none(), "llama-server ended: {}", told());
        assert!(begun.elapsed() < Duration::from_mins(2), "{}", told());
        std::thread::sleep(Duration::from_millis(100));
    }
    let body = r#"{"prompt":"hello","n_predict":8,"ignore_eos":true}"#;
    let head = "POST /completion HTTP/1.0\r\nContent-Type: application/json\r\n";
    let answer =
        ask(port, &format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).unwrap_or_default();
    assert!(answer.contains("\"tokens_predicted\":8"), "{answer}\n{}", told());
    let told = told();
    let offloaded = told.lines().find(|line| line.contains("offloaded ")).unwrap_or_else(|| panic!("{told}"));
    let (done, all) =
        offloaded.split("offloaded ").nth(1).unwrap().split(' ').next().unwrap().split_once('/').unwrap();
    assert_eq!(done, all, "{offloaded}");
}
