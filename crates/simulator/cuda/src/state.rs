//! All bookkeeping, behind one lock, and the handles that clients get.

use crate::abi::{Code, Handle};
use crate::code::Content;
use crate::ranges::Ranges;
use crate::vmm::Physical;
use crate::work::{Capture, Node};
use firstlight_simulator::machine::{Machine, Shown};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a handle names. The kind is part of the number, so that a handle of the wrong kind is refused without a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Context = 1,
    Stream,
    Event,
    Library,
    Module,
    Kernel,
    Graph,
    GraphExec,
    Pool,
    Physical,
}

const MARK: u64 = 0x51 << 40;

/// Whether the number is a handle of this kind. It may name something destroyed.
pub(crate) fn is(handle: Handle, kind: Kind) -> bool {
    handle >> 32 == (MARK >> 32) | kind as u64
}

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) device: i32,
    pub(crate) flags: u32,
    pub(crate) primary: bool,
    pub(crate) limits: BTreeMap<u32, u64>,
    pub(crate) peers: Vec<Handle>,
}

/// What one device holds.
#[derive(Debug, Default)]
pub(crate) struct PerDevice {
    pub(crate) used_bytes: u64,
    pub(crate) primary: Handle,
    pub(crate) retained: u32,
    pub(crate) primary_flags: u32,
    pub(crate) default_pool: Handle,
    pub(crate) pool: Handle,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) context: Handle,
    pub(crate) flags: u32,
    pub(crate) priority: i32,
    pub(crate) capture: Option<Capture>,
    /// The capturing stream that this one was joined to by an event.
    pub(crate) joined: Option<Handle>,
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) context: Handle,
    pub(crate) flags: u32,
    pub(crate) recorded: Option<Instant>,
    /// The capturing stream in which it was recorded last.
    pub(crate) captured: Option<Handle>,
}

/// A library or module: kernels and variables are minted as they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pub(crate) content: Content,
    pub(crate) kernels: HashMap<String, Handle>,
    pub(crate) globals: HashMap<String, u64>,
    pub(crate) module: Handle,
}

#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) name: CString,
    pub(crate) image: Handle,
    pub(crate) attributes: BTreeMap<u32, i32>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
}

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) device: i32,
    pub(crate) attributes: BTreeMap<u32, u64>,
    pub(crate) used_bytes: u64,
    pub(crate) most_used_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) initialised: bool,
    serial: u64,
    pub(crate) devices: Vec<PerDevice>,
    pub(crate) contexts: HashMap<Handle, Context>,
    pub(crate) streams: HashMap<Handle, Stream>,
    pub(crate) events: HashMap<Handle, Event>,
    pub(crate) images: HashMap<Handle, Image>,
    pub(crate) kernels: HashMap<Handle, Kernel>,
    pub(crate) graphs: HashMap<Handle, Graph>,
    pub(crate) executables: HashMap<Handle, (Graph, u64)>,
    pub(crate) pools: HashMap<Handle, Pool>,
    pub(crate) ranges: Ranges,
    /// Reserved addresses: base → bytes.
    pub(crate) reserved: BTreeMap<u64, u64>,
    pub(crate) physical: HashMap<Handle, Physical>,
    /// Context-local storage: (context, key) → (value, destructor).
    pub(crate) storage: HashMap<(Handle, u64), (u64, u64)>,
}

static STATE: Mutex<Option<Box<State>>> = Mutex::new(None);

/// The state, locked.
pub(crate) struct Locked(MutexGuard<'static, Option<Box<State>>>);

impl std::ops::Deref for Locked {
    type Target = State;
    fn deref(&self) -> &State {
        static NEVER: std::sync::LazyLock<State> = std::sync::LazyLock::new(State::default);
        self.0.as_deref().unwrap_or(&NEVER)
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut State {
        self.0.get_or_insert_with(Box::default)
    }
}

/// Locks the state, whether initialised or not.
pub(crate) fn raw() -> Locked {
    let mut guard = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    guard.get_or_insert_with(Box::default);
    Locked(guard)
}

/// Locks the state after `cuInit`.
pub(crate) fn state() -> Result<Locked, Code> {
    let state = raw();
    if state.initialised { Ok(state) } else { Err(Code::NOT_INITIALIZED) }
}

impl State {
    /// A new handle.
    pub(crate) fn mint(&mut self, kind: Kind) -> Handle {
        self.serial += 1;
        MARK | ((kind as u64) << 32) | ((self.serial << 4) & 0xffff_ffff)
    }

    /// What the driver keeps for a device.
    pub(crate) fn per_device(&mut self, ordinal: i32) -> Result<&mut PerDevice, Code> {
        let index = usize::try_from(ordinal).map_err(|_| Code::INVALID_DEVICE)?;
        self.devices.get_mut(index).ok_or(Code::INVALID_DEVICE)
    }

    /// A context; 0 is the current one, which may be gone.
    pub(crate) fn context(&self, handle: Handle) -> Result<(Handle, &Context), Code> {
        let (handle, otherwise) = match (handle, current()) {
            (0, 0) => (0, Code::INVALID_CONTEXT),
            (0, current) => (current, Code::CONTEXT_IS_DESTROYED),
            _ => (handle, Code::INVALID_CONTEXT),
        };
        self.contexts.get(&handle).map(|context| (handle, context)).ok_or(otherwise)
    }

    /// The device whose primary context this is, active or not.
    pub(crate) fn primary(&self, context: Handle) -> Option<(i32, &PerDevice)> {
        let ordinal = self.devices.iter().position(|device| context != 0 && device.primary == context)?;
        Some((i32::try_from(ordinal).ok()?, self.devices.get(ordinal)?))
    }

    /// Whether these addresses, at least one, lie in one reservation.
    pub(crate) fn is_reserved(&self, base: u64, bytes: u64) -> bool {
        let Some(end) = base.checked_add(bytes).filter(|end| *end > base) else { return false };
        let reserved = self.reserved.range(..=base).next_back();
        reserved.is_some_and(|(from, length)| end <= from.saturating_add(*length))
    }

    /// The device of the current context.
    pub(crate) fn current_device(&self) -> Result<i32, Code> {
        self.context(0).map(|(_, context)| context.device)
    }
}

/// The virtual device of a CUDA ordinal.
pub(crate) fn device(ordinal: i32) -> Result<&'static Shown, Code> {
    Machine::of_process().device(ordinal).ok_or(Code::INVALID_DEVICE)
}

thread_local! {
    static CURRENT: Cell<Handle> = const { Cell::new(0) };
    static PUSHED: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

/// The calling thread's context, 0 if none.
pub(crate) fn current() -> Handle {
    CURRENT.get()
}

/// Replaces the top of the calling thread's stack of contexts.
pub(crate) fn set_current(context: Handle) {
    CURRENT.set(context);
}

/// Pushes a context. At thread exit, when the stack is gone, only the top changes.
pub(crate) fn push(context: Handle) {
    let below = CURRENT.replace(context);
    let _ = PUSHED.try_with(|stack| stack.try_borrow_mut().map(|mut stack| stack.push(below)));
}

/// Pops a context; `None` if there is none.
pub(crate) fn pop() -> Option<Handle> {
    let below = PUSHED.try_with(|stack| stack.try_borrow_mut().ok().and_then(|mut stack| stack.pop()));
    let top = CURRENT.replace(below.ok().flatten().unwrap_or(0));
    (top != 0).then_some(top)
}
