//! Puts shim, simulator and preflight into the binary, so that one file is a complete install.
//!
//! `FIRSTLIGHT_ARTEFACTS` names the folder that `make build` fills (relative names: from the workspace's root).
//! Without it, the binary reads that variable at run time instead.

use sha2::{Digest, Sha256};
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

const VARIABLE: &str = "FIRSTLIGHT_ARTEFACTS";
const FILES: [&str; 6] = [
    "shim/libcuda.so.1",
    "shim/libnvidia-ml.so.1",
    "simulator/libcuda.so.1",
    "simulator/libnvidia-ml.so.1",
    "bin/firstlight-preflight",
    "bin/firstlight-preflight-dynamic",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("artefacts.rs");
    let mut code = String::from("/// Shim, simulator and preflight, put in at build time.\n");
    match env::var_os(VARIABLE) {
        None => code.push_str("const EMBEDDED: Option<Embedded> = None;\n"),
        Some(folder) => {
            let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..");
            embed(&root.join(folder), &mut code)?;
        }
    }
    fs::write(out, code)?;
    Ok(())
}

fn embed(folder: &Path, code: &mut String) -> Result<(), Box<dyn Error>> {
    let mut hash = Sha256::new();
    let mut rows = String::new();
    for file in FILES {
        let path = folder.join(file);
        println!("cargo:rerun-if-changed={}", path.display());
        let bytes = fs::read(&path).map_err(|error| {
            format!("{VARIABLE}: cannot read {}: {error}; run `make build` first", path.display())
        })?;
        hash.update(u64::try_from(bytes.len())?.to_le_bytes());
        hash.update(&bytes);
        let path = fs::canonicalize(&path)?;
        let path = path.to_str().ok_or("the path of the artefacts is not UTF-8")?;
        writeln!(rows, "({file:?}, include_bytes!({path:?})),")?;
    }
    let name: String =
        hash.finalize().iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    writeln!(
        code,
        "const EMBEDDED: Option<Embedded> = Some(Embedded {{ name: {name:?}, files: &[{rows}] }});"
    )?;
    Ok(())
}
