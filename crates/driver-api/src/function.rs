//! The list as a table.

/// A library that exports functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// `libcuda.so.1`
    Driver,
    /// `libnvidia-ml.so.1`
    Nvml,
}

/// What the shim does with a function beyond forwarding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: one indirect jump.
    Forward,
    /// `cuInit`: recorded before and after.
    Init,
    /// `cuDriverGetVersion`: recorded with the version.
    Version,
    /// `cuGetProcAddress`: hands out our entry where another action than [`Action::Forward`] stands.
    Lookup,
    /// `cuGetExportTable`: passed through; recorded with the UUID.
    Table,
    /// A query of the init phase: first outcome and first failure are recorded.
    Query,
    /// A context is created or retained: recorded before and after.
    Context,
    /// Memory figures.
    MemoryInfo,
    /// Device memory is allocated: first outcome and first failure are recorded.
    Allocate,
    /// Code is loaded: first outcome and first failure are recorded.
    Load,
    /// A kernel launch: counted, the first is recorded.
    Launch,
    /// A graph launch: counted, the first is recorded.
    GraphLaunch,
    /// A call that waits or moves data: launch counts are written here.
    Cold,
    /// An NVML function whose first outcome and first failure are recorded.
    Nvml,
}

/// What a call does to the device memory that its process holds. The shim looks at it where the grant has a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Allocates: the address comes back through the first argument, bytes are the second.
    Allocate,
    /// The same in the order of a stream: the memory is no context's.
    Async,
    /// Allocates rows whose length the driver chooses.
    Pitch,
    /// Allocates an array that a descriptor describes.
    Array,
    /// Frees what its first argument names.
    Free,
    /// Creates memory without an address.
    Create,
    /// Makes a handle of memory that another process created.
    Import,
    /// Makes another reference to created memory.
    Retain,
    /// Gives a reference up.
    Release,
    /// Maps created memory.
    Map,
    /// Unmaps a range.
    Unmap,
    /// Opens memory that another process allocated.
    Open,
    /// Imports memory of another interface.
    External,
    /// Makes a context, or retains the primary one.
    Context,
    /// Ends a context, and with it what was allocated in it.
    ContextEnd,
    /// Sets a limit of a context, for which the driver sets memory aside.
    Limit,
    /// Tells where a variable of a module is: its memory came with the module.
    Global,
    /// Unloads a module with its variables.
    Unload,
    /// Adds a node to a graph, perhaps one that allocates.
    Node,
    /// Makes an executable graph.
    Graph,
    /// Ends a graph.
    GraphEnd,
    /// Tells free and all memory.
    Info,
    /// Tells a device's memory.
    Total,
    /// NVML's figures of a device's memory.
    Nvml,
}

/// One ABI symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Number in records; never reused.
    pub id: u16,
    /// The exported symbol, such as `cuMemAlloc_v2`.
    pub symbol: &'static str,
    /// The name that clients ask `cuGetProcAddress` for, such as `cuMemAlloc`.
    pub name: &'static str,
    /// Whether this is the variant for the per-thread default stream (`_ptsz`, `_ptds`).
    pub per_thread: bool,
    /// What the shim does.
    pub action: Action,
    /// What a call does to device memory.
    pub effect: Effect,
    /// The library that exports it.
    pub library: Library,
    /// CUDA versions (1000·major + 10·minor) with which this ABI began; empty: no lookup hands it out.
    pub versions: &'static [u32],
}

/// The value of a word in the column of actions.
#[macro_export]
macro_rules! action {
    (forward) => {
        $crate::Action::Forward
    };
    (init) => {
        $crate::Action::Init
    };
    (version) => {
        $crate::Action::Version
    };
    (lookup) => {
        $crate::Action::Lookup
    };
    (table) => {
        $crate::Action::Table
    };
    (query) => {
        $crate::Action::Query
    };
    (context) => {
        $crate::Action::Context
    };
    (memory_info) => {
        $crate::Action::MemoryInfo
    };
    (allocate) => {
        $crate::Action::Allocate
    };
    (load) => {
        $crate::Action::Load
    };
    (launch) => {
        $crate::Action::Launch
    };
    (graph_launch) => {
        $crate::Action::GraphLaunch
    };
    (cold) => {
        $crate::Action::Cold
    };
    (nvml) => {
        $crate::Action::Nvml
    };
}

