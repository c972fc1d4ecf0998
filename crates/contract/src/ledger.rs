//! The ledger: the file in which the processes of a grant count the device memory they hold, so that together they keep
//! within the grant's quota. Created with [`header`] and [`SIZE`] by whoever writes the grant, mapped by the shim.
//!
//! ```text
//! 0     magic (8) · version (4) · slots (4) · devices (4) · bytes of a slot (4)
//! 64    lock: who raises a reservation (8)
//! 128   slots that were ever taken (4)
//! 1024  names of devices that the grant has no line for: 16 × 16 bytes of UUID, in the order of their first use
//! 4096  slots: 256 × 576 bytes
//!           0    pid in the container (4)
//!           8    process token, as in records (8)
//!           64   four lanes of a word for each device: used (low 32) · reserved (high 32), in units of 256 bytes
//! ```
//!
//! Threads of a process use different lanes, so that they do not take turns at one word; a process has the sum of its
//! lanes. Little-endian. There is no total anywhere: it is the sum of the words, so that a process that is killed between two
//! steps leaves nothing wrong behind. *Reserved* is what a process may use without asking the others; the sum of what is
//! reserved never exceeds the quota. The quota itself stands in the grant, which the container cannot write.
//!
//! A slot is held by an open-file-description lock (`F_OFD_SETLK`) on its [`lock_byte`]. The process maps the file and
//! closes it: the mapping keeps the lock, through `close_range(3, ~0)`, until exit, exec or SIGKILL. So the kernel tells
//! who lives, whatever the pid namespace; from outside, `/proc/locks` does ([`held`]).
//!
//! The whole container may write to this file: what is read from it is a claim.

/// First bytes of the file.
pub const MAGIC: [u8; 8] = *b"FLLEDGER";
/// Version of the layout.
pub const VERSION: u32 = 1;
/// Devices that a ledger counts: as many cards as a node has.
pub const DEVICES: usize = 16;
/// Words that a process has of each device.
pub const LANES: usize = 4;
/// Processes that may hold memory at the same time.
pub const SLOTS: usize = 256;
/// Bytes that a unit stands for.
pub const UNIT: u64 = 256;
/// Bytes before the first slot.
pub const HEADER_SIZE: usize = 4096;
/// Bytes of a slot.
pub const SLOT_SIZE: usize = WORDS_AT + 8 * LANES * DEVICES;
/// Bytes of the file.
pub const SIZE: usize = HEADER_SIZE + SLOTS * SLOT_SIZE;
/// Where the lock word is.
pub const LOCK_AT: usize = 64;
/// Where the number of slots that were ever taken is.
pub const TAKEN_AT: usize = 128;
/// Where the UUIDs of devices without a line in the grant begin.
pub const NAMES_AT: usize = 1024;
/// Where a slot's pid is.
pub const PID_AT: usize = 0;
/// Where a slot's process token is.
pub const TOKEN_AT: usize = 8;
/// Where a slot's words begin.
pub const WORDS_AT: usize = 64;

/// Bytes of what [`header`] writes.
const HEAD: usize = 24;

/// The first bytes of a new ledger; zeroes follow up to [`SIZE`].
pub fn header() -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    #[expect(clippy::cast_possible_truncation, reason = "constants, far below 2^32")]
    let numbers = [VERSION, SLOTS as u32, DEVICES as u32, SLOT_SIZE as u32];
    let content = MAGIC.into_iter().chain(numbers.into_iter().flat_map(u32::to_le_bytes));
    for (to, from) in bytes.iter_mut().zip(content) {
        *to = from;
    }
    bytes
}

/// All bytes of a new ledger. They are written, zeroes and all: a hole that the full disk has no block for ends the
/// process that maps it by SIGBUS.
#[cfg(feature = "std")]
pub fn blank() -> Vec<u8> {
    let mut bytes = header().to_vec();
    bytes.resize(SIZE, 0);
    bytes
}

/// Whether a file that begins so and has this size is a ledger of this version.
pub fn is_known(head: &[u8], size: u64) -> bool {
    size >= SIZE as u64 && head.get(..HEAD) == Some(&header()[..])
}

/// The byte of the file whose lock says that a slot's process lives: the slot's first.
pub const fn lock_byte(slot: usize) -> u64 {
    (HEADER_SIZE + slot * SLOT_SIZE) as u64
}

/// Where the word of a slot's lane for a device is, from the beginning of the slot. Lanes are whole cache lines.
pub const fn word_at(lane: usize, device: usize) -> usize {
    WORDS_AT + 8 * (lane * DEVICES + device)
}

