//! Work of a stream: done at once, or, while the stream is captured, kept for the graph.
#![expect(unsafe_code, reason = "calls functions that the client handed in")]

use crate::abi::{self, Code, Done, Handle};
use crate::state::{Locked, State};
use crate::stream;

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A kernel: found, launched and counted, not run.
    Kernel(Handle),
    /// Rows of bytes from one place to another.
    Copy(Copy),
    /// Rows of equal elements.
    Fill(Fill),
    /// A function of the client, called with its data.
    Host { function: u64, data: u64 },
    /// Nothing that is done here (an event).
    Empty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) to: u64,
    pub(crate) to_pitch: u64,
    pub(crate) from: u64,
    pub(crate) from_pitch: u64,
    pub(crate) width: u64,
    pub(crate) height: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) to: u64,
    pub(crate) pitch: u64,
    pub(crate) value: u32,
    /// Bytes of an element: 1, 2 or 4.
    pub(crate) element: usize,
    /// Elements of a row.
    pub(crate) columns: usize,
    pub(crate) rows: u64,
}

/// A capture in progress.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) id: u64,
    pub(crate) nodes: Vec<Node>,
    /// Whether nothing forbidden has happened yet.
    pub(crate) valid: bool,
    /// Whether no thread may do meanwhile what cannot be captured.
    pub(crate) everywhere: bool,
}

impl Node {
    /// Whether the other does the same kind of work, so that a graph can be updated with it.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Does it. The state must not be locked: a function of the client may call the driver.
    pub(crate) fn run(&self) {
        match self {
            Self::Kernel(_) | Self::Empty | Self::Host { function: 0, .. } => {}
            Self::Copy(copy) => {
                let width = usize::try_from(copy.width).unwrap_or(0);
                for row in 0..copy.height {
                    abi::copy_bytes(copy.to + row * copy.to_pitch, copy.from + row * copy.from_pitch, width);
                }
            }
            Self::Fill(fill) => {
                for row in 0..fill.rows {
                    abi::fill(fill.to + row * fill.pitch, fill.value, fill.element, fill.columns);
                }
            }
            Self::Host { function, data } => {
                // SAFETY: the client handed the address in as a `CUhostFn`, a function of one pointer.
                let function: extern "C" fn(u64) = unsafe { std::mem::transmute(*function) };
                function(*data);
            }
        }
    }
}

/// Adds a node to the capture that began in `origin`.
pub(crate) fn keep(state: &mut State, origin: Handle, node: Node) -> Done {
    let capture = state.streams.get_mut(&origin).and_then(|stream| stream.capture.as_mut());
    let capture = capture.filter(|capture| capture.valid).ok_or(Code::CAPTURE_INVALIDATED)?;
    capture.nodes.push(node);
    Ok(())
}

/// Does work in a stream, or keeps it while the stream is captured.
pub(crate) fn submit(mut state: Locked, stream: Handle, node: Node) -> Done {
    if let Some(origin) = stream::captured_by(&state, stream)? {
        return keep(&mut state, origin, node);
    }
    drop(state);
    node.run();
    Ok(())
}
