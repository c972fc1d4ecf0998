//! The private tables of `cuGetExportTable` that NVIDIA's runtime asks for. Names, UUIDs and meanings as public
//! interoperability projects (ZLUDA, scuda) describe them. A slot that nobody calls answers NOT_SUPPORTED.
#![expect(unsafe_code, reason = "tables of C functions")]

use crate::abi::{Code, Done, Handle, Raw, driver, get, offer, put};
use crate::handshake::{Question, answer};
use crate::init::version;
use crate::state::{current, state};
use firstlight_contract::fault::Fault;
use firstlight_driver_api::tables::by_uuid;
use firstlight_simulator::machine::Machine;

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Slot(*const ());

// SAFETY: the address of a function, of a size, nothing else.
unsafe impl Sync for Slot {}

extern "C" fn empty() -> u32 {
    Code::NOT_SUPPORTED.0
}

const EMPTY: Slot = Slot(empty as *const ());

const fn size(slots: usize) -> Slot {
    Slot(std::ptr::without_provenance(slots * size_of::<usize>()))
}

/// A table of `N` slots with these functions; slot 0 holds the size where `sized`.
const fn table<const N: usize, const F: usize>(sized: bool, functions: [(usize, *const ()); F]) -> [Slot; N] {
    let mut slots = [EMPTY; N];
    if sized && let [first, ..] = slots.as_mut_slice() {
        *first = size(N);
    }
    let mut left = functions.as_slice();
    while let [(at, function), rest @ ..] = left {
        if let Some((_, tail)) = slots.split_at_mut_checked(*at)
            && let [slot, ..] = tail
        {
            *slot = Slot(*function);
        }
        left = rest;
    }
    slots
}

static CUDART_INTERFACE: [Slot; 13] =
    table(true, [(2, primary_context as *const ()), (12, prepare_compilers as *const ())]);
static TOOLS_RUNTIME_CALLBACK: [Slot; 7] =
    table(true, [(2, callback_buffer as *const ()), (6, callback_flags as *const ())]);
static TOOLS_TLS: [Slot; 4] = table(true, [(2, tls_context as *const ())]);
static TOOLS_CONTEXT: [Slot; 95] = table(true, [(4, context_number as *const ())]);
static CONTEXT_LOCAL_STORAGE: [Slot; 4] = table(
    false,
    [(0, storage_put as *const ()), (1, storage_delete as *const ()), (2, storage_get as *const ())],
);
static CONTEXT_CHECKS: [Slot; 4] =
    table(true, [(2, check_context as *const ()), (3, check_nothing as *const ())]);
static INTEGRITY_CHECK: [Slot; 3] = table(true, [(1, integrity as *const ())]);

fn served(name: &str) -> Option<*const ()> {
    let slots: &'static [Slot] = match name {
        "cudart-interface" => &CUDART_INTERFACE,
        "tools-runtime-callback" => &TOOLS_RUNTIME_CALLBACK,
        "tools-tls" => &TOOLS_TLS,
        "tools-context" => &TOOLS_CONTEXT,
        "context-local-storage" => &CONTEXT_LOCAL_STORAGE,
        "context-checks" => &CONTEXT_CHECKS,
        "integrity-check" => &INTEGRITY_CHECK,
        _ => return None,
    };
    Some(slots.as_ptr().cast())
}

fn number(done: Done) -> u32 {
    done.map_or_else(|code| code.0, |()| 0)
}

/// CUDART_INTERFACE[2]: the primary context's handle, without retaining it.
extern "C" fn primary_context(out: *mut Handle, ordinal: i32) -> u32 {
    number((|| put(out, state()?.per_device(ordinal)?.primary))())
}

extern "C" fn prepare_compilers() -> u32 {
    0
}

/// Sizes that every runtime of CUDA 12 and 13 accepts; a smaller first one ends in code 35.
static CALLBACK_BUFFER: Buffer<1024> = Buffer::new();
static CALLBACK_FLAGS: Buffer<14> = Buffer::new();

#[repr(align(16))]
struct Buffer<const N: usize>(std::cell::UnsafeCell<[u8; N]>);

