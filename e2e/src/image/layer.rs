//! One layer of an image: a tar archive that depends on nothing but its content.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::deps::hex;

/// What a path of the layer is.
#[derive(Debug, Clone)]
enum Item {
    Folder(u32),
    File(PathBuf),
    Bytes(Vec<u8>, u32),
    Link(PathBuf),
}

/// Paths and what is there. Paths are relative to the image's root; folders above them are added.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    items: BTreeMap<PathBuf, Item>,
}

impl Layer {
    /// A layer with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with the bytes and the mode of `from`.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>, from: impl Into<PathBuf>) -> Self {
        self.put(path.as_ref(), Item::File(from.into()));
        self
    }

    /// Adds a file with these bytes.
    #[must_use]
    pub fn bytes(mut self, path: impl AsRef<Path>, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.put(path.as_ref(), Item::Bytes(content.into(), mode));
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(mut self, path: impl AsRef<Path>, target: impl Into<PathBuf>) -> Self {
        self.put(path.as_ref(), Item::Link(target.into()));
        self
    }

    /// Adds an empty folder.
    #[must_use]
    pub fn folder(mut self, path: impl AsRef<Path>, mode: u32) -> Self {
        self.put(path.as_ref(), Item::Folder(mode));
        self
    }

    /// Adds everything below a folder of this machine, except what `skip` says.
    pub fn tree(mut self, path: impl AsRef<Path>, from: &Path, skip: &dyn Fn(&Path) -> bool) -> Result<Self> {
        let mut folders = vec![from.to_owned()];
        while let Some(folder) = folders.pop() {
            for found in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
                let found = found?.path();
                let relative = found.strip_prefix(from)?;
                if skip(relative) {
                    continue;
                }
                let target = path.as_ref().join(relative);
                let meta = fs::symlink_metadata(&found)?;
                if meta.is_dir() {
                    self.put(&target, Item::Folder(0o755));
                    folders.push(found);
                } else if meta.is_symlink() {
                    self.put(&target, Item::Link(fs::read_link(&found)?));
                } else {
                    self.put(&target, Item::File(found));
                }
            }
        }
        Ok(self)
    }

    fn put(&mut self, path: &Path, item: Item) {
        let path = path.strip_prefix("/").unwrap_or(path);
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            self.items.entry(above.to_owned()).or_insert(Item::Folder(0o755));
        }
        self.items.insert(path.to_owned(), item);
    }

    /// What the layer depends on, as text: paths, and for files of this machine their size and time.
    pub(super) fn inputs(&self) -> Result<String> {
        let mut text = String::new();
        for (path, item) in &self.items {
            let what = match item {
                Item::Folder(mode) => format!("folder {mode:o}"),
                Item::Link(target) => format!("link {}", target.display()),
                Item::Bytes(content, mode) => format!("bytes {mode:o} {}", hex(&Sha256::digest(content))),
                Item::File(from) => {
                    let meta =
                        fs::metadata(from).with_context(|| format!("{} is not there", from.display()))?;
                    let mode = meta.permissions().mode();
                    format!(
                        "file {} {mode:o} {} {}.{}",
                        from.display(),
                        meta.len(),
                        meta.mtime(),
                        meta.mtime_nsec()
                    )
                }
            };
            writeln!(text, "{}\t{what}", path.display())?;
        }
        Ok(text)
    }

    /// Digest and size of the archive.
    pub(super) fn digest(&self) -> Result<(String, u64)> {
        let mut hash = Hash { hash: Sha256::new(), size: 0 };
        self.write(&mut hash)?;
        Ok((hex(&hash.hash.finalize()), hash.size))
    }

    /// Writes the archive.
    pub(super) fn write(&self, into: &mut dyn Write) -> Result<()> {
        let mut archive = tar::Builder::new(into);
        for (path, item) in &self.items {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0);
            match item {
                Item::Folder(mode) => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(*mode);
                    archive.append_data(&mut header, path, io::empty())?;
                }
                Item::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    archive.append_link(&mut header, path, target)?;
                }
                Item::Bytes(content, mode) => {
                    header.set_mode(*mode);
                    header.set_size(content.len() as u64);
                    archive.append_data(&mut header, path, content.as_slice())?;
                }
                Item::File(from) => {
                    let file = File::open(from).with_context(|| format!("cannot open {}", from.display()))?;
                    let meta = file.metadata()?;
                    header.set_mode(meta.permissions().mode() & 0o7777);
                    header.set_size(meta.len());
                    archive.append_data(&mut header, path, BufReader::with_capacity(1 << 20, file))?;
                }
            }
        }
        archive.into_inner()?.flush()?;
        Ok(())
    }
}

/// Counts and digests what is written to it.
struct Hash {
    hash: Sha256,
    size: u64,
}

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(folder: &Path) -> Layer {
        fs::write(folder.join("a"), "content").unwrap();
        Layer::new()
            .bytes("etc/passwd", "root", 0o644)
            .file("/opt/x/a", folder.join("a"))
            .link("bin/sh", "busybox")
    }

    #[test]
    fn the_same_content_makes_the_same_layer_whatever_its_date() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let one = example(first.path()).digest().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(one, example(second.path()).digest().unwrap());
    }

    #[test]
    fn the_folders_above_a_file_are_in_the_layer_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        example(folder.path()).write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<_> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(paths, ["bin", "bin/sh", "etc", "etc/passwd", "opt", "opt/x", "opt/x/a"]);
    }

    #[test]
    fn a_changed_file_changes_the_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let before = example(folder.path()).inputs().unwrap();
        fs::write(folder.path().join("a"), "longer content").unwrap();
        let layer = Layer::new()
            .bytes("etc/passwd", "root", 0o644)
            .file("/opt/x/a", folder.path().join("a"))
            .link("bin/sh", "busybox");
        assert_ne!(before, layer.inputs().unwrap());
    }
}
