//! Records: what the shim appends to a grant's record file.
//!
//! A record is 64 bytes, little-endian, eight words:
//!
//! | word | content |
//! |---|---|
//! | 0 | magic `FL` (16) · format version (8) · kind (8) · check (32) |
//! | 1 | time, nanoseconds since the epoch |
//! | 2 | pid (32) · tid (32) |
//! | 3 | process token: nanoseconds since boot when this chain began; with the pid it names a process |
//! | 4 | sequence (32) · function id (16) · caller (8) · continuations (8) |
//! | 5 | result (32, signed) · length of the whole text in bytes before it was cut (32) |
//! | 6, 7 | two arguments |
//!
//! Text follows in continuation records of kind [`Kind::Text`], written by the same `write(2)`:
//!
//! | word | content |
//! |---|---|
//! | 0 | as above |
//! | 1 | pid (32) · sequence of the record it continues (32) |
//! | 2 | low 48 bits of the process token · index from 0 (8) · bytes used (8) |
//! | 3–7 | 40 bytes of text |
//!
//! Sequence numbers start at 0 with the process's first record and have no gaps; a reader that sees a gap
//! knows that it has not seen everything. A continuation has no number of its own. The check rejects torn
//! and foreign bytes; it is no signature: the file is writable for the whole container.

/// Size of a record, in bytes.
pub const RECORD_SIZE: usize = 64;
/// Version of the layout.
pub const FORMAT_VERSION: u8 = 1;
/// First two bytes of a record.
pub const MAGIC: [u8; 2] = *b"FL";
/// Text bytes in one continuation.
pub const TEXT_CHUNK: usize = 40;
/// Continuations that a record may have.
pub const MAX_CONTINUATIONS: usize = 8;
/// Text bytes that a record can carry; longer text is cut.
pub const MAX_TEXT: usize = TEXT_CHUNK * MAX_CONTINUATIONS;
/// Bytes of the longest record with all its text.
pub const MAX_ENCODED: usize = RECORD_SIZE * (1 + MAX_CONTINUATIONS);
/// Function id of records that are about no function.
pub const NO_FUNCTION: u16 = u16::MAX;

macro_rules! byte_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:literal => $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $value),+ }

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value with this number, if there is one.
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)+ _ => None }
            }

            /// Word for reports and JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

byte_enum! {
    /// What a record says. The arguments are 0 where nothing else is written here.
    pub enum Kind {
        /// Continuation: text of the record before it.
        Text = 0 => "text",
        /// First record of a process: `arg0` = [`Role`], `arg1` = [`start`] bits; text = up to three words of argv.
        Start = 1 => "start",
        /// A path where no driver was found: result = errno (ENOENT …), or -1 if it was the shim itself;
        /// text = path.
        DriverSearched = 2 => "driver-searched",
        /// The driver was opened: text = absolute path, `arg0` = 1 if it is the NVML library.
        DriverOpened = 3 => "driver-opened",
        /// No driver at all: `arg0` = number of paths tried; text = dlerror of the last, if any.
        DriverMissing = 4 => "driver-missing",
        /// A function of the init phase was entered (written *before* the driver is called, where it may hang
        /// or kill the process: `cuInit` and first context).
        CallEntered = 5 => "call-entered",
        /// A function returned: function id, result, arguments as [`crate::record`] lists them under *Arguments*.
        CallReturned = 6 => "call-returned",
        /// A name asked of `cuGetProcAddress` (or by dlsym of an export) that the driver lacks: text = name,
        /// `arg0` = version asked, `arg1` = flags, result = the driver's code (0 with a NULL pointer is possible).
        LookupUnanswered = 7 => "lookup-unanswered",
        /// `cuGetExportTable`: `arg0`, `arg1` = UUID, 16 bytes as two little-endian words; result = code.
        TableAsked = 8 => "table-asked",
        /// An export that the driver lacks was *called*: text = symbol; the caller got result.
        ExportMissing = 9 => "export-missing",
        /// The driver handed out a pointer into the shim itself; it was replaced by the driver's own: text = symbol.
        SelfPointer = 10 => "self-pointer",
        /// Launches so far in this process: `arg0` = kernels, `arg1` = graphs.
        Launches = 11 => "launches",
        /// A call whose outcome was already recorded came again with the same result: function id,
        /// result, `arg0` = how often since.
        Repeated = 12 => "repeated",
        /// The module behind a caller class, at its first call: caller; text = path of the module.
        Module = 13 => "module",
        /// First record of a child that was forked without exec: `arg0` = pid of the parent.
        Forked = 14 => "forked",
        /// A variable of the process as it stood when `cuInit` failed: text = `NAME=value`.
        Environment = 15 => "environment",
        /// A device node of NVIDIA's driver as the process found it when `cuInit` failed: text = path, result = errno of
        /// `access(2)` for reading and writing, 0 if it may, `arg0` = number of the device (`st_rdev`). `ENOENT` of
        /// `/dev/nvidia0` means that there is none of 0 to 15.
        DeviceNode = 16 => "device-node",
        /// The driver is about to be opened, which may hang or end the process: text = path.
        DriverOpening = 17 => "driver-opening",
        /// The quota of the grant refused memory: function id, result = the code that the caller got, `arg0` = bytes asked
        /// for, `arg1` = the grant's device (low 32 bits) and [`Refusal`] (high 32); text = bytes that this process uses,
        /// bytes that others use, and the quota, in decimal, separated by blanks. Where the process has no place in the
        /// ledger: why not.
        QuotaRefused = 18 => "quota-refused",
    }
}

