//! The table itself.

use super::Row;
use crate::stage::Stage;

macro_rules! rows {
    ($($variant:ident $id:literal $stage:ident $era:ident $seen:ident {
        what: $what:literal,
        evidence: $evidence:literal,
        alike: $alike:literal,
        fix: $fix:literal,
        references: [$($reference:literal),* $(,)?],
    })+) => {
        /// A cause, or a verdict that is none. Every verdict carries exactly one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause { $(#[doc = $what] $variant),+ }

        impl Cause {
            /// All causes, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// What is said about it.
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Self::$variant => &Row {
                        id: $id,
                        reason: stringify!($variant),
                        stage: Stage::$stage,
                        what: $what,
                        evidence: $evidence,
                        alike: $alike,
                        fix: $fix,
                        era: $era,
                        seen_by: $seen,
                        references: &[$($reference),*],
                    }),+
                }
            }
        }
    };
}

const RECORDS: &str = "the shim's records";
const PREFLIGHT: &str = "the preflight, or `diagnose --probe`";
const BOTH: &str = "the shim's records; the preflight sees more";
const API: &str = "the API server: the pod's spec and state";
const NOTHING: &str = "nothing yet: a person who reads the timeline";

const ALL_ERAS: &str = "every version of Ollama, and other CUDA programs";
const FROM_0_12_4_TO_0_24: &str = "Ollama 0.12.4 to 0.24";
const SINCE_0_30: &str = "Ollama 0.30 and later";
const SINCE_0_12_4: &str = "Ollama 0.12.4 and later; earlier versions look for devices in the server itself";

