//! The offenders that are known: a bounded number, and nothing else of the cluster. Pure.

use super::judge::{Offence, Why};
use super::object::{Kind, Object};
use std::collections::BTreeMap;

/// How many are kept. What comes beyond them is counted, and found again by a later list.
pub const MOST: usize = 1000;

/// An offender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offender {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// What is wrong.
    pub offence: Offence,
}

/// An offender that is kept.
#[derive(Debug)]
struct Entry {
    kind: Kind,
    namespace: String,
    name: String,
    why: Why,
    /// What is still to be told.
    note: Option<String>,
    /// The list or watch that saw it last.
    list: u64,
}

/// All that are known, by UID.
#[derive(Debug, Default)]
pub struct Offenders {
    entries: BTreeMap<String, Entry>,
    lists: [u64; Kind::ALL.len()],
    rest: [usize; Kind::ALL.len()],
    changed: bool,
}

impl Offenders {
    /// A list of this kind begins.
    pub fn begin(&mut self, kind: Kind) {
        // Places in arrays of one element a kind.
        if let (Some(list), Some(rest)) =
            (self.lists.get_mut(kind as usize), self.rest.get_mut(kind as usize))
        {
            *list += 1;
            *rest = 0;
        }
    }

    /// The list of this kind is complete: what it did not hold is gone.
    pub fn listed(&mut self, kind: Kind) {
        let list = self.list(kind);
        self.entries.retain(|_, entry| entry.kind != kind || entry.list == list);
        self.changed = true;
    }

    /// An object was looked at.
    pub fn looked(&mut self, kind: Kind, object: &Object, offence: Option<Offence>) {
        let Some(offence) = offence else { return self.gone(object) };
        let list = self.list(kind);
        let full = self.entries.len() >= MOST;
        match self.entries.get_mut(object.uid()) {
            Some(entry) => {
                entry.list = list;
                if entry.why != offence.why {
                    self.changed = true;
                    entry.why = offence.why;
                    entry.note = Some(offence.note);
                }
            }
            None if full => {
                self.changed = true;
                if let Some(rest) = self.rest.get_mut(kind as usize) {
                    *rest += 1;
                }
            }
            None => {
                let entry = Entry {
                    kind,
                    namespace: object.namespace().to_owned(),
                    name: object.name().to_owned(),
                    why: offence.why,
                    note: Some(offence.note),
                    list,
                };
                self.entries.insert(object.uid().to_owned(), entry);
                self.changed = true;
            }
        }
    }

    /// It could not be looked at: what is known of it stays.
    pub fn not_seen(&mut self, kind: Kind, object: &Object) {
        let list = self.list(kind);
        if let Some(entry) = self.entries.get_mut(object.uid()) {
            entry.list = list;
        }
    }

    /// It was deleted, or cured.
    pub fn gone(&mut self, object: &Object) {
        self.changed |= self.entries.remove(object.uid()).is_some();
    }

    /// Whether something has changed since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Those of which nobody was told yet.
    pub fn untold(&self) -> Vec<Offender> {
        let untold = self.entries.iter().filter_map(|(uid, entry)| {
            Some(Offender {
                kind: entry.kind,
                namespace: entry.namespace.clone(),
                name: entry.name.clone(),
                uid: uid.clone(),
                offence: Offence { why: entry.why, note: entry.note.clone()? },
            })
        });
        untold.collect()
    }

    /// It was told.
    pub fn told(&mut self, offender: &Offender) {
        if let Some(entry) =
            self.entries.get_mut(&offender.uid).filter(|entry| entry.why == offender.offence.why)
        {
            entry.note = None;
        }
    }

    /// How many there are, by namespace and kind.
    pub fn counts(&self) -> BTreeMap<(&str, Kind), i64> {
        let mut counts = BTreeMap::new();
        for entry in self.entries.values() {
            *counts.entry((entry.namespace.as_str(), entry.kind)).or_default() += 1;
        }
        counts
    }

