//! What lies in the state directory. Symbolic links are never followed: what is no folder is not ours.

use super::plan::{Disk, Found, What};
use crate::grants;
use crate::kubelet_list::DISK;
use crate::node_files::{INSTALLING, changed_within, is_build_id};
use crate::prober;
use anyhow::{Context as _, Result};
use firstlight_contract::paths::node;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A running agent changes the folder of its build every [`DISK`].
const AGENT: Duration = Duration::from_secs(DISK.as_secs() * 3 / 2);

/// Name of the folder of grants.
fn grants_folder() -> &'static Path {
    Path::new(node::GRANTS).strip_prefix(node::ROOT).unwrap_or(Path::new("grants"))
}

/// Everything in the state directory; nothing if there is none.
pub fn scan(state: &Path) -> Result<Disk> {
    let mut disk = Disk::default();
    for (name, is_folder) in entries(state)? {
        let path = PathBuf::from(&name);
        let is_grants = path == grants_folder();
        let is_sockets = prober::listener::folder(state) == state.join(&path);
        let ours = is_build_id(&name) || name.starts_with(INSTALLING) || is_grants || is_sockets;
        let what = match (ours, is_folder) {
            (false, _) => What::Foreign("not ours"),
            (true, false) => What::Foreign("it has a name of ours, but is no folder"),
            (true, true) if is_grants => {
                scan_grants(state, &mut disk)?;
                continue;
            }
            (true, true) if is_sockets => What::Sockets,
            (true, true) => {
                disk.agent |= changed_within(&state.join(&path), AGENT);
                if is_build_id(&name) { What::Build } else { What::Unfinished }
            }
        };
        disk.found.push(Found { path, what });
    }
    Ok(disk)
}

fn scan_grants(state: &Path, disk: &mut Disk) -> Result<()> {
    for (name, is_folder) in entries(&state.join(grants_folder()))? {
        let path = grants_folder().join(&name);
        let is_id = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let what = if is_id && is_folder {
            What::Grant(grants::read(&state.join(&path)).ok().map(Box::new))
        } else {
            What::Foreign("not ours")
        };
        disk.found.push(Found { path, what });
    }
    Ok(())
}

/// Names, and whether each is a folder itself.
fn entries(folder: &Path) -> Result<Vec<(String, bool)>> {
    let context = || format!("cannot read {}; nothing is removed", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(context)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(context)?;
        let is_folder = entry.file_type().with_context(context)?.is_dir();
        // A name that is no UTF-8 is not ours, whatever it becomes here.
        found.push((entry.file_name().to_string_lossy().into_owned(), is_folder));
    }
    found.sort();
    Ok(found)
}

/// Removes a folder; links in it go, what they name stays. Somebody may have been faster.
pub fn remove(state: &Path, path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(state.join(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the folder of grants if nothing is in it; it is no harm if it stays.
pub fn remove_empty_grants(state: &Path) {
    let _ = fs::remove_dir(state.join(grants_folder()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_foreign_names_are_not_ours_and_what_links_name_is_not_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let (state, outside) = (folder.path().join("state"), folder.path().join("outside"));
        fs::create_dir_all(outside.join("f".repeat(32))).unwrap();
        fs::create_dir_all(&state).unwrap();
        symlink(&outside, state.join("grants")).unwrap();
        symlink(&outside, state.join("0123456789abcdef")).unwrap();
        fs::write(state.join("notes"), "mine").unwrap();
        let disk = scan(&state).unwrap();
        assert_eq!(disk.found.len(), 3);
        assert!(disk.found.iter().all(|found| matches!(found.what, What::Foreign(_))), "{disk:?}");
    }

    #[test]
    fn what_a_link_in_a_build_names_survives_its_removal() {
        let folder = tempfile::tempdir().unwrap();
        let (state, outside) = (folder.path().join("state"), folder.path().join("outside"));
        let build = state.join("0123456789abcdef");
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("file"), "precious").unwrap();
        fs::create_dir_all(&build).unwrap();
        symlink(&outside, build.join("shim")).unwrap();
        remove(&state, Path::new("0123456789abcdef")).unwrap();
        assert!(!build.exists());
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "precious");
    }

    #[test]
    fn an_agent_is_seen_by_the_build_that_it_touches() {
        let folder = tempfile::tempdir().unwrap();
        let build = folder.path().join("0123456789abcdef");
        fs::create_dir(&build).unwrap();
        assert!(scan(folder.path()).unwrap().agent);
        let long_ago = std::time::SystemTime::now() - 2 * AGENT;
        fs::File::open(&build).unwrap().set_modified(long_ago).unwrap();
        assert!(!scan(folder.path()).unwrap().agent);
    }

    #[test]
    fn the_probers_sockets_are_ours_and_no_sign_of_an_agent() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("prober")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("prober/a.sock")).unwrap());
        let disk = scan(folder.path()).unwrap();
        let found = Found { path: "prober".into(), what: What::Sockets };
        assert_eq!(disk, Disk { found: vec![found], agent: false });
        remove(folder.path(), Path::new("prober")).unwrap();
        assert_eq!(scan(folder.path()).unwrap(), Disk::default());
    }

    #[test]
    fn without_a_state_directory_there_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(scan(&folder.path().join("none")).unwrap(), Disk::default());
    }
}
