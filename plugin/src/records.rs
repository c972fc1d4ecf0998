//! Reads what containers append to their record files.
//!
//! The file belongs to the tenant: it may be truncated, sparse, huge or full of rubbish at any moment. So it is
//! read with pread and never mapped, opened without following links, and must be a regular file. Consumed
//! parts are freed by punching holes, which loses nothing that is appended meanwhile; truncating would. The
//! first part of a file and the newest one stay, so that a new start of the plugin reads the story again.

use firstlight_contract::decode::{Decoder, Item};
use firstlight_contract::record::RECORD_SIZE;
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom, fallocate, fstat, open, seek};
use rustix::io::{Errno, pread};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A file that holds more bytes on the disk is punched whole.
pub const MAX_HELD: u64 = 1 << 20;
/// The beginning of a file, where the first processes told how CUDA came up, stays.
const HEAD: u64 = 64 << 10;
/// The newest part stays.
const RECENT: u64 = 128 << 10;
/// Punched when at least this much can be freed.
const WORTHWHILE: u64 = 256 << 10;
/// Read at a time.
const CHUNK: usize = 64 << 10;
/// Holes begin and end at multiples of this: a page, and 64 records.
const ALIGN: u64 = 4096;

/// How far a file was read.
#[derive(Debug, Default)]
pub struct Tail {
    offset: u64,
    punched: u64,
    decoder: Decoder,
}

/// What a read found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Records, and what was none.
    pub items: Vec<Item>,
    /// Bytes thrown away unread, because the file held more than [`MAX_HELD`].
    pub dropped: u64,
    /// Whether there is more to read at once.
    pub more: bool,
}

impl Tail {
    /// How far the file was read, bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next piece of the file.
    pub fn read(&mut self, path: &Path) -> io::Result<Read> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the record file is no regular file"));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut found = Read::default();
        if size < self.offset {
            // Truncated by its writer: what follows begins anew.
            found.items.extend(self.decoder.finish());
            *self = Self::default();
        }
        // XFS counts blocks that it keeps ready behind the end, too: never more than the file can hold.
        let held = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if held.min(size.saturating_sub(self.punched)) > MAX_HELD {
            return self.drop_all(&file, size, found);
        }
        self.offset = self.skip_hole(&file, size, &mut found.items)?;
        if self.offset < size {
            let mut buffer = vec![0; CHUNK];
            let count = pread(&file, &mut buffer, self.offset)?;
            self.offset += count as u64;
            found.items.extend(self.decoder.push(buffer.get(..count).unwrap_or_default()));
            found.more = count > 0 && self.offset < size;
        }
        self.free(&file);
        Ok(found)
    }

    /// The next offset that holds data; a hole ends whatever was begun before it.
    fn skip_hole(&mut self, file: &OwnedFd, size: u64, items: &mut Vec<Item>) -> io::Result<u64> {
        if self.offset >= size {
            return Ok(self.offset);
        }
        let data = match seek(file, SeekFrom::Data(self.offset)) {
            Ok(data) => data,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => size,
            // A file system without holes: everything is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => self.offset,
            Err(error) => return Err(error.into()),
        };
        if data > self.offset {
            items.extend(self.decoder.finish());
        }
        Ok(data)
    }

    fn free(&mut self, file: &OwnedFd) {
        let from = self.punched.max(HEAD);
        let to = self.offset.saturating_sub(RECENT) / ALIGN * ALIGN;
        if to < from + WORTHWHILE {
            return;
        }
        // A file system that cannot do it keeps its blocks until the file is too large.
        if punch(file, from, to).is_ok() {
            self.punched = to;
        }
    }

    /// Throws everything away. What is appended meanwhile lies behind the hole.
    fn drop_all(&mut self, file: &OwnedFd, size: u64, mut found: Read) -> io::Result<Read> {
        found.dropped = size.saturating_sub(self.offset);
        found.items.extend(self.decoder.finish());
        let end = size / ALIGN * ALIGN;
        punch(file, 0, end)?;
        *self = Self { offset: next_record(size), punched: end, decoder: Decoder::new() };
        Ok(found)
    }
}

/// Appends are whole records, but a stranger may have written anything: the decoder finds the next one.
fn next_record(size: u64) -> u64 {
    size / RECORD_SIZE as u64 * RECORD_SIZE as u64
}

fn punch(file: &OwnedFd, from: u64, to: u64) -> io::Result<()> {
    if to <= from {
        return Ok(());
    }
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, from, to - from)?;
    Ok(())
}

#[cfg(test)]
mod tests;
