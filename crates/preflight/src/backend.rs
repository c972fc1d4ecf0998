//! The GPU backends that Ollama may load, and the CUDA runtimes beside them.

use crate::elf;
use crate::files;
use firstlight_contract::preflight::{Finding, Outcome, Probe};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The backend's file name.
const BACKEND: &str = "libggml-cuda.so";
/// Backends that are tried: an image has two.
const MOST: usize = 8;

/// Ollama's folders of libraries: beside its program (`ml/path.go`), and where images have them.
pub fn roots(program: Option<&Path>) -> Vec<PathBuf> {
    let real = program.and_then(|program| fs::canonicalize(program).ok());
    let beside =
        real.as_deref().and_then(Path::parent).and_then(Path::parent).map(|root| root.join("lib/ollama"));
    let usual = ["/usr/lib/ollama", "/usr/local/lib/ollama"].map(PathBuf::from);
    let mut roots: Vec<PathBuf> = Vec::new();
    for root in beside.into_iter().chain(usual).filter(|root| root.is_dir()) {
        if !roots.iter().any(|known| files::identity(known) == files::identity(&root)) {
            roots.push(root);
        }
    }
    roots
}

/// The backends: those that were asked for, that of `GGML_BACKEND_PATH`, and those in the folders, newest first, as
/// Ollama prefers them.
pub fn find(asked: &[PathBuf], variable: Option<&OsStr>, roots: &[PathBuf]) -> Vec<PathBuf> {
    let named = asked.iter().cloned().chain(variable.filter(|value| !value.is_empty()).map(PathBuf::from));
    let named = named.filter_map(|path| std::path::absolute(path).ok());
    let installed = roots.iter().flat_map(|root| {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path().join(BACKEND)).collect();
        found.push(root.join(BACKEND));
        found.retain(|path| path.exists());
        found.sort_by(|a, b| b.cmp(a));
        found
    });
    let mut backends: Vec<PathBuf> = Vec::new();
    for path in named.chain(installed) {
        let known = |known: &PathBuf| {
            *known == path
                || (files::identity(&path).is_some() && files::identity(known) == files::identity(&path))
        };
        if !backends.iter().any(known) {
            backends.push(path);
        }
    }
    backends.truncate(MOST);
    backends
}

/// That a folder has no backend, although this Ollama looks for one there.
pub fn none_in(root: &Path) -> Finding {
    let place = root.join("*").join(BACKEND);
    Finding::new(Probe::Load, Outcome::Absent).on(place.as_os_str().as_bytes())
}

/// The runtimes beside a backend.
pub fn runtimes(backend: &Path) -> Vec<PathBuf> {
    let Some(entries) = backend.parent().and_then(|folder| fs::read_dir(folder).ok()) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = Vec::new();
    let mut all: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| major(path).is_some()).collect();
    all.sort();
    for path in all {
        // The name that the backend asks for stands before the longer ones behind its link.
        if !found.iter().any(|known| files::identity(known) == files::identity(&path)) {
            found.push(path);
        }
    }
    found.truncate(MOST);
    found
}

/// The version behind `libcudart.so.`.
fn major(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.strip_prefix("libcudart.so.")
}

/// What a runtime is.
pub fn describe(runtime: &Path) -> Finding {
    let finding = |outcome| Finding::new(Probe::Runtime, outcome).on(runtime.as_os_str().as_bytes());
    let real = fs::canonicalize(runtime).unwrap_or_else(|_| runtime.to_owned());
    let version = major(&real).or_else(|| major(runtime)).unwrap_or_default();
    match elf::read(runtime) {
        Ok(object) => {
            let build_id = object.build_id.map(|id| format!(" {id}")).unwrap_or_default();
            finding(Outcome::Ok).saying(format!("{version}{build_id}"))
        }
        Err(elf::Unfit::Unreadable(error)) => {
            finding(error.raw_os_error().map_or(Outcome::Failed, Outcome::Errno)).saying(version)
        }
        Err(elf::Unfit::Other(why)) => finding(Outcome::Failed).saying(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// An image with two backends.
    fn image() -> tempfile::TempDir {
        let image = tempfile::tempdir().unwrap();
        for folder in ["cuda_v12", "cuda_v13", "vulkan"] {
            let folder = image.path().join("lib/ollama").join(folder);
            fs::create_dir_all(&folder).unwrap();
        }
        for file in ["cuda_v12/libggml-cuda.so", "cuda_v13/libggml-cuda.so", "cuda_v12/libcudart.so.12.8.90"]
        {
            fs::write(image.path().join("lib/ollama").join(file), file).unwrap();
        }
        symlink("libcudart.so.12.8.90", image.path().join("lib/ollama/cuda_v12/libcudart.so.12")).unwrap();
        image
    }

    #[test]
    fn the_newest_backend_comes_first_and_what_was_asked_for_before_it() {
        let image = image();
        let root = image.path().join("lib/ollama");
        let (v12, v13) = (root.join("cuda_v12/libggml-cuda.so"), root.join("cuda_v13/libggml-cuda.so"));
        let roots = [root];
        assert_eq!(find(&[], None, &roots), [v13.clone(), v12.clone()]);
        assert_eq!(find(&[], Some(v12.as_os_str()), &roots), [v12.clone(), v13.clone()]);
        let missing = PathBuf::from("/nowhere/libggml-cuda.so");
        assert_eq!(find(std::slice::from_ref(&missing), Some(OsStr::new("")), &roots), [missing, v13, v12]);
    }

    #[test]
    fn ollamas_folder_lies_beside_its_program() {
        let image = image();
        fs::create_dir(image.path().join("bin")).unwrap();
        let program = image.path().join("bin/ollama");
        fs::write(&program, "").unwrap();
        assert_eq!(
            roots(Some(&program)).first(),
            Some(&fs::canonicalize(image.path()).unwrap().join("lib/ollama"))
        );
    }

    #[test]
    fn a_runtime_is_told_once_with_the_version_behind_its_link() {
        let image = image();
        let folder = image.path().join("lib/ollama/cuda_v12");
        let found = runtimes(&folder.join(BACKEND));
        assert_eq!(found, [folder.join("libcudart.so.12")]);
        let finding = describe(&found[0]);
        assert_eq!((finding.outcome, finding.detail.as_str()), (Outcome::Failed, "no ELF file of 64 bits"));
    }
}
