//! The catalogue of causes.

use crate::args::{Explain, Format};
use crate::exit::Exit;
use crate::output::{json, table, wrap, yaml};
use anyhow::bail;
use firstlight_diagnosis::Cause;
use serde::Serialize;
use std::io::Write;

const WIDTH: usize = 110;

#[derive(Serialize)]
struct Row {
    id: &'static str,
    reason: &'static str,
    stage: String,
    what: &'static str,
    evidence: &'static str,
    looks_alike: &'static str,
    fix: &'static str,
    applies_to: &'static str,
    decided_by: &'static str,
    references: &'static [&'static str],
}

impl Row {
    fn of(cause: Cause) -> Self {
        let row = cause.row();
        Self {
            id: row.id,
            reason: row.reason,
            stage: row.stage.to_string(),
            what: row.what,
            evidence: row.evidence,
            looks_alike: row.alike,
            fix: row.fix,
            applies_to: row.era,
            decided_by: row.seen_by,
            references: row.references,
        }
    }
}

pub(crate) fn explain(args: &Explain, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Some(id) = &args.cause else { return list(args.output, out) };
    let Some(cause) = find(id) else {
        let nearest = nearest(id);
        let hint = nearest.map_or_else(String::new, |cause| format!("; did you mean {cause}?"));
        bail!("no cause is called {id:?}{hint} `kubectl firstlight explain` lists them all");
    };
    let row = Row::of(cause);
    match args.output {
        Format::Json => json(&row, out)?,
        Format::Yaml => yaml(&row, out)?,
        Format::Table | Format::Wide => write!(out, "{}", text(&row))?,
    }
    Ok(Exit::Ok)
}

fn list(format: Format, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let rows: Vec<Row> = Cause::ALL.iter().copied().map(Row::of).collect();
    match format {
        Format::Json => json(&rows, out)?,
        Format::Yaml => yaml(&rows, out)?,
        Format::Table | Format::Wide => {
            let mut cells = vec![["CAUSE", "FAILS AT", "WHAT"].map(str::to_owned).to_vec()];
            cells.extend(
                rows.iter().map(|row| vec![row.id.to_owned(), row.stage.clone(), row.what.to_owned()]),
            );
            write!(out, "{}", table(&cells))?;
        }
    }
    Ok(Exit::Ok)
}

/// By id, or by the CamelCase reason of a pod condition.
fn find(name: &str) -> Option<Cause> {
    Cause::ALL.iter().copied().find(|cause| cause.id() == name || cause.reason() == name)
}

/// The id with the smallest edit distance, if that is small enough to be a slip.
fn nearest(name: &str) -> Option<Cause> {
    let near =
        Cause::ALL.iter().map(|cause| (distance(name, cause.id()), *cause)).min_by_key(|(far, _)| *far);
    let part = Cause::ALL.iter().copied().find(|cause| name.len() >= 4 && cause.id().contains(name));
    near.filter(|(far, _)| *far <= name.len() / 3).map(|(_, cause)| cause).or(part)
}

/// Levenshtein's distance, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut corner = index;
        let mut before = index + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(right.chars()) {
            let changed = corner + usize::from(from != to);
            corner = *cell;
            *cell = changed.min(before + 1).min(*cell + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

fn text(row: &Row) -> String {
    let line = |label: &str, text: &str| format!("{label:13}{}\n", wrap(text, WIDTH, 13));
    let mut text = line("cause", row.id)
        + &line("what", row.what)
        + &line("fails at", &row.stage)
        + &line("condition", row.reason)
        + &line("evidence", row.evidence)
        + &line("looks alike", row.looks_alike)
        + &line("fix", row.fix)
        + &line("applies to", row.applies_to)
        + &line("decided by", row.decided_by);
    for reference in row.references {
        text += &line("see", reference);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_understood() {
        assert_eq!(nearest("driver-int-failed"), Some(Cause::DriverInitFailed));
        assert_eq!(nearest("fabric"), Some(Cause::FabricNotReady));
        assert_eq!(nearest("xyzzy"), None);
    }

    #[test]
    fn the_distance_counts_changes() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_condition_s_reason_is_a_name_too() {
        assert_eq!(find("DriverTooOld"), Some(Cause::DriverTooOld));
    }
}
