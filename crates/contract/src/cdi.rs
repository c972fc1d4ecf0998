//! CDI specifications (Container Device Interface), as far as they tell which names a node has for NVIDIA's cards:
//! JSON or YAML, of which the former is a part.
//!
//! ```text
//! cdiVersion: 0.5.0
//! kind: nvidia.com/gpu
//! devices:
//! - name: "0"                                   # nvidia.com/gpu=0
//!   containerEdits: { deviceNodes: [{ path: /dev/nvidia0 }] }
//! containerEdits:                               # with each of them
//!   mounts: [{ hostPath: /usr/lib/libcuda.so.535.104.05, containerPath: … }]
//! ```
//!
//! Source: <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>. The file is the administrator's
//! or a tool's; what is not read here (hooks, environment, and whatever later versions add) is passed over.

use crate::text::ForeignText;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;

/// The kind under which NVIDIA's tools name cards.
pub const KIND: &str = "nvidia.com/gpu";
/// Where container runtimes look, in rising order of precedence
/// (<https://github.com/cncf-tags/container-device-interface#how-to-configure-cdi>).
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// Larger files are not read: `nvidia-ctk` writes some 6 kB for each card.
pub const MAX_BYTES: usize = 1 << 20;
/// Most devices of one file.
pub const MAX_DEVICES: usize = 4096;
/// Longest name of a device.
const MAX_NAME: usize = 128;

/// What a specification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// `vendor/class`, such as [`KIND`].
    pub kind: String,
    /// The devices that it names.
    pub devices: Vec<Device>,
    /// Versions of the driver whose `libcuda.so.<version>` it mounts with every device.
    pub drivers: BTreeSet<String>,
}

/// A device that can be asked for as `<kind>=<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Numbers of the cards whose `/dev/nvidia<number>` it brings.
    pub cards: BTreeSet<u32>,
    /// Whether it is a part of a card (MIG), which comes with nodes in `/dev/nvidia-caps`.
    pub part: bool,
    /// Versions of the driver whose `libcuda.so.<version>` it mounts.
    pub drivers: BTreeSet<String>,
}

/// Why a file names no device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecError {
    /// It is larger than [`MAX_BYTES`].
    TooLarge,
    /// It is neither JSON nor YAML of this shape: what the parser says.
    Malformed(ForeignText),
    /// Its kind is not `vendor/class`: what it is.
    Kind(ForeignText),
    /// This name of a device is not one.
    Name(ForeignText),
    /// It names this device twice, which container runtimes refuse.
    Twice(String),
    /// It has more devices than [`MAX_DEVICES`].
    TooMany(usize),
}

impl fmt::Display for SpecError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(out, "is larger than {} KiB, and is not read", MAX_BYTES >> 10),
            Self::Malformed(complaint) => write!(out, "is no CDI specification: {complaint}"),
            Self::Kind(kind) => write!(out, "has the kind \"{kind}\"; wanted vendor/class, such as {KIND}"),
            Self::Name(name) => write!(
                out,
                "names a device \"{name}\"; wanted letters, digits and \"_-.:\", beginning and ending with a letter or digit"
            ),
            Self::Twice(name) => {
                write!(out, "names the device {name:?} twice, and container runtimes refuse it")
            }
            Self::TooMany(count) => write!(out, "has {count} devices; at most {MAX_DEVICES} are read"),
        }
    }
}

impl std::error::Error for SpecError {}

impl Spec {
    /// Whether it is about NVIDIA's cards.
    pub fn is_nvidia(&self) -> bool {
        self.kind == KIND
    }
}

/// What is read of the file; whatever else is in it is passed over.
#[derive(Deserialize)]
struct File {
    kind: String,
    #[serde(default)]
    devices: Option<Vec<Entry>>,
    #[serde(default, rename = "containerEdits")]
    edits: Option<Edits>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(default, rename = "containerEdits")]
    edits: Option<Edits>,
}

#[derive(Default, Deserialize)]
struct Edits {
    #[serde(default, rename = "deviceNodes")]
    nodes: Option<Vec<Node>>,
    #[serde(default)]
    mounts: Option<Vec<Mount>>,
}

#[derive(Deserialize)]
struct Node {
    path: String,
}

#[derive(Deserialize)]
struct Mount {
    #[serde(rename = "hostPath")]
    host: String,
}

/// Reads a specification, JSON or YAML.
pub fn parse(bytes: &[u8]) -> Result<Spec, SpecError> {
    if bytes.len() > MAX_BYTES {
        return Err(SpecError::TooLarge);
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| SpecError::Malformed(ForeignText::new(b"not UTF-8")))?;
    let file: File = serde_saphyr::from_str(text).map_err(|error| SpecError::Malformed(complaint(&error)))?;
    if !is_kind(&file.kind) {
        return Err(SpecError::Kind(ForeignText::new(file.kind.as_bytes())));
    }
    let entries = file.devices.unwrap_or_default();
    if entries.len() > MAX_DEVICES {
        return Err(SpecError::TooMany(entries.len()));
    }
    let mut names = BTreeSet::new();
    let devices = entries.into_iter().map(|entry| {
        if !is_name(&entry.name) {
            return Err(SpecError::Name(ForeignText::new(entry.name.as_bytes())));
        }
        if !names.insert(entry.name.clone()) {
            return Err(SpecError::Twice(entry.name));
        }
        let edits = entry.edits.unwrap_or_default();
        let nodes = || edits.nodes.iter().flatten().map(|node| node.path.as_str());
        Ok(Device {
            name: entry.name,
            cards: nodes().filter_map(card).collect(),
            part: nodes().any(|path| path.starts_with("/dev/nvidia-caps/")),
            drivers: drivers(&edits),
        })
    });
    let devices = devices.collect::<Result<_, _>>()?;
    Ok(Spec { kind: file.kind, devices, drivers: drivers(&file.edits.unwrap_or_default()) })
}

/// The number of a card's device node.
fn card(path: &str) -> Option<u32> {
    let number = path.strip_prefix("/dev/nvidia")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok()).flatten()
}

fn drivers(edits: &Edits) -> BTreeSet<String> {
    let version = |mount: &Mount| {
        let version = mount.host.rsplit_once("/libcuda.so.")?.1;
        let numbers = version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        // `libcuda.so.1` is a link, and tells no version.
        (numbers && version.contains('.') && version.len() <= MAX_NAME).then(|| version.to_owned())
    };
    edits.mounts.iter().flatten().filter_map(version).collect()
}

/// `vendor/class`. What stands in it is compared only, and shown.
fn is_kind(kind: &str) -> bool {
    let good = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    kind.len() <= MAX_NAME && kind.split_once('/').is_some_and(|(vendor, class)| good(vendor) && good(class))
}

/// What container runtimes take for the name of a device (`ValidateDeviceName` of CDI's own library).
fn is_name(name: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    name.len() <= MAX_NAME
        && edge(name.bytes().next())
        && edge(name.bytes().next_back())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':'))
}

/// The first line of what the parser says; the others show the file.
fn complaint(error: &impl fmt::Display) -> ForeignText {
    ForeignText::new(error.to_string().lines().next().unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests;
