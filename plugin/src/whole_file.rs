//! Files that are whole after a crash, whoever else writes them: two agents share the disk during an upgrade.

use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file under another name beside it, and renames that.
pub fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(bytes)?;
    beside.persist(file).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn of_two_that_write_at_once_one_is_there_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory");
        let texts = ["a".repeat(10_000), "b".repeat(20_000)];
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| (0..50).for_each(|_| write(&file, text.as_bytes()).unwrap()));
            }
        });
        assert!(texts.contains(&fs::read_to_string(&file).unwrap()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_it_cannot_be_renamed_the_error_says_so_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("memory")).unwrap();
        write(&folder.path().join("memory"), b"text").unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(write(Path::new("/nowhere/memory"), b"text").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
