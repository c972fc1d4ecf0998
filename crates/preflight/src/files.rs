//! Reading what somebody else put into the image: bounded, and never waiting for a pipe.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Which file is at a path, behind its links.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Opens a file for reading; `O_NONBLOCK`: a pipe without a writer is no reason to stop.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("no regular file"))
}

/// The first `limit` bytes of a file.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.take(limit).read_to_end(&mut content)?;
    Ok(content)
}

/// Why the loader runs this program in secure mode, where it ignores `LD_PRELOAD` and `LD_LIBRARY_PATH`.
pub fn privileges(path: &Path) -> Option<String> {
    const SET_ID: u32 = 0o6000;
    let mut why = Vec::new();
    let mode = std::fs::metadata(path).map_or(0, |meta| meta.mode());
    if mode & SET_ID != 0 {
        why.push(format!("mode {:o}", mode & 0o7777));
    }
    if rustix::fs::getxattr(path, "security.capability", &mut [0_u8; 64]).is_ok_and(|length| length > 0) {
        why.push("file capabilities (security.capability)".to_owned());
    }
    (!why.is_empty()).then(|| why.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_pipe_is_no_file_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(read(&pipe, 10).is_err());
    }

    #[test]
    fn no_more_is_read_than_was_asked_for() {
        assert_eq!(read(Path::new("/proc/self/exe"), 4).unwrap(), b"\x7fELF");
    }

    #[test]
    fn set_id_bits_are_privileges() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(privileges(file.path()), None);
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o4755)).unwrap();
        assert_eq!(privileges(file.path()).as_deref(), Some("mode 4755"));
    }
}