/// What one lane of a process has of one device, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// May be used without asking the others.
    pub reserved: u32,
    /// Is used.
    pub used: u32,
}

impl Word {
    /// From the word in the file.
    pub const fn unpack(word: u64) -> Self {
        Self { reserved: (word >> 32) as u32, used: (word & 0xFFFF_FFFF) as u32 }
    }

    /// The word in the file.
    pub const fn pack(self) -> u64 {
        (self.reserved as u64) << 32 | self.used as u64
    }
}

#[cfg(feature = "std")]
pub use read::{Holder, Ledger, Share, held};

#[cfg(feature = "std")]
mod read {
    use super::{
        DEVICES, HEADER_SIZE, LANES, NAMES_AT, PID_AT, SIZE, SLOT_SIZE, SLOTS, TOKEN_AT, UNIT, Word,
        is_known, lock_byte, word_at,
    };
    use std::collections::{BTreeMap, BTreeSet};

    /// What a ledger says.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Ledger {
        /// Slots in which something is used or reserved, by their number.
        pub holders: BTreeMap<usize, Holder>,
        /// UUIDs of devices that the grant has no line for, by device.
        pub names: BTreeMap<usize, [u8; 16]>,
    }

    /// What one slot says. Its process may be gone; see [`held`].
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Holder {
        /// Process id in the container.
        pub pid: u32,
        /// Process token, as in records.
        pub token: u64,
        /// What it has, by device, where that is anything.
        pub shares: BTreeMap<usize, Share>,
    }

    /// What a process has of a device, bytes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Share {
        /// May be used without asking the others.
        pub reserved_bytes: u64,
        /// Is used.
        pub used_bytes: u64,
    }

    impl Holder {
        /// Bytes of a device that this process uses.
        pub fn used_bytes(&self, device: usize) -> u64 {
            self.shares.get(&device).map_or(0, |share| share.used_bytes)
        }
    }

    impl Ledger {
        /// Reads a ledger; `None` if the bytes are none of this version. Read them by `pread`, never by mapping the file:
        /// the container may cut it off at any time.
        pub fn read(bytes: &[u8]) -> Option<Self> {
            let bytes = bytes.get(..SIZE).filter(|bytes| is_known(bytes, SIZE as u64))?;
            let holders = (0..SLOTS).filter_map(|slot| {
                let at = HEADER_SIZE + slot * SLOT_SIZE;
                let share = |device: usize| {
                    let words =
                        (0..LANES).map(|lane| Word::unpack(number(bytes, at + word_at(lane, device))));
                    words.fold(Share::default(), |sum, word| Share {
                        reserved_bytes: sum.reserved_bytes + u64::from(word.reserved) * UNIT,
                        used_bytes: sum.used_bytes + u64::from(word.used) * UNIT,
                    })
                };
                let shares: BTreeMap<usize, Share> = (0..DEVICES)
                    .map(|device| (device, share(device)))
                    .filter(|(_, share)| *share != Share::default())
                    .collect();
                let pid = (number(bytes, at + PID_AT) & 0xFFFF_FFFF) as u32;
                let token = number(bytes, at + TOKEN_AT);
                (!shares.is_empty()).then_some((slot, Holder { pid, token, shares }))
            });
            let names = (0..DEVICES).filter_map(|device| {
                let name = *bytes.get(NAMES_AT + 16 * device..)?.first_chunk::<16>()?;
                (name != [0; 16]).then_some((device, name))
            });
            Some(Self { holders: holders.collect(), names: names.collect() })
        }

        /// Bytes of a device that all processes use together; dead ones count until the ledger is next asked by one that
        /// lives. At most a PiB, so the sum cannot overflow.
        pub fn used_bytes(&self, device: usize) -> u64 {
            self.holders.values().map(|holder| holder.used_bytes(device)).sum()
        }

        /// The same without slots that nobody holds any more.
        #[must_use]
        pub fn without_dead(mut self, held: &BTreeSet<usize>) -> Self {
            self.holders.retain(|slot, _| held.contains(slot));
            self
        }
    }

    fn number(bytes: &[u8], at: usize) -> u64 {
        let word = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>);
        word.map_or(0, |word| u64::from_le_bytes(*word))
    }

    /// The slots of a ledger whose processes live, from the text of `/proc/locks`. The file is named by its device (major
    /// and minor number) and inode.
    pub fn held(locks: &str, (major, minor): (u32, u32), inode: u64) -> BTreeSet<usize> {
        let file = format!("{major:02x}:{minor:02x}:{inode}");
        let begins = locks.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                [_, "OFDLCK", _, "WRITE", _, name, begin, end] if *name == file && begin == end => {
                    begin.parse::<u64>().ok()
                }
                _ => None,
            }
        });
        begins.filter_map(|begin| (0..SLOTS).find(|slot| lock_byte(*slot) == begin)).collect()
    }
}

