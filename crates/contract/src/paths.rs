//! Paths in the container and on the node.

/// Where things are mounted in a container.
pub mod container {
    /// Where CUDA looks for the MPS control daemon (`CUDA_MPS_PIPE_DIRECTORY` unset).
    pub const MPS_PIPE: &str = "/tmp/nvidia-mps";
    /// Shared memory, which clients of MPS have in common with its daemon.
    pub const SHM: &str = "/dev/shm";
    /// The shim: `libcuda.so.1` and `libnvidia-ml.so.1`.
    pub const SHIM_DIR: &str = "/opt/firstlight/lib";
    /// The value that the webhook puts into `LD_PRELOAD`.
    pub const SHIM: &str = "/opt/firstlight/lib/libcuda.so.1";
    /// The NVML half of the shim.
    pub const SHIM_NVML: &str = "/opt/firstlight/lib/libnvidia-ml.so.1";
    /// The driver behind the shim, where it is ours to mount (simulator or custom).
    pub const DRIVER_DIR: &str = "/opt/firstlight/driver";
    /// The driver's `libcuda.so.1`.
    pub const DRIVER: &str = "/opt/firstlight/driver/libcuda.so.1";
    /// The driver's NVML.
    pub const DRIVER_NVML: &str = "/opt/firstlight/driver/libnvidia-ml.so.1";
    /// NVIDIA's runtime where the pool asks for it: `<major>/libcudart.so.<major>`.
    pub const CUDART_DIR: &str = "/opt/firstlight/cudart";
    /// Programs for use inside the container.
    pub const BIN_DIR: &str = "/opt/firstlight/bin";
    /// The preflight: a static program, which starts the dynamic half beside it where the image has a glibc.
    pub const PREFLIGHT: &str = "/opt/firstlight/bin/firstlight-preflight";
    /// The grant: a read-only file.
    pub const GRANT: &str = "/run/firstlight/grant";
    /// The record file: anybody in the container may append.
    pub const RECORDS: &str = "/run/firstlight/records";
    /// The ledger of the quota: the container's processes write to it.
    pub const LEDGER: &str = "/run/firstlight/ledger";
    /// What the prober's container is given of the node, in one directory: NVML, the C library that it was made for,
    /// and that library's loader.
    pub const PROBER_DIR: &str = "/opt/firstlight/nvml";
    /// First directory in which clients look that open the driver by absolute path (Ollama ≤ 0.12.3), and the
    /// one that the Ollama image has in `LD_LIBRARY_PATH`.
    pub const NVIDIA_LIB_DIR: &str = "/usr/local/nvidia/lib64";
    /// The multiarch library directory of Debian and Ubuntu images.
    pub const MULTIARCH_LIB_DIR: &str = "/usr/lib/x86_64-linux-gnu";
}

/// File names of the programs in [`container::BIN_DIR`].
pub mod program {
    /// The preflight.
    pub const PREFLIGHT: &str = "firstlight-preflight";
    /// Its half that the image's own loader starts.
    pub const PREFLIGHT_DYNAMIC: &str = "firstlight-preflight-dynamic";
    /// The prober's half that NVML is loaded into; lies in the root of the agent's image.
    pub const PROBER: &str = "firstlight-prober";
}

/// File names of the libraries.
pub mod library {
    /// The CUDA driver's SONAME.
    pub const CUDA: &str = "libcuda.so.1";
    /// The name without version that some clients open.
    pub const CUDA_UNVERSIONED: &str = "libcuda.so";
    /// NVML's SONAME.
    pub const NVML: &str = "libnvidia-ml.so.1";
    /// The loader of the C library that NVML is made for.
    pub const LOADER: &str = "ld-linux-x86-64.so.2";
}

/// What NVIDIA's kernel module tells.
pub mod kernel {
    /// Which device node opens which MIG instance: `gpu<minor>/mig/gi<N>/access` and `gpu<minor>/mig/gi<N>/ci<M>/access`
    /// (NVIDIA, *MIG User Guide*, "Device Nodes and Capabilities").
    pub const CAPABILITIES: &str = "/proc/driver/nvidia/capabilities";
}

/// Where things lie on the node.
pub mod node {
    /// Root of everything that Firstlight keeps on a node.
    pub const ROOT: &str = "/var/lib/firstlight";
    /// One folder a grant, `grants/<grant-id>/{grant,records,ledger}`, below [`ROOT`].
    pub const GRANTS: &str = "/var/lib/firstlight/grants";
    /// Name of the grant file in a grant's folder.
    pub const GRANT_FILE: &str = "grant";
    /// Name of the record file in a grant's folder.
    pub const RECORDS_FILE: &str = "records";
    /// Name of the ledger in a grant's folder, beside the record file; only where a device has a quota.
    pub const LEDGER_FILE: &str = "ledger";
    /// The agent listens to the prober here, below [`ROOT`]: `<build>-<instance>.sock`, one each.
    pub const PROBER: &str = "/var/lib/firstlight/prober";
    /// Where the kubelet keeps its device plugin sockets, whatever its `--root-dir` says
    /// (kubernetes/kubernetes#120626).
    pub const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";
    /// The kubelet's PodResources socket lies in this directory.
    pub const POD_RESOURCES: &str = "/var/lib/kubelet/pod-resources";
}
