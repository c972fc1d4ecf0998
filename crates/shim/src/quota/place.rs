//! A process's place in the ledger: the mapping, the slot, the limits. Kept in memory that fork wipes, so that a child
//! has none and must join by itself.
#![expect(unsafe_code, reason = "the mapping's end")]

use super::file::{File, Identity};
use super::map::Map;
use super::{raise, turn};
use crate::sys;
use firstlight_contract::ledger::{DEVICES, SLOTS, UNIT};

/// Longest path that is kept, with its NUL.
const MAX_PATH: usize = 256;

/// Why a process has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no memory that fork wipes.
    NoMemory,
    /// The path is too long, or does not end with a NUL.
    Path,
    /// The file cannot be opened for reading and writing; the errno.
    Open(i32),
    /// It is no ledger of this version.
    Foreign,
    /// It cannot be mapped; the errno.
    Map(i32),
    /// Its bytes cannot be locked; the errno.
    Lock(i32),
    /// All slots are taken.
    NoSlot,
    /// Another thread is joining, for seconds.
    Busy,
}

/// The place.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) map: Map,
    pub(super) slot: usize,
    /// Units, by device. A device without a limit has 0: enforcement fails closed.
    limits: [u32; DEVICES],
    identity: Identity,
    path: [u8; MAX_PATH],
    path_length: usize,
}

impl Place {
    /// Takes a slot of the ledger at a path.
    pub(super) fn take(path: &[u8], limits: &[u64], token: u64) -> Result<Self, Failure> {
        if path.len() > MAX_PATH || path.last() != Some(&0) {
            return Err(Failure::Path);
        }
        let file = File::open(path).map_err(Failure::Open)?;
        let identity = file.identity().ok_or(Failure::Foreign)?;
        let map = Map::new(file.descriptor()).map_err(Failure::Map)?;
        let slot = match slot(&map, &file) {
            Ok(slot) => slot,
            Err(failure) => {
                // SAFETY: nobody has seen the map.
                unsafe { map.end() };
                return Err(failure);
            }
        };
        map.clear(slot);
        turn::end_of_predecessor(&map, slot);
        map.sign(slot, sys::pid(), token);
        let mut place =
            Self { map, slot, limits: [0; DEVICES], identity, path: [0; MAX_PATH], path_length: path.len() };
        for (to, from) in place.path.iter_mut().zip(path) {
            *to = *from;
        }
        for (to, from) in place.limits.iter_mut().zip(limits) {
            *to = u32::try_from(from / UNIT).unwrap_or(u32::MAX);
        }
        // From here on the mapping alone keeps the lock.
        drop(file);
        raise::sweep(&place);
        Ok(place)
    }

    /// The quota of a device in units.
    #[inline]
    pub(super) fn limit(&self, device: usize) -> u32 {
        self.limits.get(device).copied().unwrap_or(0)
    }

    /// The file, opened as a stranger would; `None` if it is not to be had.
    pub(super) fn file(&self) -> Option<File> {
        File::again(self.path.get(..self.path_length)?, self.identity)
    }

    /// Whether a slot's process lives; also if that cannot be known.
    pub(super) fn is_alive(&self, slot: usize) -> bool {
        self.file().is_none_or(|file| file.is_held(slot))
    }
}

/// Locks a slot: if possible one in which nothing was left, so that nobody takes what the dead left for ours.
fn slot(map: &Map, file: &File) -> Result<usize, Failure> {
    for any in [false, true] {
        for slot in (0..SLOTS).filter(|slot| any || !map.is_dirty(*slot)) {
            if file.take(slot).map_err(Failure::Lock)? {
                return Ok(slot);
            }
        }
    }
    Err(Failure::NoSlot)
}
