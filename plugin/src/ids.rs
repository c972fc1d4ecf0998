//! Stable identities: the same node, pool and index give the same UUID and PCI id after every restart.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// First 16 hexadecimal digits of a digest over `parts`.
pub fn short(parts: &[&str]) -> String {
    hex(digest(parts).get(..8).unwrap_or_default())
}

/// `GPU-` and a UUID (version 8, custom) of the device with this index.
pub fn uuid(node: &str, pool: &str, index: u32) -> String {
    let digest = digest(&["uuid", node, pool, &index.to_string()]);
    let text = hex(digest.get(..16).unwrap_or_default());
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("GPU-{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// PCI id of the device with this index, `domain:bus:device.function`. Unique within a pool.
pub fn pci(node: &str, pool: &str, index: u32) -> String {
    let [first, second, ..] = digest(&["pci", node, pool]);
    // Buses 0x10–0xEF, away from what virtual machines use; 224 of them, a pool has at most 64 devices.
    let bus = 0x10 + (u32::from(first) + index) % 0xE0;
    format!("00000000:{bus:02x}:{:02x}.0", second % 0x20)
}

/// 32 random lower-case hexadecimal digits, from the kernel.
pub fn random() -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn identities_are_the_same_bytes_in_every_release() {
        assert_eq!(uuid("node-a", "simulated", 0), "GPU-b1ca7a65-49cf-88d4-8caa-1cff9b457b3c");
        assert_eq!(pci("node-a", "simulated", 0), "00000000:1e:17.0");
    }

    #[test]
    fn random_ids_differ() {
        let ids: BTreeSet<String> = (0..100).map(|_| random().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 32));
    }

    proptest! {
        #[test]
        fn devices_of_a_pool_never_share_an_identity(node in "[a-z]{1,10}", pool in "[a-z]{1,10}") {
            let ids: BTreeSet<_> = (0..64).flat_map(|index| [uuid(&node, &pool, index), pci(&node, &pool, index)]).collect();
            prop_assert_eq!(ids.len(), 128);
        }
    }
}
