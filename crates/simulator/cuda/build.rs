//! Writes `exports.rs` from the one list of driver functions: a stub that answers NOT_SUPPORTED for each function
//! that is not implemented, an alias for each per-thread variant of one that is, and the table that
//! `cuGetProcAddress` looks into. A function that the list calls implemented and that is not (or the other way
//! round) does not link.

use firstlight_driver_api::function::{DRIVER_FUNCTIONS, Function};
use firstlight_driver_api::simulated::{self, Simulation};
use std::fmt::Write as _;

fn base(function: &Function) -> Option<&str> {
    let symbol = function.symbol;
    symbol.strip_suffix("_ptsz").or_else(|| symbol.strip_suffix("_ptds")).filter(|_| function.per_thread)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut code = String::new();
    for function in DRIVER_FUNCTIONS {
        let symbol = function.symbol;
        match (simulated::of(symbol), base(function)) {
            (Simulation::NotSupported, _) => {
                writeln!(
                    code,
                    "#[unsafe(no_mangle)] extern \"C\" fn {symbol}() -> u32 {{ crate::entry::unsupported(\"{symbol}\") }}"
                )?;
            }
            (_, Some(base)) => writeln!(
                code,
                "#[unsafe(no_mangle)] #[unsafe(naked)] extern \"C\" fn {symbol}() {{ \
                 core::arch::naked_asm!(\"jmp {{}}\", sym {base}_entry) }}"
            )?,
            _ => {}
        }
    }
    let implemented = |function: &&Function| {
        simulated::of(function.symbol) != Simulation::NotSupported && base(function).is_none()
    };
    writeln!(code, "unsafe extern \"C\" {{")?;
    for function in DRIVER_FUNCTIONS.iter().filter(implemented) {
        let symbol = function.symbol;
        writeln!(code, "#[link_name = \"{symbol}\"] fn {symbol}_entry();")?;
    }
    writeln!(code, "}}")?;
    writeln!(code, "/// Entries in the order of `DRIVER_FUNCTIONS`.")?;
    writeln!(code, "pub(crate) static ENTRIES: [Entry; {}] = [", DRIVER_FUNCTIONS.len())?;
    for function in DRIVER_FUNCTIONS {
        let suffix = if implemented(&function) { "_entry" } else { "" };
        writeln!(code, "Entry({}{suffix} as *const ()),", function.symbol)?;
    }
    writeln!(code, "];")?;
    std::fs::write(std::path::Path::new(&std::env::var("OUT_DIR")?).join("exports.rs"), code)?;
    for argument in ["-Wl,-soname,libcuda.so.1", "-Wl,-Bsymbolic", "-Wl,-z,defs"] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
