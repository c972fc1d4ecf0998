//! The commands beside the daemon, as processes: what they print, how they end, what they leave.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    unreachable_pub,
    missing_debug_implementations,
    dead_code,
    reason = "a test fails by panicking, and uses its part of the support"
)]

mod support {
    pub mod api_server;
    pub mod kubelet;
    pub mod node;
}

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::node::{Node, eventually, get};

const OLD_BUILD: &str = "0123456789abcdef";

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firstlight-plugin"));
    command.args(words).env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end. On a thread of its own: the fake kubelet answers on this one.
async fn output(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (status.code(), format!("{}{}", String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap()))
}

fn cleanup(node: &Node) -> Command {
    let mut command = program(&["cleanup"]);
    for folder in ["state", "pod-resources"] {
        let flag = if folder == "state" { "--state-dir" } else { "--pod-resources-dir" };
        command.arg(flag).arg(node.root.path().join(folder));
    }
    command
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// An agent served two pods and is gone for some time; an older build, and things that are not ours, lie there.
async fn abandoned() -> Node {
    let mut node = Node::ready().await;
    node.pod("one", "sim-0::0").await;
    node.pod("two", "sim-1::0").await;
    node.stop_agent().await;
    let state = node.root.path().join("state");
    fs::create_dir(state.join(OLD_BUILD)).unwrap();
    let long_ago = SystemTime::now() - Duration::from_mins(5);
    for name in names(&state) {
        fs::File::open(state.join(name)).unwrap().set_modified(long_ago).unwrap();
    }
    fs::create_dir(node.root.path().join("outside")).unwrap();
    symlink(node.root.path().join("outside"), state.join("link")).unwrap();
    fs::write(state.join("notes"), "mine").unwrap();
    node
}

struct Running(Child);

impl Running {
    /// As the kubelet does; everything that was said.
    fn terminate(mut self) -> (Option<i32>, String) {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        (self.0.wait().unwrap().code(), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleanup_waits_for_live_pods_and_then_leaves_only_what_is_not_ours() {
    let node = abandoned().await;
    let state = node.root.path().join("state");
    node.kubelet.release("two");
    let mut command = cleanup(&node);
    command.args(["--wait", &format!("--listen=127.0.0.1:{}", node.port)]);
    let running = Running(command.spawn().unwrap());
    eventually("the grant of the pod that is gone goes", || node.grants() == 1).await;
    eventually("the old build goes", || !state.join(OLD_BUILD).exists()).await;
    assert_eq!(names(&state).len(), 4, "one build, grants, what is not ours: {:?}", names(&state));
    eventually("it says for whom it waits", || {
        let (code, reason) = get(node.port, "/readyz");
        code == 503 && reason.contains("pod default/one, container ollama, uses it")
    })
    .await;

    node.kubelet.release("one");
    eventually("ready", || get(node.port, "/readyz").0 == 200).await;
    assert_eq!(names(&state), ["link", "notes"]);
    assert!(node.root.path().join("outside").is_dir());
    let (code, said) = running.terminate();
    assert_eq!(code, Some(0));
    for line in ["removed grants/", "kept    grants/", "ignored link: not ours", "done    nothing"] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert_eq!(said.lines().filter(|line| line.starts_with("ignored notes")).count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleanup_without_an_answer_of_the_kubelet_removes_nothing_and_says_so() {
    let mut node = abandoned().await;
    let before = names(&node.root.path().join("state"));
    node.kubelet.stop().await;
    let (code, said) = output(cleanup(&node)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot ask the kubelet at ") && said.contains("nothing is removed"), "{said}");
    assert_eq!(names(&node.root.path().join("state")), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleanup_believes_no_list_that_lacks_its_own_pod() {
    let node = abandoned().await;
    node.kubelet.release("one");
    node.kubelet.release("two");
    let mut command = cleanup(&node);
    command.env("POD_NAME", "cleanup-x").env("POD_NAMESPACE", "firstlight-system");
    let (code, said) = output(command).await;
    assert_eq!((code, node.grants()), (Some(1), 2), "{said}");
    assert!(said.contains("does not list our own pod firstlight-system/cleanup-x"), "{said}");

    node.kubelet.hold("firstlight-system", "cleanup-x", "cleanup", "other.example/device", &["0"]);
    let mut command = cleanup(&node);
    command.env("POD_NAME", "cleanup-x").env("POD_NAMESPACE", "firstlight-system");
    let (code, said) = output(command).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(names(&node.root.path().join("state")), ["link", "notes"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cleanup_touches_nothing_while_the_agent_runs() {
    let node = Node::ready().await;
    node.pod("one", "sim-0::0").await;
    node.kubelet.release("one");
    let before = names(&node.root.path().join("state"));
    let (code, said) = output(cleanup(&node)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("an agent works here") && said.contains("uninstall it first"), "{said}");
    assert_eq!((names(&node.root.path().join("state")), node.grants()), (before, 1));
}

/// A TLS server for `webhook.test.svc` that shakes hands with everybody; its port.
fn webhook() -> u16 {
    let made = rcgen::generate_simple_self_signed(["webhook.test.svc".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let _ = connection.complete_io(&mut stream.unwrap());
        }
    });
    port
}

async fn selftest(pools: &str, words: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pools.yaml");
    fs::write(&file, pools).unwrap();
    let mut command = program(&["selftest", "--timeout-seconds=2", "--config"]);
    command.arg(file).args(words);
    output(command).await
}

#[tokio::test]
async fn selftest_is_content_with_good_pools_and_a_webhook_of_the_right_name() {
    let connect = format!("--connect=127.0.0.1:{}", webhook());
    let words = [connect.as_str(), "--server-name=webhook.test.svc"];
    let (code, said) = selftest("pools: [{name: a, kind: simulated}]", &words).await;
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("ok ") && lines[0].ends_with("pools: a"), "{said}");
    assert!(
        lines[1].starts_with("ok ") && lines[1].ends_with("a certificate for webhook.test.svc"),
        "{said}"
    );
}

#[tokio::test]
async fn selftest_says_all_mistakes_and_who_did_not_answer() {
    let free = firstlight_testing::free_address().port();
    let connect = format!("--connect=127.0.0.1:{free}");
    let (code, said) = selftest("pools: [{name: A, kind: magic}]", &[&connect]).await;
    assert_eq!(code, Some(1), "{said}");
    for part in
        ["pools[0].name: ", "pools[0].kind: ", &format!("webhook at 127.0.0.1:{free}: cannot connect")]
    {
        assert!(said.lines().any(|line| line.starts_with("FAILED ") && line.contains(part)), "{part} {said}");
    }
}

#[tokio::test]
async fn selftest_refuses_a_server_with_another_name() {
    let connect = format!("--connect=127.0.0.1:{}", webhook());
    let words = [connect.as_str(), "--server-name=other.test.svc"];
    let (code, said) = selftest("pools: []", &words).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("TLS handshake failed") && said.contains("webhook.test.svc"), "{said}");
}

#[tokio::test]
async fn wrong_usage_is_64_and_help_is_no_mistake() {
    for words in [&["selftest", "--connect=nowhere"][..], &["cleanup", "--all"], &["clean"], &["--nonsense"]]
    {
        assert_eq!(output(program(words)).await.0, Some(64), "{words:?}");
    }
    assert_eq!(output(program(&["--help"])).await.0, Some(0));
}
