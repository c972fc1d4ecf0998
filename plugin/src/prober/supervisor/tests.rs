use super::*;
use clap::Parser;
use firstlight_contract::prober::{Card, Look, Xid};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};

const UUID: &str = "GPU-00000000-0000-0000-0000-000000000001";

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn asking() -> Message {
    Message::Asking(Asking { call: "nvmlDeviceGetMemoryInfo".to_owned(), card: Some(UUID.to_owned()) })
}

fn look() -> Message {
    let card = Card { uuid: UUID.to_owned(), ..Card::default() };
    Message::Look(Look { driver: "580".to_owned(), cards: vec![card], nameless: Vec::new() })
}

/// A folder with a program that is a shell script, and an agent that listens.
struct World {
    folder: tempfile::TempDir,
    agent: UnixListener,
}

impl World {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let agent = UnixListener::bind(folder.path().join("agent.sock")).unwrap();
        agent.set_nonblocking(true).unwrap();
        Self { folder, agent }
    }

    fn args(&self) -> Args {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let words = [
            "prober".to_owned(),
            format!("--program={}", path("program")),
            format!("--libraries={}", path("libraries")),
            format!("--sockets={}", path("")),
            "--deadline-seconds=0.3".to_owned(),
        ];
        Cli::try_parse_from(words).unwrap().args
    }

    /// One process to its end, and what the agent heard of it.
    async fn once(&self) -> (Ended, Vec<Message>) {
        self.after(&mut Vec::new()).await
    }

    /// The same after others ended at these cards; then: at which ones now.
    async fn after(&self, last: &mut Vec<String>) -> (Ended, Vec<Message>) {
        let mut speaker = Speaker::new(self.folder.path().to_owned());
        let args = self.args();
        let once = once(&args, last, &mut speaker);
        let ended = timeout(Duration::from_secs(20), once).await.unwrap();
        drop(speaker);
        let heard = self.agent.accept().map(|(stream, _)| heard(stream)).unwrap_or_default();
        (ended, heard)
    }
}

fn heard(stream: UnixStream) -> Vec<Message> {
    stream.set_nonblocking(false).unwrap();
    let lines = BufReader::new(stream).lines();
    lines.map(|line| Message::parse(line.unwrap().as_bytes()).unwrap()).collect()
}

fn says(messages: &[Message]) -> String {
    messages.iter().flat_map(|message| ["echo '".to_owned(), message.line(), "'\n".to_owned()]).collect()
}

#[tokio::test]
async fn looks_and_errors_reach_the_agent_and_questions_do_not() {
    let xid = Message::Xid(Xid { card: UUID.to_owned(), code: 79 });
    let world = World::new(&says(&[asking(), look(), xid.clone()]));
    let (ended, heard) = world.once().await;
    assert_eq!(heard[..2], [look(), xid]);
    assert!(ended.looked);
}

#[tokio::test]
async fn one_that_hangs_is_killed_and_the_agent_hears_at_what() {
    let world = World::new(&format!("{}exec sleep 100", says(&[look(), asking()])));
    let begun = Instant::now();
    let (ended, heard) = world.once().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    let Message::Silent(silent) = &heard[1] else { panic!("{heard:?}") };
    assert_eq!(silent.asking.as_ref().unwrap().card.as_deref(), Some(UUID));
    let why = ended.why.unwrap();
    assert!(
        why.contains(&format!("while it asked nvmlDeviceGetMemoryInfo of {UUID}: its process was killed")),
        "{why}"
    );
}

#[tokio::test]
async fn the_card_that_it_hung_at_is_asked_after_the_others_until_it_answers() {
    let (one, other) = (UUID.to_owned(), UUID.replace('1', "2"));
    // What it was told is what it says.
    let script = format!("{}shift 6; echo \"$@\" >\"${{0%/*}}/told\"; exec sleep 100", says(&[asking()]));
    let world = World::new(&script);
    let mut last = vec![one.clone(), other.clone()];
    world.after(&mut last).await;
    assert_eq!(
        fs::read_to_string(world.folder.path().join("told")).unwrap(),
        format!("--last {one} --last {other}\n")
    );
    assert_eq!(last, [other.clone(), one.clone()], "the one that waited longer is next");

    let world = World::new(&format!("{}kill -SEGV $$", says(&[look(), asking()])));
    let mut last = vec![other.clone()];
    world.after(&mut last).await;
    assert_eq!(last, [other.clone(), one.clone()], "or died at");

    let init = Message::Asking(Asking { call: INIT.to_owned(), card: None });
    let world = World::new(&format!("{}exec sleep 100", says(&[look(), init])));
    let mut last = vec![one, other.clone()];
    world.after(&mut last).await;
    assert_eq!(last, [other], "it answered");
}

