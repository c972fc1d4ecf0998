//! How the static binary is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // 700 KB of relocations become 10; the loader reads them all, so that they stay in memory for good.
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
