//! The virtual driver as it ships: its ELF file, C programs, NVIDIA's own runtime, the real ggml backend.
//! What `make deps` fetches may be missing; then those tests say so and end.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod backend;
#[cfg(test)]
mod common;
#[cfg(test)]
mod elf;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod functions;
#[cfg(test)]
mod mig;
#[cfg(test)]
mod runtime;
