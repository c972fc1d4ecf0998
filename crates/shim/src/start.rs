//! The start of a process: which record file, and the first record.
#![expect(unsafe_code, reason = "argv, envp and auxv as the dynamic loader passes them")]

use crate::recorder::{File, Note, RECORDER};
use crate::{launches, sys, weak};
use core::ffi::c_char;
use firstlight_contract::grant;
use firstlight_contract::record::{Kind, MAX_TEXT, Role, start};
use firstlight_contract::{names, paths};

/// Words of argv in the start record.
const WORDS: usize = 3;
/// Bytes of a word that are looked at: roles are read from flags and from the end of a program's path.
const MAX_WORD: usize = 128;
/// Bytes of the command line that are looked at; a fresh stack page costs as much as a system call.
const MAX_LINE: usize = 1536;
/// Bytes of the files in `/proc` that are looked at.
const MAX_PROC: usize = 4096;
/// Bytes of an environment variable that are looked at.
const MAX_VARIABLE: usize = 512;

/// What environment and auxiliary vector tell of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process<'a> {
    /// Whether the kernel set `AT_SECURE`.
    pub secure: bool,
    /// What the environment says, as bits of [`start`].
    pub bits: u64,
    /// The value of `FIRSTLIGHT_GRANT`.
    pub grant: Option<&'a [u8]>,
}

/// A text with its NUL.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: out of bounds does not compile")]
pub(crate) const fn with_nul<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let mut index = 0;
    while index + 1 < LENGTH {
        bytes[index] = text.as_bytes()[index];
        index += 1;
    }
    bytes
}

/// A path with its NUL.
macro_rules! c_path {
    ($path:expr) => {{
        const BYTES: [u8; $path.len() + 1] = $crate::start::with_nul($path);
        &BYTES
    }};
}
pub(crate) use c_path;

const RECORDS: &[u8] = c_path!(paths::container::RECORDS);
const GRANT: &[u8] = c_path!(paths::container::GRANT);
const SECOND_PASS: &[u8] = b"GGML_CUDA_INIT=1";
/// Ollama names the backend that it chose for a child (`llm/llama_server.go`).
const BACKEND: &[u8] = b"GGML_BACKEND_PATH=";
const AT_SECURE: usize = 23;

/// Called by the dynamic loader when the object is loaded (`DT_INIT`). glibc passes argc, argv and envp; musl
/// passes nothing that means anything.
///
/// # Safety
/// On glibc, the arguments must be those that the loader passes.
pub unsafe fn on_load(count: usize, arguments: *const *const c_char, environment: *const *const c_char) {
    // The record file first: where there is none, the process costs one failed open and a look at its environment.
    let opened = match File::open(RECORDS) {
        Ok(file) => Some(file),
        Err(sys::ENOENT) => None,
        Err(_) => return,
    };
    if weak::is_glibc() && !arguments.is_null() && !environment.is_null() {
        // SAFETY: as the caller vouches.
        let process = unsafe { from_loader(environment) };
        let Some(file) = opened.or_else(|| by_environment(&process)) else { return };
        // SAFETY: as above.
        unsafe { begin(count, arguments, &process, file) };
    } else {
        begin_from_proc(opened);
    }
}

/// Called by the dynamic loader when the process ends by `exit` (`DT_FINI`).
pub fn on_exit() {
    launches::finish();
    RECORDER.finish();
}

/// # Safety
/// The arguments must be the process's argc and argv.
#[inline(never)]
unsafe fn begin(count: usize, arguments: *const *const c_char, process: &Process<'_>, file: File) {
    let mut line = [0; MAX_LINE];
    let mut used = 0;
    for index in 0..count {
        // SAFETY: argv has `count` entries.
        let pointer = unsafe { arguments.wrapping_add(index).read() };
        // SAFETY: each is a NUL-terminated text.
        let word = unsafe { text(pointer, MAX_WORD) };
        for byte in word.iter().chain(&[0]) {
            if let Some(slot) = line.get_mut(used) {
                *slot = *byte;
                used += 1;
            }
        }
    }
    write(line.get(..used).unwrap_or(&[]), process, file);
}

#[inline(never)]
fn begin_from_proc(opened: Option<File>) {
    let mut variables = [0; MAX_PROC];
    let mut line = [0; MAX_PROC];
    let mut process = Process::default();
    for variable in read_file(b"/proc/self/environ\0", &mut variables).split(|byte| *byte == 0) {
        consider(variable, &mut process);
    }
    let Some(file) = opened.or_else(|| by_environment(&process)) else { return };
    write(read_file(b"/proc/self/cmdline\0", &mut line), &process, file);
}

