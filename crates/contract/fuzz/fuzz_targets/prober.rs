//! Whatever comes through the prober's socket, what was understood is bounded, and reads the same again.
#![no_main]

use firstlight_contract::prober::{MAX_CARDS, MAX_INSTANCES, Message};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::parse(bytes) else { return };
    if let Message::Look(look) = &message {
        assert!(look.cards.len() + look.nameless.len() <= MAX_CARDS);
        assert!(look.cards.iter().flat_map(|card| &card.instances).all(|all| all.len() <= MAX_INSTANCES));
    }
    // Escapes are printable: once understood, a message is escaped no further, but what is longer may be cut again.
    assert!(Message::parse(message.line().as_bytes()).is_ok() || message.line().len() > bytes.len());
});
