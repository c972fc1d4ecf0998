//! Who a device is: 16 bytes of UUID and a PCI id.

/// What a card's UUID begins with as text.
const CARD: &str = "GPU-";
/// What an instance's UUID begins with as text.
const INSTANCE: &str = "MIG-";

/// Parses `GPU-` and a UUID (the prefix may be missing) to its 16 bytes, as `cuDeviceGetUuid` returns them.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    bytes(text.strip_prefix(CARD).unwrap_or(text))
}

/// Parses `MIG-` and a UUID to its 16 bytes.
pub fn parse_mig_uuid(text: &str) -> Option<[u8; 16]> {
    bytes(text.strip_prefix(INSTANCE)?)
}

fn bytes(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let well_formed = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| matches!(at, 8 | 13 | 18 | 23) == (byte == b'-'));
    if !well_formed || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let value = u128::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
    Some(value.to_be_bytes())
}

/// Prints 16 bytes as `GPU-` and a UUID.
pub fn print_uuid(uuid: [u8; 16]) -> String {
    printed(CARD, uuid)
}

/// Prints 16 bytes as `MIG-` and a UUID.
pub fn print_mig_uuid(uuid: [u8; 16]) -> String {
    printed(INSTANCE, uuid)
}

fn printed(prefix: &str, uuid: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(uuid));
    let mut text = String::from(prefix);
    for (at, digit) in digits.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

/// A PCI id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pci {
    /// Domain, attribute 50.
    pub domain: u32,
    /// Bus, attribute 33.
    pub bus: u32,
    /// Device, attribute 34.
    pub device: u32,
}

impl Pci {
    /// Parses `domain:bus:device.function` or `bus:device.function`, hexadecimal.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str, most: u32| {
            let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            u32::from_str_radix(text, 16).ok().filter(|number| plain && *number <= most)
        };
        let (front, function) =
            text.split_once('.').map_or((text, "0"), |(front, function)| (front, function));
        number(function, 7)?;
        let mut parts = front.rsplit(':');
        let device = number(parts.next()?, 31)?;
        let bus = number(parts.next()?, 255)?;
        let domain = parts.next().map_or(Some(0), |domain| number(domain, u32::MAX))?;
        parts.next().is_none().then_some(Self { domain, bus, device })
    }
}

/// A UUID (version 5 by its bits) for a device that the grant does not name: the same for the same seed and index.
pub fn mint_uuid(seed: u64, index: u32) -> [u8; 16] {
    let mut uuid = [0_u8; 16];
    let mut state = seed ^ (u64::from(index) << 32) ^ 0x9e37_79b9_7f4a_7c15;
    for chunk in uuid.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        chunk.copy_from_slice(&mixed(state).to_be_bytes());
    }
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut uuid;
    *version = (*version & 0x0f) | 0x50;
    *variant = (*variant & 0x3f) | 0x80;
    uuid
}

/// SplitMix64 (public domain, Sebastiano Vigna).
fn mixed(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// What an instance's UUID says of it. A container is told the UUID alone; a real driver asks the kernel the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Number of the profile in [`crate::mig::PROFILES`].
    pub profile: u8,
    /// Slices that compute.
    pub compute: u8,
    /// Number of the GPU instance.
    pub gi: u8,
    /// Number of the compute instance in it.
    pub ci: u8,
}

/// The UUID of an instance: the same for the same card and numbers. Its last group says what the instance is.
pub fn mint_mig_uuid(card: [u8; 16], instance: Instance) -> [u8; 16] {
    let Instance { profile, compute, gi, ci } = instance;
    let card = u128::from_be_bytes(card);
    let seed = ((card >> 64) ^ card) & u128::from(u64::MAX);
    let mut uuid =
        mint_uuid(u64::try_from(seed).unwrap_or(0), u32::from_be_bytes([profile, compute, gi, ci]));
    let [.., to_profile, to_compute, to_gi, to_ci, _, _] = &mut uuid;
    (*to_profile, *to_compute, *to_gi, *to_ci) = (profile, compute, gi, ci);
    let [first, second] = check(uuid);
    let [.., to_first, to_second] = &mut uuid;
    (*to_first, *to_second) = (first, second);
    uuid
}