fn write(command: &[u8], process: &Process<'_>, file: File) {
    let libc = if weak::is_glibc() { start::GLIBC } else { start::MUSL };
    let secure = if process.secure { start::AT_SECURE } else { 0 };
    let ordered = if no_gpu_layers(command) { start::NO_GPU_LAYERS } else { 0 };
    let mut text = [0; MAX_TEXT];
    let length = words(command, &mut text);
    let note = Note {
        arg0: role(command) as u64,
        arg1: libc | secure | process.bits | ordered,
        ..Note::new(Kind::Start, text.get(..length).unwrap_or(&[]))
    };
    RECORDER.write_first(&note, file);
}

/// The record file of the grant that the environment names. It counts only where the container has none of its own.
#[inline(never)]
fn by_environment(process: &Process<'_>) -> Option<File> {
    let path = process.grant?;
    if process.secure || sys::status_at(GRANT).is_ok() {
        return None;
    }
    let mut kept = [0; 256];
    crate::grant::use_file(terminated(path, &mut kept)?);
    crate::grant::with(|text| {
        let mut kept = [0; 256];
        File::open(terminated(grant::value(text, b"records")?, &mut kept)?).ok()
    })
}

/// Copies a path and ends it with a NUL.
pub fn terminated<'a>(path: &[u8], into: &'a mut [u8]) -> Option<&'a [u8]> {
    let slot = into.get_mut(..path.len() + 1)?;
    for (to, from) in slot.iter_mut().zip(path.iter().chain(&[0])) {
        *to = *from;
    }
    Some(slot)
}

/// Reads a NUL-terminated text.
///
/// # Safety
/// The pointer must be null or point to a NUL-terminated text that outlives the answer.
pub unsafe fn text<'a>(pointer: *const c_char, most: usize) -> &'a [u8] {
    if pointer.is_null() {
        return &[];
    }
    let mut length = 0;
    // SAFETY: every byte up to the NUL may be read.
    while length < most && unsafe { pointer.wrapping_add(length).read() } != 0 {
        length += 1;
    }
    // SAFETY: these bytes were just read.
    unsafe { core::slice::from_raw_parts(pointer.cast(), length) }
}

/// # Safety
/// The argument must be the process's envp; the auxiliary vector follows it (x86-64 psABI).
unsafe fn from_loader<'a>(environment: *const *const c_char) -> Process<'a> {
    let mut process = Process::default();
    let mut index = 0;
    loop {
        // SAFETY: envp is ended by a null pointer.
        let pointer = unsafe { environment.wrapping_add(index).read() };
        index += 1;
        if pointer.is_null() {
            break;
        }
        // SAFETY: each is a NUL-terminated text.
        consider(unsafe { text(pointer, MAX_VARIABLE) }, &mut process);
    }
    // SAFETY: the auxiliary vector follows the null pointer and is ended by a pair that begins with 0.
    process.secure = unsafe { is_secure(environment.wrapping_add(index).cast()) };
    process
}

/// # Safety
/// The pointer must be that of the auxiliary vector.
unsafe fn is_secure(mut pair: *const usize) -> bool {
    loop {
        // SAFETY: the vector is ended by a pair that begins with 0.
        match unsafe { *pair } {
            0 => return false,
            // SAFETY: a pair has two words.
            AT_SECURE => return unsafe { *pair.wrapping_add(1) } != 0,
            _ => pair = pair.wrapping_add(2),
        }
    }
}

fn consider<'a>(variable: &'a [u8], process: &mut Process<'a>) {
    if variable == SECOND_PASS {
        process.bits |= start::SECOND_PASS;
    } else if let Some(path) = variable.strip_prefix(BACKEND) {
        let vulkan = path.windows(6).any(|part| part == b"vulkan");
        process.bits |= start::BACKEND | if vulkan { start::VULKAN } else { 0 };
    } else if let Some(value) =
        variable.strip_prefix(names::env::GRANT.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
    {
        process.grant = Some(value);
    }
}

/// Reads the beginning of a file (path NUL-terminated); empty if it cannot be read.
pub fn read_file<'a>(path: &[u8], into: &'a mut [u8]) -> &'a [u8] {
    let Ok(descriptor) = sys::open(path, sys::flags::READ | sys::flags::CLOEXEC) else { return &[] };
    let mut used = 0;
    while let Some(rest) = into.get_mut(used..) {
        match sys::read(descriptor, rest) {
            Ok(0) | Err(_) => break,
            Ok(more) => used += more,
        }
    }
    sys::close(descriptor);
    into.get(..used).unwrap_or(&[])
}

/// The first words of a command line, separated by blanks; returns how many bytes.
fn words(command: &[u8], into: &mut [u8]) -> usize {
    let mut used = 0;
    for (index, word) in command.split(|byte| *byte == 0).take(WORDS).enumerate() {
        let blank: &[u8] = if index > 0 && !word.is_empty() { b" " } else { b"" };
        for byte in blank.iter().chain(word.iter().take(96)) {
            if let Some(slot) = into.get_mut(used) {
                *slot = *byte;
                used += 1;
            }
        }
    }
    used
}

