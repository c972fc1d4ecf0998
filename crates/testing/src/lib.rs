//! What tests of several crates stand on: foreign products, programs in C, and the table of causes.

pub mod causes;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// An address on this machine at which a program can be told to listen. Its port is below those that the kernel gives out
/// by itself (`net.ipv4.ip_local_port_range`), to a test beside this one, say, before the program has it.
pub fn free_address() -> SocketAddr {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    loop {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + number).unwrap_or_default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A product of `make deps`, whether it is built or not: the path below the cache's `current`.
pub fn product(path: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/firstlight");
    std::env::var_os("FIRSTLIGHT_CACHE").map_or_else(home, PathBuf::from).join("current").join(path)
}

/// NVIDIA's runtime of this version, such as `13.0`.
pub fn runtime(version: &str) -> PathBuf {
    let major = version.split('.').next().unwrap_or_default();
    product(&format!("cudart/lib/{version}/libcudart.so.{major}"))
}

/// A result of `make build`, such as `shim/libcuda.so.1`; `None` where tests were not told where they are.
pub fn artefact(path: &str) -> Option<PathBuf> {
    Some(Path::new(&std::env::var_os("FIRSTLIGHT_ARTEFACTS")?).join(path)).filter(|path| path.exists())
}

/// Compiles a C file with these flags into a folder, once a process for each set of flags; returns the path of what
/// was made.
pub fn compiled(source: &Path, flags: &[&str], folder: &Path) -> io::Result<PathBuf> {
    static DONE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let key = format!("{} {}", source.display(), flags.join(" "));
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = done.get(&key) {
        return Ok(path.clone());
    }
    std::fs::create_dir_all(folder)?;
    let output = folder.join(format!("{}-{}", std::process::id(), done.len()));
    let made = Command::new("gcc")
        .args(["-O1", "-w", "-o"])
        .arg(&output)
        .arg(source)
        .args(flags)
        .arg("-ldl")
        .output()?;
    if !made.status.success() {
        let told = String::from_utf8_lossy(&made.stderr);
        return Err(io::Error::other(format!("gcc {key}: {told}")));
    }
    done.insert(key, output.clone());
    Ok(output)
}