/// What the UUID of an instance says of it; `None` where it was not minted here.
pub fn read_mig_uuid(uuid: [u8; 16]) -> Option<Instance> {
    let [.., profile, compute, gi, ci, first, second] = uuid;
    (check(uuid) == [first, second]).then_some(Instance { profile, compute, gi, ci })
}

/// Two bytes over all others, so that a UUID from elsewhere is hardly taken for one of ours.
fn check(uuid: [u8; 16]) -> [u8; 2] {
    let number = u128::from_be_bytes(uuid) >> 16;
    let low = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(number >> 64).unwrap_or(0);
    let [first, second, ..] = mixed(low ^ mixed(high)).to_be_bytes();
    [first, second]
}

/// The PCI id of a device that the grant gives none: one bus each, from 0x41.
pub fn mint_pci(index: u32) -> Pci {
    Pci { domain: 0, bus: (0x41 + index) & 0xff, device: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_minted_uuid_depends_on_seed_and_index_only() {
        assert_eq!(mint_uuid(1, 0), mint_uuid(1, 0));
        assert_ne!(mint_uuid(1, 0), mint_uuid(1, 1));
        assert_ne!(mint_uuid(1, 0), mint_uuid(2, 0));
        assert!(print_uuid(mint_uuid(1, 0)).get(18..19) == Some("5"));
    }

    #[test]
    fn an_instance_has_a_uuid_of_its_card_and_its_numbers() {
        let (card, other) = (mint_uuid(1, 0), mint_uuid(1, 1));
        let instance = Instance { profile: 7, compute: 1, gi: 9, ci: 0 };
        assert_eq!(mint_mig_uuid(card, instance), mint_mig_uuid(card, instance));
        let differ = [
            (other, instance),
            (card, Instance { gi: 8, ..instance }),
            (card, Instance { ci: 1, ..instance }),
        ];
        for (card_of, differs) in differ {
            assert_ne!(mint_mig_uuid(card, instance), mint_mig_uuid(card_of, differs));
        }
        assert!(print_mig_uuid(mint_mig_uuid(card, instance)).starts_with("MIG-"));
    }

    #[test]
    fn a_uuid_from_elsewhere_says_nothing_of_an_instance() {
        let text = "MIG-d9a47cfb-d1f2-d08c-b40e-0812b597ae69";
        assert_eq!(parse_mig_uuid(text).map(print_mig_uuid).as_deref(), Some(text));
        assert_eq!(parse_mig_uuid(text).and_then(read_mig_uuid), None);
        assert_eq!(parse_mig_uuid(&text.replace("MIG-", "GPU-")), None);
    }

    #[test]
    fn pci_ids_come_with_and_without_domain() {
        let expected = Some(Pci { domain: 0, bus: 0x41, device: 0 });
        assert_eq!(Pci::parse("00000000:41:00.0"), expected);
        assert_eq!(Pci::parse("0000:41:00.0"), expected);
        assert_eq!(Pci::parse("41:00.0"), expected);
        assert_eq!(Pci::parse("41"), None);
        assert_eq!(Pci::parse("0:0:+1.0"), None);
    }

    proptest! {
        #[test]
        fn a_printed_uuid_parses_to_itself(uuid in any::<[u8; 16]>()) {
            prop_assert_eq!(parse_uuid(&print_uuid(uuid)), Some(uuid));
            prop_assert_eq!(parse_mig_uuid(&print_mig_uuid(uuid)), Some(uuid));
        }

        #[test]
        fn the_uuid_of_an_instance_says_what_it_is(card: [u8; 16], numbers: [u8; 4]) {
            let [profile, compute, gi, ci] = numbers;
            let instance = Instance { profile, compute, gi, ci };
            prop_assert_eq!(read_mig_uuid(mint_mig_uuid(card, instance)), Some(instance));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = (parse_uuid(&text), parse_mig_uuid(&text));
            let _ = Pci::parse(&text);
        }
    }
}
