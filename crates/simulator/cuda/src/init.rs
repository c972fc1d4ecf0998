//! Initialisation, versions, error texts.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, driver, put};
use crate::state::{Kind, PerDevice, raw};
use firstlight_contract::fault::Fault;
use firstlight_driver_api::codes;
use firstlight_simulator::machine::Machine;
use firstlight_simulator::version::CUDA_VERSION;
use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The version that `cuDriverGetVersion` answers.
pub(crate) fn version() -> i32 {
    let ordered = Machine::of_process().fault(|fault| match fault {
        Fault::DriverVersion(version) => i32::try_from(*version).ok(),
        _ => None,
    });
    ordered.unwrap_or(CUDA_VERSION)
}

/// The state of every device, with its primary context and default pool minted.
pub(crate) fn initialise() -> Result<(), Code> {
    let machine = Machine::of_process();
    if machine.visible.is_empty() {
        return Err(Code::NO_DEVICE);
    }
    let mut state = raw();
    if state.initialised {
        return Ok(());
    }
    for _ in &machine.visible {
        let primary = state.mint(Kind::Context);
        let pool = state.mint(Kind::Pool);
        let ordinal = i32::try_from(state.devices.len()).unwrap_or(i32::MAX);
        state.pools.insert(pool, crate::pool::empty(ordinal));
        state.devices.push(PerDevice { primary, default_pool: pool, pool, ..PerDevice::default() });
    }
    state.initialised = true;
    Ok(())
}

/// A name or text of a code with the lifetime that the header promises: for ever.
fn lasting(text: &'static str) -> *const c_char {
    static TEXTS: LazyLock<Mutex<BTreeMap<&'static str, CString>>> = LazyLock::new(Mutex::default);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    texts.entry(text).or_insert_with(|| CString::new(text).unwrap_or_default()).as_ptr()
}

driver! {
    fn cuInit(flags: u32) {
        if flags == 0 { initialise() } else { Err(Code::INVALID_VALUE) }
    }

    fn cuDriverGetVersion(out: *mut i32) {
        put(out, version())
    }

    /// 2: lazily, as every driver since 12.2 does.
    fn cuModuleGetLoadingMode(out: *mut i32) {
        put(out, 2)
    }

    fn cuGetErrorName(code: u32, out: *mut *const c_char) {
        let name = codes::cuda_name(code);
        put(out, name.map_or(std::ptr::null(), lasting))?;
        name.map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    /// The runtime's text where it is known, else the name: the driver's own texts are not public.
    fn cuGetErrorString(code: u32, out: *mut *const c_char) {
        let name = codes::cuda_name(code);
        let text = if code == 0 { Some("no error") } else { name.map(|name| codes::runtime_text(code).unwrap_or(name)) };
        put(out, text.map_or(std::ptr::null(), lasting))?;
        text.map(|_| ()).ok_or(Code::INVALID_VALUE)
    }
}
