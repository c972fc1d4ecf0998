//! Libraries on the node: `/var/lib/firstlight/<build-id>/…`, where the build id is a digest of the contents.
//!
//! The kubelet replays an Allocate response at each container restart, also after our upgrade: what was once
//! mounted stays, under its build id, until no grant names it. Nothing is ever written in place: a library may
//! be mapped. containerd makes a *directory* of a source that is missing; such paths are repaired.

use crate::ids;
use anyhow::{Context as _, Result, bail};
use firstlight_contract::paths::{library, program};
use firstlight_contract::pools::{CudartMajor, Pool, PoolSpec};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names of the frames: directories of empty placeholders over which files are mounted.
pub mod frame {
    use firstlight_contract::pools::CudartMajor;

    /// Placeholders of the shim.
    pub const LIB: &str = "lib";
    /// Placeholders of the simulator.
    pub const DRIVER: &str = "driver";
    /// Placeholders of grant, records and ledger.
    pub const RUN: &str = "run";

    /// Placeholder of one version of NVIDIA's runtime.
    pub const fn cudart(version: CudartMajor) -> &'static str {
        match version {
            CudartMajor::V12 => "12",
            CudartMajor::V13 => "13",
        }
    }
}

/// What the image may bring, by folder.
const FOLDERS: [&str; 4] = ["shim", "simulator", "cudart", "bin"];
/// A build that an instance touched within this time is in use; instances touch theirs much more often.
const IN_USE: Duration = Duration::from_mins(10);
/// Prefix of folders that are being installed.
pub const INSTALLING: &str = ".installing-";

/// Where a build's files lie, as the node sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    host_root: PathBuf,
    build_id: String,
}

impl Layout {
    /// `host_root` is the state directory's path on the node.
    pub fn new(host_root: PathBuf, build_id: String) -> Self {
        Self { host_root, build_id }
    }

    /// A folder of this build, as the node sees it.
    pub fn host(&self, folder: &str) -> PathBuf {
        self.host_root.join(&self.build_id).join(folder)
    }

    /// The build id.
    pub fn build_id(&self) -> &str {
        &self.build_id
    }

    /// The state directory's path on the node.
    pub fn host_root(&self) -> &Path {
        &self.host_root
    }
}

/// A file of a build: where it comes from and what it is.
#[derive(Clone, Debug)]
struct Source {
    /// Path below the build's folder.
    relative: PathBuf,
    /// Path in the image; `None`: an empty placeholder.
    from: Option<PathBuf>,
    digest: [u8; 32],
    mode: u32,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The digest of all contents: 16 hexadecimal digits.
    pub build_id: String,
    /// Paths that were there, but were no file or not the right one, and have been replaced.
    pub repaired: Vec<PathBuf>,
}

