//! Cache entries: a folder of files and the manifest that says what they must be.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Name of the manifest inside an entry.
const MANIFEST: &str = ".manifest";

/// Why an entry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// There is no entry.
    Missing,
    /// The folder has no manifest: its build never finished.
    HalfBuilt,
    /// A file differs from the manifest, is missing, or is not in it.
    Poisoned(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("not built yet"),
            Self::HalfBuilt => f.write_str("half built"),
            Self::Poisoned(path) => write!(f, "poisoned ({path} is not what was built)"),
        }
    }
}

/// Compares an entry with its manifest, byte for byte.
pub fn verify(entry: &Path) -> Result<(), Fault> {
    if !entry.is_dir() {
        return Err(Fault::Missing);
    }
    let manifest = fs::read_to_string(entry.join(MANIFEST)).map_err(|_| Fault::HalfBuilt)?;
    let (body, digest) = manifest.trim_end().rsplit_once('\n').ok_or(Fault::HalfBuilt)?;
    if digest != format!("end {}", hex(&Sha256::digest(body.as_bytes()))) {
        return Err(Fault::Poisoned(MANIFEST.to_owned()));
    }
    let found = list(entry).map_err(|error| Fault::Poisoned(error.to_string()))?;
    let expected: BTreeMap<String, String> = body
        .lines()
        .filter_map(|line| line.split_once('\t').map(|(what, path)| (path.to_owned(), what.to_owned())))
        .collect();
    let differs = |path: &&String| found.get(*path) != expected.get(*path);
    match expected.keys().chain(found.keys()).find(differs) {
        None => Ok(()),
        Some(path) => Err(Fault::Poisoned(path.clone())),
    }
}

/// Writes the manifest: from here on the folder is an entry.
pub(super) fn seal(folder: &Path) -> Result<()> {
    let mut body = "firstlight deps entry 1\n".to_owned();
    for (path, what) in list(folder)? {
        writeln!(body, "{what}\t{path}")?;
    }
    let body = body.trim_end();
    let text = format!("{body}\nend {}\n", hex(&Sha256::digest(body.as_bytes())));
    fs::write(folder.join(MANIFEST), text)
        .with_context(|| format!("cannot write the manifest of {}", folder.display()))
}

/// Removes whatever is at `path`; nothing there is fine.
pub(super) fn remove(path: &Path) -> Result<()> {
    let result = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    result.with_context(|| format!("cannot remove {}", path.display()))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Every file and link below `root`: relative path → what it is.
fn list(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(&folder)? {
            let path = item?.path();
            let name = path.strip_prefix(root)?.to_str().context("a file name is not UTF-8")?.to_owned();
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_symlink() {
                found.insert(name, format!("link {}", fs::read_link(&path)?.display()));
            } else if name != MANIFEST {
                let mode = meta.permissions().mode() & 0o7777;
                found.insert(name, format!("file {mode:o} {} {}", meta.len(), digest_file(&path)?));
            }
        }
    }
    Ok(found)
}

/// SHA-256 of a file, in hexadecimal digits.
pub(crate) fn digest_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
}