    /// How many of this kind were found and not kept. One that changes before the next list counts again.
    pub fn rest(&self, kind: Kind) -> usize {
        self.rest.get(kind as usize).copied().unwrap_or_default()
    }

    fn list(&self, kind: Kind) -> u64 {
        self.lists.get(kind as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(uid: usize) -> Object {
        let metadata = json!({"namespace": "ai", "name": format!("p-{uid}"), "uid": uid.to_string()});
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn offence(why: Why) -> Offence {
        Offence { why, note: why.as_str().to_owned() }
    }

    fn found(offenders: &mut Offenders, kind: Kind, uid: usize) {
        offenders.looked(kind, &object(uid), Some(offence(Why::Passed)));
    }

    fn count(offenders: &Offenders) -> i64 {
        offenders.counts().values().sum()
    }

    #[test]
    fn an_offender_is_told_once_and_again_for_another_reason() {
        let mut offenders = Offenders::default();
        found(&mut offenders, Kind::Pod, 1);
        let untold = offenders.untold();
        assert_eq!((untold.len(), untold[0].name.as_str()), (1, "p-1"));
        offenders.told(&untold[0]);
        found(&mut offenders, Kind::Pod, 1);
        assert!(offenders.untold().is_empty());
        offenders.looked(Kind::Pod, &object(1), Some(offence(Why::Excluded)));
        assert_eq!(offenders.untold()[0].offence.note, "excluded");
        // What was told meanwhile was the older reason.
        offenders.told(&untold[0]);
        assert_eq!(offenders.untold().len(), 1);
    }

    #[test]
    fn one_that_is_deleted_or_cured_leaves() {
        let mut offenders = Offenders::default();
        found(&mut offenders, Kind::Pod, 1);
        found(&mut offenders, Kind::Deployment, 2);
        assert!(offenders.take_changed() && !offenders.take_changed());
        assert_eq!(offenders.counts(), [(("ai", Kind::Pod), 1), (("ai", Kind::Deployment), 1)].into());
        offenders.gone(&object(1));
        offenders.looked(Kind::Deployment, &object(2), None);
        assert_eq!(count(&offenders), 0);
        assert!(offenders.take_changed());
        offenders.gone(&object(3));
        assert!(!offenders.take_changed(), "nearly all objects are none");
    }

    #[test]
    fn what_a_new_list_does_not_hold_leaves_and_other_kinds_stay() {
        let mut offenders = Offenders::default();
        found(&mut offenders, Kind::Deployment, 9);
        for uid in [1, 2, 3] {
            found(&mut offenders, Kind::Pod, uid);
        }
        offenders.begin(Kind::Pod);
        found(&mut offenders, Kind::Pod, 2);
        offenders.not_seen(Kind::Pod, &object(3));
        assert_eq!(count(&offenders), 4, "until the list is complete, nothing is gone");
        offenders.listed(Kind::Pod);
        assert_eq!(offenders.counts(), [(("ai", Kind::Pod), 2), (("ai", Kind::Deployment), 1)].into());
    }

    #[test]
    fn beyond_the_bound_they_are_counted_until_a_list_finds_room() {
        let mut offenders = Offenders::default();
        for uid in 0..MOST + 5 {
            found(&mut offenders, Kind::Pod, uid);
        }
        assert_eq!((offenders.entries.len(), offenders.rest(Kind::Pod)), (MOST, 5));
        found(&mut offenders, Kind::Pod, 0);
        assert_eq!(offenders.rest(Kind::Pod), 5, "one that is kept needs no room");
        offenders.begin(Kind::Pod);
        for uid in 10..MOST + 5 {
            found(&mut offenders, Kind::Pod, uid);
        }
        offenders.listed(Kind::Pod);
        assert_eq!(offenders.entries.len(), MOST - 10);
        assert_eq!(offenders.rest(Kind::Pod), 5, "there was no room while the list went on");
    }
}
