//! With what memory ends: contexts, graphs, modules. Each has a tag, which charges carry; when it ends, what carries its
//! tag is given back. In memory that fork wipes: a child has none of its parent's.
#![expect(unsafe_code, reason = "asks the driver; a table in memory of its own")]

use super::{Name, ask, devices, key};
use crate::rows::id_of;
use crate::sys::shared;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Owners at a time; memory of those beyond is given back when it is freed, or when the process ends.
const MOST: usize = 4096;
/// Memory with this tag is nobody's.
pub(super) const NOBODY: u16 = u16::MAX;

/// Whom memory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The device in the quota.
    pub device: usize,
    /// The tag of a context, graph or module.
    pub tag: u16,
}

impl Owner {
    /// Of memory that ends with nothing but its free.
    pub(super) fn nobody(device: usize) -> Self {
        Self { device, tag: NOBODY }
    }
}

/// An owner; zeroes are none.
struct Known {
    /// The key of its handle.
    name: AtomicU64,
    /// The number of its device and one; 0: a device without a quota.
    device: AtomicU32,
    /// The tag that it stands for, and one; 0: it stands for itself.
    link: AtomicU32,
}

struct Table {
    known: [Known; MOST],
    /// Places that were ever used.
    used: AtomicU32,
}

static TABLE: AtomicPtr<Table> = AtomicPtr::new(null_mut());

fn table() -> Option<&'static Table> {
    let table = shared::once(&TABLE, 1, shared::forgetful)?;
    // SAFETY: mapped here, never given back; zeroes are valid.
    Some(unsafe { &*table })
}

impl Table {
    fn places(&self) -> impl Iterator<Item = (u16, &Known)> {
        (0_u16..).zip(self.known.iter().take(self.used.load(SeqCst) as usize))
    }

    fn place(&self, name: u64) -> Option<(u16, &Known)> {
        self.places().find(|(_, known)| known.name.load(Relaxed) == name)
    }
}

impl Known {
    fn device(&self) -> Option<usize> {
        (self.device.load(Relaxed) as usize).checked_sub(1)
    }
}

/// Enters an owner, if it is not known; its tag.
pub(super) fn enter(name: Name, handle: usize, device: Option<usize>) -> u16 {
    let (Some(table), name) = (table(), key(name, handle)) else { return NOBODY };
    let word = device.map_or(0, |device| u32::try_from(device).unwrap_or(0).wrapping_add(1));
    if let Some((tag, known)) = table.place(name) {
        known.device.store(word, SeqCst);
        return tag;
    }
    for (tag, known) in (0_u16..).zip(&table.known) {
        if known.name.compare_exchange(0, name, SeqCst, SeqCst).is_ok() {
            known.device.store(word, SeqCst);
            table.used.fetch_max(u32::from(tag).wrapping_add(1), SeqCst);
            return tag;
        }
    }
    NOBODY
}

/// The owner of a handle: whom its memory belongs to. `None` if it is not known, or its device has no quota.
pub(super) fn find(name: Name, handle: usize) -> Option<Owner> {
    let (tag, known) = table()?.place(key(name, handle))?;
    Some(Owner { device: known.device()?, tag })
}

/// Forgets an owner whose memory has been given back.
pub(super) fn forget(tag: u16) {
    if let Some(known) = table().and_then(|table| table.known.get(usize::from(tag))) {
        known.name.store(0, SeqCst);
    }
}

/// Remembers that a number stands for an owner.
pub(super) fn link(name: Name, number: usize, tag: u16, device: usize) {
    let link = enter(name, number, Some(device));
    if let Some(known) = table().and_then(|table| table.known.get(usize::from(link))) {
        known.link.store(u32::from(tag).wrapping_add(1), SeqCst);
    }
}

/// The tag of the owner that a number stands for.
pub(super) fn linked(name: Name, number: usize) -> Option<u16> {
    let (_, known) = table()?.place(key(name, number))?;
    u16::try_from(known.link.load(SeqCst).checked_sub(1)?).ok()
}

/// Another handle takes an owner's place.
pub(super) fn rename(tag: u16, name: Name, handle: usize) {
    if let Some(known) = table().and_then(|table| table.known.get(usize::from(tag))) {
        known.name.store(key(name, handle), SeqCst);
    }
}

/// Whom memory belongs to that the calling thread allocates: its current context. `None` without one, or where the device
/// has no quota.
#[inline]
pub(super) fn current() -> Option<Owner> {
    let handle = current_context()?;
    let name = key(Name::Context, handle);
    match table()?.place(name) {
        Some((tag, known)) => Some(Owner { device: known.device()?, tag }),
        None => learn(handle),
    }
}

/// The handle of the current context.
pub(super) fn current_context() -> Option<usize> {
    let mut handle = 0_usize;
    // SAFETY: writes a handle through its argument.
    let answer =
        unsafe { ask(const { id_of("cuCtxGetCurrent") }, [(&raw mut handle) as usize, 0, 0, 0, 0, 0]) };
    (answer == Some(0) && handle != 0).then_some(handle)
}

/// A context that was made unseen: by a private table, or from a green context.
#[cold]
fn learn(handle: usize) -> Option<Owner> {
    let device = current_device()?;
    let number = devices::number(device);
    let tag = enter(Name::Context, handle, number);
    Some(Owner { device: number?, tag })
}

/// The device (`CUdevice`) of the current context.
pub(super) fn current_device() -> Option<i32> {
    let mut device = 0_i32;
    // SAFETY: writes an int through its argument.
    let answer =
        unsafe { ask(const { id_of("cuCtxGetDevice") }, [(&raw mut device) as usize, 0, 0, 0, 0, 0]) };
    (answer == Some(0)).then_some(device)
}
