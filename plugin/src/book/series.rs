//! Series of pods as Prometheus text, written at scrape time from the grants that exist: they are born with a
//! grant and go with it. Written by hand, because a thousand grants as metric objects would be megabytes.

use super::{Book, Entry, Id, Inner};
use crate::grants::Owner;
use crate::ledgers::Used;
use crate::unaccounted::LedgerOf;
use firstlight_contract::metrics::{Metric, Outcome, table};
use std::fmt::Write as _;

impl Book {
    /// Appends the series of all containers. What they use was read before: the lock is not held while the disk is read.
    pub fn write_series(&self, out: &mut String, used: &Used) {
        let inner = self.lock();
        // Writing to a string cannot fail.
        let _ = inner.write_series(out, used);
    }

    /// All grants with a ledger, whoever owns them: one whose pod is not known yet may hold memory, too.
    pub fn ledgers(&self) -> Vec<LedgerOf> {
        let has_quota = |entry: &Entry| entry.devices.iter().any(|device| device.quota_bytes.is_some());
        let ledger = |entry: &Entry| {
            let cards = entry.devices.iter().map(|device| device.uuid.clone());
            (entry.held.id.clone(), cards.collect())
        };
        let inner = self.lock();
        inner.grants.values().filter(|entry| has_quota(entry)).map(|entry| ledger(entry)).collect()
    }

    /// The containers with a quota.
    pub fn counted(&self) -> Vec<Counted> {
        let inner = self.lock();
        let has_quota =
            |(_, entry): &(&Owner, &Entry)| entry.devices.iter().any(|device| device.quota_bytes.is_some());
        let counted = |(owner, entry): (&Owner, &Entry)| Counted {
            id: entry.held.id.clone(),
            namespace: owner.namespace.clone(),
            pod: owner.pod.clone(),
            container: owner.container.clone(),
            quotas: entry.devices.iter().map(|device| (device.uuid.clone(), device.quota_bytes)).collect(),
        };
        inner.shown().filter(has_quota).map(counted).collect()
    }
}

/// A container with a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its grant.
    pub id: Id,
    /// Namespace of its pod.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Its name.
    pub container: String,
    /// UUID and quota of each of its devices.
    pub quotas: Vec<(String, Option<u64>)>,
}

type Line<'a> = (String, f64);

impl Inner {
    fn write_series(&self, out: &mut String, used: &Used) -> std::fmt::Result {
        self.family(out, &table::CUDA_INIT_TOTAL, |entry| {
            let outcomes = Outcome::ALL.iter().zip(entry.judged.counts);
            outcomes.map(|(outcome, count)| (label("outcome", outcome.as_str()), as_f64(count))).collect()
        })?;
        self.family(out, &table::CUDA_INIT_STAGE, |entry| {
            vec![(String::new(), f64::from(entry.judged.stage))]
        })?;
        self.family(out, &table::CUDA_INIT_FAILURE_INFO, |entry| {
            let failed = entry.judged.settled.filter(|settled| settled.outcome == Outcome::Failure);
            failed.map(|settled| (label("cause", settled.cause.id()), 1.0)).into_iter().collect()
        })?;
        self.family(out, &table::GPU_IN_USE, |entry| {
            vec![(String::new(), f64::from(u8::from(entry.judged.in_use)))]
        })?;
        self.family(out, &table::LAST_LAUNCH, |entry| {
            let last = entry.judged.last_launch_ns;
            last.map(|ns| (String::new(), as_f64(ns) / 1e9)).into_iter().collect()
        })?;
        self.family(out, &table::MEMORY_QUOTA, |entry| {
            let quota = |device: &firstlight_contract::grant::Device| {
                let bytes = device.quota_bytes.or(device.memory_bytes)?;
                Some((label("device", &device.uuid), as_f64(bytes)))
            };
            entry.devices.iter().filter_map(quota).collect()
        })?;
        self.family(out, &table::MEMORY_USED, |entry| {
            let Some(used) = used.get(&entry.held.id) else { return Vec::new() };
            let devices = entry.devices.iter().zip(used);
            let counted = devices.filter(|(device, _)| device.quota_bytes.is_some());
            counted.map(|(device, used)| (label("device", &device.uuid), as_f64(*used))).collect()
        })
    }

    fn family(
        &self,
        out: &mut String,
        metric: &Metric,
        lines: impl Fn(&Entry) -> Vec<Line<'_>>,
    ) -> std::fmt::Result {
        let Metric { name, kind, help, .. } = metric;
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str())?;
        for (owner, entry) in self.shown() {
            for (extra, value) in lines(entry) {
                write!(out, "{name}{{")?;
                write_owner(out, owner, entry)?;
                writeln!(out, "{extra}}} {value}")?;
            }
        }
        Ok(())
    }
}

fn write_owner(out: &mut String, owner: &Owner, entry: &Entry) -> std::fmt::Result {
    let labels = [
        ("namespace", owner.namespace.as_str()),
        ("pod", &owner.pod),
        ("container", &owner.container),
        ("kind", entry.kind.as_str()),
    ];
    for (index, (key, value)) in labels.into_iter().enumerate() {
        write!(out, "{}{key}=\"{}\"", if index == 0 { "" } else { "," }, escape(value))?;
    }
    Ok(())
}

fn label(key: &str, value: &str) -> String {
    format!(",{key}=\"{}\"", escape(value))
}

/// A label's value, between its quotes.
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are doubles")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_value_cannot_end_its_quotes() {
        assert_eq!(escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
