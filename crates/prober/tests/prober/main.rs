//! The dynamic half on the simulator's NVML, and on one written for these tests; and as it is shipped.

#[cfg(test)]
mod common;
#[cfg(test)]
mod elf;
#[cfg(test)]
mod looks;