#[cfg(test)]
#[cfg(feature = "std")]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn blank() -> Vec<u8> {
        let mut bytes = header().to_vec();
        bytes.resize(SIZE, 0);
        bytes
    }

    fn put(bytes: &mut [u8], slot: usize, (lane, device): (usize, usize), word: Word) {
        let at = HEADER_SIZE + slot * SLOT_SIZE + word_at(lane, device);
        bytes[at..at + 8].copy_from_slice(&word.pack().to_le_bytes());
    }

    /// A change here is a change of what running processes share.
    #[test]
    fn the_layout_is_what_it_was() {
        assert_eq!((SIZE, SLOT_SIZE, lock_byte(0), lock_byte(255)), (151_552, 576, 4096, 150_976));
        assert_eq!(&header()[..12], b"FLLEDGER\x01\0\0\0");
    }

    #[test]
    fn the_total_is_the_sum_of_the_slots_and_their_lanes() {
        let mut bytes = blank();
        put(&mut bytes, 0, (0, 1), Word { reserved: 8, used: 4 });
        put(&mut bytes, 0, (3, 1), Word { reserved: 7, used: 2 });
        put(&mut bytes, 255, (2, 1), Word { reserved: 2, used: 1 });
        put(&mut bytes, 3, (1, 15), Word { reserved: 9, used: 0 });
        let ledger = Ledger::read(&bytes).unwrap();
        assert_eq!([0, 1, 15].map(|device| ledger.used_bytes(device)), [0, 7 * UNIT, 0]);
        assert_eq!(ledger.holders[&0].shares[&1].reserved_bytes, 15 * UNIT);
        assert_eq!(ledger.holders.keys().copied().collect::<Vec<_>>(), [0, 3, 255]);
        let alive = ledger.without_dead(&BTreeSet::from([255]));
        assert_eq!(alive.used_bytes(1), UNIT);
    }

    #[test]
    fn a_file_that_is_cut_off_or_of_another_version_is_no_ledger() {
        let mut bytes = blank();
        assert!(Ledger::read(&bytes).is_some());
        assert_eq!(Ledger::read(&bytes[..SIZE - 1]), None);
        bytes[8] = 2;
        assert_eq!(Ledger::read(&bytes), None);
    }

    #[test]
    fn the_kernel_s_list_of_locks_tells_which_slots_are_held() {
        let locks = "1: OFDLCK ADVISORY  WRITE -1 fe:00:9977945 4096 4096\n\
                     2: OFDLCK ADVISORY  WRITE -1 fe:00:9977945 4672 4672\n\
                     3: OFDLCK ADVISORY  WRITE -1 fe:00:1 5248 5248\n\
                     4: OFDLCK ADVISORY  WRITE -1 fe:00:9977945 0 EOF\n\
                     5: POSIX  ADVISORY  WRITE 77 fe:00:9977945 5824 5824\n";
        assert_eq!(held(locks, (0xfe, 0), 9_977_945), BTreeSet::from([0, 1]));
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(reserved: u32, used: u32) {
            let word = Word { reserved, used };
            prop_assert_eq!(Word::unpack(word.pack()), word);
        }

        #[test]
        fn whatever_the_container_wrote_the_sums_are_sums(
            writes in vec((24..SIZE, any::<u8>()), 0..500),
            size in prop_oneof![Just(SIZE), 0..2 * SIZE],
        ) {
            let mut bytes = blank();
            for (at, byte) in writes {
                bytes[at] = byte;
            }
            bytes.resize(size, 0xFF);
            let Some(ledger) = Ledger::read(&bytes) else {
                prop_assert!(size < SIZE);
                return Ok(());
            };
            for device in 0..=DEVICES {
                let sum: u64 = ledger.holders.values().map(|holder| holder.used_bytes(device)).sum();
                prop_assert_eq!(ledger.used_bytes(device), sum);
            }
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>, locks: String) {
            let _ = Ledger::read(&bytes);
            let _ = held(&locks, (8, 1), 7);
        }
    }
}
