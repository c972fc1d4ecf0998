//! What the grant says of quotas; see `contract::grant` for the keys.

use firstlight_contract::grant::value;
use firstlight_contract::ledger::DEVICES;

/// Whether the grant has a quota at all.
pub fn are_there(text: &[u8]) -> bool {
    value(text, b"quota").is_some() || (0..DEVICES).any(|device| of_device(text, device, b".quota").is_some())
}

/// The quotas, bytes, by device. A device with a line but without a quota has no limit; places for devices that have no
/// line have what the grant says of these, or nothing.
pub fn limits(text: &[u8]) -> [u64; DEVICES] {
    let others = others(text);
    let mut limits = [0; DEVICES];
    for (device, limit) in limits.iter_mut().enumerate() {
        let own = of_device(text, device, b".quota").map(|digits| number(digits).unwrap_or(0));
        let named = of_device(text, device, b".uuid").is_some();
        *limit = own.or(others).unwrap_or(if named { u64::MAX } else { 0 });
    }
    limits
}

/// The quota of devices without a line; `None` if they have none.
pub fn others(text: &[u8]) -> Option<u64> {
    // What cannot be read is no permission.
    value(text, b"quota").map(|digits| number(digits).unwrap_or(0))
}

/// What a context is charged, bytes.
pub fn context(text: &[u8], device: usize) -> u64 {
    of_device(text, device, b".context").and_then(number).unwrap_or(0)
}

/// How many devices have a line.
pub fn named(text: &[u8]) -> usize {
    (0..DEVICES).take_while(|device| of_device(text, *device, b".uuid").is_some()).count()
}

/// The number of the device with a UUID.
pub fn device_of(text: &[u8], uuid: [u8; 16]) -> Option<usize> {
    (0..named(text)).find(|device| of_device(text, *device, b".uuid").and_then(self::uuid) == Some(uuid))
}

/// The value of `device.N` and the rest of the key.
fn of_device<'a>(text: &'a [u8], device: usize, rest: &[u8]) -> Option<&'a [u8]> {
    let device = u8::try_from(device).ok()?;
    let digits = [b'0'.wrapping_add(device / 10 % 10), b'0'.wrapping_add(device % 10)];
    let digits = if device < 10 { digits.get(1..)? } else { &digits };
    let (mut key, mut length) = ([0; 24], 0_usize);
    for (to, from) in key.iter_mut().zip(b"device.".iter().chain(digits).chain(rest)) {
        *to = *from;
        length = length.wrapping_add(1);
    }
    value(text, key.get(..length)?)
}

/// A decimal number; `None` for anything else, also one that is too large.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The bytes of `GPU-` and a UUID; dashes may be anywhere.
pub fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    let mut used = 0_usize;
    for digit in text.strip_prefix(b"GPU-")?.iter().filter(|byte| **byte != b'-') {
        let value = match digit {
            b'0'..=b'9' => digit.wrapping_sub(b'0'),
            b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
            b'A'..=b'F' => digit.wrapping_sub(b'A').wrapping_add(10),
            _ => return None,
        };
        let byte = bytes.get_mut(used / 2)?;
        *byte = *byte << 4 | value;
        used = used.wrapping_add(1);
    }
    (used == 32).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRANT: &[u8] = b"firstlight-grant=1\nledger=/run/firstlight/ledger\n\
        device.0.uuid=GPU-00000000-0000-0000-0000-00000000000a\ndevice.0.quota=1024\ndevice.0.context=5\n\
        device.1.uuid=GPU-ffFFffff-0000-0000-0000-00000000000b\n";

    #[test]
    fn each_device_has_the_quota_of_its_line() {
        assert!(are_there(GRANT));
        assert_eq!(limits(GRANT)[..3], [1024, u64::MAX, 0]);
        assert_eq!((named(GRANT), others(GRANT)), (2, None));
        assert_eq!((context(GRANT, 0), context(GRANT, 1)), (5, 0));
        let uuid = [255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
        assert_eq!((device_of(GRANT, uuid), device_of(GRANT, [0; 16])), (Some(1), None));
    }

    #[test]
    fn devices_without_a_line_share_what_the_grant_says_of_them() {
        assert_eq!(limits(b"quota=77\n"), [77; DEVICES]);
        let both = [GRANT, b"quota=77\n"].concat();
        assert_eq!(limits(&both)[..3], [1024, 77, 77]);
    }

    #[test]
    fn a_grant_without_a_quota_limits_nothing() {
        assert!(!are_there(b"firstlight-grant=1\ndevice.0.uuid=GPU-00000000-0000-0000-0000-00000000000a\n"));
        assert!(!are_there(b"# quota=1\n"));
    }

    #[test]
    fn a_quota_that_cannot_be_read_permits_nothing() {
        for text in ["quota=", "quota=1k", "quota=-1", "quota=99999999999999999999"] {
            assert!(are_there(text.as_bytes()));
            assert_eq!(limits(text.as_bytes()), [0; DEVICES], "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_the_agent_writes_is_read(quotas in proptest::collection::vec(any::<u64>(), 1..DEVICES)) {
            let lines = |(index, quota): (usize, &u64)| {
                format!("device.{index}.uuid=GPU-{index:08x}-0000-0000-0000-000000000000\ndevice.{index}.quota={quota}\n")
            };
            let text: String = quotas.iter().enumerate().map(lines).collect();
            prop_assert_eq!(&limits(text.as_bytes())[..quotas.len()], quotas.as_slice());
            prop_assert_eq!(named(text.as_bytes()), quotas.len());
        }

        #[test]
        fn foreign_bytes_never_panic(text: Vec<u8>) {
            let _ = (are_there(&text), limits(&text), device_of(&text, [0; 16]), context(&text, 3), uuid(&text));
        }
    }
}
