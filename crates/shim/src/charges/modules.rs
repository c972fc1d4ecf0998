//! Variables of modules: their memory comes with the module, and the driver tells of it when it is asked where one is.
//! Variables that nobody asks for are not seen.
#![expect(unsafe_code, reason = "calls of the client's, with its out-pointers")]
#![expect(clippy::many_single_char_names, reason = "argument words without a meaning of their own")]

use super::entries::word;
use super::owners::{self, Owner};
use super::{LIVE, Name, end, key, onward, settle, take, write};

/// # Safety
/// Called as `cuModuleGetGlobal`, `cuLibraryGetGlobal` or `cuLibraryGetManaged`.
pub unsafe extern "C" fn global<const ID: u16>(
    out: usize,
    bytes_out: usize,
    module: usize,
    name: usize,
    e: usize,
    f: usize,
) -> i32 {
    // The client may leave out either; both are needed here.
    let (mut address, mut bytes) = (0_u64, 0_u64);
    let (ours, our_bytes) = ((&raw mut address) as usize, (&raw mut bytes) as usize);
    let asked = [if out == 0 { ours } else { out }, if bytes_out == 0 { our_bytes } else { bytes_out }];
    let [at, size_at] = asked;
    // SAFETY: the client's arguments, or places of the same size.
    let result = unsafe { onward(ID, [at, size_at, module, name, e, f]) };
    if result != 0 {
        return result;
    }
    // SAFETY: written on success.
    let [address, bytes] = [at, size_at].map(|pointer| unsafe { word(ID, pointer) });
    let known = key(Name::Address, address);
    if LIVE.change(known, |_| ()).is_some() {
        return result;
    }
    let Some(context) = owners::current() else { return result };
    let tag = owners::enter(Name::Module, module, Some(context.device));
    match take(ID, bytes as u64, Some(Owner { device: context.device, tag })) {
        Ok(charge) => settle(ID, charge, result, || known, || ()),
        Err(code) => {
            // SAFETY: the client's out-pointer: it must not use what it was refused.
            unsafe { write::<u32>(out, 0) };
            code
        }
    }
}

/// # Safety
/// Called as `cuModuleUnload` or `cuLibraryUnload`.
pub unsafe extern "C" fn unload<const ID: u16>(
    module: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> i32 {
    let owner = owners::find(Name::Module, module);
    // SAFETY: the client's arguments.
    let result = unsafe { onward(ID, [module, b, c, d, e, f]) };
    if result == 0
        && let Some(owner) = owner
    {
        end(owner.tag);
        owners::forget(owner.tag);
    }
    result
}
