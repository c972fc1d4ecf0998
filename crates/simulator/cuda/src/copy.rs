//! Copies and fills. Device addresses are checked; host addresses are the client's promise, as with any driver.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, get};
use crate::ranges::check;
use crate::state::{State, state};
use crate::stream;
use crate::work::{Copy, Fill, Node, submit};

/// The default stream.
const NONE: Handle = 0;

/// Which end of a copy is device memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    ToDevice,
    FromDevice,
    OnDevice,
    /// Each address may be either: the address space is one.
    Unified,
}

fn copy(ends: Ends, to: u64, from: u64, bytes: usize, stream: Handle) -> Done {
    let state = state()?;
    state.context(0)?;
    let width = bytes as u64;
    if matches!(ends, Ends::ToDevice | Ends::OnDevice) {
        check(&state, to, width)?;
    }
    if matches!(ends, Ends::FromDevice | Ends::OnDevice) {
        check(&state, from, width)?;
    }
    if bytes > 0 && (to == 0 || from == 0) {
        return Err(Code::INVALID_VALUE);
    }
    submit(state, stream, Node::Copy(Copy { to, to_pitch: width, from, from_pitch: width, width, height: 1 }))
}

/// Synchronous copies are forbidden while the default stream would have to wait for a capture.
fn now(ends: Ends, to: u64, from: u64, bytes: usize) -> Done {
    copy(ends, to, from, bytes, NONE)
}

/// `CUDA_MEMCPY2D` (cuda.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Planar {
    from_x: usize,
    from_y: usize,
    from_kind: u32,
    from_host: u64,
    from_device: u64,
    from_array: u64,
    from_pitch: usize,
    to_x: usize,
    to_y: usize,
    to_kind: u32,
    to_host: u64,
    to_device: u64,
    to_array: u64,
    to_pitch: usize,
    width: usize,
    height: usize,
}

/// One end of a planar copy: where the first byte is, and the way from row to row.
struct End {
    x: usize,
    y: usize,
    kind: u32,
    host: u64,
    device: u64,
    pitch: usize,
}

impl End {
    fn locate(&self, state: &State, width: usize, height: usize) -> Result<(u64, u64), Code> {
        // CUmemorytype: 1 host, 2 device, 3 array, 4 unified.
        let base = match self.kind {
            1 => self.host,
            2 | 4 => self.device,
            3 => return Err(Code::NOT_SUPPORTED),
            _ => return Err(Code::INVALID_VALUE),
        };
        let pitch = if self.pitch == 0 { self.x + width } else { self.pitch };
        if base == 0 || pitch < width || height == 0 {
            return Err(Code::INVALID_VALUE);
        }
        let skipped = self.y.checked_mul(pitch).and_then(|rows| rows.checked_add(self.x));
        let start =
            skipped.and_then(|skipped| base.checked_add(skipped as u64)).ok_or(Code::INVALID_VALUE)?;
        let length = (height - 1).checked_mul(pitch).and_then(|rows| rows.checked_add(width));
        if self.kind == 2 {
            check(state, start, length.ok_or(Code::INVALID_VALUE)? as u64)?;
        }
        Ok((start, pitch as u64))
    }
}

fn planar(parameters: *const u8, stream: Handle) -> Done {
    let plan: Planar = get(parameters.cast())?;
    let state = state()?;
    state.context(0)?;
    if plan.width == 0 || plan.height == 0 {
        return Ok(());
    }
    let from = End {
        x: plan.from_x,
        y: plan.from_y,
        kind: plan.from_kind,
        host: plan.from_host,
        device: plan.from_device,
        pitch: plan.from_pitch,
    };
    let to = End {
        x: plan.to_x,
        y: plan.to_y,
        kind: plan.to_kind,
        host: plan.to_host,
        device: plan.to_device,
        pitch: plan.to_pitch,
    };
    let (from, from_pitch) = from.locate(&state, plan.width, plan.height)?;
    let (to, to_pitch) = to.locate(&state, plan.width, plan.height)?;
    let (width, height) = (plan.width as u64, plan.height as u64);
    submit(state, stream, Node::Copy(Copy { to, to_pitch, from, from_pitch, width, height }))
}

