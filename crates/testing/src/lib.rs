//! What tests of several crates stand on: foreign products, programs in C, and the table of causes.

pub mod causes;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A product of `make deps`, whether it is built or not: the path below the cache's `current`.
pub fn product(path: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/firstlight");
    std::env::var_os("FIRSTLIGHT_CACHE").map_or_else(home, PathBuf::from).join("current").join(path)
}

/// NVIDIA's runtime of this version, such as `13.0`.
pub fn runtime(version: &str) -> PathBuf {
    let major = version.split('.').next().unwrap_or_default();
    product(&format!("cudart/lib/{version}/libcudart.so.{major}"))
}

/// A result of `make build`, such as `shim/libcuda.so.1`; `None` where tests were not told where they are.
pub fn artefact(path: &str) -> Option<PathBuf> {
    Some(Path::new(&std::env::var_os("FIRSTLIGHT_ARTEFACTS")?).join(path)).filter(|path| path.exists())
}

/// Compiles a C file with these flags into a folder, once a process for each set of flags; returns the path of what
/// was made.
pub fn compiled(source: &Path, flags: &[&str], folder: &Path) -> io::Result<PathBuf> {
    static DONE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let key = format!("{} {}", source.display(), flags.join(" "));
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = done.get(&key) {
        return Ok(path.clone());
    }
    std::fs::create_dir_all(folder)?;
    let output = folder.join(format!("{}-{}", std::process::id(), done.len()));
    let made = Command::new("gcc")
        .args(["-O1", "-w", "-o"])
        .arg(&output)
        .arg(source)
        .args(flags)
        .arg("-ldl")
        .output()?;
    if !made.status.success() {
        let told = String::from_utf8_lossy(&made.stderr);
        return Err(io::Error::other(format!("gcc {key}: {told}")));
    }
    done.insert(key, output.clone());
    Ok(output)
}
