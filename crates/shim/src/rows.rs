//! The list of driver functions in a form without pointers: a table of pointers would cost a relocation each at
//! every process start.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "only in what the compiler evaluates: an index or a length beyond bounds does not compile"
)]
#![expect(unsafe_code, reason = "tables in a section of the linker's choice")]

use core::cell::UnsafeCell;
use firstlight_driver_api::{Action, Effect, action, effect};

/// A table that lies among the writable data, behind the code: as constants, the tables would lie before it, and every
/// process start would touch more pages to reach the code (8–16 µs). Nobody writes to them.
struct Table<T>(UnsafeCell<T>);

// SAFETY: never written.
unsafe impl<T: Sync> Sync for Table<T> {}

impl<T> Table<T> {
    fn get(&self) -> &T {
        // SAFETY: never written.
        unsafe { &*self.0.get() }
    }
}

/// One more than the highest function id.
pub const SIZE: usize = 1161;
/// Rows of the two lists together.
const COUNT: usize = IDS.len();

macro_rules! first {
    () => {
        0
    };
    ($first:literal $(, $rest:literal)*) => {
        $first
    };
}

macro_rules! driver_rows {
    ($(($id:literal, $symbol:ident, $name:ident, $thread:literal, $action:ident, $effect:ident, [$($version:literal),*]),)*) => {
        const DRIVER_IDS: &[u16] = &[$($id),*];
        const DRIVER_NAMES: &str = concat!($(stringify!($symbol), "\0"),*);
        const DRIVER_BASES: &[u8] = &[$(stringify!($name).len() as u8),*];
        const DRIVER_VERSIONS: &[u32] = &[$(first!($($version),*)),*];
        const DRIVER_THREADS: &[bool] = &[$($thread),*];
        const DRIVER_ACTIONS: &[Action] = &[$(action!($action)),*];
        const DRIVER_EFFECTS: &[Effect] = &[$(effect!($effect)),*];
    };
}

macro_rules! nvml_rows {
    ($(($id:literal, $symbol:ident, $name:ident, $thread:literal, $action:ident, $effect:ident, []),)*) => {
        const NVML_IDS: &[u16] = &[$($id),*];
        const NVML_NAMES: &str = concat!($(stringify!($symbol), "\0"),*);
        const NVML_ACTIONS: &[Action] = &[$(action!($action)),*];
        const NVML_EFFECTS: &[Effect] = &[$(effect!($effect)),*];
    };
}

firstlight_driver_api::driver_functions!(driver_rows);
firstlight_driver_api::nvml_functions!(nvml_rows);

const IDS: [u16; DRIVER_IDS.len() + NVML_IDS.len()] = {
    let mut ids = [0; DRIVER_IDS.len() + NVML_IDS.len()];
    let mut row = 0;
    while row < ids.len() {
        ids[row] = if row < DRIVER_IDS.len() { DRIVER_IDS[row] } else { NVML_IDS[row - DRIVER_IDS.len()] };
        assert!((ids[row] as usize) < SIZE, "SIZE is one more than the highest id");
        row += 1;
    }
    ids
};

const LENGTH: usize = DRIVER_NAMES.len() + NVML_NAMES.len();

/// All symbols, each ended by a NUL, in the order of the lists.
static NAMES: Table<[u8; LENGTH]> = Table(UnsafeCell::new(NAMES_CONST));

/// Where the symbol of an id begins and ends (after its NUL) in [`NAMES`].
static PLACES: Table<[(u32, u32); SIZE]> = Table(UnsafeCell::new({
    let mut places = [(0, 0); SIZE];
    let (mut row, mut at, mut begin) = (0, 0, 0);
    while at < LENGTH {
        if NAMES_CONST[at] == 0 {
            places[IDS[row] as usize] = (begin as u32, at as u32 + 1);
            begin = at + 1;
            row += 1;
        }
        at += 1;
    }
    assert!(row == COUNT, "a name for each row");
    places
}));

#[expect(clippy::large_const_arrays, reason = "read by the compiler only")]
const NAMES_CONST: [u8; LENGTH] = {
    let mut bytes = [0; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        bytes[at] = if at < DRIVER_NAMES.len() {
            DRIVER_NAMES.as_bytes()[at]
        } else {
            NVML_NAMES.as_bytes()[at - DRIVER_NAMES.len()]
        };
        at += 1;
    }
    bytes
};

static ACTIONS: Table<[Action; SIZE]> = Table(UnsafeCell::new({
    let mut actions = [Action::Forward; SIZE];
    let mut row = 0;
    while row < COUNT {
        actions[IDS[row] as usize] =
            if row < DRIVER_IDS.len() { DRIVER_ACTIONS[row] } else { NVML_ACTIONS[row - DRIVER_IDS.len()] };
        row += 1;
    }
    actions
}));

