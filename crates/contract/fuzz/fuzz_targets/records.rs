//! Whatever bytes a tenant writes, the decoder terminates, keeps a bounded buffer and yields the same in pieces.
#![no_main]

use firstlight_contract::decode::{Decoder, Item, decode_all};
use firstlight_contract::record::MAX_ENCODED;

fn entries(items: Vec<Item>) -> Vec<Item> {
    items.into_iter().filter(|item| matches!(item, Item::Entry(_))).collect()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::new();
    let mut items = Vec::new();
    for piece in bytes.chunks(61) {
        items.extend(decoder.push(piece));
        assert!(decoder.pending() < MAX_ENCODED);
    }
    items.extend(decoder.finish());
    assert_eq!(entries(items), entries(decode_all(bytes)));
});
