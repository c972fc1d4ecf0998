//! What the simulator does with each function. Functions that stand in neither list are exported and answer
//! NOT_SUPPORTED; the simulator's tests compare both lists with what it implements.

/// Functions whose effect really happens: memory is copied, events are ordered, figures add up.
pub static REAL: &[&str] = &[];

/// Functions that do the bookkeeping of a GPU without one: a kernel is found, launched and counted, not run.
pub static SIMULATED: &[&str] = &[];

/// What the simulator does with a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulation {
    /// See [`REAL`].
    Real,
    /// See [`SIMULATED`].
    Simulated,
    /// Answers `CUDA_ERROR_NOT_SUPPORTED` (801) or `NVML_ERROR_NOT_SUPPORTED` (3).
    NotSupported,
}

/// What the simulator does with the function of this symbol.
pub fn of(symbol: &str) -> Simulation {
    if REAL.contains(&symbol) {
        Simulation::Real
    } else if SIMULATED.contains(&symbol) {
        Simulation::Simulated
    } else {
        Simulation::NotSupported
    }
}
