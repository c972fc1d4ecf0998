//! Records from foreign bytes. Whatever arrives, the decoder terminates, keeps a bounded buffer and says what
//! it could not read.

use crate::record::{
    Caller, FORMAT_VERSION, Kind, MAGIC, MAX_CONTINUATIONS, PROCESS_48, RECORD_SIZE, Record, TEXT_CHUNK,
    check, header,
};
use crate::text::ForeignText;

/// A record with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// Its text, cut and escaped; empty where it has none.
    pub text: ForeignText,
}

/// What the decoder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole record.
    Entry(Entry),
    /// Bytes that are no record: torn, foreign, of another format version, or a continuation without its head.
    Garbage {
        /// How many bytes.
        bytes: usize,
    },
}

/// Turns a stream of bytes, in pieces of any size, into records.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// A decoder at the start of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes; returns what is complete. At most one record's bytes are kept for the next call.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Item> {
        self.pending.extend_from_slice(bytes);
        self.drain(false)
    }

    /// The stream is over: what is left is decoded without waiting for more.
    pub fn finish(&mut self) -> Vec<Item> {
        self.drain(true)
    }

    /// Bytes taken in but not yet decoded: fewer than the longest record has.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn drain(&mut self, last: bool) -> Vec<Item> {
        let mut items = Vec::new();
        let mut rest = self.pending.as_slice();
        let mut garbage = 0;
        while !rest.is_empty() {
            match step(rest, last) {
                Step::Wait => break,
                Step::Skip(bytes) => {
                    garbage += bytes;
                    rest = rest.get(bytes..).unwrap_or(&[]);
                }
                Step::Entry(entry, bytes) => {
                    flush(&mut garbage, &mut items);
                    items.push(Item::Entry(entry));
                    rest = rest.get(bytes..).unwrap_or(&[]);
                }
            }
        }
        flush(&mut garbage, &mut items);
        self.pending = rest.to_vec();
        items
    }
}

/// Decodes a whole file.
pub fn decode_all(bytes: &[u8]) -> Vec<Item> {
    let mut decoder = Decoder::new();
    let mut items = decoder.push(bytes);
    items.extend(decoder.finish());
    items
}

fn flush(garbage: &mut usize, items: &mut Vec<Item>) {
    if *garbage > 0 {
        items.push(Item::Garbage { bytes: std::mem::take(garbage) });
    }
}

enum Step {
    Wait,
    Skip(usize),
    Entry(Entry, usize),
}

fn step(bytes: &[u8], last: bool) -> Step {
    let Some(block) = bytes.first_chunk::<RECORD_SIZE>() else {
        return if last { Step::Skip(bytes.len()) } else { Step::Wait };
    };
    let Some((record, continuations, length)) = decode_head(block) else {
        return Step::Skip(next_candidate(bytes));
    };
    let mut text = Vec::new();
    let mut used = RECORD_SIZE;
    for index in 0..continuations {
        let Some(block) = bytes.get(used..).and_then(<[u8]>::first_chunk::<RECORD_SIZE>) else {
            if last {
                break;
            }
            return Step::Wait;
        };
        let Some(chunk) = decode_text(block, &record, index) else { break };
        text.extend_from_slice(chunk);
        used += RECORD_SIZE;
    }
    let mut foreign = ForeignText::new(&text);
    if text.len() < length {
        foreign = foreign.cut();
    }
    Step::Entry(Entry { record, text: foreign }, used)
}

/// Where the next record may begin: the next magic after the first byte, or the end.
fn next_candidate(bytes: &[u8]) -> usize {
    let found = bytes.windows(MAGIC.len()).skip(1).position(|window| window == MAGIC);
    match found {
        Some(position) => position + 1,
        // The last byte may be the first of a magic.
        None if bytes.last() == MAGIC.first() && bytes.len() > 1 => bytes.len() - 1,
        None => bytes.len(),
    }
}

fn words(block: &[u8; RECORD_SIZE]) -> [u64; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    }
    words
}

fn low(word: u64) -> u32 {
    (word & 0xFFFF_FFFF) as u32
}

fn byte(word: u64, shift: u32) -> u8 {
    (word >> shift & 0xFF) as u8
}

fn open(block: &[u8; RECORD_SIZE]) -> Option<(Kind, [u64; 8])> {
    let words = words(block);
    let kind = Kind::from_u8(byte(words[0], 24))?;
    let head = header(kind as u8);
    let matches = u64::from(low(words[0])) == head && low(words[0] >> 32) == check(head, &words);
    debug_assert!(!matches || byte(words[0], 16) == FORMAT_VERSION, "the header holds the version");
    matches.then_some((kind, words))
}

fn decode_head(block: &[u8; RECORD_SIZE]) -> Option<(Record, usize, usize)> {
    let (kind, words) = open(block)?;
    if kind == Kind::Text {
        return None;
    }
    let continuations = usize::from(byte(words[4], 56));
    if continuations > MAX_CONTINUATIONS {
        return None;
    }
    let record = Record {
        kind,
        time_ns: words[1],
        pid: low(words[2]),
        tid: low(words[2] >> 32),
        process: words[3],
        sequence: low(words[4]),
        function: (words[4] >> 32 & 0xFFFF) as u16,
        caller: Caller::from_u8(byte(words[4], 48)).unwrap_or(Caller::Unknown),
        result: low(words[5]).cast_signed(),
        arg0: words[6],
        arg1: words[7],
    };
    Some((record, continuations, low(words[5] >> 32) as usize))
}

