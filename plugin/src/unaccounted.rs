//! Memory of cards that no quota counts: what NVML says is in use, less what the processes of the grants on the card say
//! they hold. Pure.
//!
//! The two are seen up to a look of the prober's apart, and the shim charges a context what it seldom is to the byte:
//! a difference below nothing is none, and one that lasts is the finding.

use crate::book::Id;
use crate::book::series::escape;
use crate::inventory::Snapshot;
use crate::inventory::nvidia::told::Told;
use crate::ledgers::Used;
use firstlight_contract::metrics::{Metric, table};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A grant with a ledger, and the UUIDs of its devices in the ledger's order.
pub type LedgerOf = (Id, Vec<String>);

/// Bytes by the UUID of a card. One that NVML told nothing of, or too long ago, is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unaccounted(BTreeMap<String, u64>);

impl Unaccounted {
    /// Of the cards of these pools that are given in parts with a quota. A ledger that cannot be read counts nothing:
    /// what its container holds is then nobody's.
    pub fn of<'a>(
        pools: impl IntoIterator<Item = &'a Snapshot>,
        told: &Told,
        ledgers: &[LedgerOf],
        used: &Used,
    ) -> Self {
        let mut held: BTreeMap<&str, u64> = BTreeMap::new();
        for (id, cards) in ledgers {
            for (card, bytes) in cards.iter().zip(used.get(id).into_iter().flatten()) {
                let sum = held.entry(card).or_default();
                // Tenants write their ledgers: a wrong one does not overflow ours.
                *sum = sum.saturating_add(*bytes);
            }
        }
        let devices = pools.into_iter().flat_map(|pool| &pool.devices);
        let divided = devices.filter(|device| device.units.iter().any(|unit| unit.quota_bytes.is_some()));
        let of_one = |name: &str| {
            let memory = told.look(name)?.memory?;
            Some((name.to_owned(), memory.used.saturating_sub(held.get(name).copied().unwrap_or(0))))
        };
        Self(divided.filter_map(|device| of_one(&device.name)).collect())
    }

    /// Appends the series.
    pub fn write_series(&self, out: &mut String) {
        let Metric { name, kind, help, .. } = table::UNACCOUNTED;
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
        for (card, bytes) in &self.0 {
            let _ = writeln!(out, "{name}{{device=\"{}\"}} {bytes}", escape(card));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::nvidia::told::ToldCard;
    use crate::inventory::{Driver, Health, Links, PoolDevice, Unit};
    use firstlight_contract::prober::{Card, Memory};

    const GIB: u64 = 1 << 30;

    /// A pool of these cards, each in two parts with or without a quota.
    fn pool(cards: &[&str], quota_bytes: Option<u64>) -> Snapshot {
        let part = |card: &str, index| Unit { id: format!("{card}::{index}"), quota_bytes };
        let device = |card: &&str| PoolDevice {
            name: (*card).to_owned(),
            health: Health::Healthy,
            numa: None,
            links: Links::default(),
            granted: None,
            nodes: Vec::new(),
            units: vec![part(card, 0), part(card, 1)],
        };
        let devices = cards.iter().map(device).collect();
        Snapshot { driver: Driver::Foreign, devices, remark: None }
    }

    fn told(cards: &[(&str, u64)]) -> Told {
        let card = |(uuid, used): &(&str, u64)| {
            let memory = Some(Memory { total: 48 * GIB, reserved: 0, used: *used });
            let look = Some(Card { uuid: (*uuid).to_owned(), memory, ..Card::default() });
            ((*uuid).to_owned(), ToldCard { look, ..ToldCard::default() })
        };
        Told { cards: cards.iter().map(card).collect(), hangs: None }
    }

    fn ledger(id: &str, cards: &[&str]) -> LedgerOf {
        (Id::from(id), cards.iter().map(|card| (*card).to_owned()).collect())
    }

    fn bytes(found: &Unaccounted) -> Vec<(&str, u64)> {
        found.0.iter().map(|(card, bytes)| (card.as_str(), *bytes)).collect()
    }

    #[test]
    fn what_the_grants_of_a_card_hold_together_is_accounted_for_card_by_card() {
        let pools = [pool(&["A", "B"], Some(GIB))];
        let ledgers = [ledger("1", &["A"]), ledger("2", &["B", "A"]), ledger("unread", &["A"])];
        let used = Used::from([(Id::from("1"), vec![GIB]), (Id::from("2"), vec![2 * GIB, 3 * GIB])]);
        let found = Unaccounted::of(&pools, &told(&[("A", 9 * GIB), ("B", 2 * GIB)]), &ledgers, &used);
        assert_eq!(bytes(&found), [("A", 5 * GIB), ("B", 0)]);
    }

    #[test]
    fn more_in_the_ledgers_than_in_use_is_nothing_and_not_less() {
        let ledgers = [ledger("1", &["A"]), ledger("2", &["A"])];
        let used = Used::from([(Id::from("1"), vec![u64::MAX]), (Id::from("2"), vec![GIB])]);
        let found = Unaccounted::of(&[pool(&["A"], Some(GIB))], &told(&[("A", GIB)]), &ledgers, &used);
        assert_eq!(bytes(&found), [("A", 0)]);
    }

    #[test]
    fn a_card_that_nvml_does_not_tell_of_and_one_without_quotas_are_missing() {
        let pools = [pool(&["silent", "nameless"], Some(GIB)), pool(&["whole"], None)];
        let mut told = told(&[("whole", GIB), ("silent", GIB), ("elsewhere", GIB)]);
        // Its memory stays known when the look is too old.
        told.cards
            .insert("silent".to_owned(), ToldCard { memory_bytes: Some(48 * GIB), ..ToldCard::default() });
        assert_eq!(Unaccounted::of(&pools, &told, &[], &Used::new()), Unaccounted::default());
    }

    #[test]
    fn a_card_of_two_pools_has_one_series() {
        let pools = [pool(&["A"], Some(GIB)), pool(&["A"], Some(2 * GIB))];
        let mut text = String::new();
        Unaccounted::of(&pools, &told(&[("A", 7)]), &[], &Used::new()).write_series(&mut text);
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(series, ["firstlight_unaccounted_bytes{device=\"A\"} 7"]);
    }
}