static EFFECTS: Table<[Effect; SIZE]> = Table(UnsafeCell::new({
    let mut effects = [Effect::None; SIZE];
    let mut row = 0;
    while row < COUNT {
        effects[IDS[row] as usize] =
            if row < DRIVER_IDS.len() { DRIVER_EFFECTS[row] } else { NVML_EFFECTS[row - DRIVER_IDS.len()] };
        row += 1;
    }
    effects
}));

/// The first id of NVML's list; driver functions that are appended later stand behind it and are no NVML's.
static IS_NVML: Table<[bool; SIZE]> = Table(UnsafeCell::new({
    let mut flags = [false; SIZE];
    let mut row = 0;
    while row < NVML_IDS.len() {
        flags[NVML_IDS[row] as usize] = true;
        row += 1;
    }
    flags
}));

/// The symbol of an id, with its NUL; empty for no id.
pub fn symbol(id: u16) -> &'static [u8] {
    let (begin, end) = PLACES.get().get(usize::from(id)).copied().unwrap_or((0, 0));
    NAMES.get().get(begin as usize..end as usize).unwrap_or(&[])
}

/// What the shim does with a function.
pub fn action(id: u16) -> Action {
    ACTIONS.get().get(usize::from(id)).copied().unwrap_or(Action::Forward)
}

/// What a call of a function does to device memory.
pub fn effect(id: u16) -> Effect {
    EFFECTS.get().get(usize::from(id)).copied().unwrap_or(Effect::None)
}

/// The id of a symbol; what is not in the list does not compile.
pub(crate) const fn id_of(symbol: &str) -> u16 {
    let (mut row, mut begin, mut at) = (0, 0, 0);
    while at < LENGTH {
        if NAMES_CONST[at] == 0 {
            let mut same = at - begin == symbol.len();
            let mut index = 0;
            while same && index < symbol.len() {
                same = NAMES_CONST[begin + index] == symbol.as_bytes()[index];
                index += 1;
            }
            if same {
                return IDS[row];
            }
            begin = at + 1;
            row += 1;
        }
        at += 1;
    }
    // There is no such symbol, and no such row.
    IDS[row]
}

/// Whether the function is NVML's.
pub fn is_nvml(id: u16) -> bool {
    IS_NVML.get().get(usize::from(id)).copied().unwrap_or(false)
}

/// What a row has to match to be what a lookup asks for.
#[derive(Clone, Copy)]
struct Key {
    id: u16,
    base: u32,
    length: u8,
    version: u32,
    per_thread: bool,
}

/// Sorted by hash: a runtime looks some 440 names up when it starts.
static KEYS: Table<[Key; DRIVER_IDS.len()]> = Table(UnsafeCell::new({
    let mut keys = [Key { id: 0, base: 0, length: 0, version: 0, per_thread: false }; DRIVER_IDS.len()];
    let (mut row, mut begin, mut at) = (0, 0, 0);
    while at < DRIVER_NAMES.len() {
        if DRIVER_NAMES.as_bytes()[at] == 0 {
            let length = DRIVER_BASES[row];
            let key = Key {
                id: DRIVER_IDS[row],
                base: hash_of(DRIVER_NAMES.as_bytes(), begin, length as usize),
                length,
                version: DRIVER_VERSIONS[row],
                per_thread: DRIVER_THREADS[row],
            };
            let mut place = row;
            while place > 0 && keys[place - 1].base > key.base {
                keys[place] = keys[place - 1];
                place -= 1;
            }
            keys[place] = key;
            begin = at + 1;
            row += 1;
        }
        at += 1;
    }
    keys
}));

/// The newest CUDA version that the list knows.
pub const NEWEST: u32 = {
    let (mut row, mut newest) = (0, 0);
    while row < DRIVER_VERSIONS.len() {
        if DRIVER_VERSIONS[row] > newest {
            newest = DRIVER_VERSIONS[row];
        }
        row += 1;
    }
    newest
};

