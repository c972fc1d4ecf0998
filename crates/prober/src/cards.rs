//! The cards that NVML knows, each with a set of events of its own: an event of a card that is lost does not tell any
//! more whose it is.

use crate::out::Out;
use firstlight_contract::card;
use firstlight_contract::prober::{MAX_CARDS, Message, Xid};
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::event::EventSet;
use nvml_wrapper::{Device, Nvml};
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

/// `NVML_NVLINK_MAX_LINKS` (nvml.h).
const MOST_LINKS: u32 = 18;

/// A card.
pub(crate) struct Card<'nvml> {
    pub(crate) uuid: String,
    pub(crate) pci: Option<String>,
    pub(crate) device: Device<'nvml>,
    /// NVLinks that were up at its first look, by the PCI id of the other end.
    pub(crate) nvlinks: Option<BTreeMap<String, u32>>,
    /// `None`: it reports none, or none any more.
    events: Option<EventSet<'nvml>>,
}

/// All cards.
#[derive(Default)]
pub(crate) struct Cards<'nvml> {
    pub(crate) known: Vec<Card<'nvml>>,
    /// Of those that did not tell who they are: a sentence each.
    pub(crate) nameless: Vec<String>,
}

impl<'nvml> Cards<'nvml> {
    /// Looks who is there, unless that is known already.
    pub(crate) fn refresh(&mut self, nvml: &'nvml Nvml, out: &mut Out) -> io::Result<()> {
        out.asking("nvmlDeviceGetCount", None)?;
        let count = match nvml.device_count() {
            Ok(count) => count,
            Err(error) => {
                self.nameless = vec![format!("NVML does not tell how many cards there are: {error}")];
                return Ok(());
            }
        };
        if self.nameless.is_empty() && u32::try_from(self.known.len()) == Ok(count) {
            return Ok(());
        }
        let mut fresh = Self::default();
        for index in (0..count).take(MAX_CARDS) {
            out.asking("nvmlDeviceGetHandleByIndex", None)?;
            match found(nvml, index) {
                Ok(card) => fresh.known.push(card),
                Err(problem) => fresh.nameless.push(problem),
            }
        }
        *self = fresh;
        Ok(())
    }

    /// The cards in the order in which they are asked: these at the end, one by one, the others before them together.
    pub(crate) fn in_turn(&mut self, last: &[String]) -> Vec<Vec<&mut Card<'nvml>>> {
        let rank = |card: &&mut Card<'_>| last.iter().position(|uuid| *uuid == card.uuid);
        let (mut ends, first): (Vec<_>, Vec<_>) =
            self.known.iter_mut().partition(|card| rank(card).is_some());
        ends.sort_by_key(rank);
        // Where there is no card at all, that is said, too.
        let first = Some(first).filter(|first| !first.is_empty() || ends.is_empty());
        first.into_iter().chain(ends.into_iter().map(|card| vec![card])).collect()
    }

    /// Waits for events of all cards, and says each.
    pub(crate) fn wait(&mut self, interval: Duration, out: &mut Out) -> io::Result<()> {
        let end = Instant::now() + interval;
        let mut left = self.known.iter().filter(|card| card.events.is_some()).count();
        for card in &mut self.known {
            let Some(events) = &card.events else { continue };
            let share =
                end.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(1).max(1);
            left -= 1;
            if !said_all(&card.uuid, events, share, out)? {
                card.events = None;
            }
        }
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        Ok(())
    }
}

/// A card by its number; the error is a sentence.
fn found(nvml: &Nvml, index: u32) -> Result<Card<'_>, String> {
    let problem = |error: NvmlError| format!("NVML does not tell who its card {index} is: {error}");
    let device = nvml.device_by_index(index).map_err(problem)?;
    let uuid = device.uuid().map_err(problem)?;
    let uuid =
        card::uuid(&uuid).ok_or_else(|| format!("NVML calls its card {index} {uuid:?}, which is no UUID"))?;
    let pci = device.pci_info().ok().and_then(|place| card::pci(&place.bus_id));
    let events = events(nvml, &device);
    Ok(Card { uuid, pci, device, nvlinks: None, events })
}

/// How many NVLinks lead to each other end; a card without any, or without this one, answers an error.
pub(crate) fn nvlinks(device: &Device<'_>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for number in 0..MOST_LINKS {
        let link = device.link_wrapper_for(number);
        if !link.is_active().unwrap_or(false) {
            continue;
        }
        if let Some(pci) = link.remote_pci_info().ok().and_then(|place| card::pci(&place.bus_id)) {
            *counts.entry(pci).or_default() += 1;
        }
    }
    counts
}

fn events<'nvml>(nvml: &'nvml Nvml, device: &Device<'nvml>) -> Option<EventSet<'nvml>> {
    let supported = device.supported_event_types().ok()?;
    let wanted = supported & EventTypes::CRITICAL_XID_ERROR;
    if wanted.is_empty() {
        return None;
    }
    device.register_events(wanted, nvml.create_event_set().ok()?).ok()
}

/// Says what comes within this time; false where nothing will come any more.
fn said_all(uuid: &str, events: &EventSet<'_>, time: Duration, out: &mut Out) -> io::Result<bool> {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match events.wait(u32::try_from(left.as_millis()).unwrap_or(u32::MAX)) {
            Ok(event) => {
                let code = match event.event_data {
                    Some(XidError::Value(code)) => code,
                    Some(XidError::Unknown) => 999,
                    None => continue,
                };
                out.say(&Message::Xid(Xid { card: uuid.to_owned(), code }))?;
            }
            Err(NvmlError::Timeout) => {}
            // The next look tells what became of the card.
            Err(_) => return Ok(false),
        }
        if left.is_zero() {
            return Ok(true);
        }
    }
}