byte_enum! {
    /// Why a quota refused memory.
    pub enum Refusal {
        /// It is used up.
        Full = 0 => "full",
        /// The ledger was locked for seconds by a process that lives.
        Busy = 1 => "busy",
        /// The process has no place in the ledger, or cannot look there for the dead.
        Away = 2 => "away",
    }
}

byte_enum! {
    /// Who called: the class of the module that the return address lies in. First calls only.
    pub enum Caller {
        /// Not determined.
        Unknown = 0 => "unknown",
        /// NVIDIA's CUDA runtime, `libcudart.so.*`.
        Runtime = 1 => "libcudart",
        /// ggml's CUDA backend, `libggml-cuda*`.
        GgmlBackend = 2 => "ggml-cuda",
        /// Ollama's own program or llama.cpp's.
        Ollama = 3 => "ollama",
        /// cuBLAS (it embeds a runtime of its own).
        Cublas = 4 => "libcublas",
        /// Called before `main` ran.
        Constructor = 5 => "constructor",
        /// The shim itself.
        Shim = 6 => "shim",
        /// The main executable of any other program.
        Program = 7 => "program",
        /// Any other library.
        Library = 8 => "library",
    }
}

byte_enum! {
    /// What a process is for, read from argv (Ollama's sources, see the project's documentation of roles).
    /// Recorded, never used for a decision in the shim.
    pub enum Role {
        /// Anything else.
        Other = 0 => "other",
        /// `ollama serve`
        Serve = 1 => "serve",
        /// `llama-server` without `--model`: Ollama ≥ 0.30 reads its system info, then kills it.
        DiscoveryServer = 2 => "discovery-server",
        /// `llama-server --list-devices`: Ollama ≥ 0.30.
        ListDevices = 3 => "list-devices",
        /// `ollama gpu-discover`: Ollama ≥ 0.30.
        GpuDiscover = 4 => "gpu-discover",
        /// `llama-server --model …`: Ollama ≥ 0.30.
        Runner = 5 => "runner",
        /// `ollama runner --ollama-engine --port N` without a model: discovery of 0.12.4–0.24.
        EngineDiscovery = 6 => "engine-discovery",
        /// `ollama runner --model …`: 0.5.8–0.24.
        EngineRunner = 7 => "engine-runner",
        /// `ollama runner --mlx-engine …`
        Mlx = 8 => "mlx",
        /// `ollama ps`, `pull`, `run` …
        Cli = 9 => "cli",
    }
}

impl Role {
    /// Whether this process serves a model.
    pub const fn is_runner(self) -> bool {
        matches!(self, Self::Runner | Self::EngineRunner)
    }

    /// Whether this process looks for devices on behalf of Ollama.
    pub const fn is_discovery(self) -> bool {
        matches!(self, Self::DiscoveryServer | Self::ListDevices | Self::GpuDiscover | Self::EngineDiscovery)
    }
}

/// Bits of a start record's second argument.
pub mod start {
    /// The kernel set `AT_SECURE`.
    pub const AT_SECURE: u64 = 1;
    /// The process runs on glibc.
    pub const GLIBC: u64 = 1 << 1;
    /// The process runs on musl.
    pub const MUSL: u64 = 1 << 2;
    /// `GGML_CUDA_INIT=1` is set: Ollama's second discovery pass.
    pub const SECOND_PASS: u64 = 1 << 3;
    /// The command line orders that no layer goes to the GPU: `-ngl 0` and its long forms (Ollama passes it for
    /// `num_gpu: 0`, `llm/llama_server.go`; llama.cpp, `common/arg.cpp`).
    pub const NO_GPU_LAYERS: u64 = 1 << 4;
    /// `GGML_BACKEND_PATH` is set: Ollama chose a GPU backend for this process.
    pub const BACKEND: u64 = 1 << 5;
    /// It names Vulkan's.
    pub const VULKAN: u64 = 1 << 6;
}

