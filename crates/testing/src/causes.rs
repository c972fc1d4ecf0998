//! The table of causes that were made to happen: cause, how, verdict, and the look-alike beside it. Rows come from tests of
//! several crates, each into a file of its own; `make test` prints them all.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What a test made happen, and what was concluded from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made<'a> {
    /// How, in a few words.
    pub how: &'a str,
    /// The cause's id.
    pub cause: &'a str,
    /// `certain`, `likely` or `unknown`.
    pub confidence: &'a str,
}

/// What a row is not: the verdict, or its look-alike's, is another one.
#[derive(Debug)]
pub struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// Holds a row against what was wanted, and keeps it for the table. `tmp` is `CARGO_TARGET_TMPDIR` of the test.
pub fn row(tmp: &str, cause: &str, made: &Made<'_>, twin: &str, other: &Made<'_>) -> Result<(), Wrong> {
    let check = |wanted: &str, made: &Made<'_>| {
        let said = format!("{:?} gave {} ({}), not {wanted}", made.how, made.cause, made.confidence);
        if made.cause == wanted { Ok(()) } else { Err(Wrong(said)) }
    };
    check(cause, made)?;
    check(twin, other)?;
    if cause == twin {
        return Err(Wrong(format!("{cause} is its own look-alike")));
    }
    let line = format!("{cause}\t{}\t{}\t{twin}\t{}\n", made.confidence, made.how, other.how);
    keep(tmp, cause, &line).map_err(|error| Wrong(format!("cannot keep the row: {error}")))
}

/// The folder of rows beside a target's temporary folder.
pub fn folder(tmp: &str) -> PathBuf {
    Path::new(tmp).with_file_name("causes")
}

fn keep(tmp: &str, cause: &str, line: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder(tmp))?;
    std::fs::write(folder(tmp).join(format!("{cause}.tsv")), line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made<'a>(how: &'a str, cause: &'a str) -> Made<'a> {
        Made { how, cause, confidence: "likely" }
    }

    #[test]
    fn a_row_with_another_verdict_or_another_look_alike_is_wrong_and_not_kept() {
        let base = std::env::temp_dir().join(format!("firstlight-causes-{}", std::process::id()));
        let tmp = base.join("tmp").to_str().unwrap_or_default().to_owned();
        let row = |said, twin| row(&tmp, "a", &made("x", said), "b", &made("y", twin));
        assert!(row("b", "b").is_err());
        assert!(row("a", "a").is_err());
        assert!(!folder(&tmp).exists());
        assert!(row("a", "b").is_ok());
        assert!(folder(&tmp).join("a.tsv").exists());
        let _ = std::fs::remove_dir_all(base);
    }
}
