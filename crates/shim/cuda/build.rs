//! Link arguments of the preload object; what each is for stands in `crates/shim/src/lib.rs`.

fn main() {
    // Only the profile `shim`: with std (dev, test) the object is an ordinary cdylib that nobody preloads. A build
    // script is not told the profile's name, but its output folder is `<target>/<profile>/build/<package>/out`.
    let out = std::env::var_os("OUT_DIR").map(std::path::PathBuf::from);
    let profile = out.as_deref().and_then(|out| out.ancestors().nth(3)).and_then(std::path::Path::file_name);
    if profile.is_some_and(|profile| profile == "shim") {
        for argument in [
            "-nostartfiles",
            "-Wl,-init=firstlight_start",
            "-Wl,-fini=firstlight_end",
            "-Wl,-Bsymbolic",
            "-Wl,--no-undefined",
            "-Wl,-z,norelro",
            "-Wl,-z,nodelete",
            "-Wl,--no-rosegment",
            "-Wl,--build-id=none",
            "-Wl,--no-eh-frame-hdr",
            "-Wl,--as-needed",
        ] {
            println!("cargo:rustc-cdylib-link-arg={argument}");
        }
    }
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    println!("cargo:rerun-if-changed=build.rs");
}
