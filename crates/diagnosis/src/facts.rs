//! What is known about a container from outside: plain data that the plugin or the command line fills in.

use firstlight_contract::grant::PoolKind;
use firstlight_contract::names::env;
use firstlight_contract::paths::container::SHIM_DIR;
use firstlight_contract::preflight;

/// The variable that tells CUDA which devices it may see (CUDA programming guide, environment variables).
pub(crate) const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// Whether this value of [`VISIBLE`] hides every device. Of other values only the node knows what they name.
pub(crate) fn hides_all(value: &str) -> bool {
    value.is_empty() || value.starts_with('-') || value.eq_ignore_ascii_case("nodevfiles")
}

/// A container's state, as the API server (or a parent process) tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// Not known.
    #[default]
    Unknown,
    /// Not started, or between two restarts.
    Waiting,
    /// Running since this time.
    Running {
        /// Nanoseconds since the epoch. Processes that began earlier belong to an instance that is gone.
        since_ns: u64,
    },
    /// Ended.
    Terminated {
        /// Nanoseconds since the epoch.
        at_ns: u64,
        /// Exit code; 128 + signal where a signal ended it.
        exit_code: i32,
    },
}

/// Facts from outside the container. Everything that is not known stays at its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Kind of the pool.
    pub kind: PoolKind,
    /// Number of devices that the container was given; `None`: not known.
    pub devices: Option<u32>,
    /// Whether the webhook (or `run`) put the shim into the container; `None`: not known.
    pub injected: Option<bool>,
    /// Whether the pod carries the annotation; `None`: not known.
    pub annotated: Option<bool>,
    /// The container's state.
    pub state: ContainerState,
    /// How often the container was restarted.
    pub restarts: u32,
    /// Whether the kernel ended the container, or its last instance, because it used more memory than its limit.
    pub out_of_memory: bool,
    /// The container's environment as declared in the pod spec: name and value.
    pub environment: Vec<(String, String)>,
    /// Whether all devices of the container are there and healthy now; `None`: not known.
    pub devices_healthy: Option<bool>,
    /// What a preflight found in the container.
    pub preflight: Option<Preflight>,
}

/// A preflight's report, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// Nanoseconds since the epoch. Before the container's processes, or, where somebody probed it, after them.
    pub at_ns: u64,
    /// What it found.
    pub report: preflight::Report,
}

impl Facts {
    /// Facts of a container about which only the pool's kind is known.
    pub fn of(kind: PoolKind) -> Self {
        Self {
            kind,
            devices: None,
            injected: None,
            annotated: None,
            state: ContainerState::Unknown,
            restarts: 0,
            out_of_memory: false,
            environment: Vec::new(),
            devices_healthy: None,
            preflight: None,
        }
    }

    /// The first declared variable that hides GPUs from CUDA or makes Ollama leave them alone: name and value.
    /// Which variables and values do so: Ollama's `envconfig` and `discover`, llama.cpp's `common/arg.cpp`, the
    /// CUDA programming guide's chapter on environment variables.
    pub(crate) fn hiding_variable(&self) -> Option<(&str, &str)> {
        let hides = |name: &str, value: &str| match name {
            VISIBLE => hides_all(value),
            "NVIDIA_VISIBLE_DEVICES" => matches!(value, "void" | "none" | ""),
            "OLLAMA_LLM_LIBRARY" => value.starts_with("cpu"),
            "LLAMA_ARG_DEVICE" => value == "none",
            "LLAMA_ARG_N_GPU_LAYERS" => value == "0",
            _ => false,
        };
        self.environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .find(|(name, value)| hides(name, value))
    }

    /// An object that the container declares to be preloaded beside ours. What the image sets is not known here.
    pub(crate) fn foreign_preload(&self) -> Option<&str> {
        let ours = |object: &str| object.strip_prefix(SHIM_DIR).is_some_and(|rest| rest.starts_with('/'));
        self.environment
            .iter()
            .filter(|(name, _)| name == env::LD_PRELOAD)
            .flat_map(|(_, value)| value.split([':', ' ']))
            .find(|object| !object.is_empty() && !ours(object))
    }

    /// The last moment at which a process of this container can have done anything.
    pub(crate) fn horizon(&self, now_ns: u64) -> u64 {
        match self.state {
            ContainerState::Terminated { at_ns, .. } => at_ns.min(now_ns),
            _ => now_ns,
        }
    }

    /// Whether all processes are gone.
    pub(crate) fn ended(&self) -> bool {
        matches!(self.state, ContainerState::Terminated { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Facts {
        Facts { environment: vec![(name.to_owned(), value.to_owned())], ..Facts::of(PoolKind::Whole) }
    }

    #[test]
    fn a_variable_that_hides_gpus_is_found() {
        assert_eq!(
            with("CUDA_VISIBLE_DEVICES", "-1").hiding_variable(),
            Some(("CUDA_VISIBLE_DEVICES", "-1"))
        );
        assert!(with("NVIDIA_VISIBLE_DEVICES", "void").hiding_variable().is_some());
    }

    #[test]
    fn only_what_is_not_ours_is_a_foreign_preload() {
        let foreign = |value| with("LD_PRELOAD", value).foreign_preload().map(str::to_owned);
        assert_eq!(foreign("/opt/firstlight/lib/libcuda.so.1"), None);
        assert_eq!(foreign("/opt/firstlight/lib/libcuda.so.1:/opt/x.so").as_deref(), Some("/opt/x.so"));
        assert_eq!(foreign(" libvgpu.so").as_deref(), Some("libvgpu.so"));
    }

    #[test]
    fn a_variable_that_names_a_gpu_hides_nothing() {
        assert_eq!(with("CUDA_VISIBLE_DEVICES", "0").hiding_variable(), None);
        assert_eq!(with("NVIDIA_VISIBLE_DEVICES", "all").hiding_variable(), None);
    }
}
