//! Text that somebody else wrote: cut and escaped before it flows into Events and terminals.

use std::fmt;

/// Bytes of foreign text that are kept.
pub const MAX_FOREIGN: usize = 128;

/// Foreign text: at most [`MAX_FOREIGN`] bytes of printable ASCII and printable Unicode; everything else is
/// written as `\xNN` or `\u{N}`, a cut is shown as `…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ForeignText(String);

impl ForeignText {
    /// Cuts and escapes `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut out = String::new();
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                let escaped = if is_harmless(character) {
                    character.to_string()
                } else {
                    character.escape_unicode().to_string()
                };
                if !Self::push(&mut out, &escaped) {
                    return Self(out);
                }
            }
            for byte in chunk.invalid() {
                if !Self::push(&mut out, &format!("\\x{byte:02x}")) {
                    return Self(out);
                }
            }
        }
        Self(out)
    }

    /// Marks the text as cut: its tail was not in the record.
    #[must_use]
    pub fn cut(mut self) -> Self {
        if !self.0.ends_with('…') {
            Self::push(&mut self.0, "…");
        }
        self
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(out: &mut String, piece: &str) -> bool {
        const MARK: &str = "…";
        if out.len() + piece.len() > MAX_FOREIGN - MARK.len() && piece != MARK {
            out.push_str(MARK);
            return false;
        }
        out.push_str(piece);
        true
    }
}

/// Escapes like [`ForeignText`], and cuts nothing: for text whose length somebody else has bounded.
pub fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        if is_harmless(character) {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
        out
    })
}

/// Printable, and neither a control, a format nor a direction character.
fn is_harmless(character: char) -> bool {
    let hidden = matches!(character,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E0FFF}');
    !character.is_control() && !hidden
}

impl fmt::Display for ForeignText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_terminal_escape_becomes_visible() {
        assert_eq!(ForeignText::new(b"\x1b[2Jhi\n").as_str(), "\\u{1b}[2Jhi\\u{a}");
    }

    #[test]
    fn a_direction_override_becomes_visible() {
        assert_eq!(ForeignText::new("a\u{202e}b".as_bytes()).as_str(), "a\\u{202e}b");
    }

    #[test]
    fn a_path_stays_as_it_is() {
        let path = "/usr/lib/ollama/cuda_v13/libcudart.so.13";
        assert_eq!(ForeignText::new(path.as_bytes()).as_str(), path);
    }

    #[test]
    fn long_text_is_escaped_and_not_cut() {
        let long = "é".repeat(MAX_FOREIGN);
        assert_eq!(printable(&format!("{long}\u{9b}")), format!("{long}\\u{{9b}}"));
    }

    proptest! {
        #[test]
        fn no_bytes_yield_long_or_dangerous_text(bytes: Vec<u8>) {
            let text = ForeignText::new(&bytes);
            prop_assert!(text.as_str().len() <= MAX_FOREIGN);
            prop_assert!(text.as_str().chars().all(is_harmless));
        }

        #[test]
        fn a_megabyte_is_cut(byte: u8) {
            prop_assert!(ForeignText::new(&vec![byte; 1 << 20]).as_str().ends_with('…'));
        }
    }
}
