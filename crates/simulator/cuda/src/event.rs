//! Events. An event that was recorded is complete; its time is when it was recorded.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, driver, put};
use crate::state::{Event, Kind, is, state};
use crate::stream;
use crate::work::{Node, keep};
use std::time::Instant;

/// `CU_EVENT_DISABLE_TIMING`, `CU_EVENT_INTERPROCESS`; the flag 1 is `CU_EVENT_BLOCKING_SYNC`.
const NO_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;

fn record(event: Handle, stream: Handle) -> Done {
    let mut state = state()?;
    let origin = stream::captured_by(&state, stream)?;
    let known = state.events.get_mut(&event).ok_or(Code::INVALID_HANDLE)?;
    known.captured = origin;
    known.recorded = origin.is_none().then(Instant::now);
    match origin {
        Some(origin) => keep(&mut state, origin, Node::Empty),
        None => Ok(()),
    }
}

/// An event of a capture never completes outside of it.
fn outside_capture(event: Handle) -> Done {
    let state = state()?;
    let known = state.events.get(&event).ok_or(Code::INVALID_HANDLE)?;
    let capturing =
        |origin: &Handle| state.streams.get(origin).is_some_and(|stream| stream.capture.is_some());
    if known.captured.as_ref().is_some_and(capturing) { Err(Code::CAPTURED_EVENT) } else { Ok(()) }
}

fn destroy(event: Handle) -> Done {
    let mut state = state()?;
    if !is(event, Kind::Event) {
        return Err(Code::INVALID_HANDLE);
    }
    state.events.remove(&event).map(|_| ()).ok_or(Code::INVALID_HANDLE)
}

fn elapsed(out: *mut f32, from: Handle, to: Handle) -> Done {
    let state = state()?;
    let time = |event: Handle| {
        let known = state.events.get(&event).ok_or(Code::INVALID_HANDLE)?;
        if known.flags & NO_TIMING != 0 {
            return Err(Code::INVALID_HANDLE);
        }
        known.recorded.ok_or(Code::INVALID_HANDLE)
    };
    let (from, to) = (time(from)?, time(to)?);
    let forward = to.saturating_duration_since(from).as_secs_f32();
    let backward = from.saturating_duration_since(to).as_secs_f32();
    put(out, (forward - backward) * 1000.0)
}

driver! {
    fn cuEventCreate(out: *mut Handle, flags: u32) {
        let mut state = state()?;
        let (context, _) = state.context(0)?;
        if flags & !(1 | NO_TIMING | INTERPROCESS) != 0 || flags & (NO_TIMING | INTERPROCESS) == INTERPROCESS {
            return Err(Code::INVALID_VALUE);
        }
        // These need what no other process can open here.
        if flags & INTERPROCESS != 0 {
            return Err(Code::NOT_SUPPORTED);
        }
        let event = state.mint(Kind::Event);
        put(out, event)?;
        state.events.insert(event, Event { context, flags, recorded: None, captured: None });
        Ok(())
    }

    fn cuEventDestroy(event: Handle) {
        destroy(event)
    }

    fn cuEventDestroy_v2(event: Handle) {
        destroy(event)
    }

    fn cuEventRecord(event: Handle, stream: Handle) {
        record(event, stream)
    }

    fn cuEventRecordWithFlags(event: Handle, stream: Handle, _flags: u32) {
        record(event, stream)
    }

    fn cuEventQuery(event: Handle) {
        outside_capture(event)
    }

    fn cuEventSynchronize(event: Handle) {
        outside_capture(event)
    }

    fn cuEventElapsedTime(out: *mut f32, from: Handle, to: Handle) {
        elapsed(out, from, to)
    }

    fn cuEventElapsedTime_v2(out: *mut f32, from: Handle, to: Handle) {
        elapsed(out, from, to)
    }
}
