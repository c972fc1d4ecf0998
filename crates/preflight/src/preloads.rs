//! Objects that are preloaded beside ours: named by the environment or by the image.

use crate::elf::{self, Unfit};
use crate::{files, loader};
use firstlight_contract::ld_cache;
use firstlight_contract::names::env;
use firstlight_contract::paths::container;
use firstlight_contract::preflight::{Finding, Outcome, Probe};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

const FILE: &str = "/etc/ld.so.preload";

/// Looks at them; `known`: what programs' starts have already shown.
pub fn probe(library_path: &OsStr, known: &[Finding]) -> Vec<Finding> {
    let variable = std::env::var_os(env::LD_PRELOAD).unwrap_or_default();
    let file =
        files::read(Path::new(FILE), 64 << 10).map(|text| loader::preload_file(&text)).unwrap_or_default();
    let ours = shim(&variable);
    let directories = loader::library_path(library_path);
    let is_known =
        |object: &OsStr| known.iter().any(|finding| finding.subject.as_str().as_bytes() == object.as_bytes());
    let mut found = known.to_vec();
    let variable = loader::preload(&variable).into_iter().map(|object| (object, ""));
    let file = file.into_iter().map(|object| (object, " (named in /etc/ld.so.preload)"));
    for (object, place) in variable.chain(file) {
        let path = resolve(&object, &directories);
        if !is_known(&object) && (ours.is_none() || files::identity(&path) != ours) {
            found.push(describe(&path, place));
        }
    }
    found
}

/// What it is, seen from outside. What cannot be loaded stops nobody: both loaders pass over it.
fn describe(path: &Path, place: &str) -> Finding {
    let subject = [path.as_os_str().as_bytes(), place.as_bytes()].concat();
    let finding = |outcome| Finding::new(Probe::Preload, outcome).on(&subject);
    match elf::read(path) {
        Ok(object) => finding(Outcome::Ok).saying(object.replaces.join(", ")),
        Err(Unfit::Unreadable(error)) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
            finding(Outcome::Absent)
        }
        Err(Unfit::Unreadable(error)) => finding(Outcome::Skipped).saying(error.to_string()),
        Err(Unfit::Other(why)) => finding(Outcome::Skipped).saying(why),
    }
}

/// Our own preload object: in a container at its place, on one machine the first of the variable.
fn shim(variable: &OsStr) -> Option<(u64, u64)> {
    let placed = files::identity(Path::new(container::SHIM));
    let first =
        || loader::preload(variable).into_iter().next().filter(|_| std::env::var_os(env::GRANT).is_some());
    placed.or_else(|| files::identity(Path::new(&first()?)))
}

/// A name with a slash is a path; any other is looked for like a library.
fn resolve(object: &OsString, directories: &[PathBuf]) -> PathBuf {
    if object.as_bytes().contains(&b'/') {
        return PathBuf::from(object);
    }
    let name = object.to_string_lossy();
    let found = loader::candidates(&name, directories, &cached(&name), files::identity).into_iter().next();
    found.unwrap_or_else(|| PathBuf::from(object))
}

/// Where the loader's cache has a library of this name.
pub fn cached(name: &str) -> Vec<PathBuf> {
    let cache = files::read(Path::new("/etc/ld.so.cache"), ld_cache::MAX_BYTES);
    cache.map(|cache| ld_cache::paths_of(&cache, name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_passes_over_is_no_failure() {
        let told = |path: &str| describe(Path::new(path), "").outcome;
        assert_eq!(told("/nowhere/lib.so"), Outcome::Absent);
        assert_eq!(told("/etc/passwd"), Outcome::Skipped);
        assert_eq!(told("/"), Outcome::Skipped);
    }

    #[test]
    fn a_library_by_name_is_looked_for_where_the_loader_looks() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("libx.so"), "").unwrap();
        let found = |object: &str| resolve(&object.into(), &[folder.path().to_owned()]);
        assert_eq!(found("libx.so"), folder.path().join("libx.so"));
        assert_eq!(found("/a/libx.so"), PathBuf::from("/a/libx.so"));
        assert_eq!(found("libgone.so"), PathBuf::from("libgone.so"));
    }
}
