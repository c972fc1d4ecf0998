//! Stream capture: work is kept, in order, until the capture ends as a graph.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, get, offer, put};
use crate::state::{Graph, Kind, State, state};
use crate::stream;
use crate::work::Capture;
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `CUstreamCaptureStatus`.
const NONE: u32 = 0;
const ACTIVE: u32 = 1;
const INVALIDATED: u32 = 2;

/// `CU_STREAM_CAPTURE_MODE_GLOBAL`.
const EVERYWHERE: u32 = 0;

/// Captures in progress in the whole process: a launch looks no further when there is none.
static ACTIVE_CAPTURES: AtomicUsize = AtomicUsize::new(0);

/// Whether any stream is captured.
pub(crate) fn any() -> bool {
    ACTIVE_CAPTURES.load(Ordering::Relaxed) > 0
}

/// Refuses a call that no capture of mode `CU_STREAM_CAPTURE_MODE_GLOBAL` allows anywhere in the process, and ends
/// such captures; a thread with another mode may.
pub(crate) fn permit(state: &mut State) -> Done {
    if !any() || MODE.get() != EVERYWHERE {
        return Ok(());
    }
    let captures = state.streams.values_mut().filter_map(|stream| stream.capture.as_mut());
    let mut done = Ok(());
    for capture in captures.filter(|capture| capture.everywhere) {
        capture.valid = false;
        done = Err(Code::CAPTURE_UNSUPPORTED);
    }
    done
}

/// The capture that began in this stream is over: streams that took part are free.
pub(crate) fn ended(state: &mut State, origin: Handle) {
    ACTIVE_CAPTURES.fetch_sub(1, Ordering::Relaxed);
    for stream in state.streams.values_mut() {
        if stream.joined == Some(origin) {
            stream.joined = None;
        }
    }
}

fn begin(stream: Handle, mode: u32) -> Done {
    let mut state = state()?;
    if mode > 2 {
        return Err(Code::INVALID_VALUE);
    }
    if stream::captured_by(&state, stream)?.is_some() {
        return Err(Code::ILLEGAL_STATE);
    }
    let id = state.mint(Kind::Graph);
    // The legacy stream cannot be captured; the per-thread one could, and is not simulated.
    let known = state.streams.get_mut(&stream).ok_or(Code::CAPTURE_UNSUPPORTED)?;
    known.capture = Some(Capture { id, nodes: Vec::new(), valid: true, everywhere: mode == EVERYWHERE });
    ACTIVE_CAPTURES.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn end(stream: Handle, out: *mut Handle) -> Done {
    let mut state = state()?;
    stream::check(&state, stream)?;
    let capture = state.streams.get_mut(&stream).and_then(|stream| stream.capture.take());
    let capture = capture.ok_or(Code::ILLEGAL_STATE)?;
    ended(&mut state, stream);
    if !capture.valid {
        offer(out, 0);
        return Err(Code::CAPTURE_INVALIDATED);
    }
    put(out, capture.id)?;
    state.graphs.insert(capture.id, Graph { nodes: capture.nodes });
    Ok(())
}

/// Status and number of the capture that a stream takes part in.
fn info(state: &State, stream: Handle) -> Result<(u32, Handle), Code> {
    let origin = stream::captured_by(state, stream)?;
    let capture =
        origin.and_then(|origin| state.streams.get(&origin)).and_then(|stream| stream.capture.as_ref());
    Ok(match capture {
        None => (NONE, 0),
        Some(capture) => (if capture.valid { ACTIVE } else { INVALIDATED }, capture.id),
    })
}

fn tell(stream: Handle, status: *mut u32, id: *mut u64) -> Done {
    let state = state()?;
    let (what, capture) = info(&state, stream)?;
    put(status, what)?;
    if what == ACTIVE {
        offer(id, (capture & 0xffff_ffff) >> 4);
    }
    Ok(())
}

/// A client that wants the graph in the making wants to add nodes, which cannot be done here.
fn tell_more(stream: Handle, status: *mut u32, id: *mut u64, others: &[*mut Raw]) -> Done {
    tell(stream, status, id)?;
    let capturing = get(status)? == ACTIVE;
    if capturing && others.iter().any(|other| !other.is_null()) {
        return Err(Code::NOT_SUPPORTED);
    }
    Ok(())
}

thread_local! {
    /// `CUstreamCaptureMode` of this thread; 0 is global.
    static MODE: Cell<u32> = const { Cell::new(0) };
}

driver! {
    fn cuStreamBeginCapture(stream: Handle) {
        begin(stream, 0)
    }

    fn cuStreamBeginCapture_v2(stream: Handle, mode: u32) {
        begin(stream, mode)
    }

    fn cuStreamEndCapture(stream: Handle, out: *mut Handle) {
        end(stream, out)
    }

    fn cuStreamIsCapturing(stream: Handle, status: *mut u32) {
        let state = state()?;
        put(status, info(&state, stream)?.0)
    }

    fn cuStreamGetCaptureInfo(stream: Handle, status: *mut u32, id: *mut u64) {
        tell(stream, status, id)
    }

    fn cuStreamGetCaptureInfo_v2(stream: Handle, status: *mut u32, id: *mut u64, graph: *mut Raw, nodes: *mut Raw, count: *mut Raw) {
        tell_more(stream, status, id, &[graph, nodes, count])
    }

    fn cuStreamGetCaptureInfo_v3(stream: Handle, status: *mut u32, id: *mut u64, graph: *mut Raw, nodes: *mut Raw, edges: *mut Raw, count: *mut Raw) {
        tell_more(stream, status, id, &[graph, nodes, edges, count])
    }

    fn cuThreadExchangeStreamCaptureMode(mode: *mut u32) {
        let wanted = get(mode)?;
        if wanted > 2 {
            return Err(Code::INVALID_VALUE);
        }
        put(mode, MODE.replace(wanted))
    }
}
