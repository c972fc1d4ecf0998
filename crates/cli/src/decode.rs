//! A record file, line by line.

use crate::args::{Decode, Format};
use crate::exit::Exit;
use crate::output::{json, table, yaml};
use anyhow::Context as _;
use firstlight_contract::decode::{Decoder, Entry, Item};
use firstlight_contract::record::Role;
use firstlight_diagnosis::Step;
use firstlight_diagnosis::report::rfc3339;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Record {
        time: String,
        pid: u32,
        tid: u32,
        process: u64,
        sequence: u32,
        kind: &'static str,
        function: u16,
        caller: &'static str,
        result: i32,
        arg0: u64,
        arg1: u64,
        text: String,
        what: String,
    },
    Garbage {
        garbage_bytes: usize,
    },
}

impl Line {
    fn of(item: &Item) -> Self {
        let Item::Entry(entry) = item else {
            let Item::Garbage { bytes } = item else { return Self::Garbage { garbage_bytes: 0 } };
            return Self::Garbage { garbage_bytes: *bytes };
        };
        let record = &entry.record;
        Self::Record {
            time: rfc3339(record.time_ns),
            pid: record.pid,
            tid: record.tid,
            process: record.process,
            sequence: record.sequence,
            kind: record.kind.as_str(),
            function: record.function,
            caller: record.caller.as_str(),
            result: record.result,
            arg0: record.arg0,
            arg1: record.arg1,
            text: entry.text.as_str().to_owned(),
            what: what(entry),
        }
    }

    fn cells(&self) -> Vec<String> {
        match self {
            Self::Record { time, pid, sequence, caller, what, .. } => {
                vec![time.clone(), pid.to_string(), sequence.to_string(), (*caller).to_owned(), what.clone()]
            }
            Self::Garbage { garbage_bytes } => {
                let dash = || "-".to_owned();
                vec![dash(), dash(), dash(), dash(), format!("{garbage_bytes} bytes that are no record")]
            }
        }
    }
}

fn what(entry: &Entry) -> String {
    let Some(step) = Step::of(entry) else { return entry.record.kind.as_str().to_owned() };
    let role = u8::try_from(entry.record.arg0).ok().and_then(Role::from_u8);
    match (entry.record.kind.as_str(), role) {
        ("start", Some(role)) => format!("{} as {}: {}", step.line(), role.as_str(), entry.text.as_str()),
        _ => step.line(),
    }
}

pub(crate) fn decode(args: &Decode, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let lines: Vec<Line> = read(&args.file)?.iter().map(Line::of).collect();
    match args.output {
        Format::Json => json(&lines, out)?,
        Format::Yaml => yaml(&lines, out)?,
        Format::Table | Format::Wide => {
            let mut rows = vec![["TIME", "PID", "NUMBER", "CALLER", "WHAT"].map(str::to_owned).to_vec()];
            rows.extend(lines.iter().map(Line::cells));
            write!(out, "{}", table(&rows))?;
        }
    }
    Ok(Exit::Ok)
}

/// Decodes a file, piece by piece; `-` is standard input.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Item>> {
    let mut input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot open the record file {}", path.display()))?)
    };
    let mut decoder = Decoder::new();
    let mut items = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = input.read(&mut piece).with_context(|| format!("cannot read {}", path.display()))?;
        if length == 0 {
            break;
        }
        items.extend(decoder.push(piece.get(..length).unwrap_or(&[])));
    }
    items.extend(decoder.finish());
    Ok(items)
}