/// Brings the artefacts of the image into the state directory, or repairs what is there.
pub fn install(artefacts: &Path, state: &Path) -> Result<Installed> {
    let sources = sources(artefacts)?;
    let build_id = build_id(&sources);
    let target = state.join(&build_id);
    fs::create_dir_all(state).with_context(|| format!("cannot create {}", state.display()))?;
    remove_unfinished(state);
    if target.is_dir() {
        let repaired = repair(&sources, &target)?;
        touch(&target);
        return Ok(Installed { build_id, repaired });
    }
    if target.symlink_metadata().is_ok() {
        fs::remove_file(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    let staging = state.join(format!("{INSTALLING}{}", ids::random()?));
    for folder in FOLDERS {
        fs::create_dir_all(staging.join(folder))?;
    }
    for source in &sources {
        place(source, &staging.join(&source.relative))?;
    }
    match fs::rename(&staging, &target) {
        Ok(()) => Ok(Installed { build_id, repaired: Vec::new() }),
        // Another instance of the same build was faster: a surge upgrade.
        Err(_) if target.is_dir() => {
            let repaired = repair(&sources, &target)?;
            remove_unfinished(state);
            Ok(Installed { build_id, repaired })
        }
        Err(error) => Err(error).with_context(|| format!("cannot rename into {}", target.display())),
    }
}

/// What the pools need and the image lacks: one sentence each.
pub fn missing(artefacts: &Path, pools: &[Pool]) -> Vec<String> {
    let mut wanted: BTreeSet<(String, String)> = BTreeSet::new();
    for pool in pools {
        let mut want = |folder: &str, name: &str| {
            wanted.insert((format!("{folder}/{name}"), pool.name.clone()));
        };
        want("shim", library::CUDA);
        want("shim", library::NVML);
        want("bin", program::PREFLIGHT);
        want("bin", program::PREFLIGHT_DYNAMIC);
        if matches!(pool.spec, PoolSpec::Simulated { .. }) {
            want("simulator", library::CUDA);
            want("simulator", library::NVML);
        }
        for version in &pool.cudart {
            want("cudart", version.soname());
        }
    }
    wanted
        .iter()
        .filter(|(file, _)| !artefacts.join(file).is_file())
        .map(|(file, pool)| format!("pool {pool} needs {}, which is no file", artefacts.join(file).display()))
        .collect()
}

/// Says that a build is in use: its directory was changed just now. Another instance of ours, before or after an
/// upgrade, hands out the files of its own build without asking us.
pub fn touch(build: &Path) {
    let mark = build.join(".in-use");
    let _ = fs::write(&mark, b"").and_then(|()| fs::remove_file(&mark));
}

/// Whether a folder was changed within this time, as far as can be told.
pub fn changed_within(folder: &Path, time: Duration) -> bool {
    let changed = fs::symlink_metadata(folder).and_then(|meta| meta.modified());
    changed.ok().and_then(|time| time.elapsed().ok()).is_none_or(|age| age < time)
}

/// Whether a name is that of a build's folder.
pub fn is_build_id(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes builds that no grant names and no instance of ours uses. Returns the ids of those removed.
pub fn collect(state: &Path, present: &str, named: &BTreeSet<String>) -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let wanted = name == present || named.contains(&name);
        if !is_build_id(&name) || wanted || changed_within(&entry.path(), IN_USE) {
            continue;
        }
        fs::remove_dir_all(entry.path())?;
        removed.push(name);
    }
    Ok(removed)
}

fn remove_unfinished(state: &Path) {
    let Ok(entries) = fs::read_dir(state) else { return };
    let old = |entry: &fs::DirEntry| {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        // A younger one may belong to the other instance of a surge upgrade.
        age.is_some_and(|age| age.as_secs() > 60)
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(INSTALLING) && old(&entry) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn sources(artefacts: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in FOLDERS {
        let directory = artefacts.join(folder);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", directory.display())),
        };
        for entry in entries {
            let path = entry?.path();
            let Some(name) = path.file_name() else { continue };
            if !path.is_file() {
                bail!("{} is no file; the artefacts' folders hold files only", path.display());
            }
            let digest = digest(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let mode = if folder == "bin" { 0o555 } else { 0o644 };
            sources.push(Source { relative: Path::new(folder).join(name), from: Some(path), digest, mode });
        }
    }
    let empty: [u8; 32] = Sha256::digest(b"").into();
    let placeholders = [
        (frame::LIB, library::CUDA),
        (frame::LIB, library::NVML),
        (frame::DRIVER, library::CUDA),
        (frame::DRIVER, library::NVML),
        (frame::RUN, firstlight_contract::paths::node::GRANT_FILE),
        (frame::RUN, firstlight_contract::paths::node::RECORDS_FILE),
        (frame::RUN, firstlight_contract::paths::node::LEDGER_FILE),
        (frame::cudart(CudartMajor::V12), CudartMajor::V12.soname()),
        (frame::cudart(CudartMajor::V13), CudartMajor::V13.soname()),
    ];
    for (frame, name) in placeholders {
        let relative = Path::new("frames").join(frame).join(name);
        sources.push(Source { relative, from: None, digest: empty, mode: 0o444 });
    }
    sources.sort_by(|a, b| a.relative.cmp(&b.relative));
    Ok(sources)
}

fn build_id(sources: &[Source]) -> String {
    let mut hash = Sha256::new();
    for source in sources {
        let name = source.relative.as_os_str().as_encoded_bytes();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(source.digest);
        hash.update(source.mode.to_le_bytes());
    }
    ids::hex(hash.finalize().get(..8).unwrap_or_default())
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
}

fn place(source: &Source, target: &Path) -> Result<()> {
    let parent = target.parent().unwrap_or(target);
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let temporary = parent.join(format!(".{}", ids::random()?));
    let written = match &source.from {
        Some(from) => fs::copy(from, &temporary).map(drop),
        None => fs::write(&temporary, b""),
    };
    written
        .and_then(|()| fs::set_permissions(&temporary, fs::Permissions::from_mode(source.mode)))
        .and_then(|()| fs::rename(&temporary, target))
        .with_context(|| format!("cannot write {}", target.display()))
}

/// Replaces what is not the file it should be. The inode of a good file stays: it may be mapped, and mounts of
/// it under several names must stay the same object.
fn repair(sources: &[Source], target: &Path) -> Result<Vec<PathBuf>> {
    let mut repaired = Vec::new();
    for folder in FOLDERS {
        let path = target.join(folder);
        if path.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            repaired.push(path.clone());
        }
        fs::create_dir_all(&path)?;
    }
    for source in sources {
        let path = target.join(&source.relative);
        match path.symlink_metadata() {
            Ok(meta) if meta.is_file() && digest(&path).is_ok_and(|found| found == source.digest) => continue,
            Ok(meta) if meta.is_dir() => {
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
            Ok(_) | Err(_) => {}
        }
        place(source, &path)?;
        repaired.push(path);
    }
    Ok(repaired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    struct Node {
        root: tempfile::TempDir,
    }

    impl Node {
        fn new() -> Self {
            let node = Self { root: tempfile::tempdir().unwrap() };
            for (file, content) in [
                ("shim/libcuda.so.1", "shim"),
                ("shim/libnvidia-ml.so.1", "shim nvml"),
                ("simulator/libcuda.so.1", "simulator"),
                ("simulator/libnvidia-ml.so.1", "simulator nvml"),
                ("bin/firstlight-preflight", "preflight"),
                ("bin/firstlight-preflight-dynamic", "its other half"),
            ] {
                node.artefact(file, content);
            }
            node
        }

        fn artefacts(&self) -> PathBuf {
            self.root.path().join("artefacts")
        }

        fn state(&self) -> PathBuf {
            self.root.path().join("state")
        }

        fn artefact(&self, file: &str, content: &str) {
            let path = self.artefacts().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn install(&self) -> Installed {
            install(&self.artefacts(), &self.state()).unwrap()
        }

        fn file(&self, build: &str, file: &str) -> PathBuf {
            self.state().join(build).join(file)
        }
    }

    #[test]
    fn a_second_start_changes_no_inode() {
        let node = Node::new();
        let first = node.install();
        let inode = fs::metadata(node.file(&first.build_id, "shim/libcuda.so.1")).unwrap().ino();
        assert_eq!(node.install(), Installed { build_id: first.build_id.clone(), repaired: vec![] });
        assert_eq!(fs::metadata(node.file(&first.build_id, "shim/libcuda.so.1")).unwrap().ino(), inode);
    }

    #[test]
    fn a_directory_that_containerd_made_of_a_missing_library_is_repaired() {
        let node = Node::new();
        let build = node.install().build_id;
        let library = node.file(&build, "simulator/libcuda.so.1");
        fs::remove_file(&library).unwrap();
        fs::create_dir(&library).unwrap();
        assert_eq!(node.install().repaired, std::slice::from_ref(&library));
        assert_eq!(fs::read_to_string(library).unwrap(), "simulator");
    }

    #[test]
    fn a_damaged_library_is_replaced_and_not_written_in_place() {
        let node = Node::new();
        let build = node.install().build_id;
        let library = node.file(&build, "shim/libcuda.so.1");
        fs::write(&library, "half").unwrap();
        let mapped = fs::File::open(&library).unwrap();
        assert_eq!(node.install().repaired, std::slice::from_ref(&library));
        assert_eq!(io::read_to_string(mapped).unwrap(), "half", "who has the old file keeps it");
        assert_eq!(fs::read_to_string(library).unwrap(), "shim");
    }

    #[test]
    fn a_new_build_lies_beside_the_old_one_until_no_grant_names_it() {
        let node = Node::new();
        let old = node.install().build_id;
        node.artefact("shim/libcuda.so.1", "newer shim");
        let new = node.install().build_id;
        assert_ne!(old, new);
        let named = BTreeSet::from([old.clone()]);
        assert_eq!(collect(&node.state(), &new, &BTreeSet::new()).unwrap(), Vec::<String>::new(), "in use");
        let long_ago = fs::File::open(node.state().join(&old)).unwrap();
        long_ago.set_modified(std::time::SystemTime::now() - 2 * IN_USE).unwrap();
        assert_eq!(collect(&node.state(), &new, &named).unwrap(), Vec::<String>::new());
        assert_eq!(fs::read_to_string(node.file(&old, "shim/libcuda.so.1")).unwrap(), "shim");
        assert_eq!(collect(&node.state(), &new, &BTreeSet::new()).unwrap(), [old]);
        assert!(node.file(&new, "shim/libcuda.so.1").is_file());
    }

    #[test]
    fn placeholders_are_empty_files() {
        let node = Node::new();
        let build = node.install().build_id;
        for file in ["frames/lib/libcuda.so.1", "frames/run/records", "frames/12/libcudart.so.12"] {
            assert_eq!(fs::metadata(node.file(&build, file)).unwrap().len(), 0);
        }
    }

    #[test]
    fn what_a_pool_needs_and_the_image_lacks_is_named_at_once() {
        let node = Node::new();
        fs::remove_file(node.artefacts().join("simulator/libcuda.so.1")).unwrap();
        let pools =
            firstlight_contract::pools::Pools::parse("pools: [{name: a, kind: simulated, cudart: [12]}]")
                .unwrap();
        let missing = missing(&node.artefacts(), &pools.pools);
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(missing[0].starts_with("pool a needs "), "{missing:?}");
    }
}