fn decode_text<'a>(block: &'a [u8; RECORD_SIZE], head: &Record, index: usize) -> Option<&'a [u8]> {
    let (kind, words) = open(block)?;
    let used = usize::from(byte(words[2], 56));
    let belongs = kind == Kind::Text
        && low(words[1]) == head.pid
        && low(words[1] >> 32) == head.sequence
        && words[2] & PROCESS_48 == head.process & PROCESS_48
        && usize::from(byte(words[2], 48)) == index
        && used <= TEXT_CHUNK;
    let start = RECORD_SIZE - TEXT_CHUNK;
    if belongs { block.get(start..start + used) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{MAX_ENCODED, MAX_TEXT, NO_FUNCTION};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn record(sequence: u32) -> Record {
        Record {
            kind: Kind::CallReturned,
            time_ns: 1_700_000_000_000_000_000,
            pid: 4242,
            tid: 4243,
            process: 0x0123_4567_89AB_CDEF,
            sequence,
            function: 7,
            caller: Caller::Runtime,
            result: -1,
            arg0: u64::MAX,
            arg1: 1,
        }
    }

    fn bytes(record: &Record, text: &[u8]) -> Vec<u8> {
        record.encode(text, &mut [0; MAX_ENCODED]).to_vec()
    }

    fn entries(items: &[Item]) -> Vec<&Entry> {
        items
            .iter()
            .filter_map(|item| if let Item::Entry(entry) = item { Some(entry) } else { None })
            .collect()
    }

    #[test]
    fn a_record_is_64_bytes_and_starts_with_the_magic() {
        let bytes = bytes(&record(0), b"");
        assert_eq!((bytes.len(), &bytes[..2]), (RECORD_SIZE, &MAGIC[..]));
    }

    #[test]
    fn a_torn_record_between_two_good_ones_is_skipped_and_counted() {
        let mut stream = bytes(&record(0), b"first");
        stream.extend_from_slice(&bytes(&record(1), b"")[..30]);
        stream.extend_from_slice(&bytes(&record(2), b"third"));
        let items = decode_all(&stream);
        assert_eq!(items[1], Item::Garbage { bytes: 30 });
        assert_eq!(entries(&items).iter().map(|entry| entry.record.sequence).collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_continuation_of_another_record_is_not_taken_for_its_text() {
        let mut stream = bytes(&record(0), b"mine")[..RECORD_SIZE].to_vec();
        stream.extend_from_slice(&bytes(&record(9), b"not mine")[RECORD_SIZE..]);
        let items = decode_all(&stream);
        assert_eq!(entries(&items)[0].text.as_str(), "…");
        assert_eq!(items[1], Item::Garbage { bytes: RECORD_SIZE });
    }

    #[test]
    fn text_longer_than_a_record_carries_is_marked_as_cut() {
        let items = decode_all(&bytes(&record(0), &vec![b'a'; MAX_TEXT + 1]));
        assert!(entries(&items)[0].text.as_str().ends_with('…'));
    }

    #[test]
    fn a_record_of_another_version_is_garbage() {
        let mut block = bytes(&record(0), b"");
        block[2] = FORMAT_VERSION + 1;
        assert_eq!(decode_all(&block), [Item::Garbage { bytes: RECORD_SIZE }]);
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Text).collect();
        let callers = Caller::ALL.to_vec();
        (
            (proptest::sample::select(kinds), proptest::sample::select(callers)),
            (any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u32>()),
            (any::<u16>(), any::<i32>(), any::<u64>(), any::<u64>()),
        )
            .prop_map(
                |((kind, caller), (time_ns, pid, tid, process, sequence), (function, result, arg0, arg1))| {
                    Record {
                        kind,
                        time_ns,
                        pid,
                        tid,
                        process,
                        sequence,
                        function,
                        caller,
                        result,
                        arg0,
                        arg1,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back_in_pieces_of_any_size(
            records in vec((any_record(), "[ -~]{0,120}"), 1..8),
            piece in 1usize..200,
        ) {
            let stream: Vec<u8> = records.iter().flat_map(|(record, text)| bytes(record, text.as_bytes())).collect();
            let mut decoder = Decoder::new();
            let mut items: Vec<Item> = stream.chunks(piece).flat_map(|chunk| decoder.push(chunk)).collect();
            items.extend(decoder.finish());
            let wanted: Vec<Item> = records
                .iter()
                .map(|(record, text)| Item::Entry(Entry { record: *record, text: ForeignText::new(text.as_bytes()) }))
                .collect();
            prop_assert_eq!(items, wanted);
        }

        #[test]
        fn foreign_bytes_neither_panic_nor_pile_up(chunks in vec(vec(any::<u8>(), 0..300), 0..20)) {
            let mut decoder = Decoder::new();
            for chunk in &chunks {
                decoder.push(chunk);
                prop_assert!(decoder.pending() < MAX_ENCODED);
            }
            decoder.finish();
            prop_assert_eq!(decoder.pending(), 0);
        }

        #[test]
        fn one_flipped_bit_loses_the_record_and_nothing_else(position in 0usize..RECORD_SIZE * 8) {
            let mut stream = bytes(&record(0), b"");
            stream[position / 8] ^= 1 << (position % 8);
            stream.extend_from_slice(&bytes(&record(1), b""));
            let items = decode_all(&stream);
            prop_assert_eq!(entries(&items).len(), 1);
            prop_assert_eq!(entries(&items)[0].record.sequence, 1);
        }
    }

    #[test]
    fn records_about_no_function_say_so() {
        let none = Record { function: NO_FUNCTION, ..record(3) };
        assert_eq!(entries(&decode_all(&bytes(&none, b"")))[0].record.function, NO_FUNCTION);
    }
}