fn fill(
    to: u64,
    pitch: usize,
    value: u32,
    element: usize,
    columns: usize,
    rows: usize,
    stream: Handle,
) -> Done {
    let state = state()?;
    state.context(0)?;
    let width = columns.checked_mul(element).ok_or(Code::INVALID_VALUE)?;
    if !to.is_multiple_of(element as u64) || (rows > 1 && (pitch < width || !pitch.is_multiple_of(element))) {
        return Err(Code::INVALID_VALUE);
    }
    let skipped = rows.saturating_sub(1).checked_mul(pitch).and_then(|skipped| skipped.checked_add(width));
    let bytes = if rows == 0 { 0 } else { skipped.ok_or(Code::INVALID_VALUE)? };
    check(&state, to, bytes as u64)?;
    let (pitch, rows) = (pitch as u64, rows as u64);
    submit(state, stream, Node::Fill(Fill { to, pitch, value, element, columns, rows }))
}

fn peer(to: u64, to_context: Handle, from: u64, from_context: Handle, bytes: usize, stream: Handle) -> Done {
    {
        let state = state()?;
        state.context(to_context)?;
        state.context(from_context)?;
        stream::check(&state, stream)?;
    }
    copy(Ends::OnDevice, to, from, bytes, stream)
}

driver! {
    fn cuMemcpy(to: u64, from: u64, bytes: usize) {
        now(Ends::Unified, to, from, bytes)
    }

    fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: Handle) {
        copy(Ends::Unified, to, from, bytes, stream)
    }

    fn cuMemcpyHtoD_v2(to: u64, from: Raw, bytes: usize) {
        now(Ends::ToDevice, to, from.addr() as u64, bytes)
    }

    fn cuMemcpyHtoDAsync_v2(to: u64, from: Raw, bytes: usize, stream: Handle) {
        copy(Ends::ToDevice, to, from.addr() as u64, bytes, stream)
    }

    fn cuMemcpyDtoH_v2(to: Raw, from: u64, bytes: usize) {
        now(Ends::FromDevice, to.addr() as u64, from, bytes)
    }

    fn cuMemcpyDtoHAsync_v2(to: Raw, from: u64, bytes: usize, stream: Handle) {
        copy(Ends::FromDevice, to.addr() as u64, from, bytes, stream)
    }

    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        now(Ends::OnDevice, to, from, bytes)
    }

    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) {
        copy(Ends::OnDevice, to, from, bytes, stream)
    }

    fn cuMemcpyPeer(to: u64, to_context: Handle, from: u64, from_context: Handle, bytes: usize) {
        peer(to, to_context, from, from_context, bytes, NONE)
    }

    fn cuMemcpyPeerAsync(to: u64, to_context: Handle, from: u64, from_context: Handle, bytes: usize, stream: Handle) {
        peer(to, to_context, from, from_context, bytes, stream)
    }

    fn cuMemcpy2D_v2(parameters: *const u8) {
        planar(parameters, NONE)
    }

    fn cuMemcpy2DUnaligned_v2(parameters: *const u8) {
        planar(parameters, NONE)
    }

    fn cuMemcpy2DAsync_v2(parameters: *const u8, stream: Handle) {
        planar(parameters, stream)
    }

    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) {
        fill(to, 0, u32::from(value), 1, count, 1, NONE)
    }

    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) {
        fill(to, 0, u32::from(value), 1, count, 1, stream)
    }

    fn cuMemsetD16_v2(to: u64, value: u16, count: usize) {
        fill(to, 0, u32::from(value), 2, count, 1, NONE)
    }

    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: Handle) {
        fill(to, 0, u32::from(value), 2, count, 1, stream)
    }

    fn cuMemsetD32_v2(to: u64, value: u32, count: usize) {
        fill(to, 0, value, 4, count, 1, NONE)
    }

    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: Handle) {
        fill(to, 0, value, 4, count, 1, stream)
    }

    fn cuMemsetD2D8_v2(to: u64, pitch: usize, value: u8, columns: usize, rows: usize) {
        fill(to, pitch, u32::from(value), 1, columns, rows, NONE)
    }

    fn cuMemsetD2D8Async(to: u64, pitch: usize, value: u8, columns: usize, rows: usize, stream: Handle) {
        fill(to, pitch, u32::from(value), 1, columns, rows, stream)
    }

    fn cuMemsetD2D32_v2(to: u64, pitch: usize, value: u32, columns: usize, rows: usize) {
        fill(to, pitch, value, 4, columns, rows, NONE)
    }

    fn cuMemsetD2D32Async(to: u64, pitch: usize, value: u32, columns: usize, rows: usize, stream: Handle) {
        fill(to, pitch, value, 4, columns, rows, stream)
    }
}