rows! {
    Ok "ok" Context ALL_ERAS RECORDS {
        what: "CUDA came up: a usable GPU was seen",
        evidence: "a process whose records have no gap listed a device, holds a context on it and read its memory; kernels launched in the process that serves the model make it confirmed",
        alike: "an HTTP 200 or a readable answer proves nothing: both also come from the CPU",
        fix: "nothing to do",
        references: [],
    }
    Unknown "unknown" Process ALL_ERAS RECORDS {
        what: "what was seen fits no known cause",
        evidence: "nothing matched, or records are missing",
        alike: "every cause whose evidence is incomplete; Firstlight does not guess the nearest one",
        fix: "read the timeline of `kubectl firstlight diagnose`; the last question that the driver did not answer is usually the place to look",
        references: [],
    }
    NeverAttempted "never-attempted" Select ALL_ERAS RECORDS {
        what: "no process of the container has tried to use a GPU",
        evidence: "the recorder is loaded, and no process called the driver",
        alike: "recorder-not-loaded leaves no record at all; hidden-by-env has a variable that says so",
        fix: "send Ollama a request; if its server log names a CPU backend, look there for why it chose the CPU earlier",
        references: [],
    }
    RecorderNotLoaded "recorder-not-loaded" Process ALL_ERAS RECORDS {
        what: "the container left no record at all, so there is no evidence either way",
        evidence: "the pod was injected, the container runs, and no process has written even its start record",
        alike: "never-attempted has start records; a static or musl-only program cannot load a recorder",
        fix: "check that LD_PRELOAD of the container still names Firstlight's library, and that its program is dynamically linked against glibc",
        references: [],
    }
    NotInjected "not-injected" Process ALL_ERAS API {
        what: "the pod is annotated, but Firstlight's webhook did not change it",
        evidence: "the annotation is there and the mark of the webhook is not",
        alike: "recorder-not-loaded carries the mark",
        fix: "delete the pod so that its controller makes a new one; if the mark is missing again, check that the webhook runs and that its namespace is not excluded",
        references: [],
    }
    CpuByDesign "cpu-by-design" Select ALL_ERAS RECORDS {
        what: "the model runs on the CPU because somebody asked for that",
        evidence: "the process that serves the model was started with no layer for the GPU (-ngl 0, which is what num_gpu: 0 in a request becomes)",
        alike: "never-attempted has no such order; a variable of the pod that keeps Ollama from the GPU is hidden-by-env",
        fix: "nothing, if that was the intention; otherwise leave num_gpu out of the request, or out of the model's parameters, and unload the model first: a runner on the CPU serves the next request, too",
        references: ["https://github.com/ollama/ollama/issues/10369"],
    }
    DeploymentDrift "deployment-drift" Process ALL_ERAS NOTHING {
        what: "what runs is not what the workload declares",
        evidence: "a process lacks variables that its pod declares, or two Ollama servers run in one place",
        alike: "a change without effect is this until the opposite is shown",
        fix: "roll the workload out again and look that only one server answers on the port",
        references: [],
    }
    OllamaFilesModified "ollama-files-modified" Process ALL_ERAS NOTHING {
        what: "Ollama's own libraries are not those of a release",
        evidence: "a runtime, cuBLAS or backend whose build id no release has; the preflight prints the ids",
        alike: "an unknown build id alone is no cause: newer releases have unknown ids, too",
        fix: "run the stock image; mount anything of your own beside Ollama's files, never over them",
        references: [],
    }
    SecureModeLoader "secure-mode-loader" Process ALL_ERAS BOTH {
        what: "the loader treats Ollama's program as privileged and ignores LD_PRELOAD and LD_LIBRARY_PATH",
        evidence: "the program has set-id bits or file capabilities, and no process of the container left a record through the preload",
        alike: "recorder-not-loaded has no privileged program; the same program works when root starts it",
        fix: "take the file capabilities or set-id bits from the program (setcap -r)",
        references: [],
    }
    PreloadObjectBroken "preload-object-broken" Process ALL_ERAS PREFLIGHT {
        what: "another preloaded library cannot be loaded, and every program of the container dies from it",
        evidence: "the preflight could not load an object of LD_PRELOAD that is there; or the container ended with 127 (1 for a missing glibc version) without a record, and declares such an object",
        alike: "an object that is not there at all does no harm: the loader warns and goes on",
        fix: "take the object out of the container's LD_PRELOAD, or use a build of it for this image's C library",
        references: ["https://github.com/Project-HAMi/HAMi/issues/2581", "https://github.com/Project-HAMi/HAMi/issues/886"],
    }
    LibcInterposerPresent "libc-interposer-present" Process ALL_ERAS PREFLIGHT {
        what: "another preloaded library replaces functions of the C library",
        evidence: "an object of LD_PRELOAD or /etc/ld.so.preload exports dlopen, dlsym, open, read or malloc, and nothing else explains that CUDA did not come up",
        alike: "foreign-shim-fault hangs or crashes; files that read as damaged although their digest is right are the usual sign of this one",
        fix: "run the pod once without that library",
        references: ["https://github.com/Project-HAMi/HAMi/issues/2903"],
    }
    ForeignShimFault "foreign-shim-fault" Process ALL_ERAS BOTH {
        what: "another preloaded library hangs or crashes the process before the driver answers",
        evidence: "a driver call does not return, or the container died by a signal before CUDA came up, and another library is preloaded beside Firstlight's",
        alike: "without another preloaded library a hang is discovery-timeout, and a crash on a placeholder is dummy-symbol-crash; run once without Firstlight to exclude it, too",
        fix: "update the other library, or take it out of this pod's LD_PRELOAD",
        references: ["https://github.com/Project-HAMi/HAMi/issues/1834", "https://github.com/Project-HAMi/HAMi-core/issues/7", "https://github.com/ggml-org/llama.cpp/issues/20499"],
    }
    TwoDriversInProcess "two-drivers-in-process" DriverFind ALL_ERAS NOTHING {
        what: "two driver libraries are loaded in one process, and the runtime and the backend talk to different ones",
        evidence: "two files with the name libcuda.so.1 are mapped, apart from Firstlight's and the driver behind it",
        alike: "Firstlight opens the driver by its path on purpose: that pair is none",
        fix: "keep one libcuda.so.1 on the loader's path and restart the pod",
        references: [],
    }
    BackendUndefinedSymbol "backend-undefined-symbol" BackendLoad ALL_ERAS PREFLIGHT {
        what: "Ollama's GPU backend cannot be loaded: a library that it uses lacks a function",
        evidence: "opening the backend as Ollama does fails in every directory, and the loader names a symbol or a version",
        alike: "where the loader names a file, it is backend-runtime-library-missing",
        fix: "replace the library that lacks the symbol: the driver, another preloaded library, or a CUDA runtime that is not the image's own",
        references: ["https://github.com/ollama/ollama/issues/5493"],
    }
    BackendRuntimeLibraryMissing "backend-runtime-library-missing" BackendLoad ALL_ERAS PREFLIGHT {
        what: "Ollama's GPU backend, or a library that it needs, is not in the image or cannot be read",
        evidence: "opening the backend as Ollama does fails in every directory, and the loader names a file; or the image has Ollama and no CUDA backend at all",
        alike: "where the loader names a symbol, it is backend-undefined-symbol; where it names libcuda.so.1, no driver is in the container",
        fix: "pull the image again, or use the tag for NVIDIA: those that end in -rocm have no CUDA backend",
        references: ["https://github.com/ollama/ollama/issues/9069", "https://github.com/ollama/ollama/issues/7546"],
    }
    GpuNotRequested "gpu-not-requested" DriverFind ALL_ERAS BOTH {
        what: "the container was not given a GPU",
        evidence: "no driver library was found, or no device nodes, and no device is allocated to the container",
        alike: "driver-not-injected has an allocation",
        fix: "add the GPU resource limit (or claim) to the Ollama container",
        references: ["https://github.com/ollama/ollama/issues/3211", "https://github.com/ollama/ollama/issues/3761", "https://github.com/ollama/ollama/issues/6383"],
    }
    DriverNotInjected "driver-not-injected" DriverFind ALL_ERAS BOTH {
        what: "a GPU is allocated, but the driver's files or device nodes are not in the container",
        evidence: "a device is allocated, and no libcuda.so.1 lies in any place where it is looked for; or cuInit returned 100 and the process found no /dev/nvidiactl or no /dev/nvidia0 to 15",
        alike: "a file that is there but cannot be used is driver-library-not-found; only /dev/nvidia-uvm missing is uvm-device-missing",
        fix: "set runtimeClassName: nvidia, or enable CDI on the node, then recreate the pod",
        references: ["https://github.com/k3s-io/k3s/issues/11087", "https://github.com/NVIDIA/nvidia-container-toolkit/issues/1239"],
    }
    DriverLibraryNotFound "driver-library-not-found" DriverFind ALL_ERAS BOTH {
        what: "the driver library is not where it should be, or cannot be loaded",
        evidence: "the path that the pool names (or a candidate of the search) could not be opened, or a process ended while it opened it",
        alike: "code 35 of the CUDA runtime has four meanings; here no driver was ever opened",
        fix: "put libcuda.so.1, built for this machine, at the path that the evidence names",
        references: [],
    }
    HiddenByEnv "hidden-by-env" Enumerate ALL_ERAS BOTH {
        what: "an environment variable of the container hides the GPU",
        evidence: "the driver lists no device (or was never asked), and the pod declares, or the process has, a variable that hides devices",
        alike: "Ollama sets CUDA_VISIBLE_DEVICES for its own children: certain only where the pod declares it or the program is not Ollama's",
        fix: "remove or correct the variable that the evidence names",
        references: ["https://github.com/ollama/ollama/issues/12895"],
    }
    SymbolLookupBroken "symbol-lookup-broken" DriverFind ALL_ERAS RECORDS {
        what: "the driver does not find its own first functions by name",
        evidence: "the lookup function, cuInit or cuDriverGetVersion was asked for and not found, and cuInit was never called",
        alike: "driver-too-old answers its version; a lookup function that is absent altogether is harmless",
        fix: "use NVIDIA's driver, or let the virtual driver return its own pointer for cuGetProcAddress and not-found only for unknown names",
        references: [],
    }
    DriverTooOld "driver-too-old" DriverVersion ALL_ERAS RECORDS {
        what: "the driver is older than the CUDA runtime needs",
        evidence: "the driver told a version below the runtime's major version, and nothing was called after it, in every CUDA directory",
        alike: "a CUDA 13 backend that fails beside a working CUDA 12 backend is normal; cuInit is never reached here, so what stops after cuInit is not this",
        fix: "upgrade the node's driver: 570 or later for CUDA 12, 580 or later for CUDA 13",
        references: ["https://github.com/ollama/ollama/issues/17290", "https://github.com/ollama/ollama/issues/7666"],
    }
    CompatOrStubDriver "compat-or-stub-driver" DriverInit ALL_ERAS BOTH {
        what: "a compatibility or stub library stands in place of the driver",
        evidence: "cuInit returned 34, 803 or 804, or cuDriverGetVersion 34, or the opened library lies in a directory named compat or stubs",
        alike: "803 with a normal path is driver-user-kernel-mismatch",
        fix: "remove the compat or stubs directory from the image or from LD_LIBRARY_PATH",
        references: ["https://github.com/NVIDIA/nvidia-container-toolkit/issues/291", "https://github.com/ollama/ollama/issues/2229"],
    }
    DriverUserKernelMismatch "driver-user-kernel-mismatch" DriverInit ALL_ERAS BOTH {
        what: "the driver library in the container and the kernel module on the node are of different versions",
        evidence: "cuInit returned 803 from a library at a normal path; NVML's code 18 makes it certain",
        alike: "compat-or-stub-driver has compat or stubs in the library's path",
        fix: "delete the pod so that it gets the present driver; drain nodes before driver upgrades",
        references: ["https://github.com/ollama/ollama/issues/5573", "https://github.com/ollama/ollama/issues/7006"],
    }
    FabricNotReady "fabric-not-ready" DriverInit ALL_ERAS BOTH {
        what: "the switch between the node's GPUs is not ready",
        evidence: "cuInit returned 802",
        alike: "a slow start ends with success",
        fix: "start the nvidia-fabricmanager that matches the driver, then delete the pod",
        references: ["https://github.com/ollama/ollama/issues/11963", "https://github.com/ollama/ollama/issues/12136"],
    }
    UvmDeviceMissing "uvm-device-missing" DriverInit ALL_ERAS BOTH {
        what: "the device node of the driver's unified memory is not in the container, or may not be opened",
        evidence: "cuInit returned 999 or 100, the process found no usable /dev/nvidia-uvm, and the other nodes are fine",
        alike: "with the other nodes missing, too, it is driver-not-injected",
        fix: "load the module nvidia-uvm on the node (nvidia-modprobe -u -c 0), write the node's CDI specification again, recreate the pod",
        references: ["https://github.com/ollama/ollama/issues/15400", "https://github.com/NVIDIA/nvidia-container-toolkit/issues/50"],
    }
    CgroupDeviceLost "cgroup-device-lost" DriverInit ALL_ERAS RECORDS {
        what: "the container lost the right to open its GPU while it ran",
        evidence: "an earlier process of this container launched kernels; a new one gets 999, 100 or 304 from cuInit",
        alike: "driver-init-failed has no earlier success; the code alone does not decide",
        fix: "delete the pod; to prevent it, deliver devices through CDI or let runc use the cgroupfs driver, as systemctl daemon-reload takes the right away",
        references: ["https://github.com/NVIDIA/nvidia-container-toolkit/issues/48", "https://github.com/ollama/ollama/issues/10026", "https://github.com/ollama/ollama/issues/14658"],
    }
    DiscoveryBeforeDriverReady "discovery-before-driver-ready" DriverInit ALL_ERAS PREFLIGHT {
        what: "Ollama looked for a GPU before the driver was ready, and does not look again",
        evidence: "discovery failed, and a probe in the same container now comes up from the driver to a launched kernel",
        alike: "where the probe fails, too, its own failure is the cause",
        fix: "delete the pod so that Ollama looks again; firstlight.dev/preflight: block keeps it from starting too early",
        references: ["https://github.com/ollama/ollama/issues/7669", "https://github.com/ollama/ollama/issues/10204"],
    }
    DriverInitFailed "driver-init-failed" DriverInit ALL_ERAS BOTH {
        what: "the driver refused to initialise",
        evidence: "cuInit returned a code that no other row claims",
        alike: "codes 34, 802, 803 and 804 have rows of their own; 100 with a hiding variable is hidden-by-env",
        fix: "look up the code in the evidence; on the node run nvidia-smi and read the kernel log for lines with NVRM or Xid",
        references: ["https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html"],
    }
    DiscoveryTimeout "discovery-timeout" DriverInit SINCE_0_12_4 BOTH {
        what: "the driver was asked and has not answered in time",
        evidence: "a driver call began and did not return for 20 seconds or more",
        alike: "a slow call that returns is no failure; code 802 is fabric-not-ready. Ollama gives up after about 30 seconds a directory",
        fix: "enable NVIDIA's persistence daemon on the node, give the container fewer GPUs, or limit the search with OLLAMA_LLM_LIBRARY",
        references: ["https://github.com/ollama/ollama/issues/13308", "https://github.com/ollama/ollama/issues/17069"],
    }
    ExportTableMissing "export-table-missing" Handshake ALL_ERAS BOTH {
        what: "the driver lacks the private tables that NVIDIA's CUDA runtime asks for right after cuInit",
        evidence: "cuInit succeeded, cuGetExportTable was asked for and not found, and the runtime called nothing after it",
        alike: "a cuInit that failed has its own code; a cuInit that was never called is driver-too-old or symbol-lookup-broken",
        fix: "use NVIDIA's driver, or a virtual driver that serves the export tables",
        references: [],
    }
    ExportTableRefused "export-table-refused" Handshake ALL_ERAS BOTH {
        what: "the driver refused a private table that NVIDIA's CUDA runtime needs",
        evidence: "cuGetExportTable returned an error for a table, and its caller called nothing after it",
        alike: "the table f8cff951… may be refused without harm",
        fix: "serve the table whose UUID the evidence names; a newer CUDA runtime may need one table more",
        references: [],
    }
    DummySymbolCrash "dummy-symbol-crash" Handshake ALL_ERAS RECORDS {
        what: "the driver answered the question for a needed function with success and none, and the process crashed on it",
        evidence: "the lookup of a function that CUDA needs returned success with an empty pointer, and the container died by SIGSEGV (exit code 139)",
        alike: "another preloaded library can crash a process, too: run once without it",
        fix: "use a driver that has every function its clients need; of names that it does not have every driver says success and gives none",
        references: [],
    }
    IntegrityCheckFailed "integrity-check-failed" Handshake ALL_ERAS PREFLIGHT {
        what: "NVIDIA's CUDA runtime noticed that a layer between it and the driver changes what the driver says",
        evidence: "the runtime answers 103 although the driver itself lists its devices",
        alike: "a driver that fails by itself gives its own code; names and memory figures may be changed without harm",
        fix: "update or remove the layer: device count, UUID, PCI id, version and private tables must pass through unchanged; choose devices by CUDA_VISIBLE_DEVICES only",
        references: [],
    }
    DeviceQueryFailed "device-query-failed" Enumerate ALL_ERAS BOTH {
        what: "the driver initialised, but could not describe its devices",
        evidence: "the first failing or missing call is one of device count, get, name, memory, attribute or UUID, or a device has 0 bytes of memory",
        alike: "a count of 0 or code 100 with a hiding variable is hidden-by-env; code 3 of cuInit itself is driver-init-failed",
        fix: "read the kernel log for lines with NVRM or Xid; a virtual driver must answer every attribute and both variants of the UUID call",
        references: [],
    }
    RuntimeSubstituted "runtime-substituted" Properties ALL_ERAS NOTHING {
        what: "the CUDA runtime is not NVIDIA's, and misreads the devices' properties",
        evidence: "properties that the runtime tells differ from what the driver says of the same device",
        alike: "with NVIDIA's runtime the same difference is capability-misreported",
        fix: "restore the libcudart that the image came with",
        references: [],
    }
    CapabilityMisreported "capability-misreported" Properties ALL_ERAS NOTHING {
        what: "the driver reports another compute capability than the card has",
        evidence: "the capability that CUDA reports differs from NVML's or the node's; loading code gives 200 or 209",
        alike: "a true capability that the build lacks is architecture-not-in-build",
        fix: "update the virtual driver: it must report the true capability",
        references: [],
    }
    DeviceIdentityInconsistent "device-identity-inconsistent" Filter ALL_ERAS PREFLIGHT {
        what: "two devices say that they are the same one, and Ollama keeps only one of them",
        evidence: "two devices of one container have the same UUID or PCI id",
        alike: "fewer devices than allocated, each with an identity of its own, is hidden-by-env or the driver's doing",
        fix: "give each device, and each slice of a card, a PCI id and a UUID of its own, the same for CUDA and NVML",
        references: [],
    }
    MigDeviceFiltered "mig-device-filtered" Filter FROM_0_12_4_TO_0_24 RECORDS {
        what: "Ollama asked for the MIG device by a name that the driver does not take for one",
        evidence: "a first discovery listed the device; the second, with CUDA_VISIBLE_DEVICES=GPU-…, got 100 from cuInit or a count of 0",
        alike: "a second discovery that fails with another code has that code's cause",
        fix: "use Ollama 0.30 or later, or 0.13.1",
        references: ["https://github.com/ollama/ollama/issues/13800", "https://github.com/ollama/ollama/issues/14031"],
    }
    NoRoomForContext "no-room-for-context" Context ALL_ERAS BOTH {
        what: "the GPU has too little free memory to start with",
        evidence: "creating the context returned 2 (out of memory)",
        alike: "an allocation that fails after a good context is out-of-memory-at-load",
        fix: "free memory on the GPU: stop the other processes that hold it, or give the pod a larger share",
        references: ["https://github.com/ggml-org/llama.cpp/issues/25157"],
    }
    VgpuProfileUnsupported "vgpu-profile-unsupported" Context ALL_ERAS BOTH {
        what: "the virtual GPU profile of the machine lacks what CUDA needs",
        evidence: "creating the context returned 801 (operation not supported)",
        alike: "801 for a private table, before the devices are listed, is export-table-refused",
        fix: "enable unified memory for the vGPU, license it, or choose another profile",
        references: ["https://github.com/ollama/ollama/issues/10409", "https://github.com/ollama/ollama/issues/8980"],
    }
    MemoryInfoWrong "memory-info-wrong" Context ALL_ERAS BOTH {
        what: "the driver cannot say how much memory the GPU has",
        evidence: "under a good context, asking for free and total memory failed, or gave a total of 0",
        alike: "code 2 of the first memory query is no-room-for-context",
        fix: "update the layer that limits the GPU's memory: at its limit it must answer 0 free of the total, not an error",
        references: ["https://github.com/Project-HAMi/HAMi/issues/1370", "https://github.com/Project-HAMi/HAMi-core/issues/200"],
    }
    ContextFailed "context-failed" Context ALL_ERAS BOTH {
        what: "the driver lists the GPU, but could not create a context on it",
        evidence: "creating the context returned a code that no other row claims",
        alike: "code 2 is no-room-for-context, 801 is vgpu-profile-unsupported",
        fix: "look up the code in the evidence; read the kernel log for lines with NVRM or Xid, and restart the pod",
        references: [],
    }
    GpuLostAfterStart "gpu-lost-after-start" RunnerInit ALL_ERAS RECORDS {
        what: "the GPU was there when the container started and is gone now",
        evidence: "an earlier process of this container saw a usable GPU (or launched kernels), and now the driver fails with it",
        alike: "where kernels had been launched and only cuInit fails, cgroup-device-lost is likelier",
        fix: "delete the pod so that it gets a device anew; check the health of the GPU on the node",
        references: ["https://github.com/ollama/ollama/issues/10026"],
    }
    QuotaExceeded "quota-exceeded" Allocate ALL_ERAS RECORDS {
        what: "the container asked for more device memory than its quota allows",
        evidence: "the shim refused memory because the quota of the grant was used up, and the process did not go on with less",
        alike: "out-of-memory-at-load and no-room-for-context are the card's own refusals: the driver was asked and answered 2",
        fix: "ask for more slices (or a larger quota), or lower the context length, OLLAMA_NUM_PARALLEL or the model's size",
        references: [],
    }
    QuotaUnavailable "quota-unavailable" Allocate ALL_ERAS RECORDS {
        what: "the file in which the container's device memory is counted cannot be used, so that no memory is given",
        evidence: "the shim refused memory because it could not count it: the ledger cannot be opened, mapped or locked, all its places are taken, or a process held its lock for seconds",
        alike: "quota-exceeded names what is used and what is allowed; out-of-memory-at-load is the card's own refusal",
        fix: "delete the pod so that it gets a new ledger; if it comes again, look whether a security profile keeps the container from /run/firstlight/ledger, whether more than 256 of its processes hold device memory, and whether one of them stands still",
        references: [],
    }
    OutOfMemoryAtLoad "out-of-memory-at-load" Allocate ALL_ERAS RECORDS {
        what: "the model does not fit into the GPU's memory",
        evidence: "an allocation after a good context returned 2 (out of memory); a size above the free memory makes it certain",
        alike: "no-room-for-context fails before the first allocation; quota-exceeded is the quota's refusal, before the driver is asked",
        fix: "lower the context length or OLLAMA_NUM_PARALLEL, choose a smaller model, or give the pod a larger share",
        references: ["https://github.com/ollama/ollama/issues/14632", "https://github.com/ollama/ollama/issues/9782"],
    }
    PtxJitUnavailable "ptx-jit-unavailable" Compute ALL_ERAS BOTH {
        what: "the GPU's code must be compiled at first use, and the compiler is missing or too old",
        evidence: "loading a module returned 221 (compiler not found) or 222 (code newer than the driver)",
        alike: "200 and 209 are architecture-not-in-build",
        fix: "grant the driver capability compute, or upgrade the driver",
        references: ["https://github.com/ollama/ollama/issues/6591", "https://github.com/ollama/ollama/issues/11913"],
    }
    ArchitectureNotInBuild "architecture-not-in-build" Compute ALL_ERAS BOTH {
        what: "Ollama's library has no code for this model of GPU",
        evidence: "loading a module or launching a kernel returned 200 or 209",
        alike: "a virtual driver that misreports the capability gives the same codes",
        fix: "use the library directory or the Ollama version that supports this GPU's compute capability",
        references: ["https://github.com/ollama/ollama/issues/16533", "https://github.com/ollama/ollama/issues/1756"],
    }
    ApiNotProvided "api-not-provided" Compute ALL_ERAS RECORDS {
        what: "the driver lacks a function that Ollama needs",
        evidence: "a needed function was asked for and not found, or called and missing; no kernel was launched since",
        alike: "functions that are asked for and never used (graphics, profiling) are harmless and not counted",
        fix: "use a driver that provides the function that the evidence names",
        references: ["https://github.com/Project-HAMi/HAMi-core/issues/233"],
    }
    DeviceErrorSticky "device-error-sticky" Compute ALL_ERAS RECORDS {
        what: "a kernel crashed on the GPU, and the process can no longer use it",
        evidence: "a call returned 700, 714 to 719 or another code after which the driver repeats the error",
        alike: "if a new process works, only the old one was poisoned; if it fails too, its own first failure is the cause",
        fix: "restart the pod; if it comes again with an Xid line in the kernel log, take the GPU out of service",
        references: [],
    }
    ComputeFailed "compute-failed" Compute ALL_ERAS BOTH {
        what: "the GPU came up, but work on it failed",
        evidence: "an allocation, a module, a launch or a wait returned a code that no other row claims",
        alike: "codes 2, 200, 209, 221, 222 and 700 to 719 have rows of their own",
        fix: "look up the code in the evidence, and restart the pod",
        references: [],
    }
    VirtualDeviceFault "virtual-device-fault" Compute ALL_ERAS NOTHING {
        what: "a virtual GPU accepted work that it did not do",
        evidence: "virtual memory is announced and its functions are not there; handles that are constants; payloads that differ",
        alike: "each needs a check of its own; a wrong text proves none of them",
        fix: "update or remove the virtual GPU's layer: what it does not support must fail openly",
        references: [],
    }
    VulkanInsteadOfCuda "vulkan-instead-of-cuda" Serving SINCE_0_30 RECORDS {
        what: "Ollama serves the model by Vulkan, not by CUDA",
        evidence: "the process that serves the model was given Vulkan's backend, and no process failed with CUDA",
        alike: "where CUDA failed before, that failure is the cause and this its consequence; /api/ps looks healthy all the same",
        fix: "set OLLAMA_VULKAN=0 to see whether CUDA comes up, and cure what it then says",
        references: ["https://github.com/ollama/ollama/issues/16415", "https://github.com/ollama/ollama/issues/13212"],
    }
    GpuClaimedNotUsed "gpu-claimed-not-used" Serving ALL_ERAS RECORDS {
        what: "the process that serves the model holds the GPU and has launched nothing on it",
        evidence: "a runner has a context for ten minutes and more, and no kernel was launched: Ollama's warm-up alone would launch some",
        alike: "a model that is still being loaded looks the same (load-too-slow); cpu-by-design was ordered",
        fix: "unload the model (ollama stop) and send the request again; if nothing is launched then, read the runner's log for the layers it offloaded",
        references: ["https://github.com/ollama/ollama/issues/10369", "https://github.com/ollama/ollama/issues/12323"],
    }
    LoadTooSlow "load-too-slow" Serving ALL_ERAS NOTHING {
        what: "the model is loaded so slowly that somebody gives up first",
        evidence: "no error; bytes a second times the time that is left do not suffice",
        alike: "a client that gives up early is no failure of the GPU",
        fix: "raise the client's timeout or OLLAMA_LOAD_TIMEOUT, or use faster storage",
        references: [],
    }
}
