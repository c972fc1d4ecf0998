//! The image's C library, found without being loaded, and the variables that decide about GPUs.

use crate::child;
use crate::files;
use firstlight_contract::preflight::{Finding, Outcome, Probe};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The loader that every program of glibc names; the dynamic half, too.
const GLIBC_LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const GLIBC: [&str; 5] = [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib64/libc.so.6",
    "/lib/libc.so.6",
];
const MUSL_LOADER: &str = "/lib/ld-musl-x86_64.so.1";
/// What glibc prints when it is run as a program, and what stands in it therefore.
const GLIBC_BANNER: &[u8] = b"GNU C Library";

/// The C library of this image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Libc {
    /// glibc, of this version where it was found.
    Glibc(Option<String>),
    /// musl, of this version where it told it.
    Musl(Option<String>),
    /// Neither has its loader where programs look for it.
    None,
}

impl Libc {
    /// Looks for the loaders.
    pub fn find() -> Self {
        if Path::new(GLIBC_LOADER).exists() {
            let libc = GLIBC.iter().map(Path::new).find(|path| path.exists());
            let content = libc.and_then(|path| files::read(path, 8 << 20).ok());
            return Self::Glibc(content.and_then(|content| glibc_version(&content)));
        }
        if Path::new(MUSL_LOADER).exists() {
            let said = child::run(Command::new(MUSL_LOADER).env_clear(), Duration::from_secs(2));
            let text = said.map(|ended| String::from_utf8_lossy(&ended.err).into_owned());
            return Self::Musl(text.ok().and_then(|text| musl_version(&text)));
        }
        Self::None
    }

    /// As a finding.
    pub fn finding(&self) -> Finding {
        let (outcome, subject, version) = match self {
            Self::Glibc(version) => (Outcome::Ok, "glibc", version.as_deref()),
            Self::Musl(version) => (Outcome::Ok, "musl", version.as_deref()),
            Self::None => (Outcome::Absent, "none", None),
        };
        Finding::new(Probe::Libc, outcome).on(subject).saying(version.unwrap_or_default())
    }
}

/// `GNU C Library (Debian GLIBC 2.36-9+deb12u13) stable release version 2.36.`
fn glibc_version(content: &[u8]) -> Option<String> {
    let start = content.windows(GLIBC_BANNER.len()).position(|window| window == GLIBC_BANNER)?;
    let banner = content.get(start..)?.split(|byte| matches!(byte, b'\n' | 0)).next()?;
    let text = String::from_utf8_lossy(banner.get(..256).unwrap_or(banner)).into_owned();
    let rest = text.split("release version ").nth(1)?;
    let version = rest.split(|letter: char| !letter.is_ascii_digit() && letter != '.').next()?;
    Some(version.trim_end_matches('.').to_owned()).filter(|version| !version.is_empty())
}

/// The second line is `Version 1.2.3`.
fn musl_version(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("Version ")).map(|version| version.trim().to_owned())
}

/// Variables that decide about GPUs: CUDA's, the container toolkit's, Ollama's, llama.cpp's, the loader's.
const DECIDING: [&str; 12] = [
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "OLLAMA_LLM_LIBRARY",
    "OLLAMA_VULKAN",
    "LLAMA_ARG_DEVICE",
    "LLAMA_ARG_N_GPU_LAYERS",
    "GGML_BACKEND_PATH",
    "CUDA_CACHE_PATH",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LD_AUDIT",
];
/// What ggml's CUDA backend reads begins so.
const GGML_CUDA: &[u8] = b"GGML_CUDA_";

/// The deciding ones among these variables, in the table's order.
pub fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<Finding> {
    let mut found: Vec<(usize, OsString, OsString)> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let row = DECIDING.iter().position(|deciding| name == **deciding);
            let ggml = name.as_bytes().starts_with(GGML_CUDA).then_some(DECIDING.len());
            Some((row.or(ggml)?, name, value))
        })
        .collect();
    found.sort();
    let finding = |(_, name, value): (usize, OsString, OsString)| {
        Finding::new(Probe::Environment, Outcome::Ok).on(name.as_bytes()).saying(value.as_bytes())
    };
    found.into_iter().map(finding).take(32).collect()
}

/// A program of this name: in the directories of `PATH`, then where images have it.
pub fn program(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let usual = ["/bin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    let directories = path.map(|path| std::env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
    let mut all = directories.into_iter().filter(|directory| directory.is_absolute()).chain(usual);
    all.find_map(|directory| Some(directory.join(name)).filter(|path| path.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibcs_version_stands_in_its_banner() {
        let text =
            b"\0junk GNU C\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\nCopyright";
        assert_eq!(glibc_version(text).as_deref(), Some("2.36"));
        let old = b"GNU C Library stable release version 2.17, by Roland McGrath et al.\n";
        assert_eq!(glibc_version(old).as_deref(), Some("2.17"));
        assert_eq!(glibc_version(b"GNU C Library (GNU libc) stable release version "), None);
        assert_eq!(glibc_version(b""), None);
    }

    #[test]
    fn musl_tells_its_version_itself() {
        assert_eq!(musl_version("musl libc (x86_64)\nVersion 1.2.3\nDynamic").as_deref(), Some("1.2.3"));
    }

    #[test]
    fn deciding_variables_are_told_in_order_and_others_are_nobodys_business() {
        let variables = [
            ("LD_PRELOAD", "/a.so"),
            ("SECRET", "x"),
            ("GGML_CUDA_FORCE_MMQ", "1"),
            ("CUDA_VISIBLE_DEVICES", ""),
        ];
        let told: Vec<String> = environment(variables.map(|(name, value)| (name.into(), value.into())))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "environment\tok\t0\tCUDA_VISIBLE_DEVICES",
                "environment\tok\t0\tLD_PRELOAD\t/a.so",
                "environment\tok\t0\tGGML_CUDA_FORCE_MMQ\t1"
            ]
        );
    }

    #[test]
    fn a_program_is_looked_for_on_the_path_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sh"), "").unwrap();
        let path = std::env::join_paths([Path::new("relative"), folder.path()]).unwrap();
        assert_eq!(program("sh", Some(&path)), Some(folder.path().join("sh")));
        assert_eq!(program("sh", None), Some("/bin/sh".into()));
        assert_eq!(program("no-such-program", Some(&path)), None);
    }
}
