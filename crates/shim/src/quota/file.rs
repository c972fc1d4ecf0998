//! The ledger's file, open for a moment: to map it, and to ask the kernel which slots' processes live.
//!
//! A process holds the lock of its slot's byte through the open file description that its mapping refers to. One
//! that opens the file again has another description, so it can test and take locks like a stranger. A child that is
//! forked while the file is open inherits the descriptor until it execs; then a slot may seem alive for longer than
//! its process is, which refuses memory and never grants it.

use crate::sys::{self, shared};
use firstlight_contract::ledger::{self, lock_byte};

/// Lowest descriptor that is used: 0–2 are the host's, open or not.
const LEAST_DESCRIPTOR: usize = 3;

/// Which file it is: the path might lead to another one later.
pub(super) type Identity = (u64, u64);

/// The open file.
#[derive(Debug)]
pub(super) struct File {
    descriptor: usize,
}

impl File {
    /// Opens the file at a path (NUL-terminated).
    pub(super) fn open(path: &[u8]) -> Result<Self, i32> {
        let low = Self { descriptor: sys::open(path, sys::flags::UPDATE)? };
        if low.descriptor >= LEAST_DESCRIPTOR {
            return Ok(low);
        }
        sys::duplicate(low.descriptor, LEAST_DESCRIPTOR).map(|descriptor| Self { descriptor })
    }

    /// Opens it again, if it is still the same.
    pub(super) fn again(path: &[u8], identity: Identity) -> Option<Self> {
        let file = Self::open(path).ok()?;
        let status = sys::status(file.descriptor).ok()?;
        ((status.device, status.inode) == identity).then_some(file)
    }

    /// Which file it is, if it is a ledger of this version.
    pub(super) fn identity(&self) -> Option<Identity> {
        let mut head = [0; 64];
        let status = sys::status(self.descriptor).ok()?;
        sys::read(self.descriptor, &mut head).ok()?;
        ledger::is_known(&head, status.size).then_some((status.device, status.inode))
    }

    /// To map it.
    pub(super) fn descriptor(&self) -> usize {
        self.descriptor
    }

    /// Takes a slot's lock, if nobody else has it.
    pub(super) fn take(&self, slot: usize) -> Result<bool, i32> {
        shared::try_lock(self.descriptor, lock_byte(slot))
    }

    /// Gives it back.
    pub(super) fn give(&self, slot: usize) {
        shared::unlock(self.descriptor, lock_byte(slot));
    }

    /// Whether somebody holds a slot's lock; also if that cannot be known.
    pub(super) fn is_held(&self, slot: usize) -> bool {
        shared::is_locked(self.descriptor, lock_byte(slot)) != Ok(false)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        sys::close(self.descriptor);
    }
}
