//! Libraries and modules. What an image contains is not read (its kernels could not run anyway): a kernel or
//! variable is minted for the name that is asked for, the same one each time.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, get, offer, put, text};
use crate::memory::{allocate, release};
use crate::ranges::Memory;
use crate::state::{Image, Kernel, Kind, State, is, state};
use std::collections::BTreeMap;
use std::ffi::{CString, c_char};

/// A fatbin's wrapper, a fatbin, an ELF file; what else begins like text is PTX.
const WRAPPER: u32 = 0x4662_43b1;
const FATBIN: u32 = 0xba55_ed50;
const ELF: u32 = 0x464c_457f;

/// Size of a variable, since the image is not read: more than any constant memory.
const GLOBAL_BYTES: u64 = 1 << 20;

fn check_image(image: Raw) -> Done {
    let magic: u32 = get(image.cast_const().cast())?;
    let printable =
        magic.to_le_bytes().iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'));
    if matches!(magic, WRAPPER | FATBIN | ELF) || printable { Ok(()) } else { Err(Code::INVALID_IMAGE) }
}

fn check_file(path: *const c_char) -> Done {
    let path = text(path)?;
    std::fs::metadata(path).map(|_| ()).map_err(|_| Code::FILE_NOT_FOUND)
}

fn add(state: &mut State, out: *mut Handle, kind: Kind) -> Done {
    let image = state.mint(kind);
    put(out, image)?;
    state.images.insert(image, Image::default());
    Ok(())
}

fn add_module(out: *mut Handle) -> Done {
    let mut state = state()?;
    state.context(0)?;
    add(&mut state, out, Kind::Module)
}

/// The image that a handle names: a library, a module, or the module of a library.
fn image_of(state: &State, handle: Handle, kind: Kind) -> Result<Handle, Code> {
    if is(handle, kind) && state.images.contains_key(&handle) {
        return Ok(handle);
    }
    let of_library =
        |(library, image): (&Handle, &Image)| (handle != 0 && image.module == handle).then_some(*library);
    state.images.iter().find_map(of_library).ok_or(Code::INVALID_HANDLE)
}

fn kernel(out: *mut Handle, image: Handle, kind: Kind, name: *const c_char) -> Done {
    let name = text(name)?;
    let mut state = state()?;
    let image = image_of(&state, image, kind)?;
    let known = state.images.get(&image).and_then(|known| known.kernels.get(&name)).copied();
    if let Some(known) = known {
        return put(out, known);
    }
    let kernel = state.mint(Kind::Kernel);
    put(out, kernel)?;
    let spelled = CString::new(name.clone()).unwrap_or_default();
    state.kernels.insert(kernel, Kernel { name: spelled, image, attributes: BTreeMap::new() });
    if let Some(image) = state.images.get_mut(&image) {
        image.kernels.insert(name, kernel);
    }
    Ok(())
}

fn global(out: *mut u64, bytes: *mut usize, image: Handle, kind: Kind, name: *const c_char) -> Done {
    let name = text(name)?;
    let mut state = state()?;
    let image = image_of(&state, image, kind)?;
    let known = state.images.get(&image).and_then(|known| known.globals.get(&name)).copied();
    let address = match known {
        Some(known) => known,
        None => allocate(&mut state, GLOBAL_BYTES, Memory::Device, 0)?,
    };
    if let Some(image) = state.images.get_mut(&image) {
        image.globals.insert(name, address);
    }
    offer(out, address);
    offer(bytes, usize::try_from(GLOBAL_BYTES).unwrap_or(usize::MAX));
    Ok(())
}

fn unload(image: Handle, kind: Kind) -> Done {
    let mut state = state()?;
    if !is(image, kind) {
        return Err(Code::INVALID_HANDLE);
    }
    let gone = state.images.remove(&image).ok_or(Code::INVALID_HANDLE)?;
    for address in gone.globals.into_values() {
        // A variable goes with its context, too.
        let _ = release(&mut state, address);
    }
    state.kernels.retain(|_, kernel| kernel.image != image);
    Ok(())
}

fn count_kernels(out: *mut u32, image: Handle, kind: Kind) -> Done {
    let state = state()?;
    let image = image_of(&state, image, kind)?;
    let count = state.images.get(&image).map_or(0, |image| image.kernels.len());
    put(out, u32::try_from(count).unwrap_or(u32::MAX))
}

driver! {
    fn cuLibraryLoadData(
        out: *mut Handle, image: Raw, _options: Raw, _values: Raw, _count: u32, _library_options: Raw,
        _library_values: Raw, _library_count: u32,
    ) {
        check_image(image)?;
        add(&mut *state()?, out, Kind::Library)
    }

    fn cuLibraryLoadFromFile(
        out: *mut Handle, path: *const c_char, _options: Raw, _values: Raw, _count: u32, _library_options: Raw,
        _library_values: Raw, _library_count: u32,
    ) {
        check_file(path)?;
        add(&mut *state()?, out, Kind::Library)
    }

    fn cuLibraryUnload(library: Handle) {
        unload(library, Kind::Library)
    }

    fn cuLibraryGetKernel(out: *mut Handle, library: Handle, name: *const c_char) {
        kernel(out, library, Kind::Library, name)
    }

    /// Kernels that were asked for so far: others are not known.
    fn cuLibraryGetKernelCount(out: *mut u32, library: Handle) {
        count_kernels(out, library, Kind::Library)
    }

    fn cuLibraryGetModule(out: *mut Handle, library: Handle) {
        let mut state = state()?;
        state.context(0)?;
        let library = image_of(&state, library, Kind::Library)?;
        let minted = state.mint(Kind::Module);
        let image = state.images.get_mut(&library).ok_or(Code::INVALID_HANDLE)?;
        if image.module == 0 {
            image.module = minted;
        }
        put(out, image.module)
    }

    fn cuLibraryGetGlobal(out: *mut u64, bytes: *mut usize, library: Handle, name: *const c_char) {
        global(out, bytes, library, Kind::Library, name)
    }

    fn cuModuleLoad(out: *mut Handle, path: *const c_char) {
        check_file(path)?;
        add_module(out)
    }

    fn cuModuleLoadData(out: *mut Handle, image: Raw) {
        check_image(image)?;
        add_module(out)
    }

    fn cuModuleLoadDataEx(out: *mut Handle, image: Raw, _count: u32, _options: Raw, _values: Raw) {
        check_image(image)?;
        add_module(out)
    }

    fn cuModuleLoadFatBinary(out: *mut Handle, image: Raw) {
        check_image(image)?;
        add_module(out)
    }

    fn cuModuleUnload(module: Handle) {
        unload(module, Kind::Module)
    }

    fn cuModuleGetFunction(out: *mut Handle, module: Handle, name: *const c_char) {
        kernel(out, module, Kind::Module, name)
    }

    fn cuModuleGetFunctionCount(out: *mut u32, module: Handle) {
        count_kernels(out, module, Kind::Module)
    }

    fn cuModuleGetGlobal_v2(out: *mut u64, bytes: *mut usize, module: Handle, name: *const c_char) {
        global(out, bytes, module, Kind::Module, name)
    }
}
