//! How much memory cards have, kept over a restart of the agent: `slices` needs it before the prober speaks again.

use crate::whole_file;
use firstlight_contract::card;
use firstlight_contract::prober::MAX_CARDS;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Longest file that is read; [`MAX_CARDS`] take less.
const MOST_BYTES: u64 = 16 << 10;

/// The file, a line `GPU-… bytes` for each card.
#[derive(Debug)]
pub struct Kept {
    file: PathBuf,
    written: BTreeMap<String, u64>,
}

impl Kept {
    /// What an agent before us kept in this folder; nothing where it cannot be read.
    pub fn load(folder: &Path) -> Self {
        let file = folder.join("memory");
        let mut text = String::new();
        let read = fs::File::open(&file).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
        let written = read.map(|_| parsed(&text)).unwrap_or_default();
        Self { file, written }
    }

    /// Memory in bytes, by UUID.
    pub fn cards(&self) -> &BTreeMap<String, u64> {
        &self.written
    }

    /// Keeps this instead, if it is something else.
    pub fn keep(&mut self, cards: BTreeMap<String, u64>) -> io::Result<()> {
        if cards == self.written {
            return Ok(());
        }
        let lines: Vec<String> = cards.iter().map(|(uuid, bytes)| format!("{uuid} {bytes}")).collect();
        whole_file::write(&self.file, lines.join("\n").as_bytes())?;
        self.written = cards;
        Ok(())
    }
}

fn parsed(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| {
        let (uuid, bytes) = line.split_once(' ')?;
        Some((card::uuid(uuid)?, bytes.parse().ok()?))
    });
    lines.take(MAX_CARDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cards(numbers: impl IntoIterator<Item = (u32, u64)>) -> BTreeMap<String, u64> {
        let uuid = |number| format!("GPU-00000000-0000-0000-0000-{number:012}");
        numbers.into_iter().map(|(number, bytes)| (uuid(number), bytes)).collect()
    }

    #[test]
    fn what_one_agent_keeps_the_next_one_knows() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::load(folder.path());
        assert!(kept.cards().is_empty());
        kept.keep(cards([(1, 8 << 30), (2, 1)])).unwrap();
        assert_eq!(Kept::load(folder.path()).cards(), &cards([(1, 8 << 30), (2, 1)]));
        kept.keep(cards([(2, 2)])).unwrap();
        assert_eq!(Kept::load(folder.path()).cards(), &cards([(2, 2)]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_gone_is_said_and_forgets_nothing() {
        let mut kept = Kept::load(Path::new("/nowhere"));
        assert!(kept.keep(cards([(1, 1)])).is_err() && kept.cards().is_empty());
    }

    proptest! {
        #[test]
        fn what_is_no_line_of_a_card_is_passed_over(
            known in proptest::collection::btree_map(0_u32..1000, any::<u64>(), 0..8), garbage in "[ -~]{0,40}",
        ) {
            let known = cards(known);
            let lines: Vec<String> =
                known.iter().map(|(uuid, bytes)| format!("{garbage}\n{uuid} {bytes}\n{uuid} {garbage}x")).collect();
            prop_assert_eq!(parsed(&lines.join("\n")), known);
        }
    }
}
