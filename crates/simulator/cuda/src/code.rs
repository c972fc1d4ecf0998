//! Libraries and modules. A PTX text is read for what it declares; what is compiled is not (its kernels could not run
//! anyway): there a kernel or variable is minted for the name that is asked for, the same one each time.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, Handle, Raw, driver, get, offer, put, text};
use crate::memory::{allocate, release};
use crate::ptx::{Fault, Ptx};
use crate::ranges::Memory;
use crate::state::{Image, Kernel, Kind, State, device, is, state};
use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::io::ErrorKind;

/// How a fatbin's wrapper, a fatbin and an ELF file begin; what else begins like text is PTX.
const WRAPPER: [u8; 4] = 0x4662_43b1_u32.to_le_bytes();
const FATBIN: [u8; 4] = 0xba55_ed50_u32.to_le_bytes();
const ELF: [u8; 4] = *b"\x7fELF";
/// `EM_CUDA`.
const MACHINE: u16 = 190;

/// Size of a variable in an image that is not read: more than any constant memory.
const GLOBAL_BYTES: u64 = 1 << 20;

/// What is known of an image.
#[derive(Debug, Default)]
pub(crate) enum Content {
    /// Compiled code: whatever is asked for is in it.
    #[default]
    Compiled,
    Text(Ptx),
    /// Of a library: said when something in it is asked for.
    Broken(Code),
}

fn part<T: Copy>(image: Raw, offset: usize) -> Result<T, Code> {
    get(image.cast_const().cast::<u8>().wrapping_add(offset).cast())
}

