//! The preflight as it is shipped, on the simulated driver, on drivers written for these tests, with NVIDIA's runtime and
//! ggml's backend, and in images of other C libraries.

#[cfg(test)]
mod causes;
#[cfg(test)]
mod common;
#[cfg(test)]
mod drivers;
#[cfg(test)]
mod elf;
#[cfg(test)]
mod images;
#[cfg(test)]
mod surroundings;
