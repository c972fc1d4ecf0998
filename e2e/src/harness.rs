//! What tests speak with: kubectl, helm, namespaces, waiting with a reason.

pub mod cards;
pub mod dump;
pub mod install;
pub mod kubectl;
pub mod prometheus;
pub mod scenario;
pub mod wait;
pub mod workload;

use std::fs::File;
use std::io::Read;

/// Eight random letters and digits, for names that collide with nobody's.
pub fn random_name() -> String {
    let mut bytes = [0u8; 8];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes = now.as_nanos().to_le_bytes().first_chunk::<8>().copied().unwrap_or_default();
    }
    bytes
        .iter()
        .map(|byte| {
            char::from(
                b"abcdefghijklmnopqrstuvwxyz012345".get(usize::from(byte % 32)).copied().unwrap_or(b'x'),
            )
        })
        .collect()
}
