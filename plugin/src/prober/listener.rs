//! The socket at which the agent listens to the prober. Each instance of an agent has one of its own: during an
//! upgrade there are two, and the prober speaks to both.

use super::knowledge::Knowledge;
use super::memory::Kept;
use crate::ids;
use anyhow::{Context as _, Result};
use firstlight_contract::paths::node;
use firstlight_contract::prober::{MAX_LINE, Message};
use futures::StreamExt as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::codec::{FramedRead, LinesCodec};

/// There is one prober, and for a moment a second one; more are a mistake.
const MOST_SPEAKERS: usize = 4;
/// Between two attempts after an error of the socket itself.
const AGAIN: Duration = Duration::from_secs(1);

/// Where the sockets lie in the state directory.
pub fn folder(state: &Path) -> PathBuf {
    let relative = Path::new(node::PROBER).strip_prefix(node::ROOT).unwrap_or(Path::new("prober"));
    state.join(relative)
}

/// The agent's ear; its socket goes with it.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    knowledge: Arc<Knowledge>,
    kept: Arc<Mutex<Kept>>,
}

impl Listener {
    /// Makes the socket, for root alone, and remembers what an agent before us was told.
    pub fn bind(state: &Path, build: &str, knowledge: Arc<Knowledge>) -> Result<Self> {
        let folder = folder(state);
        // The kubelet may have made it for the prober's pod, for everybody.
        fs::create_dir_all(&folder)
            .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)))
            .with_context(|| format!("cannot create {}", folder.display()))?;
        remove_stale(&folder);
        let kept = Kept::load(&folder);
        knowledge.remember(kept.cards());
        let instance: String = ids::random()?.chars().take(8).collect();
        let path = folder.join(format!("{build}-{instance}.sock"));
        // It gets its name when it listens and has its mode: nobody finds it before.
        let fresh = path.with_extension("new");
        let socket =
            UnixListener::bind(&fresh).with_context(|| format!("cannot bind {}", fresh.display()))?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&fresh, &path))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { socket, path, knowledge, kept: Arc::new(Mutex::new(kept)) })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listens until the process ends.
    pub async fn run(self) {
        let mut speakers = JoinSet::new();
        loop {
            tokio::select! {
                speaker = self.socket.accept() => match speaker {
                    Ok(_) if speakers.len() >= MOST_SPEAKERS => {
                        tracing::warn!("{MOST_SPEAKERS} probers speak already; another one is not heard");
                    }
                    Ok((stream, _)) => {
                        speakers.spawn(hear(stream, Arc::clone(&self.knowledge), Arc::clone(&self.kept)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot listen to the prober");
                        tokio::time::sleep(AGAIN).await;
                    }
                },
                Some(_) = speakers.join_next() => {}
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// One prober, to its end or its first line that is none.
async fn hear(stream: UnixStream, knowledge: Arc<Knowledge>, kept: Arc<Mutex<Kept>>) {
    tracing::info!("a prober speaks");
    let mut lines = FramedRead::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    while let Some(line) = lines.next().await {
        let message = match line {
            Ok(line) => Message::parse(line.as_bytes()).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match message {
            Ok(message) => {
                let news = knowledge.hear(message, Instant::now());
                for sentence in &news {
                    tracing::info!(sentence, "prober");
                }
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = kept.keep(knowledge.memory()) {
                    tracing::warn!(%error, "cannot keep how much memory the cards have");
                }
            }
            Err(error) => {
                tracing::warn!(error, "the prober is not understood and not heard any more");
                return;
            }
        }
    }
    tracing::info!("a prober is gone");
}

/// Removes sockets at which nobody listens: an agent that was killed left them.
fn remove_stale(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let ours = path.extension().is_some_and(|extension| extension == "sock" || extension == "new");
        let refused = || {
            let asked = std::os::unix::net::UnixStream::connect(&path);
            asked.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        if ours && refused() {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::prober::{Card, Look, Memory};
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    const UUID: &str = "GPU-00000000-0000-0000-0000-000000000001";

    fn look() -> String {
        let memory = Some(Memory { total: 8 << 30, reserved: 0, used: 0 });
        let card = Card { uuid: UUID.to_owned(), memory, ..Card::default() };
        let look = Look { driver: "580".to_owned(), cards: vec![card], nameless: Vec::new() };
        format!("{}\n", Message::Look(look).line())
    }

    /// A listener that runs, its knowledge and its socket.
    fn listening(state: &Path) -> (JoinSet<()>, Arc<Knowledge>, PathBuf) {
        let knowledge = Arc::new(Knowledge::default());
        let listener = Listener::bind(state, "0123456789abcdef", Arc::clone(&knowledge)).unwrap();
        let path = listener.path().to_owned();
        let mut tasks = JoinSet::new();
        tasks.spawn(listener.run());
        (tasks, knowledge, path)
    }

    async fn memory(knowledge: &Knowledge) -> Option<u64> {
        for _ in 0..200 {
            if let Some(memory) = knowledge.told(Instant::now()).memory(UUID) {
                return Some(memory);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    #[tokio::test]
    async fn what_a_prober_says_is_known_and_the_socket_is_roots_alone() {
        let state = tempfile::tempdir().unwrap();
        let (_tasks, knowledge, path) = listening(state.path());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        UnixStream::connect(&path).unwrap().write_all(look().as_bytes()).unwrap();
        assert_eq!(memory(&knowledge).await, Some(8 << 30));
    }

    #[tokio::test]
    async fn the_next_agent_knows_the_memory_before_the_prober_speaks_to_it() {
        let state = tempfile::tempdir().unwrap();
        let (mut tasks, knowledge, path) = listening(state.path());
        UnixStream::connect(&path).unwrap().write_all(look().as_bytes()).unwrap();
        assert_eq!(memory(&knowledge).await, Some(8 << 30));
        tasks.shutdown().await;
        let next = Arc::new(Knowledge::default());
        let _listener = Listener::bind(state.path(), "0123456789abcdef", Arc::clone(&next)).unwrap();
        let told = next.told(Instant::now());
        assert_eq!(told.memory(UUID), Some(8 << 30));
        assert_eq!(told.cards[UUID].look, None, "nothing else counts");
    }

    #[tokio::test]
    async fn one_that_talks_nonsense_is_not_heard_any_more_and_the_next_one_is() {
        let state = tempfile::tempdir().unwrap();
        let (_tasks, knowledge, path) = listening(state.path());
        for nonsense in ["hello\n".to_owned(), format!("{}\n", "x".repeat(MAX_LINE + 1))] {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(nonsense.as_bytes()).unwrap();
            let mut end = [0];
            let ended = tokio::task::spawn_blocking(move || std::io::Read::read(&mut stream, &mut end));
            let ended = ended.await.unwrap();
            assert!(ended.is_err() || ended.is_ok_and(|count| count == 0), "it was hung up on");
        }
        assert!(knowledge.told(Instant::now()).cards.is_empty());
        UnixStream::connect(&path).unwrap().write_all(look().as_bytes()).unwrap();
        assert_eq!(memory(&knowledge).await, Some(8 << 30));
    }

    #[tokio::test]
    async fn a_killed_agents_socket_goes_and_that_of_another_that_lives_stays() {
        let state = tempfile::tempdir().unwrap();
        let (_tasks, _, alive) = listening(state.path());
        let dead = alive.with_file_name("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let (mut second, _, path) = listening(state.path());
        assert!(alive.exists() && path.exists() && !dead.exists());
        second.shutdown().await;
        assert!(alive.exists() && !path.exists(), "each takes its own away");
    }
}