/// What the process is for, by its command line (Ollama's `cmd/`, `discover/`, `llm/`; llama.cpp's server).
pub fn role(command: &[u8]) -> Role {
    let mut words = command.split(|byte| *byte == 0);
    let path = words.next().unwrap_or(&[]);
    let program = path.rsplit(|byte| *byte == b'/').next().unwrap_or(&[]);
    let has = |wanted: &[u8]| command.split(|byte| *byte == 0).any(|word| word == wanted);
    match program {
        b"llama-server" if has(b"--list-devices") => Role::ListDevices,
        b"llama-server" if has(b"--model") || has(b"-m") => Role::Runner,
        b"llama-server" => Role::DiscoveryServer,
        b"ollama_llama_server" => Role::EngineRunner,
        b"ollama" => match words.next().unwrap_or(&[]) {
            b"serve" | b"start" => Role::Serve,
            b"gpu-discover" => Role::GpuDiscover,
            b"runner" if has(b"--mlx-engine") => Role::Mlx,
            b"runner" if has(b"--model") => Role::EngineRunner,
            b"runner" => Role::EngineDiscovery,
            _ => Role::Cli,
        },
        _ => Role::Other,
    }
}

/// Whether a command line orders that no layer of a model goes to the GPU.
fn no_gpu_layers(command: &[u8]) -> bool {
    const FLAGS: [&[u8]; 3] = [b"-ngl", b"--n-gpu-layers", b"--gpu-layers"];
    let mut words = command.split(|byte| *byte == 0);
    while let Some(word) = words.next() {
        if FLAGS.contains(&word) {
            return words.next() == Some(b"0");
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_to_keep_off_the_gpu_is_read_from_the_command_line() {
        assert!(no_gpu_layers(b"llama-server\0--model\0/x\0-ngl\x000\0"));
        assert!(no_gpu_layers(b"llama-server\0--n-gpu-layers\x000\0"));
        assert!(!no_gpu_layers(b"llama-server\0-ngl\x0099\0"));
        assert!(!no_gpu_layers(b"llama-server\0-ngl\0"));
    }

    #[test]
    fn the_environment_tells_which_backend_was_chosen() {
        let bits = |variable: &'static [u8]| {
            let mut process = Process::default();
            consider(variable, &mut process);
            process.bits
        };
        assert_eq!(bits(b"GGML_BACKEND_PATH=/usr/lib/ollama/cuda_v13/libggml-cuda.so"), start::BACKEND);
        assert_eq!(
            bits(b"GGML_BACKEND_PATH=/usr/lib/ollama/vulkan/libggml-vulkan.so"),
            start::BACKEND | start::VULKAN
        );
        assert_eq!(bits(b"GGML_CUDA_INIT=1"), start::SECOND_PASS);
        assert_eq!(bits(b"GGML_CUDA_INIT=0"), 0);
    }

    #[test]
    fn roles_are_read_from_the_command_line() {
        let cases: [(&[u8], Role); 9] = [
            (b"/bin/ollama\0serve\0", Role::Serve),
            (b"ollama\0gpu-discover\0--lib-dir\0/x\0", Role::GpuDiscover),
            (b"/usr/lib/ollama/llama-server\0--port\x001\0--offline\0", Role::DiscoveryServer),
            (b"llama-server\0--list-devices\0", Role::ListDevices),
            (b"llama-server\0--model\0/x\0", Role::Runner),
            (b"ollama\0runner\0--ollama-engine\0--port\x001\0", Role::EngineDiscovery),
            (b"ollama\0runner\0--ollama-engine\0--model\0/x\0", Role::EngineRunner),
            (b"ollama\0ps\0", Role::Cli),
            (b"python3\0", Role::Other),
        ];
        for (command, wanted) in cases {
            assert_eq!(role(command), wanted, "{}", command.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_command_line_a_role_is_found_and_the_words_fit(
            line in proptest::collection::vec(proptest::prop_oneof![
                proptest::prelude::any::<Vec<u8>>(),
                proptest::strategy::Just(b"ollama\0runner\0".to_vec()),
                proptest::strategy::Just(b"--model\0".to_vec()),
            ], 0..20),
        ) {
            let line = line.concat();
            let _ = role(&line);
            let mut into = [0; MAX_TEXT];
            assert!(words(&line, &mut into) <= MAX_TEXT);
        }
    }

    #[test]
    fn the_start_record_carries_three_words() {
        let mut into = [0; 64];
        let length = words(b"a\0b\0c\0d\0", &mut into);
        assert_eq!(&into[..length], b"a b c");
    }
}
