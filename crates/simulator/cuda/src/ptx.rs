//! What a PTX text declares: its version and target, its kernels, its variables. Nothing is compiled; what lies in
//! braces is not read.

use std::collections::{BTreeMap, BTreeSet};

/// Newest version of PTX that a driver of CUDA 13.0 compiles.
const NEWEST: (u32, u32) = (9, 0);

/// Declarations of one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ptx {
    pub(crate) kernels: BTreeSet<String>,
    /// Bytes of each variable.
    pub(crate) variables: BTreeMap<String, u64>,
    /// The capability that the target names: 86 of `sm_86`.
    target: u32,
}

/// Why a text is no module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not begin with a version: it may be anything.
    Foreign,
    /// The version is newer than this driver.
    TooNew,
    /// It begins like PTX and is none.
    Wrong,
}

impl Ptx {
    /// Reads a text.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let (words, ended) = outside_braces(&words(&without_comments(text)));
        let mut words = words.iter().map(String::as_str).peekable();
        let (Some(".version"), Some(version)) = (words.next(), words.next()) else {
            return Err(Fault::Foreign);
        };
        let numbers = version
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        if numbers.ok_or(Fault::Wrong)? > NEWEST {
            return Err(Fault::TooNew);
        }
        let mut ptx = Self::default();
        let mut has_target = false;
        while let Some(word) = words.next() {
            match word {
                ".target" => {
                    has_target = true;
                    let digits = words.next().and_then(|target| target.strip_prefix("sm_"));
                    let digits = digits
                        .map(|digits| digits.trim_end_matches(|letter: char| letter.is_ascii_lowercase()));
                    ptx.target = digits.and_then(|digits| digits.parse().ok()).ok_or(Fault::Wrong)?;
                }
                ".entry" => {
                    ptx.kernels.insert(words.next().ok_or(Fault::Wrong)?.to_owned());
                    // Parameters name state spaces, too.
                    if words.next_if_eq(&"(").is_some() {
                        words.by_ref().find(|word| *word == ")").ok_or(Fault::Wrong)?;
                    }
                }
                ".global" | ".const" => {
                    let (name, bytes) = variable(&mut words).ok_or(Fault::Wrong)?;
                    ptx.variables.insert(name, bytes);
                }
                _ => {}
            }
        }
        if has_target && ended { Ok(ptx) } else { Err(Fault::Wrong) }
    }

    /// Whether a device of this capability runs what is compiled from the text.
    pub(crate) fn fits(&self, major: u8, minor: u8) -> bool {
        self.target <= u32::from(major) * 10 + u32::from(minor)
    }
}

/// Name and bytes of a variable, from behind its state space to its end.
fn variable<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<(String, u64)> {
    let mut width = 1;
    let mut name: Option<&str> = None;
    let mut bytes = 1_u64;
    let mut dimension = false;
    while let Some(word) = words.next() {
        match word {
            ".align" => drop(words.next()),
            ";" | "=" => break,
            "[" => dimension = true,
            "]" => dimension = false,
            ".v2" => bytes *= 2,
            ".v4" => bytes *= 4,
            count if dimension => bytes = bytes.checked_mul(count.parse().ok()?)?,
            kind if kind.starts_with('.') => width = bits(kind).map_or(width, |bits| bits / 8),
            other => name = name.or(Some(other)),
        }
    }
    Some((name?.to_owned(), bytes.checked_mul(width)?))
}

/// The bits of a type: 32 of `.u32`.
fn bits(kind: &str) -> Option<u64> {
    kind.get(2..)?.parse().ok().filter(|bits| matches!(bits, 8 | 16 | 32 | 64 | 128))
}

fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('/') {
        let (before, comment) = rest.split_at(at);
        kept.push_str(before);
        let end = match comment.as_bytes().get(1) {
            Some(b'/') => comment.find('\n'),
            Some(b'*') => comment.find("*/").map(|end| end + 2),
            _ => Some(1),
        };
        kept.push(' ');
        rest = end.and_then(|end| comment.get(end..)).unwrap_or_default();
    }
    kept + rest
}

/// Words, and each punctuation mark as one.
fn words(text: &str) -> Vec<String> {
    const MARKS: &[char] = &['(', ')', '{', '}', '[', ']', ';', ',', '='];
    let parts = text.split_inclusive(|letter: char| letter.is_whitespace() || MARKS.contains(&letter));
    let pieces = parts.flat_map(|part| {
        let bare = part.trim_end_matches(|letter: char| letter.is_whitespace() || MARKS.contains(&letter));
        [bare.trim(), part.get(bare.len()..).unwrap_or_default().trim()]
    });
    pieces.filter(|piece| !piece.is_empty()).map(str::to_owned).collect()
}

/// What stands outside of braces, and whether all of them are closed.
fn outside_braces(words: &[String]) -> (Vec<String>, bool) {
    let mut depth = 0_usize;
    let outside = words.iter().filter(|word| match word.as_str() {
        "{" => {
            depth += 1;
            false
        }
        "}" => {
            depth = depth.saturating_sub(1);
            false
        }
        _ => depth == 0,
    });
    let outside = outside.cloned().collect();
    (outside, depth == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "// made by hand\n.version 8.0\n.target sm_86, debug\n.address_size 64\n\
        .visible .global .align 4 .u32 number = 7;\n.const .align 8 .b8 table[3][4];\n.global .v4 .f32 four;\n\
        .visible .entry first(.param .u64 .ptr .global .align 4 there) /* .entry second() */\n\
        {\n.reg .b32 %r<2>;\nld.global.u32 %r1, [there];\n{ ret; }\n}\n.entry third()\n.maxntid 64, 1, 1\n{\nret;\n}\n";

    #[test]
    fn what_stands_outside_of_braces_and_comments_is_declared() {
        let ptx = Ptx::parse(TEXT).unwrap();
        assert!(ptx.kernels.iter().eq(["first", "third"]));
        let variables: Vec<_> = ptx.variables.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        assert_eq!(variables, [("four", 16), ("number", 4), ("table", 12)]);
        assert!(ptx.fits(8, 6) && ptx.fits(9, 0) && !ptx.fits(8, 0));
    }

    #[test]
    fn a_text_that_is_no_ptx_says_why() {
        assert_eq!(Ptx::parse("word\n.version 8.0"), Err(Fault::Foreign));
        assert_eq!(Ptx::parse("// .version 8.0\n"), Err(Fault::Foreign));
        assert_eq!(Ptx::parse(".version 9.1\n.target sm_90"), Err(Fault::TooNew));
        assert_eq!(Ptx::parse(".version 8.0"), Err(Fault::Wrong));
        assert_eq!(Ptx::parse(".version 8.0 .target none"), Err(Fault::Wrong));
        assert_eq!(Ptx::parse(".version 8.0 .target sm_86 .entry cut() { ret;"), Err(Fault::Wrong));
    }

    #[test]
    fn no_text_is_too_strange() {
        for end in (0..TEXT.len()).filter(|end| TEXT.is_char_boundary(*end)) {
            let _ = Ptx::parse(&TEXT[..end]);
            let _ = Ptx::parse(&format!(".version 8.0 .target sm_86 {}", &TEXT[end..]));
        }
        let _ = Ptx::parse("/*/ .version [[[[ ]= {{ .global .v4 .v4 x[99999999999][99999999999];");
    }
}
