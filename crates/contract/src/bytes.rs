//! Sizes of memory as people write them.

use std::fmt;

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("Gi", 1 << 30), ("MiB", 1 << 20), ("Mi", 1 << 20)];

/// A number of bytes; printed in the largest unit that needs no fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(out, "{}{name}", self.0 / unit),
            None => write!(out, "{} bytes", self.0),
        }
    }
}

/// Reads `8GiB`, `8Gi`, `512MiB` or `512Mi`. Decimal units are refused: 8 GB are not what anybody means.
pub fn parse(text: &str) -> Option<u64> {
    let (digits, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    let digits = digits.trim_end();
    let number =
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten()?;
    number.checked_mul(*unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn binary_units_are_read_and_decimal_ones_are_not() {
        assert_eq!((parse("8GiB"), parse("512 Mi")), (Some(8 << 30), Some(512 << 20)));
        for text in ["8GB", "8G", "8", "8gib", "-8GiB", "8.5GiB", "GiB", "99999999999999GiB", "+8GiB"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(mebibytes in 1_u64..1 << 30) {
            prop_assert_eq!(parse(&Bytes(mebibytes << 20).to_string()), Some(mebibytes << 20));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
