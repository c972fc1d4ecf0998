//! Contexts. The primary context's handle is the same for ever; what it holds goes at reset or last release.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, offer, put};
use crate::state::{Context, Kind, Locked, State, Stream, current, device, pop, push, set_current, state};
use crate::{capture, memory, ranges};
use std::collections::BTreeMap;

/// `CU_CTX_FLAGS_MASK` (cuda.h).
const FLAGS: u32 = 0xff;

fn create(out: *mut Handle, flags: u32, ordinal: i32) -> Done {
    let mut state = state()?;
    device(ordinal)?;
    if flags & !FLAGS != 0 {
        return Err(Code::INVALID_VALUE);
    }
    let context = state.mint(Kind::Context);
    put(out, context)?;
    state.contexts.insert(
        context,
        Context { device: ordinal, flags, primary: false, limits: BTreeMap::new(), peers: Vec::new() },
    );
    push(context);
    Ok(())
}

fn retain(state: &mut State, ordinal: i32) -> Result<Handle, Code> {
    let device = state.per_device(ordinal)?;
    device.retained += 1;
    let (primary, flags) = (device.primary, device.primary_flags);
    state.contexts.entry(primary).or_insert_with(|| Context {
        device: ordinal,
        flags,
        primary: true,
        limits: BTreeMap::new(),
        peers: Vec::new(),
    });
    Ok(primary)
}

/// Frees what a context holds, then calls the destructors of its local storage, without the lock.
fn clear(mut state: Locked, context: Handle) {
    let freed = ranges::of_context(&state, context);
    for base in &freed {
        let _ = memory::release(&mut state, *base);
    }
    // A variable is made anew where it is asked for again: its old address may be somebody else's by then.
    for image in state.images.values_mut() {
        image.globals.retain(|_, address| !freed.contains(address));
    }
    let captured = |(handle, stream): (&Handle, &Stream)| {
        (stream.context == context && stream.capture.is_some()).then_some(*handle)
    };
    let captured: Vec<Handle> = state.streams.iter().filter_map(captured).collect();
    for origin in captured {
        capture::ended(&mut state, origin);
    }
    state.streams.retain(|_, stream| stream.context != context);
    state.events.retain(|_, event| event.context != context);
    state.contexts.remove(&context);
    let mut entries = Vec::new();
    state.storage.retain(|(owner, key), (value, destructor)| {
        if *owner == context {
            entries.push((*key, *value, *destructor));
        }
        *owner != context
    });
    drop(state);
    for (key, value, destructor) in entries {
        if destructor == 0 {
            continue;
        }
        // SAFETY: the client registered this address as a function of this type (table CTX_LOCAL_STORAGE).
        let destructor: extern "C" fn(Handle, u64, u64) = unsafe { std::mem::transmute(destructor) };
        destructor(context, key, value);
    }
}

fn release(ordinal: i32) -> Done {
    let mut state = state()?;
    let device = state.per_device(ordinal)?;
    let primary = device.primary;
    device.retained = device.retained.checked_sub(1).ok_or(Code::INVALID_CONTEXT)?;
    if device.retained == 0 {
        clear(state, primary);
    }
    Ok(())
}

/// The handle stays current in threads that have it, and is usable again once retained. Who retained it before still
/// has to release it.
fn reset(ordinal: i32) -> Done {
    let mut state = state()?;
    let primary = state.per_device(ordinal)?.primary;
    clear(state, primary);
    Ok(())
}

fn set_primary_flags(ordinal: i32, flags: u32) -> Done {
    let mut state = state()?;
    let device = state.per_device(ordinal)?;
    if flags & !FLAGS != 0 {
        return Err(Code::INVALID_VALUE);
    }
    device.primary_flags = flags;
    let primary = device.primary;
    if let Some(context) = state.contexts.get_mut(&primary) {
        context.flags = flags;
    }
    Ok(())
}

fn destroy(context: Handle) -> Done {
    let state = state()?;
    if context == 0 {
        return Err(Code::INVALID_VALUE);
    }
    match state.contexts.get(&context) {
        Some(known) if !known.primary => {}
        _ => return Err(Code::INVALID_CONTEXT),
    }
    clear(state, context);
    if current() == context {
        pop();
    }
    Ok(())
}

