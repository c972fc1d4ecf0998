//! The answer to the self-test by which NVIDIA's runtime tells whether the driver under it is whole.
//!
//! Provenance: what is asked and what is answered is publicly described by the projects ZLUDA (MIT or Apache-2.0) and
//! scuda (Apache-2.0). Nothing here was taken from an NVIDIA binary, no code was copied. It is an answer needed for
//! interoperability of a virtual driver and lives in this module alone, behind the feature `validity-handshake`;
//! the shim, which stands before real drivers, never touches the table.

/// What the answer is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) driver_version: u32,
    pub(crate) version: u32,
    pub(crate) process: u32,
    pub(crate) thread: u32,
    pub(crate) interface_table: u64,
    pub(crate) check_table: u64,
    pub(crate) check_function: u64,
    pub(crate) seconds: u64,
    /// UUID, PCI domain, bus and device of each visible device.
    pub(crate) devices: &'a [([u8; 16], [u32; 3])],
}

#[cfg(not(feature = "validity-handshake"))]
pub(crate) fn answer(question: &Question<'_>) -> Option<[u8; 16]> {
    let _ = question;
    None
}

/// The 16 bytes. Rounds are told apart by the version's last digit.
#[cfg(feature = "validity-handshake")]
pub(crate) fn answer(question: &Question<'_>) -> Option<[u8; 16]> {
    let pair = |first: u64, second: u64| (u128::from(second) << 64 | u128::from(first)).to_le_bytes();
    match question.version % 10 {
        0 => Some(pair(0x3341_181C_03CB_675C, 0x8ED3_83AA_1F4C_D1E8)),
        1 => Some(pair(0x1841_181C_03CB_675C, 0x8ED3_83AA_1F4C_D1E8)),
        2 => digest(question),
        _ => None,
    }
}

#[cfg(feature = "validity-handshake")]
fn digest(question: &Question<'_>) -> Option<[u8; 16]> {
    use hmac::{Mac, SimpleHmac};
    const KEY: [u8; 16] =
        [0x14, 0x6A, 0xDD, 0xAE, 0x53, 0xA9, 0xA7, 0x52, 0xAA, 0x08, 0x41, 0x36, 0x0B, 0xF5, 0x5A, 0x9F];
    let mut mac = SimpleHmac::<md2::Md2>::new_from_slice(&KEY).ok()?;
    for number in [question.driver_version, question.version, question.process, question.thread] {
        mac.update(&number.to_le_bytes());
    }
    let wide = [question.interface_table, question.check_table, question.check_function, question.seconds];
    for number in wide {
        mac.update(&number.to_le_bytes());
    }
    for (uuid, pci) in question.devices {
        mac.update(uuid);
        for number in pci {
            mac.update(&number.to_le_bytes());
        }
    }
    Some(mac.finalize().into_bytes().into())
}

#[cfg(all(test, feature = "validity-handshake"))]
mod tests {
    use super::*;

    fn question(version: u32, devices: &[([u8; 16], [u32; 3])]) -> Question<'_> {
        Question {
            driver_version: 13050,
            version,
            process: 4242,
            thread: 0x89AB_CDEF,
            interface_table: 0x1000,
            check_table: 0x2000,
            check_function: 0x3000,
            seconds: 1_700_000_000,
            devices,
        }
    }

    #[test]
    fn the_first_two_rounds_differ_in_one_byte() {
        let first = answer(&question(13050, &[])).unwrap();
        let second = answer(&question(13051, &[])).unwrap();
        assert_eq!(first[..8], [0x5c, 0x67, 0xcb, 0x03, 0x1c, 0x18, 0x41, 0x33]);
        let different: Vec<usize> = (0..16).filter(|at| first[*at] != second[*at]).collect();
        assert_eq!((different, second[7]), (vec![7], 0x18));
    }

    #[test]
    fn the_digest_without_a_device() {
        let expected =
            [0xd0, 0x62, 0x78, 0xa7, 0x8a, 0xcc, 0x13, 0xca, 0x10, 0x84, 0x69, 0x60, 0x01, 0x8f, 0x7b, 0x35];
        assert_eq!(answer(&question(13052, &[])), Some(expected));
    }

    #[test]
    fn the_digest_with_one_device() {
        let uuid = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let expected =
            [0x1f, 0x76, 0xfa, 0x63, 0x0c, 0x4e, 0x16, 0x46, 0xc9, 0xa8, 0x3c, 0x61, 0x5a, 0x9b, 0x4d, 0x5d];
        assert_eq!(answer(&question(13052, &[(uuid, [0, 0x41, 0])])), Some(expected));
    }

    #[test]
    fn an_unknown_round_is_not_answered() {
        assert_eq!(answer(&question(13053, &[])), None);
    }
}
