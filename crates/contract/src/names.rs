//! Public names. Users, dashboards and other programs rely on them: a change here is a breaking change.

/// Prefix of every name that Firstlight puts into Kubernetes objects.
pub const DOMAIN: &str = "firstlight.dev";

/// Resource names are `firstlight.dev/<pool>`; the part after the slash has at most 63 characters
/// (extended resource names, `k8s.io/apimachinery/pkg/util/validation`).
pub const RESOURCE_PREFIX: &str = "firstlight.dev/";

/// The pool that the annotation value `true` asks for.
pub const DEFAULT_POOL: &str = "gpu";

/// The resource of our own prober, `firstlight.dev/prober`: no pool may have this name.
pub const PROBER: &str = "prober";

/// Annotations on workloads and pods.
pub mod annotation {
    /// Asks for a GPU: the name of a pool, or `true` for the default pool.
    pub const GPU: &str = "firstlight.dev/gpu";
    /// How many devices each chosen container gets; default 1.
    pub const COUNT: &str = "firstlight.dev/count";
    /// The containers to inject, separated by commas; default: the one that is recognised as Ollama.
    pub const CONTAINERS: &str = "firstlight.dev/containers";
    /// `off` (default) or `ready`: whether the pod's readiness waits for a usable GPU.
    pub const GATE: &str = "firstlight.dev/gate";
    /// `off` (default), `report` or `block`: a probe before the containers start.
    pub const PREFLIGHT: &str = "firstlight.dev/preflight";
    /// Faults of the simulated driver, see the module `fault`; simulated pools only.
    pub const SIMULATE: &str = "firstlight.dev/simulate";
    /// Left by the webhook on a pod template whose annotations it copied from the workload: the copied keys
    /// (without the domain), separated by commas. Only these are removed again.
    pub const PROPAGATED: &str = "firstlight.dev/propagated";
    /// Left by the webhook on a pod that it injected: the webhook's version.
    pub const INJECTED: &str = "firstlight.dev/injected";
    /// Left by the webhook on a pod that it injected: what it did, one sentence a container.
    pub const INJECTION: &str = "firstlight.dev/injection";

    /// The annotations that people write; the workload rule copies exactly these.
    pub const ASKS: [&str; 6] = [GPU, COUNT, CONTAINERS, GATE, PREFLIGHT, SIMULATE];
}

/// Labels.
pub mod label {
    /// On a namespace: `true` silences the alert about simulated GPUs there.
    pub const SIMULATION: &str = "firstlight.dev/simulation";
    /// On a node: it has cards, whatever other labels say; the prober runs there.
    pub const CARDS: &str = "firstlight.dev/cards";
}

/// Pod conditions.
pub mod condition {
    /// `True` once a usable GPU was seen; reason is the cause in CamelCase, message is evidence and fix.
    pub const GPU_READY: &str = "firstlight.dev/GpuReady";
    /// Reason of a `True` condition in a simulated pool: it is never mistaken for a GPU.
    pub const REASON_SIMULATED: &str = "SimulatedGpu";
    /// Reason of a `True` condition in every other pool.
    pub const REASON_USABLE: &str = "GpuUsable";
}

/// Containers that the webhook adds.
pub mod added {
    /// The init container of the preflight; with several chosen containers, `-<container>` follows.
    pub const PREFLIGHT: &str = "firstlight-preflight";

    /// Name of the preflight's init container for a chosen container, `alone` where that is the only one: a DNS
    /// label of at most 63 characters. A container's name that is too long is cut, and a digest of it follows.
    #[cfg(feature = "std")]
    pub fn preflight_of(container: &str, alone: bool) -> String {
        const LONGEST: usize = 63;
        if alone {
            return PREFLIGHT.to_owned();
        }
        let name = format!("{PREFLIGHT}-{container}");
        if name.len() <= LONGEST {
            return name;
        }
        // FNV-1a: two names that begin alike must not become one.
        let digest = container
            .bytes()
            .fold(0x811c_9dc5_u32, |digest, byte| (digest ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let short: String = name.chars().take(LONGEST - 9).collect();
        format!("{}-{digest:08x}", short.trim_end_matches('-'))
    }
}

/// Reasons of Events.
pub mod event {
    /// CUDA came up in the pod.
    pub const CUDA_READY: &str = "CudaReady";
    /// CUDA failed to come up; the message names the cause.
    pub const CUDA_INIT_FAILED: &str = "CudaInitFailed";
    /// The GPU is there, the runner is not on it.
    pub const CUDA_FALLBACK: &str = "CudaFallback";
    /// A device of a pool cannot be allocated any more; on the node, the message names the reason.
    pub const DEVICE_UNHEALTHY: &str = "DeviceUnhealthy";
    /// It can be allocated again.
    pub const DEVICE_HEALTHY: &str = "DeviceHealthy";
    /// Annotated, but not injected.
    pub const NOT_INJECTED: &str = "NotInjected";
}

/// Environment variables.
pub mod env {
    /// Set by the webhook: the dynamic loader loads the shim first.
    pub const LD_PRELOAD: &str = "LD_PRELOAD";
    /// Faults on order; read by the simulator only, and only where the grant says `simulated`.
    pub const SIMULATE: &str = "FIRSTLIGHT_SIMULATE";
    /// Path of a grant; read only where [`crate::paths::container::GRANT`] does not exist.
    pub const GRANT: &str = "FIRSTLIGHT_GRANT";
    /// UUIDs of cards, separated by commas; NVIDIA's container runtime reads it. Set by the plugin where a pool's driver
    /// comes by that runtime.
    pub const NVIDIA_VISIBLE_DEVICES: &str = "NVIDIA_VISIBLE_DEVICES";
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::added::preflight_of;

    #[test]
    fn the_preflight_of_the_only_container_has_the_plain_name() {
        assert_eq!(preflight_of("ollama", true), "firstlight-preflight");
        assert_eq!(preflight_of("ollama", false), "firstlight-preflight-ollama");
    }

    #[test]
    fn long_names_are_cut_to_a_label_and_stay_apart() {
        let (one, two) = (format!("{}-a", "x".repeat(60)), format!("{}-b", "x".repeat(60)));
        let names = [&one, &two].map(|name| preflight_of(name, false));
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| name.len() == 63), "{names:?}");
        // A cut behind a hyphen leaves no two of them.
        let name = preflight_of(&format!("{}-{}", "x".repeat(32), "y".repeat(30)), false);
        assert!(name.len() < 63 && !name.contains("--"), "{name}");
    }
}
