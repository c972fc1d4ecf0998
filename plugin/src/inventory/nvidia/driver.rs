//! The libraries of NVIDIA's driver on the node: where they lie, and whether they are all of one version, which
//! is the kernel module's. Libraries of another version fail in every call (803), and nothing on the node says so
//! before a container is started.

use super::root::NodeRoot;
use firstlight_contract::ld_cache;
use firstlight_contract::paths::library;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A library of the driver by the first part of its name; the file is `<stem>.so.<version>`.
#[derive(Clone, Copy, Debug)]
struct Part {
    stem: &'static str,
    /// What follows `.so.` in the name under which it is opened; empty: the version.
    major: &'static str,
    /// Whether every driver that we can serve has it.
    required: bool,
}

/// What a compute container needs, as NVIDIA's container toolkit has it (`compute` and NVML): the driver, and what
/// it opens itself by bare name, such as the compiler of PTX.
const PARTS: [Part; 10] = [
    part("libcuda", "1", true),
    part("libnvidia-ml", "1", true),
    part("libnvidia-ptxjitcompiler", "1", true),
    part("libnvidia-nvvm", "4", false),
    part("libnvidia-gpucomp", "", false),
    part("libnvidia-compiler", "", false),
    part("libnvidia-fatbinaryloader", "", false),
    part("libnvidia-allocator", "1", false),
    part("libnvidia-pkcs11", "", false),
    part("libnvidia-pkcs11-openssl3", "", false),
];

/// What may be the root of a driver: the node, and the driver container of NVIDIA's GPU operator.
pub(super) const ROOTS: [&str; 2] = ["/", "/run/nvidia/driver"];

/// Where drivers lie besides what `ld.so.cache` says: Debian and Ubuntu, Red Hat, Debian's own packages, and
/// Google's node images.
const DIRECTORIES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/local/nvidia/lib64",
    "/home/kubernetes/bin/nvidia/lib64",
];

/// One library of a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The file, as the kubelet is told it.
    pub host: PathBuf,
    /// The name under which it is opened.
    pub soname: String,
}

/// All libraries of one driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverSet {
    /// Their version, and the kernel module's.
    pub version: String,
    /// The driver and NVML.
    pub main: Vec<Library>,
    /// What the driver opens itself.
    pub helpers: Vec<Library>,
}

/// Finds the libraries that fit a kernel module of this version, or says what is wrong and what helps.
pub fn find(root: &NodeRoot, version: &str) -> Result<DriverSet, String> {
    let (mut looked, mut other) = (Vec::new(), None);
    for driver_root in ROOTS.map(Path::new) {
        for directory in directories(root, driver_root, library::CUDA) {
            let at = Place { root, driver_root, directory: &directory };
            let file = at.file(&format!("libcuda.so.{version}"));
            if file.is_some() {
                return at.set(version);
            }
            if let Some(found) = at.file(library::CUDA) {
                other.get_or_insert(found);
            }
            let shown = driver_root.join(directory.strip_prefix("/").unwrap_or(&directory));
            if !looked.contains(&shown) {
                looked.push(shown);
            }
        }
    }
    let looked: Vec<String> = looked.iter().map(|path| path.display().to_string()).collect();
    Err(match other {
        Some(file) => format!(
            "{} is not of version {version}, which the kernel module has; reboot the node if its driver was updated, or \
             install the libraries of driver {version}",
            file.display()
        ),
        None => format!(
            "libcuda.so.{version} (the kernel module's version) is in none of {}; install the driver's libraries on the \
             node, or add their directory to plugin.node.paths",
            looked.join(", ")
        ),
    })
}

const fn part(stem: &'static str, major: &'static str, required: bool) -> Part {
    Part { stem, major, required }
}

/// Where to look for a library below a root, in order, none twice.
pub(super) fn directories(root: &NodeRoot, driver_root: &Path, library: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in ld_cache::paths_of(&cache(root, driver_root), library) {
        let Some(directory) = path.parent() else { continue };
        found.push(directory.to_owned());
        // `/lib` is a link to `/usr/lib` on most nodes, and only the latter is mounted into our container.
        found.push(Path::new("/usr").join(directory.strip_prefix("/").unwrap_or(directory)));
    }
    found.extend(DIRECTORIES.map(PathBuf::from));
    let mut unique: Vec<PathBuf> = Vec::new();
    for directory in found {
        if !unique.contains(&directory) {
            unique.push(directory);
        }
    }
    unique
}

fn cache(root: &NodeRoot, driver_root: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let path = root.resolve(driver_root, Path::new("/etc/ld.so.cache"));
    let file = path.and_then(|path| File::open(root.seen(&path)).ok());
    if let Some(file) = file {
        // What cannot be read names no directory; the usual ones are looked at all the same.
        let _ = file.take(ld_cache::MAX_BYTES).read_to_end(&mut bytes);
    }
    bytes
}

/// A directory that may hold a driver.
struct Place<'a> {
    root: &'a NodeRoot,
    driver_root: &'a Path,
    directory: &'a Path,
}

impl Place<'_> {
    /// A file here, with links followed, as a path on the node.
    fn file(&self, name: &str) -> Option<PathBuf> {
        self.root.resolve(self.driver_root, &self.directory.join(name))
    }

    /// All parts of this version; a required one that is missing or damaged is an error.
    fn set(&self, version: &str) -> Result<DriverSet, String> {
        let (mut main, mut helpers) = (Vec::new(), Vec::new());
        for part in PARTS {
            let name = format!("{}.so.{version}", part.stem);
            let shown = || {
                self.driver_root.join(self.directory.strip_prefix("/").unwrap_or(self.directory)).join(&name)
            };
            let Some(path) = self.file(&name) else {
                if part.required {
                    return Err(format!(
                        "half a driver: {} is missing beside libcuda.so.{version}; install driver {version} again",
                        shown().display()
                    ));
                }
                continue;
            };
            sound(&self.root.seen(&path)).map_err(|problem| {
                format!("half a driver: {} {problem}; install driver {version} again", shown().display())
            })?;
            let major = if part.major.is_empty() { version } else { part.major };
            let soname = format!("{}.so.{major}", part.stem);
            let library = Library { host: self.root.host(&path), soname };
            let list = if [library::CUDA, library::NVML].contains(&library.soname.as_str()) {
                &mut main
            } else {
                &mut helpers
            };
            list.push(library);
        }
        Ok(DriverSet { version: version.to_owned(), main, helpers })
    }
}

/// Whether the loader could take a file.
fn sound(path: &Path) -> Result<(), String> {
    let meta = std::fs::metadata(path).map_err(|error| format!("cannot be read ({error})"))?;
    if meta.is_dir() {
        return Err("is a directory, which the container runtime makes of a missing file; remove it (rmdir)"
            .to_owned());
    }
    let mut magic = [0; 4];
    match File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) if magic == *b"\x7fELF" => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Err(format!("cannot be read ({error})"))
        }
        _ => Err("is no ELF file".to_owned()),
    }
}

#[cfg(test)]
mod tests;