// SAFETY: this library never reads or writes the bytes after handing them out; they are the runtime's.
unsafe impl<const N: usize> Sync for Buffer<N> {}

impl<const N: usize> Buffer<N> {
    const fn new() -> Self {
        Self(std::cell::UnsafeCell::new([0; N]))
    }
}

extern "C" fn callback_buffer(out: *mut Raw, length: *mut usize) -> u32 {
    offer(out, CALLBACK_BUFFER.0.get().cast());
    offer(length, 1024);
    0
}

extern "C" fn callback_flags(out: *mut Raw, length: *mut usize) -> u32 {
    offer(out, CALLBACK_FLAGS.0.get().cast());
    offer(length, 14);
    0
}

extern "C" fn tls_context(out: *mut Handle) -> u32 {
    number(put(out, current()))
}

/// TOOLS_CONTEXT[4]: a small number of the context.
extern "C" fn context_number(context: Handle, out: *mut u64) -> u32 {
    let context = if context == 0 { current() } else { context };
    number(put(out, (context & 0xffff_ffff) >> 4))
}

extern "C" fn storage_put(context: Handle, key: u64, value: u64, destructor: u64) -> u32 {
    let put = || -> Done {
        let mut state = state()?;
        let context = if context == 0 { current() } else { context };
        if context == 0 {
            return Err(Code::INVALID_CONTEXT);
        }
        state.storage.insert((context, key), (value, destructor));
        Ok(())
    };
    number(put())
}

/// The destructor is not called here: only a reset of the context does that.
extern "C" fn storage_delete(context: Handle, key: u64) -> u32 {
    let delete = || -> Done {
        let context = if context == 0 { current() } else { context };
        state()?.storage.remove(&(context, key)).map(|_| ()).ok_or(Code::INVALID_HANDLE)
    };
    number(delete())
}

extern "C" fn storage_get(out: *mut u64, context: Handle, key: u64) -> u32 {
    let get = || -> Done {
        let context = if context == 0 { current() } else { context };
        let (value, _) = state()?.storage.get(&(context, key)).copied().ok_or(Code::INVALID_HANDLE)?;
        put(out, value)
    };
    number(get())
}

extern "C" fn check_context(_context: Handle, out: *mut u32, pointer: *mut Raw) -> u32 {
    offer(out, 0);
    offer(pointer, std::ptr::null_mut());
    0
}

extern "C" fn check_nothing() -> u32 {
    0
}

/// INTEGRITY_CHECK[1], see [`crate::handshake`].
extern "C" fn integrity(round: u32, seconds: u64, out: *mut [u8; 16]) -> u32 {
    let machine = Machine::of_process();
    let devices: Vec<([u8; 16], [u32; 3])> = machine
        .visible
        .iter()
        .map(|device| (device.uuid, [device.pci.domain, device.pci.bus, device.pci.device]))
        .collect();
    let address = |pointer: *const ()| pointer.addr() as u64;
    // SAFETY: no argument, cannot fail.
    let thread = unsafe { libc::pthread_self() };
    let question = Question {
        driver_version: u32::try_from(version()).unwrap_or(0),
        version: round,
        process: std::process::id(),
        thread: (thread & 0xffff_ffff) as u32,
        interface_table: address(CUDART_INTERFACE.as_ptr().cast()),
        check_table: address(INTEGRITY_CHECK.as_ptr().cast()),
        check_function: address(integrity as *const ()),
        seconds,
        devices: &devices,
    };
    number(answer(&question).ok_or(Code::NOT_SUPPORTED).and_then(|bytes| put(out, bytes)))
}

driver! {
    fn cuGetExportTable(out: *mut *const (), uuid: *const [u8; 16]) {
        let name = by_uuid(&get(uuid)?).map(|table| table.name);
        let refused = Machine::of_process().fault(|fault| match fault {
            Fault::RefuseTable { table, code } if Some(table.as_str()) == name => Some(Code(*code)),
            _ => None,
        });
        match (refused, name.and_then(served)) {
            (None, Some(table)) => put(out, table),
            (refused, _) => {
                offer(out, std::ptr::null());
                Err(refused.unwrap_or(Code::INVALID_VALUE))
            }
        }
    }
}
