//! Who a device is: 16 bytes of UUID and a PCI id.

/// Parses `GPU-` and a UUID (the prefix may be missing) to its 16 bytes, as `cuDeviceGetUuid` returns them.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.strip_prefix("GPU-").unwrap_or(text);
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
    let digits = format!("{:032x}", u128::from_be_bytes(uuid));
    let mut text = String::from("GPU-");
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
        // SplitMix64 (public domain, Sebastiano Vigna).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes());
    }
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut uuid;
    *version = (*version & 0x0f) | 0x50;
    *variant = (*variant & 0x3f) | 0x80;
    uuid
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
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = parse_uuid(&text);
            let _ = Pci::parse(&text);
        }
    }
}
