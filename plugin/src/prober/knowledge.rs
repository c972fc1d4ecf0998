//! What the prober said so far, and what of it counts now. Clocks are passed in.
//!
//! | what was said | counts |
//! |---|---|
//! | a look | for 30 s; the memory in it for ever, over our restart, too |
//! | NVML hangs | until a look comes; for two minutes if the prober says nothing more |
//! | an Xid | until twelve good looks (a minute) came without another one; one that asks for a reset until the driver is gone or we are |
//! | an Xid that is the application's own | never: it is logged |

use crate::inventory::nvidia::told::{Told, ToldCard, named, until_reset};
use firstlight_contract::prober::{
    Card, Failure, FailureKind, Look, MAX_CARDS, Memory, Message, Silent, Xid,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A look that is older is no knowledge.
const FRESH: Duration = Duration::from_secs(30);
/// NVML that hung, and of which nothing was heard since.
const HANGS: Duration = Duration::from_mins(2);
/// Good looks in a row after which an error of the driver is over.
const GOOD_LOOKS: u32 = 12;
/// Errors that the application on a card makes, and that the card survives.
pub const APPLICATIONS_OWN: [u64; 6] = [13, 31, 43, 45, 68, 109];

/// What is known of the cards through the prober.
#[derive(Debug)]
pub struct Knowledge {
    /// Errors that count against no card.
    ignored: BTreeSet<u64>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cards: BTreeMap<String, Heard>,
    hangs: Option<(Silent, Instant)>,
    /// The sentences that stand: each is said when it becomes true, not at each look.
    said: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Heard {
    memory_bytes: Option<u64>,
    look: Option<(Card, Instant)>,
    xid: Option<Mark>,
    hangs: Option<(Silent, Instant)>,
}

/// An error of the driver.
#[derive(Debug)]
struct Mark {
    code: u64,
    good: u32,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self::new(APPLICATIONS_OWN)
    }
}

impl Knowledge {
    /// Nothing is known; these errors of the driver never count.
    pub fn new(ignored: impl IntoIterator<Item = u64>) -> Self {
        Self { ignored: ignored.into_iter().collect(), inner: Mutex::default() }
    }

    /// Takes a message; what is new in it, a sentence each.
    pub fn hear(&self, message: Message, now: Instant) -> Vec<String> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            Message::Asking(_) => Vec::new(),
            Message::Look(look) => inner.look(look, now),
            Message::Nothing(why) => inner.news([format!("the prober does not reach NVML: {why}")]),
            Message::Silent(silent) => inner.silent(silent, now),
            Message::Xid(xid) => inner.xid(&xid, self.ignored.contains(&xid.code)),
        }
    }

    /// Takes what was known of cards' memory before we started.
    pub fn remember(&self, memory: &BTreeMap<String, u64>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for (uuid, bytes) in memory {
            if let Some(heard) = inner.card(uuid) {
                heard.memory_bytes.get_or_insert(*bytes);
            }
        }
    }

    /// All cards' memory in bytes, as far as it was ever told.
    pub fn memory(&self) -> BTreeMap<String, u64> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |(uuid, heard): (&String, &Heard)| Some((uuid.clone(), heard.memory_bytes?));
        inner.cards.iter().filter_map(known).collect()
    }

    /// What counts now.
    pub fn told(&self, now: Instant) -> Told {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |heard: &Heard| ToldCard {
            memory_bytes: heard.memory_bytes,
            look: younger(heard.look.as_ref(), now, FRESH),
            xid: heard.xid.as_ref().map(|mark| mark.code),
            hangs: younger(heard.hangs.as_ref(), now, HANGS),
        };
        let cards = inner.cards.iter().map(|(uuid, heard)| (uuid.clone(), told(heard)));
        Told { cards: cards.collect(), hangs: younger(inner.hangs.as_ref(), now, HANGS) }
    }

    /// The kernel module was unloaded: what it reported of cards is over.
    pub fn driver_gone(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.cards.values_mut().for_each(|heard| heard.xid = None);
    }
}

fn younger<T: Clone>(said: Option<&(T, Instant)>, now: Instant, limit: Duration) -> Option<T> {
    said.filter(|(_, at)| now.saturating_duration_since(*at) <= limit).map(|(what, _)| what.clone())
}

/// That NVML hangs, and at what.
fn hanging(silent: &Silent) -> String {
    let asking = silent.asking.clone().unwrap_or_default();
    let about = asking.card.map(|uuid| format!(" about {uuid}")).unwrap_or_default();
    format!("NVML hangs: it does not answer {}{about}", asking.call)
}

impl Inner {
    /// These sentences stand now, and no others; the new ones among them.
    fn news(&mut self, sentences: impl IntoIterator<Item = String>) -> Vec<String> {
        let sentences: BTreeSet<String> = sentences.into_iter().collect();
        let new = sentences.difference(&self.said).cloned().collect();
        self.said = sentences;
        new
    }

    /// A card by its name; `None` for one more than any machine has.
    fn card(&mut self, uuid: &str) -> Option<&mut Heard> {
        let room = self.cards.len() < MAX_CARDS || self.cards.contains_key(uuid);
        room.then(|| self.cards.entry(uuid.to_owned()).or_default())
    }

    fn look(&mut self, look: Look, now: Instant) -> Vec<String> {
        let mut sentences =
            vec![format!("NVML of driver {} tells of {} cards", look.driver, look.cards.len())];
        sentences.extend(look.nameless);
        self.hangs = None;
        for card in look.cards {
            if let Some(Failure { kind: FailureKind::Other, call, words }) = &card.failure {
                sentences.push(format!("NVML tells nothing of {}: {call}: {words}", card.uuid));
            }
            let Some(heard) = self.card(&card.uuid) else { continue };
            heard.hangs = None;
            heard.memory_bytes = card.memory.map(Memory::usable).or(heard.memory_bytes);
            if let (Some(mark), None) = (&mut heard.xid, &card.failure) {
                mark.good = mark.good.saturating_add(1);
                if mark.good >= GOOD_LOOKS && !until_reset(mark.code) {
                    heard.xid = None;
                }
            }
            heard.look = Some((card, now));
        }
        let hangs = self.cards.values().filter_map(|heard| heard.hangs.as_ref());
        sentences.extend(hangs.map(|(silent, _)| hanging(silent)));
        self.news(sentences)
    }

    fn silent(&mut self, silent: Silent, now: Instant) -> Vec<String> {
        let sentences: Vec<String> = self.said.iter().cloned().chain([hanging(&silent)]).collect();
        // The others are as good as they were: one that hangs alone takes none with it.
        let card = silent.asking.as_ref().and_then(|asking| asking.card.clone());
        match card.and_then(|uuid| self.card(&uuid)) {
            Some(heard) => heard.hangs = Some((silent, now)),
            None => self.hangs = Some((silent, now)),
        }
        self.news(sentences)
    }

    fn xid(&mut self, xid: &Xid, ignored: bool) -> Vec<String> {
        let what = format!("the driver reported {} of {}", named(xid.code), xid.card);
        if ignored {
            return vec![format!("{what}: an application's own, which the card survives")];
        }
        if let Some(heard) = self.card(&xid.card) {
            // A later error does not make an earlier one less severe.
            let stays =
                heard.xid.as_ref().is_some_and(|mark| until_reset(mark.code) && !until_reset(xid.code));
            if !stays {
                heard.xid = Some(Mark { code: xid.code, good: 0 });
            }
        }
        vec![what]
    }
}

#[cfg(test)]
mod tests;