/// FNV-1a over part of a text.
const fn hash_of(text: &[u8], begin: usize, length: usize) -> u32 {
    let mut hash = 0x811C_9DC5_u32;
    let mut at = begin;
    while at < begin + length {
        hash = (hash ^ text[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Bits for the hashes of names: so many that few other names share one.
const BITS: u32 = 4096;

type Bits = [u64; BITS as usize / 64];

/// A bit for the hash of each name with an action: it tells almost every other name from these at once.
static WITH_ACTION: Table<Bits> = Table(UnsafeCell::new(bits(false)));
/// The same for names with an action or an effect.
static WITH_EFFECT: Table<Bits> = Table(UnsafeCell::new(bits(true)));

const fn bits(effects: bool) -> Bits {
    let mut bits = [0; BITS as usize / 64];
    let (mut row, mut begin, mut at) = (0, 0, 0);
    while at < DRIVER_NAMES.len() {
        if DRIVER_NAMES.as_bytes()[at] == 0 {
            let acts = !matches!(DRIVER_ACTIONS[row], Action::Forward);
            if acts || effects && !matches!(DRIVER_EFFECTS[row], Effect::None) {
                let bit = hash_of(DRIVER_NAMES.as_bytes(), begin, DRIVER_BASES[row] as usize) % BITS;
                bits[bit as usize / 64] |= 1 << (bit % 64);
            }
            begin = at + 1;
            row += 1;
        }
        at += 1;
    }
    bits
}

fn may_be_hooked(hash: u32, limited: bool) -> bool {
    let (bits, bit) = (if limited { &WITH_EFFECT } else { &WITH_ACTION }, hash % BITS);
    bits.get().get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

/// The rows of a base name: its functions, one for each version and kind of stream.
fn rows_of(hash: u32, name: &[u8]) -> impl Iterator<Item = &'static Key> {
    let keys = KEYS.get();
    let first = keys.partition_point(|key| key.base < hash);
    let same = keys.iter().skip(first).take_while(move |key| key.base == hash);
    same.filter(move |key| usize::from(key.length) == name.len() && symbol(key.id).starts_with(name))
}

/// The function with an action that a lookup of this name at this version means, if there is one; under a quota also
/// one with an effect.
pub fn hooked(name: &[u8], version: u32, per_thread: bool, limited: bool) -> Option<u16> {
    let name = asked_for(name, version);
    let hash = hash(name);
    let found = if may_be_hooked(hash, limited) { newest(hash, name, version, per_thread) } else { None };
    found.filter(|id| action(*id) != Action::Forward || limited && effect(*id) != Effect::None)
}

/// The function that a lookup of this name at this version means (`firstlight_driver_api::resolve`, without pointers).
pub fn resolve(name: &[u8], version: u32, per_thread: bool) -> Option<u16> {
    let name = asked_for(name, version);
    newest(hash(name), name, version, per_thread)
}

/// The name in the list for the one that was asked for: one function was renamed.
fn asked_for(name: &[u8], version: u32) -> &[u8] {
    if version >= 12000 && name == b"cuGraphInstantiate" { b"cuGraphInstantiateWithFlags" } else { name }
}

fn newest(hash: u32, name: &[u8], version: u32, per_thread: bool) -> Option<u16> {
    let newest = |thread: bool| {
        let fits = |key: &&Key| key.version != 0 && key.version <= version && key.per_thread == thread;
        rows_of(hash, name).filter(fits).max_by_key(|key| key.version).map(|key| key.id)
    };
    if per_thread { newest(true).or_else(|| newest(false)) } else { newest(false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_driver_api::{FUNCTIONS, by_id};

    #[test]
    fn the_table_without_pointers_says_what_the_list_says() {
        for function in FUNCTIONS.iter().flat_map(|list| list.iter()) {
            let name = symbol(function.id).strip_suffix(b"\0").unwrap();
            assert_eq!(name, function.symbol.as_bytes());
            assert_eq!(action(function.id), function.action, "{}", function.symbol);
            assert_eq!(effect(function.id), function.effect, "{}", function.symbol);
            assert_eq!(is_nvml(function.id), function.symbol.starts_with("nvml"));
        }
    }

    #[test]
    fn names_resolve_as_in_the_list() {
        for function in FUNCTIONS.iter().flat_map(|list| list.iter()) {
            for version in [0, 2000, 3020, 7000, 10010, 11040, 12000, 12080, 13010, 99999] {
                for per_thread in [false, true] {
                    let wanted = firstlight_driver_api::resolve(function.name, version, per_thread);
                    let found = resolve(function.name.as_bytes(), version, per_thread).and_then(by_id);
                    assert_eq!(found, wanted, "{}@{version}", function.name);
                }
            }
        }
    }

    #[test]
    fn a_lookup_under_a_quota_finds_what_changes_memory() {
        let hooked = |name: &str, limited| hooked(name.as_bytes(), 12_000, false, limited).map(symbol);
        assert_eq!(hooked("cuMemMap", true), Some(b"cuMemMap\0".as_slice()));
        assert_eq!(hooked("cuMemMap", false), None);
        assert_eq!(hooked("cuMemAlloc", false), Some(b"cuMemAlloc_v2\0".as_slice()));
        assert_eq!((id_of("cuArray3DCreate"), id_of("nvmlErrorString")), (0, 1160));
    }

    #[test]
    fn the_table_is_as_large_as_the_ids_need() {
        let highest = FUNCTIONS.iter().flat_map(|list| list.iter()).map(|function| function.id).max();
        assert_eq!(highest.map(|id| usize::from(id) + 1), Some(SIZE));
    }
}
