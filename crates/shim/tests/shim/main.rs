//! The preload objects as they are shipped, in front of a driver written for these tests (`tests/c/driver.c`).

#[cfg(test)]
mod common;
#[cfg(test)]
mod elf;
#[cfg(test)]
mod forwarding;
#[cfg(test)]
mod harmless;
#[cfg(test)]
mod quota;
#[cfg(test)]
mod records;
#[cfg(test)]
mod runtime;
#[cfg(test)]
mod search;
