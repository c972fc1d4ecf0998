//! The prober's way to the agents: whoever listens in the folder is told. During an upgrade that are two, and the new one
//! is told the last looks at once: without them its pools of instances are empty, and the kubelet takes them away.

use firstlight_contract::prober::Message;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// An agent that does not take a line within this time is not told any more until it listens anew.
const PATIENCE: Duration = Duration::from_secs(1);
/// Errors of the driver that are kept while no agent listens.
const MOST_UNTOLD: usize = 64;
/// Looks that a new agent is told, and how old they may be: two rounds of the usual interval. An agent lets a look count
/// for longer.
const MOST_LOOKS: usize = 8;
const OLDEST_LOOK: Duration = Duration::from_secs(10);

/// Speaks to agents.
#[derive(Debug)]
pub struct Speaker {
    folder: PathBuf,
    agents: BTreeMap<PathBuf, UnixStream>,
    /// Errors of the driver that nobody heard. A look comes again, an error does not.
    untold: VecDeque<String>,
    /// The last looks, the oldest first.
    looks: VecDeque<(Instant, String)>,
}

impl Speaker {
    /// To the agents whose sockets lie in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, agents: BTreeMap::new(), untold: VecDeque::new(), looks: VecDeque::new() }
    }

    /// Tells every agent that listens now.
    pub async fn say(&mut self, message: &Message) {
        self.greet().await;
        let line = format!("{}\n", message.line());
        self.write(&line).await;
        match message {
            Message::Xid(_) if self.agents.is_empty() => {
                self.untold.truncate(MOST_UNTOLD - 1);
                self.untold.push_front(line);
            }
            Message::Look(_) => {
                if self.looks.len() == MOST_LOOKS {
                    self.looks.pop_front();
                }
                self.looks.push_back((Instant::now(), line));
            }
            // What was seen before counts no more.
            Message::Nothing(_) => self.looks.clear(),
            Message::Xid(_) | Message::Asking(_) | Message::Silent(_) => {}
        }
    }

    /// Tells agents that are new what the others know.
    pub async fn greet(&mut self) {
        let sockets = sockets(&self.folder);
        self.agents.retain(|path, _| sockets.contains(path));
        for path in sockets {
            if self.agents.contains_key(&path) {
                continue;
            }
            if let Ok(Ok(mut stream)) = timeout(PATIENCE, UnixStream::connect(&path)).await {
                tracing::info!(socket = %path.display(), "an agent listens");
                let recent = self.looks.iter().filter(|(at, _)| at.elapsed() <= OLDEST_LOOK);
                let lines: String = recent.map(|(_, line)| line.as_str()).collect();
                // Where that fails the next line does, too.
                let _ = timeout(PATIENCE, stream.write_all(lines.as_bytes())).await;
                self.agents.insert(path, stream);
            }
        }
        if !self.agents.is_empty() {
            while let Some(line) = self.untold.pop_back() {
                self.write(&line).await;
            }
        }
    }

    async fn write(&mut self, line: &str) {
        let mut gone = Vec::new();
        for (path, stream) in &mut self.agents {
            let written = timeout(PATIENCE, stream.write_all(line.as_bytes())).await;
            if !matches!(written, Ok(Ok(()))) {
                tracing::info!(socket = %path.display(), "an agent does not listen any more");
                gone.push(path.clone());
            }
        }
        self.agents.retain(|path, _| !gone.contains(path));
    }
}

fn sockets(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "sock")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::prober::{Look, Xid};
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::net::UnixListener;

    fn xid(code: u64) -> Message {
        Message::Xid(Xid { card: "GPU-00000000-0000-0000-0000-000000000001".to_owned(), code })
    }

    /// The lines that an agent has by now.
    fn heard(listener: &UnixListener, count: usize) -> Vec<Message> {
        let (stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream).lines().take(count);
        lines.map(|line| Message::parse(line.unwrap().as_bytes()).unwrap()).collect()
    }

    #[tokio::test]
    async fn every_agent_that_listens_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let agents =
            ["old.sock", "new.sock"].map(|name| UnixListener::bind(folder.path().join(name)).unwrap());
        std::fs::write(folder.path().join("dead.sock"), "").unwrap();
        let mut speaker = Speaker::new(folder.path().to_owned());
        speaker.say(&xid(79)).await;
        assert!(agents.iter().all(|agent| heard(agent, 1) == [xid(79)]));
    }

    #[tokio::test]
    async fn errors_of_the_driver_wait_for_an_agent_in_their_order_and_other_things_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut speaker = Speaker::new(folder.path().to_owned());
        for code in 0..100 {
            speaker.say(&xid(code)).await;
            speaker.say(&Message::Nothing("no NVML".to_owned())).await;
        }
        let agent = UnixListener::bind(folder.path().join("a.sock")).unwrap();
        speaker.say(&xid(100)).await;
        let wanted: Vec<Message> = (100 - MOST_UNTOLD as u64..=100).map(xid).collect();
        assert_eq!(heard(&agent, MOST_UNTOLD + 1), wanted);
    }

    #[tokio::test]
    async fn an_agent_that_went_and_came_back_is_told_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut speaker = Speaker::new(folder.path().to_owned());
        let first = UnixListener::bind(folder.path().join("a.sock")).unwrap();
        speaker.say(&xid(1)).await;
        assert_eq!(heard(&first, 1), [xid(1)]);
        drop(first);
        speaker.say(&xid(2)).await;
        let second = UnixListener::bind(folder.path().join("b.sock")).unwrap();
        speaker.say(&xid(3)).await;
        assert_eq!(heard(&second, 2), [xid(2), xid(3)]);
    }

    #[tokio::test]
    async fn an_agent_that_comes_later_is_told_the_last_looks_at_once_unless_there_is_nothing_to_see() {
        let look = |driver: &str| {
            Message::Look(Look { driver: driver.to_owned(), cards: Vec::new(), nameless: Vec::new() })
        };
        let folder = tempfile::tempdir().unwrap();
        let mut speaker = Speaker::new(folder.path().to_owned());
        for number in 0..10 {
            speaker.say(&look(&number.to_string())).await;
        }
        let late = UnixListener::bind(folder.path().join("late.sock")).unwrap();
        speaker.greet().await;
        let wanted: Vec<_> = (2..10).map(|number| look(&number.to_string())).collect();
        assert_eq!(heard(&late, 8), wanted);

        let nothing = Message::Nothing("it ended".to_owned());
        speaker.say(&nothing).await;
        let later = UnixListener::bind(folder.path().join("later.sock")).unwrap();
        speaker.say(&nothing).await;
        assert_eq!(heard(&later, 1), [nothing], "and no look before it");
    }
}