#[tokio::test]
async fn starting_may_take_longer_than_a_question() {
    let init = Message::Asking(Asking { call: INIT.to_owned(), card: None });
    let world = World::new(&format!("{}sleep 0.5\n{}", says(&[init]), says(&[look()])));
    let (ended, heard) = world.once().await;
    assert!(ended.looked && heard[0] == look(), "{heard:?}");
}

#[tokio::test]
async fn one_that_dies_says_how_and_at_what() {
    let world = World::new(&format!("{}kill -SEGV $$", says(&[asking()])));
    let (ended, heard) = world.once().await;
    let wanted = format!(
        "the process that asks NVML was ended by signal 11 while it asked nvmlDeviceGetMemoryInfo of {UUID}"
    );
    assert_eq!((ended.why, ended.looked), (Some(wanted.clone()), false));
    assert_eq!(heard, [Message::Nothing(wanted)]);
}

#[tokio::test]
async fn one_that_talks_nonsense_is_stopped() {
    let world = World::new("echo hello; exec sleep 100");
    let (ended, heard) = world.once().await;
    assert!(ended.why.unwrap().contains("says what is no message: "));
    assert!(matches!(&heard[..], [Message::Nothing(_)]), "{heard:?}");
    let world = World::new(&format!("head -c {} /dev/zero | tr '\\0' x; exec sleep 100", 2 * MAX_LINE));
    assert!(world.once().await.0.why.unwrap().contains("max line length exceeded"));
}

#[tokio::test]
async fn one_that_finds_no_nvml_says_so_itself() {
    let nothing = Message::Nothing("libnvidia-ml.so.1 cannot be loaded".to_owned());
    let world = World::new(&says(std::slice::from_ref(&nothing)));
    let (ended, heard) = world.once().await;
    assert_eq!((ended, heard), (Ended::default(), vec![nothing]));
}

#[tokio::test]
async fn one_that_is_not_there_names_what_it_needs() {
    let world = World::new("");
    fs::remove_file(world.folder.path().join("program")).unwrap();
    let (ended, heard) = world.once().await;
    let why = ended.why.unwrap();
    assert!(
        why.contains("wanted ld-linux-x86-64.so.2 in ") && why.ends_with("firstlight.dev/prober"),
        "{why}"
    );
    assert_eq!(heard, [Message::Nothing(why)]);
}

#[tokio::test]
async fn the_nodes_own_loader_starts_it_where_the_agent_gave_one() {
    let world = World::new("");
    let libraries = world.folder.path().join("libraries");
    fs::create_dir(&libraries).unwrap();
    let words = |args: &Args| -> Vec<String> {
        let command = command(args, &[]);
        let command = command.as_std();
        let all = std::iter::once(command.get_program()).chain(command.get_args());
        all.map(|word| word.to_string_lossy().into_owned()).collect()
    };
    assert!(words(&world.args())[0].ends_with("/program") && words(&world.args())[2] == "libnvidia-ml.so.1");
    for name in [library::LOADER, library::NVML] {
        fs::write(libraries.join(name), "elf").unwrap();
    }
    let words = words(&world.args());
    assert!(
        words[0].ends_with("/libraries/ld-linux-x86-64.so.2") && words[1] == "--library-path",
        "{words:?}"
    );
    assert!(words[5].ends_with("/libraries/libnvidia-ml.so.1"), "{words:?}");
}

#[test]
fn a_device_that_cannot_be_opened_says_whose_fault_that_is() {
    let folder = tempfile::tempdir().unwrap();
    assert!(control(&folder.path().join("nvidiactl")).contains("this container was not given it"));
    fs::write(folder.path().join("nvidiactl"), "").unwrap();
    assert!(control(&folder.path().join("nvidiactl")).ends_with("can be opened"));
}

#[test]
fn the_process_is_told_where_the_kernel_module_names_instances() {
    let told = |more: &[&str]| {
        let args = Cli::try_parse_from([&["prober"], more].concat()).unwrap().args;
        let words: Vec<_> = command(&args, &[]).as_std().get_args().map(OsStr::to_owned).collect();
        let at = words.iter().position(|word| word == "--capabilities").unwrap();
        words[at + 1].clone()
    };
    assert_eq!(told(&[]), "/proc/driver/nvidia/capabilities");
    assert_eq!(told(&["--capabilities=/played/capabilities"]), "/played/capabilities");
}
