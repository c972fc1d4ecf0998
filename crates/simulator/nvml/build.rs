//! Writes `exports.rs` from the one list of NVML functions: a stub that answers NOT_SUPPORTED for each function that is
//! not implemented, and a table of all. A function that the list calls implemented and that is not does not
//! link; one that is and that the list does not name does not compile.

use firstlight_driver_api::function::NVML_FUNCTIONS;
use firstlight_driver_api::simulated::{self, Simulation};
use std::fmt::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut code = String::new();
    let (missing, implemented): (Vec<&str>, Vec<&str>) = NVML_FUNCTIONS
        .iter()
        .map(|function| function.symbol)
        .partition(|symbol| simulated::of(symbol) == Simulation::NotSupported);
    for symbol in missing {
        writeln!(
            code,
            "#[unsafe(no_mangle)] extern \"C\" fn {symbol}(first: u64) -> u32 {{ \
             crate::entry::unsupported(\"{symbol}\", first) }}"
        )?;
    }
    writeln!(code, "unsafe extern \"C\" {{")?;
    for symbol in &implemented {
        writeln!(code, "#[link_name = \"{symbol}\"] fn {symbol}_entry();")?;
    }
    writeln!(code, "}}")?;
    writeln!(code, "/// Every exported function, with its address.")?;
    writeln!(code, "pub(crate) static ENTRIES: [(&str, Entry); {}] = [", NVML_FUNCTIONS.len())?;
    for function in NVML_FUNCTIONS {
        let symbol = function.symbol;
        let suffix = if implemented.contains(&symbol) { "_entry" } else { "" };
        writeln!(code, "(\"{symbol}\", Entry({symbol}{suffix} as *const ())),")?;
    }
    writeln!(code, "];")?;
    std::fs::write(std::path::Path::new(&std::env::var("OUT_DIR")?).join("exports.rs"), code)?;
    for argument in ["-Wl,-soname,libnvidia-ml.so.1", "-Wl,-Bsymbolic", "-Wl,-z,defs"] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
