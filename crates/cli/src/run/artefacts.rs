//! Where shim, simulator and preflight are: inside this program, or in the folder that `FIRSTLIGHT_ARTEFACTS` names.

use anyhow::{Context as _, bail};
use firstlight_contract::paths::program;
use rustix::process::getuid;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Names the folder that `make build` fills, for a program built without the libraries inside.
const VARIABLE: &str = "FIRSTLIGHT_ARTEFACTS";

/// Libraries inside this program.
#[derive(Debug)]
struct Embedded {
    /// Name of their content.
    name: &'static str,
    /// Relative path and content.
    files: &'static [(&'static str, &'static [u8])],
}

include!(concat!(env!("OUT_DIR"), "/artefacts.rs"));

/// A folder with `shim/`, `simulator/` and `bin/`.
#[derive(Debug)]
pub(super) struct Artefacts {
    folder: PathBuf,
}

impl Artefacts {
    #[cfg(test)]
    pub(super) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The shim's `libcuda.so.1`.
    pub(super) fn shim(&self) -> anyhow::Result<PathBuf> {
        self.file("shim/libcuda.so.1")
    }

    /// The simulator's driver and NVML.
    pub(super) fn simulator(&self) -> anyhow::Result<(PathBuf, PathBuf)> {
        Ok((self.file("simulator/libcuda.so.1")?, self.file("simulator/libnvidia-ml.so.1")?))
    }

    /// The preflight, beside its other half.
    pub(super) fn preflight(&self) -> anyhow::Result<PathBuf> {
        self.file(&format!("bin/{}", program::PREFLIGHT_DYNAMIC))?;
        self.file(&format!("bin/{}", program::PREFLIGHT))
    }

    #[cfg_attr(test, expect(clippy::unnecessary_wraps, reason = "tests name libraries that are not there"))]
    fn file(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        #[cfg(not(test))]
        if !path.is_file() {
            bail!(
                "{} is missing; run `make build`, and let {VARIABLE} name its folder build/",
                path.display()
            );
        }
        Ok(path)
    }
}

/// Finds the libraries; unpacks them where that has not been done.
pub(super) fn locate() -> anyhow::Result<Artefacts> {
    if let Some(embedded) = EMBEDDED {
        return unpack(&embedded, &cache_root()?).map(|folder| Artefacts { folder });
    }
    let Some(folder) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) else {
        bail!(
            "this program was built without shim, simulator and preflight inside; run `make build` and use \
             build/bin/kubectl-firstlight, or let {VARIABLE} name the folder build/"
        );
    };
    let folder = fs::canonicalize(&folder)
        .with_context(|| format!("{VARIABLE}: cannot find {}", Path::new(&folder).display()))?;
    Ok(Artefacts { folder })
}

/// How often it is tried to move a folder into its place.
const PATIENCE: u32 = 8;

/// The folder with the libraries in it: named by their content, so that versions lie beside each other, and
/// moved into place whole, so that nobody sees half of it. Several may do so at once.
fn unpack(embedded: &Embedded, root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join(embedded.name);
    if is_complete(embedded, &folder) {
        return Ok(folder);
    }
    let fresh = tempfile::Builder::new()
        .prefix(".unpack-")
        .tempdir_in(root)
        .with_context(|| format!("cannot make a folder in {}", root.display()))?
        .keep();
    for (name, content) in embedded.files {
        let path = fresh.join(name);
        let parent = path.parent().unwrap_or(&fresh);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        if name.starts_with("bin/") {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&path, mode)
                .with_context(|| format!("cannot make {} executable", path.display()))?;
        }
    }
    let placed = (0..PATIENCE).any(|_| {
        if fs::rename(&fresh, &folder).is_ok() {
            return true;
        }
        // Somebody else was quicker; or what is in the way is incomplete or altered, and goes aside.
        let complete = is_complete(embedded, &folder);
        let aside = fresh.with_extension("old");
        if !complete && fs::rename(&folder, &aside).is_ok() {
            // A leftover does no harm.
            let _ = fs::remove_dir_all(&aside);
        }
        complete
    });
    // Not there any more where it was moved into place.
    let _ = fs::remove_dir_all(&fresh);
    if placed {
        return Ok(folder);
    }
    bail!(
        "cannot unpack shim, simulator and preflight into {}; set XDG_CACHE_HOME to another folder",
        folder.display()
    )
}

fn is_complete(embedded: &Embedded, folder: &Path) -> bool {
    embedded
        .files
        .iter()
        .all(|(name, content)| fs::read(folder.join(name)).is_ok_and(|found| found.as_slice() == *content))
}

/// `$XDG_CACHE_HOME/firstlight` or `~/.cache/firstlight`; where neither can be written, a folder in the
/// directory for temporary files that nobody else can have prepared.
fn cache_root() -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let temporary = std::env::temp_dir();
    let candidates = [
        home.map(|home| home.join("firstlight")),
        Some(temporary.join(format!("firstlight-{}", getuid().as_raw()))),
    ];
    for candidate in candidates.into_iter().flatten() {
        if is_ours(&candidate) {
            return Ok(candidate);
        }
    }
    bail!("no folder to unpack shim, simulator and preflight; set XDG_CACHE_HOME to one that can be written")
}

/// Makes the folder; says whether it belongs to this user, nobody else can write to it, and files fit in.
fn is_ours(folder: &Path) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let owned = fs::symlink_metadata(folder).is_ok_and(|data| {
        data.is_dir() && data.uid() == getuid().as_raw() && data.mode() & OTHERS_WRITE == 0
    });
    made.is_ok() && owned && tempfile::tempfile_in(folder).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARIES: Embedded = Embedded {
        name: "0123",
        files: &[
            ("shim/libcuda.so.1", b"shim"),
            ("simulator/libcuda.so.1", b"sim"),
            ("bin/firstlight-preflight", b"#!/bin/sh\n"),
        ],
    };

    #[test]
    fn a_folder_that_others_can_write_to_is_not_ours() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let open = root.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!is_ours(&open));
        assert!(is_ours(&root.path().join("new/folder")));
    }

    #[test]
    fn several_that_unpack_at_once_all_find_everything() {
        for altered in [false, true] {
            let root = tempfile::tempdir().unwrap();
            if altered {
                fs::create_dir_all(root.path().join(LIBRARIES.name).join("shim")).unwrap();
            }
            let together = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        together.wait();
                        let folder = unpack(&LIBRARIES, root.path()).unwrap();
                        assert!(altered || is_complete(&LIBRARIES, &folder));
                    });
                }
            });
            assert!(is_complete(&LIBRARIES, &root.path().join(LIBRARIES.name)));
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing is left over");
        }
    }

    #[test]
    fn programs_are_unpacked_as_programs() {
        let root = tempfile::tempdir().unwrap();
        let folder = unpack(&LIBRARIES, root.path()).unwrap();
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o111;
        assert_eq!((mode("bin/firstlight-preflight"), mode("shim/libcuda.so.1")), (0o111, 0));
    }

    #[test]
    fn altered_or_missing_content_is_not_complete() {
        let root = tempfile::tempdir().unwrap();
        assert!(!is_complete(&LIBRARIES, root.path()));
        for (name, content) in LIBRARIES.files {
            fs::create_dir_all(root.path().join(name).parent().unwrap()).unwrap();
            fs::write(root.path().join(name), content).unwrap();
        }
        assert!(is_complete(&LIBRARIES, root.path()));
        fs::write(root.path().join("shim/libcuda.so.1"), b"evil").unwrap();
        assert!(!is_complete(&LIBRARIES, root.path()));
    }
}