fn push_known(context: Handle) -> Done {
    let state = state()?;
    if context == 0 {
        return Err(Code::INVALID_VALUE);
    }
    if state.primary(context).is_none() && !state.contexts.contains_key(&context) {
        return Err(Code::INVALID_CONTEXT);
    }
    push(context);
    Ok(())
}

fn pop_into(out: *mut Handle) -> Done {
    state()?;
    let context = pop().ok_or(Code::INVALID_CONTEXT)?;
    offer(out, context);
    Ok(())
}

/// Defaults of `CUlimit`: stack, printf buffer, heap, depth, pending launches, L2 fetch granularity; then the persisting
/// part of L2, and shared memory and state of graphics contexts, which there are none of.
fn default_limit(limit: u32, capability: u8) -> Result<u64, Code> {
    match limit {
        0 => Ok(1024),
        1 => Ok(6 << 20),
        2 => Ok(8 << 20),
        3 if capability < 9 => Ok(2),
        4 => Ok(2048),
        5 => Ok(64),
        6..=8 => Ok(0),
        3 | 9 => Err(Code::UNSUPPORTED_LIMIT),
        _ => Err(Code::INVALID_VALUE),
    }
}

/// Most local memory of a thread (CUDA C++ programming guide, *Compute Capabilities*).
const DEEPEST_STACK: usize = 512 << 10;