/// The value of a word in the column of effects.
#[macro_export]
macro_rules! effect {
    (none) => {
        $crate::Effect::None
    };
    (allocate) => {
        $crate::Effect::Allocate
    };
    (async) => {
        $crate::Effect::Async
    };
    (pitch) => {
        $crate::Effect::Pitch
    };
    (array) => {
        $crate::Effect::Array
    };
    (free) => {
        $crate::Effect::Free
    };
    (create) => {
        $crate::Effect::Create
    };
    (import) => {
        $crate::Effect::Import
    };
    (retain) => {
        $crate::Effect::Retain
    };
    (release) => {
        $crate::Effect::Release
    };
    (map) => {
        $crate::Effect::Map
    };
    (unmap) => {
        $crate::Effect::Unmap
    };
    (open) => {
        $crate::Effect::Open
    };
    (external) => {
        $crate::Effect::External
    };
    (context) => {
        $crate::Effect::Context
    };
    (context_end) => {
        $crate::Effect::ContextEnd
    };
    (limit) => {
        $crate::Effect::Limit
    };
    (global) => {
        $crate::Effect::Global
    };
    (unload) => {
        $crate::Effect::Unload
    };
    (node) => {
        $crate::Effect::Node
    };
    (graph) => {
        $crate::Effect::Graph
    };
    (graph_end) => {
        $crate::Effect::GraphEnd
    };
    (info) => {
        $crate::Effect::Info
    };
    (total) => {
        $crate::Effect::Total
    };
    (nvml) => {
        $crate::Effect::Nvml
    };
}

macro_rules! driver_rows {
    ($(($id:literal, $symbol:ident, $name:ident, $thread:literal, $action:ident, $effect:ident, [$($version:literal),*]),)*) => {
        &[$(Function {
            id: $id,
            symbol: stringify!($symbol),
            name: stringify!($name),
            per_thread: $thread,
            action: action!($action),
            effect: effect!($effect),
            library: Library::Driver,
            versions: &[$($version),*],
        }),*]
    };
}

macro_rules! nvml_rows {
    ($(($id:literal, $symbol:ident, $name:ident, $thread:literal, $action:ident, $effect:ident, [$($version:literal),*]),)*) => {
        &[$(Function {
            id: $id,
            symbol: stringify!($symbol),
            name: stringify!($name),
            per_thread: $thread,
            action: action!($action),
            effect: effect!($effect),
            library: Library::Nvml,
            versions: &[$($version),*],
        }),*]
    };
}

/// The functions of `libcuda.so.1`, in the order of their symbols at first; later ones are appended.
pub static DRIVER_FUNCTIONS: &[Function] = driver_functions!(driver_rows);

/// The functions of `libnvidia-ml.so.1`.
pub static NVML_FUNCTIONS: &[Function] = nvml_functions!(nvml_rows);

/// Both lists, one after the other.
pub static FUNCTIONS: [&[Function]; 2] = [DRIVER_FUNCTIONS, NVML_FUNCTIONS];

fn all() -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter().flat_map(|list| list.iter())
}

/// The function with this id.
pub fn by_id(id: u16) -> Option<&'static Function> {
    all().find(|function| function.id == id)
}

/// The function with this exported symbol.
pub fn by_symbol(symbol: &str) -> Option<&'static Function> {
    all().find(|function| function.symbol == symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_symbols_are_unique() {
        for function in all() {
            let twins =
                all().filter(|other| other.id == function.id || other.symbol == function.symbol).count();
            assert_eq!(twins, 1, "{}", function.symbol);
        }
    }

    /// A change here is a change of what old records mean.
    #[test]
    fn ids_are_what_they_were() {
        let pinned = [
            (0, "cuArray3DCreate"),
            (167, "cuGetProcAddress"),
            (374, "cuMemAlloc_v2"),
            (724, "cuWaitExternalSemaphoresAsync_ptsz"),
            (1159, "nvmlVgpuTypeGetResolution"),
            (1160, "nvmlErrorString"),
        ];
        for (id, symbol) in pinned {
            assert_eq!(by_symbol(symbol).map(|function| function.id), Some(id), "{symbol}");
        }
    }

    /// Every pair that the runtimes 12.9 and 13.5 were seen to ask, and the ABI that each must get.
    /// libggml-cuda binds these directly; one missing, and Ollama is silently on the CPU.
    #[test]
    fn what_ggml_binds_directly_is_in_the_list() {
        let bound = [
            "cuDeviceGet",
            "cuDeviceGetAttribute",
            "cuGetErrorString",
            "cuMemAddressFree",
            "cuMemAddressReserve",
            "cuMemCreate",
            "cuMemGetAllocationGranularity",
            "cuMemMap",
            "cuMemRelease",
            "cuMemSetAccess",
            "cuMemUnmap",
        ];
        assert!(bound.iter().all(|symbol| by_symbol(symbol).is_some()));
    }

    /// Ollama up to 0.12.3 looks up these ten before `cuInit`.
    #[test]
    fn what_old_ollama_looks_up_is_in_the_list() {
        let bound = [
            "cuInit",
            "cuDriverGetVersion",
            "cuDeviceGetCount",
            "cuDeviceGet",
            "cuDeviceGetAttribute",
            "cuDeviceGetUuid",
            "cuDeviceGetName",
            "cuCtxCreate_v3",
            "cuMemGetInfo_v2",
            "cuCtxDestroy",
        ];
        assert!(bound.iter().all(|symbol| by_symbol(symbol).is_some()));
    }
}