/// A record without its text.
///
/// # Arguments of [`Kind::CallReturned`]
///
/// | function | `arg0` | `arg1` |
/// |---|---|---|
/// | `cuInit` | flags | |
/// | `cuDriverGetVersion` | version | |
/// | `cuDeviceGetCount`, `nvmlDeviceGetCount_v2` | count | |
/// | `cuDeviceGetAttribute` | value | attribute |
/// | `cuDeviceTotalMem_v2` | bytes | device |
/// | `cuDevicePrimaryCtxRetain`, `cuCtxCreate*` | | device |
/// | `cuMemGetInfo_v2` | free, bytes | total, bytes |
/// | allocations | bytes asked for | |
/// | others | 0 | 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub kind: Kind,
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    /// Process id in the container's namespace.
    pub pid: u32,
    /// Thread id in the container's namespace.
    pub tid: u32,
    /// Nanoseconds since boot at the process's first record.
    pub process: u64,
    /// Number of this record in its process, from 0, without gaps.
    pub sequence: u32,
    /// Id in the list of driver functions, or [`NO_FUNCTION`].
    pub function: u16,
    /// Who called.
    pub caller: Caller,
    /// The result as the kind defines it.
    pub result: i32,
    /// First argument.
    pub arg0: u64,
    /// Second argument.
    pub arg1: u64,
}

impl Record {
    /// Encodes the record and as much of `text` as fits; returns the bytes to write in one `write(2)`.
    pub fn encode<'a>(&self, text: &[u8], out: &'a mut [u8; MAX_ENCODED]) -> &'a [u8] {
        let kept = if text.len() > MAX_TEXT { MAX_TEXT } else { text.len() };
        let continuations = kept.div_ceil(TEXT_CHUNK);
        let mut slots = out.chunks_exact_mut(RECORD_SIZE);
        if let Some(slot) = slots.next() {
            copy(&self.words(continuations as u64, text.len() as u64), self.kind, slot);
        }
        let mut used = RECORD_SIZE;
        for ((index, chunk), slot) in (0u64..).zip(text.chunks(TEXT_CHUNK)).zip(slots) {
            copy(&self.text_words(index, chunk), Kind::Text, slot);
            used += RECORD_SIZE;
        }
        out.get(..used).unwrap_or(&[])
    }

    fn words(&self, continuations: u64, text_length: u64) -> [u64; 8] {
        [
            0,
            self.time_ns,
            u64::from(self.pid) | u64::from(self.tid) << 32,
            self.process,
            u64::from(self.sequence)
                | u64::from(self.function) << 32
                | (self.caller as u64) << 48
                | continuations << 56,
            u64::from(self.result.cast_unsigned()) | (text_length & 0xFFFF_FFFF) << 32,
            self.arg0,
            self.arg1,
        ]
    }

    fn text_words(&self, index: u64, chunk: &[u8]) -> [u64; 8] {
        let mut text = [0u8; TEXT_CHUNK];
        for (to, from) in text.iter_mut().zip(chunk) {
            *to = *from;
        }
        let mut words = [0u64; 8];
        words[1] = u64::from(self.pid) | u64::from(self.sequence) << 32;
        words[2] = self.process & PROCESS_48 | index << 48 | (chunk.len() as u64) << 56;
        for (word, bytes) in words.iter_mut().skip(3).zip(text.chunks_exact(8)) {
            *word = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        }
        words
    }
}

/// Mask of the part of the process token that a continuation repeats.
pub(crate) const PROCESS_48: u64 = (1 << 48) - 1;

fn copy(words: &[u64; 8], kind: Kind, slot: &mut [u8]) {
    let head = header(kind as u8);
    let sealed = [head | u64::from(check(head, words)) << 32];
    let all = sealed.iter().chain(words.iter().skip(1));
    for (word, to) in all.zip(slot.chunks_exact_mut(8)) {
        for (byte, to) in word.to_le_bytes().iter().zip(to) {
            *to = *byte;
        }
    }
}

/// The low half of word 0.
pub(crate) const fn header(kind: u8) -> u64 {
    MAGIC[0] as u64 | (MAGIC[1] as u64) << 8 | (FORMAT_VERSION as u64) << 16 | (kind as u64) << 24
}

/// Check over the low half of word 0 and words 1–7: multiply, rotate, fold. It tells torn and foreign bytes
/// from records; it protects against nobody.
pub(crate) fn check(head: u64, words: &[u64; 8]) -> u32 {
    let seed = head ^ 0x9E37_79B9_7F4A_7C15;
    let mixed = words
        .iter()
        .skip(1)
        .fold(seed, |state, word| (state ^ word).wrapping_mul(0xFF51_AFD7_ED55_8CCD).rotate_left(29));
    let folded = mixed ^ mixed >> 32;
    (folded & 0xFFFF_FFFF) as u32
}
