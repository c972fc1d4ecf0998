//! The GPU models that the simulator can be. Every name starts with `SIM-`, so that nobody takes one for a card.

/// A simulated GPU model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// Device name, as `cuDeviceGetName` and NVML answer it.
    pub name: &'static str,
    /// Compute capability, major.
    pub capability_major: u8,
    /// Compute capability, minor.
    pub capability_minor: u8,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// Number of streaming multiprocessors.
    pub multiprocessors: u16,
}

const GIB: u64 = 1 << 30;

/// Models in order of capability; capability, memory and multiprocessors as in NVIDIA's data sheets.
pub const MODELS: [Model; 8] = [
    model("SIM-T4", 7, 5, 16, 40),
    model("SIM-A100", 8, 0, 40, 108),
    model("SIM-A10", 8, 6, 24, 72),
    model("SIM-A40", 8, 6, 48, 84),
    model("SIM-L4", 8, 9, 24, 58),
    model("SIM-RTX-4090", 8, 9, 24, 128),
    model("SIM-H100", 9, 0, 80, 132),
    model("SIM-H200", 9, 0, 141, 132),
];

/// The model of a pool that names none. Capability 8.6 is in every list of Ollama's builds.
pub const DEFAULT_MODEL: &str = "SIM-A40";

/// Most devices that a simulated node or process can have; ggml aborts above 16.
pub const MAX_DEVICES: u32 = 16;

const fn model(name: &'static str, major: u8, minor: u8, gib: u64, multiprocessors: u16) -> Model {
    Model { name, capability_major: major, capability_minor: minor, memory_bytes: gib * GIB, multiprocessors }
}

/// Finds a model by its exact name.
pub fn by_name(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_says_that_it_is_simulated() {
        assert!(MODELS.iter().all(|model| model.name.starts_with("SIM-")));
    }

    #[test]
    fn the_default_model_exists() {
        assert_eq!(by_name(DEFAULT_MODEL).map(|model| model.capability_major), Some(8));
    }
}
