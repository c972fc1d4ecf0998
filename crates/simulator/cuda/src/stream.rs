//! Streams. All work is done before the call that asked for it returns, so a stream is always idle.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, driver, offer, put};
use crate::state::{Kind, State, Stream, is, state};
use crate::work::{Node, keep, submit};

/// `CU_STREAM_LEGACY`, `CU_STREAM_PER_THREAD`; 0 is one of the two.
const PER_THREAD: Handle = 2;

/// Whether the handle is one of the streams that always exist.
pub(crate) fn is_default(stream: Handle) -> bool {
    stream <= PER_THREAD
}

/// Refuses what names no stream; a default one needs a current context.
pub(crate) fn check(state: &State, stream: Handle) -> Done {
    if is_default(stream) {
        state.context(0).map(|_| ())
    } else if is(stream, Kind::Stream) && state.streams.contains_key(&stream) {
        Ok(())
    } else {
        Err(Code::INVALID_HANDLE)
    }
}

/// The stream in which the capture began that this stream takes part in, if any.
pub(crate) fn captured_by(state: &State, stream: Handle) -> Result<Option<Handle>, Code> {
    check(state, stream)?;
    let Some(known) = state.streams.get(&stream) else { return Ok(None) };
    Ok(if known.capture.is_some() { Some(stream) } else { known.joined })
}

/// Refuses a call that cannot be captured, and ends the capture of a stream in which it was tried.
pub(crate) fn outside_capture(state: &mut State, stream: Handle) -> Done {
    let Some(origin) = captured_by(state, stream)? else { return Ok(()) };
    if let Some(capture) = state.streams.get_mut(&origin).and_then(|stream| stream.capture.as_mut()) {
        capture.valid = false;
    }
    Err(Code::CAPTURE_UNSUPPORTED)
}

/// Least and greatest priority of `cuCtxGetStreamPriorityRange`.
const PRIORITIES: std::ops::RangeInclusive<i32> = -5..=0;

fn create(out: *mut Handle, flags: u32, priority: i32) -> Done {
    let mut state = state()?;
    let (context, _) = state.context(0)?;
    // CU_STREAM_NON_BLOCKING is the only flag.
    if flags > 1 {
        return Err(Code::INVALID_VALUE);
    }
    let stream = state.mint(Kind::Stream);
    put(out, stream)?;
    let priority = priority.clamp(*PRIORITIES.start(), *PRIORITIES.end());
    state.streams.insert(stream, Stream { context, flags, priority, capture: None, joined: None });
    Ok(())
}

fn destroy(stream: Handle) -> Done {
    let mut state = state()?;
    if is_default(stream) {
        return Err(Code::INVALID_HANDLE);
    }
    let gone = state.streams.remove(&stream).ok_or(Code::INVALID_HANDLE)?;
    if gone.capture.is_some() {
        crate::capture::ended(&mut state, stream);
    }
    Ok(())
}

fn context_of(state: &State, stream: Handle) -> Result<Handle, Code> {
    check(state, stream)?;
    state
        .streams
        .get(&stream)
        .map_or_else(|| state.context(0).map(|(context, _)| context), |known| Ok(known.context))
}

driver! {
    fn cuStreamCreate(out: *mut Handle, flags: u32) {
        create(out, flags, 0)
    }

    fn cuStreamCreateWithPriority(out: *mut Handle, flags: u32, priority: i32) {
        create(out, flags, priority)
    }

    fn cuStreamDestroy(stream: Handle) {
        destroy(stream)
    }

    fn cuStreamDestroy_v2(stream: Handle) {
        destroy(stream)
    }

    fn cuStreamSynchronize(stream: Handle) {
        outside_capture(&mut *state()?, stream)
    }

    fn cuStreamQuery(stream: Handle) {
        outside_capture(&mut *state()?, stream)
    }

    /// Waiting for an event that was recorded in a captured stream makes this stream part of the capture.
    fn cuStreamWaitEvent(stream: Handle, event: Handle, flags: u32) {
        let mut state = state()?;
        check(&state, stream)?;
        // CU_EVENT_WAIT_EXTERNAL is the only flag.
        if flags > 1 {
            return Err(Code::INVALID_VALUE);
        }
        let origin = state.events.get(&event).ok_or(Code::INVALID_HANDLE)?.captured;
        let capturing = |origin: &Handle| state.streams.get(origin).is_some_and(|stream| stream.capture.is_some());
        let Some(origin) = origin.filter(capturing) else { return Ok(()) };
        if origin != stream {
            let waiting = state.streams.get_mut(&stream).ok_or(Code::CAPTURE_UNSUPPORTED)?;
            if waiting.capture.is_some() {
                return Err(Code::CAPTURE_MERGE);
            }
            waiting.joined = Some(origin);
        }
        keep(&mut state, origin, Node::Empty)
    }

    fn cuStreamGetFlags(stream: Handle, out: *mut u32) {
        let state = state()?;
        check(&state, stream)?;
        put(out, state.streams.get(&stream).map_or(0, |stream| stream.flags))
    }

    fn cuStreamGetPriority(stream: Handle, out: *mut i32) {
        let state = state()?;
        check(&state, stream)?;
        put(out, state.streams.get(&stream).map_or(0, |stream| stream.priority))
    }

    fn cuStreamGetId(stream: Handle, out: *mut u64) {
        let state = state()?;
        check(&state, stream)?;
        put(out, if is_default(stream) { stream } else { (stream & 0xffff_ffff) >> 4 })
    }

    fn cuStreamGetCtx(stream: Handle, out: *mut Handle) {
        let state = state()?;
        put(out, context_of(&state, stream)?)
    }

    fn cuStreamGetCtx_v2(stream: Handle, out: *mut Handle, green: *mut Handle) {
        let state = state()?;
        put(out, context_of(&state, stream)?)?;
        offer(green, 0);
        Ok(())
    }

    /// There are no green contexts, and cuBLAS takes no error for an answer.
    fn cuStreamGetGreenCtx(stream: Handle, out: *mut Handle) {
        check(&*state()?, stream)?;
        put(out, 0)
    }

    fn cuStreamGetDevice(stream: Handle, out: *mut i32) {
        let state = state()?;
        let context = context_of(&state, stream)?;
        put(out, state.contexts.get(&context).ok_or(Code::INVALID_CONTEXT)?.device)
    }

    fn cuStreamCopyAttributes(to: Handle, from: Handle) {
        let state = state()?;
        check(&state, to)?;
        check(&state, from)
    }

    fn cuStreamAttachMemAsync(stream: Handle, address: u64, _length: usize, _flags: u32) {
        let state = state()?;
        check(&state, stream)?;
        state.ranges.at(address).map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    fn cuLaunchHostFunc(stream: Handle, function: u64, data: u64) {
        submit(state()?, stream, Node::Host { function, data })
    }

    fn cuLaunchHostFunc_v2(stream: Handle, function: u64, data: u64, _mode: u32) {
        submit(state()?, stream, Node::Host { function, data })
    }

    /// The callback has the stream and a status before its data.
    fn cuStreamAddCallback(stream: Handle, callback: u64, data: u64, flags: u32) {
        outside_capture(&mut *state()?, stream)?;
        if callback == 0 || flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the client handed the address in as a `CUstreamCallback`.
        let callback: extern "C" fn(Handle, u32, u64) = unsafe { std::mem::transmute(callback) };
        callback(stream, 0, data);
        Ok(())
    }
}
