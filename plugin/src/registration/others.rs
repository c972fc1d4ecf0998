//! Other instances of ours that serve the same resource. The kubelet gives a resource to who registered last, and when
//! that one goes, to nobody: the stream to an earlier one stays open and means nothing any more (seen with 1.36). So an
//! instance that stays, after a failed upgrade was taken back, has to register again.

use crate::kubelet_dir::KubeletDir;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;

/// Those that came after our own registration.
#[derive(Debug)]
pub(super) struct Others {
    kubelet: KubeletDir,
    /// Beginning of our own names.
    own: String,
    /// Who was there before.
    before: BTreeSet<String>,
    came: bool,
}

impl Others {
    /// Whoever is there now came before us.
    pub(super) fn new(kubelet: KubeletDir, own: &str) -> Self {
        let before = kubelet.names().into_iter().collect();
        Self { kubelet, own: own.to_owned(), before, came: false }
    }

    /// Returns when others have come, and all of them are gone.
    pub(super) async fn came_and_went(mut self) {
        while !self.look() {
            self.kubelet.changed().await;
        }
    }

    fn look(&mut self) -> bool {
        let mut names = self.kubelet.names().into_iter();
        let there = names.any(|name| {
            is_other(&name, &self.own) && !self.before.contains(&name) && listens(&self.kubelet, &name)
        });
        self.came |= there;
        self.came && !there
    }
}

/// One that was killed leaves its socket.
fn listens(kubelet: &KubeletDir, name: &str) -> bool {
    let connected = UnixStream::connect(kubelet.join(name));
    !connected.is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound))
}

/// Whether a socket is of another pod's instance for the same pool: `<pool>-<digest>-<process>-<number>.sock`, as
/// [`super::socket_prefix`] begins it.
fn is_other(name: &str, own: &str) -> bool {
    let pool = |text: &str, parts: usize| text.rsplitn(parts, '-').nth(parts - 1).map(str::to_owned);
    let Some(stem) = name.strip_suffix(".sock") else { return false };
    !name.starts_with(own) && pool(stem, 4).is_some() && pool(stem, 4) == pool(own.trim_end_matches('-'), 2)
}

#[cfg(test)]
mod tests {
    use super::super::socket_prefix;
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn an_instance_is_another_by_its_pod_and_of_the_same_pool_by_its_name() {
        let (ours, theirs) = (socket_prefix("cards-a", "pod-1"), socket_prefix("cards-a", "pod-2"));
        let name = |prefix: &str| format!("{prefix}0123abcd-7.sock");
        assert!(is_other(&name(&theirs), &ours));
        assert!(!is_other(&name(&ours), &ours));
        assert!(!is_other(&name(&socket_prefix("cards", "pod-2")), &ours));
        assert!(!is_other(&name(&socket_prefix("cards-a", "pod-2")), &socket_prefix("cards", "pod-1")));
        for name in ["kubelet.sock", "nvidia-gpu.sock", "kubelet_internal_checkpoint", ".sock", ""] {
            assert!(!is_other(name, &ours), "{name}");
        }
    }

    #[test]
    fn who_was_there_before_may_go_and_who_comes_after_us_is_missed_when_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (kubelet, _watcher) = KubeletDir::new(folder.path().to_owned());
        let path = |pod: &str| folder.path().join(format!("{}0123abcd-1.sock", socket_prefix("gpu", pod)));
        let early = UnixListener::bind(path("early")).unwrap();
        let mut others = Others::new(kubelet, &socket_prefix("gpu", "ours"));
        assert!(!others.look());
        drop(early);
        std::fs::remove_file(path("early")).unwrap();
        assert!(!others.look(), "it was not the last to register");
        let late = UnixListener::bind(path("late")).unwrap();
        assert!(!others.look());
        // Killed: its socket stays.
        drop(late);
        assert!(others.look());
    }
}
