//! Every cause, made to happen with real programs, and beside it its look-alike, made to happen too, with the other
//! verdict. Each row is a test; what the rows saw is written to `$CARGO_TARGET_DIR/causes/`, and `make test` prints it.
//!
//! What a cluster is needed for is in `e2e/tests`; what only a preflight sees is in `crates/preflight/tests`.

#[cfg(test)]
mod rows;
#[cfg(test)]
mod world;
