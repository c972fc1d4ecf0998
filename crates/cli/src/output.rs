//! Tables, JSON, YAML. What goes to a terminal as text is escaped here, whoever wrote it.

use firstlight_contract::text::printable;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write;

/// Rows with aligned columns, two spaces apart; the last column is as long as it is.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Indented JSON with a line end.
pub(crate) fn json(value: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{}", serde_json::to_string_pretty(value)?)?;
    Ok(())
}

/// YAML.
pub(crate) fn yaml(value: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    write!(out, "{}", serde_saphyr::to_string(value)?)?;
    Ok(())
}

/// Text in lines of at most `width` characters, each after the first begun with `indent` spaces; words longer
/// than a line stay whole.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split_whitespace().map(printable) {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width.saturating_sub(indent) {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            used = 0;
        } else if used > 0 {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(&word);
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(table(&[row(["A", "B"]), row(["long", "x"])]), "A     B\nlong  x\n");
    }

    #[test]
    fn a_terminal_obeys_no_cell_and_no_word() {
        assert_eq!(table(&[vec!["\u{1b}[2J".to_owned()]]), "\\u{1b}[2J\n");
        assert_eq!(wrap("a\u{1b}[2Jb", 80, 0), "a\\u{1b}[2Jb");
    }

    #[test]
    fn long_text_goes_on_below_its_first_word() {
        assert_eq!(wrap("one two three", 9, 2), "one two\n  three");
    }
}
