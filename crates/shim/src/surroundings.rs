//! What lies around a `cuInit` that failed: the codes 100, 304 and 999 have many causes, and only the process itself sees
//! its environment and its `/dev`.
#![expect(unsafe_code, reason = "reads the environment, as the driver just did")]

use crate::recorder::{Note, RECORDER};
use crate::start::{c_path, with_nul};
use crate::{grant, sys, weak};
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use firstlight_contract::grant::{PoolKind, value};
use firstlight_contract::record::{Kind, MAX_TEXT};

const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// Cards whose nodes are looked for.
const CARDS: u8 = 16;

static TOLD: AtomicBool = AtomicBool::new(false);

/// Notes them once for a process, to be written with the next record.
pub fn note() {
    if !RECORDER.is_active() || TOLD.swap(true, SeqCst) {
        return;
    }
    environment();
    // A simulated GPU has no nodes, and that says nothing.
    let simulated = grant::with(|text| value(text, b"kind") == Some(PoolKind::Simulated.as_str().as_bytes()));
    if !simulated {
        node(c_path!("/dev/nvidiactl"));
        node(c_path!("/dev/nvidia-uvm"));
        card();
    }
}

fn environment() {
    const NAME: [u8; VISIBLE.len() + 1] = with_nul(VISIBLE);
    // SAFETY: the driver read this variable in the call that just failed, under the same promise.
    let Some(value) = (unsafe { weak::variable(&NAME, MAX_TEXT) }) else { return };
    let mut text = [0; MAX_TEXT];
    let mut used = 0;
    for (to, from) in text.iter_mut().zip(VISIBLE.as_bytes().iter().chain(b"=").chain(value)) {
        *to = *from;
        used += 1;
    }
    RECORDER.defer(&Note::new(Kind::Environment, text.get(..used).unwrap_or(&[])));
}

fn node(path: &[u8]) {
    let (result, arg0) = match sys::status_at(path) {
        Ok(status) => (sys::may_use(path).err().unwrap_or(0), status.special),
        Err(errno) => (errno, 0),
    };
    let text = path.strip_suffix(b"\0").unwrap_or(path);
    RECORDER.defer(&Note { result, arg0, ..Note::new(Kind::DeviceNode, text) });
}

/// The first card that is there; the first of all if none is.
fn card() {
    let mut kept = [0; 16];
    let there = (0..CARDS).find(|number| sys::status_at(path(*number, &mut kept)).is_ok());
    node(path(there.unwrap_or(0), &mut kept));
}

/// `/dev/nvidia7`, NUL-terminated.
fn path(number: u8, into: &mut [u8; 16]) -> &[u8] {
    let (tens, ones) = ([b'0' + number / 10], [b'0' + number % 10]);
    let tens: &[u8] = if number < 10 { &[] } else { &tens };
    let mut used = 0;
    for (to, from) in into.iter_mut().zip(b"/dev/nvidia".iter().chain(tens).chain(&ones).chain(&[0])) {
        *to = *from;
        used += 1;
    }
    into.get(..used).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_have_the_names_that_the_driver_gives_them() {
        let mut kept = [0; 16];
        assert_eq!(path(0, &mut kept), b"/dev/nvidia0\0");
        assert_eq!(path(9, &mut kept), b"/dev/nvidia9\0");
        assert_eq!(path(15, &mut kept), b"/dev/nvidia15\0");
    }
}