driver! {
    fn cuDevicePrimaryCtxRetain(out: *mut Handle, ordinal: i32) {
        let mut state = state()?;
        put(out, retain(&mut state, ordinal)?)
    }

    fn cuDevicePrimaryCtxRelease(ordinal: i32) {
        release(ordinal)
    }

    fn cuDevicePrimaryCtxRelease_v2(ordinal: i32) {
        release(ordinal)
    }

    fn cuDevicePrimaryCtxReset(ordinal: i32) {
        reset(ordinal)
    }

    fn cuDevicePrimaryCtxReset_v2(ordinal: i32) {
        reset(ordinal)
    }

    fn cuDevicePrimaryCtxSetFlags(ordinal: i32, flags: u32) {
        set_primary_flags(ordinal, flags)
    }

    fn cuDevicePrimaryCtxSetFlags_v2(ordinal: i32, flags: u32) {
        set_primary_flags(ordinal, flags)
    }

    fn cuDevicePrimaryCtxGetState(ordinal: i32, flags: *mut u32, active: *mut i32) {
        let mut state = state()?;
        let device = state.per_device(ordinal)?;
        put(flags, device.primary_flags)?;
        let primary = device.primary;
        put(active, i32::from(state.contexts.contains_key(&primary)))
    }

    fn cuCtxCreate(out: *mut Handle, flags: u32, ordinal: i32) {
        create(out, flags, ordinal)
    }

    fn cuCtxCreate_v2(out: *mut Handle, flags: u32, ordinal: i32) {
        create(out, flags, ordinal)
    }

    /// Execution affinity is refused: `cuDeviceGetExecAffinitySupport` says that there is none.
    fn cuCtxCreate_v3(out: *mut Handle, _affinity: Raw, affinities: i32, flags: u32, ordinal: i32) {
        if affinities == 0 { create(out, flags, ordinal) } else { Err(Code::NOT_SUPPORTED) }
    }

    fn cuCtxCreate_v4(out: *mut Handle, parameters: Raw, flags: u32, ordinal: i32) {
        if parameters.is_null() { create(out, flags, ordinal) } else { Err(Code::NOT_SUPPORTED) }
    }

    fn cuCtxDestroy(context: Handle) {
        destroy(context)
    }

    fn cuCtxDestroy_v2(context: Handle) {
        destroy(context)
    }

    fn cuCtxPushCurrent(context: Handle) {
        push_known(context)
    }

    fn cuCtxPushCurrent_v2(context: Handle) {
        push_known(context)
    }

    fn cuCtxPopCurrent(out: *mut Handle) {
        pop_into(out)
    }

    fn cuCtxPopCurrent_v2(out: *mut Handle) {
        pop_into(out)
    }

    /// The runtime sets a primary context before it retains it, so the handle of one that is not active is taken.
    fn cuCtxSetCurrent(context: Handle) {
        let state = state()?;
        if context != 0 && state.primary(context).is_none() && !state.contexts.contains_key(&context) {
            return Err(Code::INVALID_CONTEXT);
        }
        set_current(context);
        Ok(())
    }

    fn cuCtxGetCurrent(out: *mut Handle) {
        state()?;
        put(out, current())
    }

    fn cuCtxGetDevice(out: *mut i32) {
        let ordinal = device_of(current())?;
        put(out, ordinal)
    }

    fn cuCtxGetDevice_v2(out: *mut i32, context: Handle) {
        let ordinal = device_of(if context == 0 { current() } else { context })?;
        put(out, ordinal)
    }

    fn cuCtxGetApiVersion(context: Handle, out: *mut u32) {
        state()?.context(context)?;
        put(out, 3020)
    }

    fn cuCtxGetId(context: Handle, out: *mut u64) {
        let (context, _) = state()?.context(context).map(|(handle, known)| (handle, known.device))?;
        put(out, (context & 0xffff_ffff) >> 4)
    }

    fn cuCtxGetFlags(out: *mut u32) {
        let state = state()?;
        let flags = state.context(0).map(|(_, context)| context.flags);
        put(out, flags.or_else(|code| state.primary(current()).map(|(_, device)| device.primary_flags).ok_or(code))?)
    }

    fn cuCtxSetFlags(flags: u32) {
        let mut state = state()?;
        state.contexts.get_mut(&current()).ok_or(Code::INVALID_CONTEXT)?.flags = flags;
        Ok(())
    }

    fn cuCtxGetLimit(out: *mut usize, limit: u32) {
        let state = state()?;
        let (_, context) = state.context(0)?;
        let usual = default_limit(limit, device(context.device)?.model.capability_major)?;
        let value = context.limits.get(&limit).copied().unwrap_or(usual);
        put(out, usize::try_from(value).unwrap_or(usize::MAX))
    }

    fn cuCtxSetLimit(limit: u32, value: usize) {
        let mut state = state()?;
        default_limit(limit, device(state.current_device()?)?.model.capability_major)?;
        if limit == 0 && value > DEEPEST_STACK {
            return Err(Code::INVALID_VALUE);
        }
        let context = state.contexts.get_mut(&current()).ok_or(Code::INVALID_CONTEXT)?;
        context.limits.insert(limit, value as u64);
        Ok(())
    }

    fn cuCtxGetStreamPriorityRange(least: *mut i32, greatest: *mut i32) {
        state()?.context(0)?;
        offer(least, 0);
        offer(greatest, -5);
        Ok(())
    }

    fn cuCtxGetCacheConfig(out: *mut i32) {
        state()?.context(0)?;
        put(out, 0)
    }

    fn cuCtxSetCacheConfig(_config: i32) {
        state()?.context(0).map(|_| ())
    }

    fn cuCtxResetPersistingL2Cache() {
        state()?.context(0).map(|_| ())
    }

    /// All work is done before the call that asked for it returns.
    fn cuCtxSynchronize() {
        state()?.context(0).map(|_| ())
    }

    fn cuCtxSynchronize_v2(context: Handle) {
        state()?.context(context).map(|_| ())
    }

    fn cuCtxEnablePeerAccess(peer: Handle, flags: u32) {
        let mut state = state()?;
        let theirs = state.contexts.get(&peer).ok_or(Code::INVALID_CONTEXT)?.device;
        let ours = state.contexts.get_mut(&current()).ok_or(Code::INVALID_CONTEXT)?;
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        if ours.device == theirs {
            return Err(Code::INVALID_DEVICE);
        }
        if ours.peers.contains(&peer) {
            return Err(Code::PEER_ACCESS_ALREADY_ENABLED);
        }
        ours.peers.push(peer);
        Ok(())
    }

    fn cuCtxDisablePeerAccess(peer: Handle) {
        let mut state = state()?;
        let ours = state.contexts.get_mut(&current()).ok_or(Code::INVALID_CONTEXT)?;
        let at = ours.peers.iter().position(|one| *one == peer).ok_or(Code::PEER_ACCESS_NOT_ENABLED)?;
        ours.peers.swap_remove(at);
        Ok(())
    }
}

/// The device of a context, active or not.
fn device_of(context: Handle) -> Result<i32, Code> {
    let state = state()?;
    if let Some(known) = state.contexts.get(&context) {
        return Ok(known.device);
    }
    state.primary(context).map(|(ordinal, _)| ordinal).ok_or(Code::INVALID_CONTEXT)
}