/// Whether an image begins with these bytes; of one that does not, nothing behind the first other byte is read.
fn begins(image: Raw, bytes: [u8; 4]) -> Result<bool, Code> {
    for (offset, wanted) in bytes.into_iter().enumerate() {
        if part::<u8>(image, offset)? != wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(image: Raw) -> Result<Content, Code> {
    if begins(image, WRAPPER)? {
        return Ok(Content::Compiled);
    }
    if begins(image, ELF)? {
        return if part::<u16>(image, 18)? == MACHINE {
            Ok(Content::Compiled)
        } else {
            Err(Code::INVALID_IMAGE)
        };
    }
    if begins(image, FATBIN)? {
        return match (part::<u16>(image, 4)?, part::<u64>(image, 8)?) {
            (1, 0) => Err(Code::NO_BINARY),
            (1, _) => Ok(Content::Compiled),
            _ => Err(Code::INVALID_IMAGE),
        };
    }
    if !matches!(part::<u8>(image, 0)?, b'\t' | b'\n' | b'\r' | b' '..=b'~') {
        return Err(Code::INVALID_IMAGE);
    }
    Ptx::parse(&text(image.cast_const().cast())?).map(Content::Text).map_err(|fault| match fault {
        Fault::Foreign => Code::INVALID_IMAGE,
        Fault::TooNew => Code::UNSUPPORTED_PTX,
        Fault::Wrong => Code::INVALID_PTX,
    })
}

/// The bytes of a file, and zeros behind them: a text ends there.
fn file(path: *const c_char) -> Result<Vec<u8>, Code> {
    let mut bytes = std::fs::read(text(path)?).map_err(|error| match error.kind() {
        ErrorKind::IsADirectory => Code::OUT_OF_MEMORY,
        _ => Code::FILE_NOT_FOUND,
    })?;
    bytes.extend([0; 64]);
    Ok(bytes)
}

fn add(state: &mut State, out: *mut Handle, kind: Kind, content: Content) -> Done {
    let image = state.mint(kind);
    put(out, image)?;
    state.images.insert(image, Image { content, ..Image::default() });
    Ok(())
}

/// A library is looked into only when something in it is asked for.
fn add_library(out: *mut Handle, image: Raw) -> Done {
    let mut state = state()?;
    get(image.cast_const().cast::<u8>())?;
    add(&mut state, out, Kind::Library, read(image).unwrap_or_else(Content::Broken))
}

fn add_module(out: *mut Handle, image: Raw) -> Done {
    let mut state = state()?;
    let model = device(state.current_device()?)?.model;
    let content = read(image)?;
    if let Content::Text(ptx) = &content
        && !ptx.fits(model.capability_major, model.capability_minor)
    {
        return Err(Code::INVALID_PTX);
    }
    add(&mut state, out, Kind::Module, content)
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

/// A library says of an empty name that it is not there; a module, that it is no name.
fn kernel(out: *mut Handle, image: Handle, kind: Kind, name: *const c_char) -> Done {
    let name = text(name)?;
    let mut state = state()?;
    let image = image_of(&state, image, kind)?;
    if name.is_empty() && kind == Kind::Module {
        return Err(Code::INVALID_VALUE);
    }
    let known = state.images.get(&image).ok_or(Code::INVALID_HANDLE)?;
    match &known.content {
        Content::Broken(code) => return Err(*code),
        Content::Text(ptx) if !ptx.kernels.contains(&name) => {
            if kind == Kind::Module {
                offer(out, 0);
            }
            return Err(Code::NOT_FOUND);
        }
        Content::Text(_) | Content::Compiled => {}
    }
    if let Some(known) = known.kernels.get(&name) {
        return put(out, *known);
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

/// Where a variable is, and its bytes.
fn variable(state: &mut State, image: Handle, name: String) -> Result<(u64, u64), Code> {
    let known = state.images.get(&image).ok_or(Code::INVALID_HANDLE)?;
    let bytes = match &known.content {
        Content::Broken(code) => return Err(*code),
        Content::Text(ptx) if ptx.kernels.contains(&name) => return Err(Code::INVALID_VALUE),
        Content::Text(ptx) => *ptx.variables.get(&name).ok_or(Code::NOT_FOUND)?,
        Content::Compiled => GLOBAL_BYTES,
    };
    if let Some(known) = known.globals.get(&name) {
        return Ok((*known, bytes));
    }
    let address = allocate(state, bytes, Memory::Device, 0)?;
    if let Some(image) = state.images.get_mut(&image) {
        image.globals.insert(name, address);
    }
    Ok((address, bytes))
}

fn global(out: *mut u64, bytes: *mut usize, image: Handle, kind: Kind, name: *const c_char) -> Done {
    let name = text(name)?;
    let mut state = state()?;
    let image = image_of(&state, image, kind)?;
    let nowhere = out.is_null() && bytes.is_null();
    let found =
        if nowhere || name.is_empty() { Err(Code::INVALID_VALUE) } else { variable(&mut state, image, name) };
    let (address, size) = found.unwrap_or_default();
    offer(out, address);
    offer(bytes, usize::try_from(size).unwrap_or(usize::MAX));
    found.map(|_| ())
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
    let count = state.images.get(&image).map_or(0, |image| match &image.content {
        Content::Text(ptx) => ptx.kernels.len(),
        Content::Compiled | Content::Broken(_) => image.kernels.len(),
    });
    put(out, u32::try_from(count).unwrap_or(u32::MAX))
}

driver! {
    fn cuLibraryLoadData(
        out: *mut Handle, image: Raw, _options: Raw, _values: Raw, _count: u32, _library_options: Raw,
        _library_values: Raw, _library_count: u32,
    ) {
        add_library(out, image)
    }

    fn cuLibraryLoadFromFile(
        out: *mut Handle, path: *const c_char, _options: Raw, _values: Raw, _count: u32, _library_options: Raw,
        _library_values: Raw, _library_count: u32,
    ) {
        let mut bytes = file(path)?;
        add_library(out, bytes.as_mut_ptr().cast())
    }

    fn cuLibraryUnload(library: Handle) {
        unload(library, Kind::Library)
    }

    fn cuLibraryGetKernel(out: *mut Handle, library: Handle, name: *const c_char) {
        kernel(out, library, Kind::Library, name)
    }

    /// Of compiled code: kernels that were asked for so far; others are not known.
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
        let mut bytes = file(path)?;
        add_module(out, bytes.as_mut_ptr().cast())
    }

    fn cuModuleLoadData(out: *mut Handle, image: Raw) {
        add_module(out, image)
    }

    fn cuModuleLoadDataEx(out: *mut Handle, image: Raw, _count: u32, _options: Raw, _values: Raw) {
        add_module(out, image)
    }

    fn cuModuleLoadFatBinary(out: *mut Handle, image: Raw) {
        add_module(out, image)
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
