//! The built `libnvidia-ml.so.1`, asked by real clients. Needs `make artefacts`; the C client needs `make deps`, too,
//! for NVIDIA's headers.

#[cfg(test)]
mod client;
#[cfg(test)]
mod common;
#[cfg(test)]
mod elf;
#[cfg(test)]
mod wrapper;
