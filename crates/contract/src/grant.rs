//! The grant: the file that says what a container was given. `key=value` lines, written by the plugin (or by
//! `kubectl-firstlight run`), mounted read-only, read by shim and simulator.
//!
//! ```text
//! firstlight-grant=1
//! id=0123456789abcdef0123456789abcdef
//! pool=simulated
//! kind=simulated
//! driver=/opt/firstlight/driver/libcuda.so.1
//! nvml=/opt/firstlight/driver/libnvidia-ml.so.1
//! records=/run/firstlight/records
//! device.0.uuid=GPU-6f1c1b54-0000-5000-8000-000000000000
//! device.0.pci=00000000:41:00.0
//! device.0.model=SIM-A40
//! device.0.memory=51539607552
//! ```
//!
//! A simulated card that has MIG on says its instances: GPU instance, compute instance and profile of each, or nothing.
//!
//! ```text
//! device.0.mig=7/0:1g.10gb,1/0:3g.40gb
//! ```
//!
//! A slice has a quota, and a ledger ([`crate::ledger`]) that its processes share:
//!
//! ```text
//! ledger=/run/firstlight/ledger
//! device.0.quota=8589934592
//! device.0.context=268435456
//! ```
//!
//! `context` is what a context costs each process. `quota` alone is the quota of each device that has no line of its own.
//!
//! `driver=auto` and `nvml=auto` leave the search to the shim: the usual absolute paths, then `ld.so.cache`.
//! A line that starts with `#` is a comment. An unknown key is ignored, so that an older reader can read a
//! newer grant of the same version.

/// Version of the format: the value of the first line.
pub const VERSION: &str = "1";
/// Key of the first line.
pub const VERSION_KEY: &str = "firstlight-grant";
/// Value of `driver` and `nvml` that leaves the search to the shim.
pub const AUTO: &str = "auto";
/// Longest grant that is read, in bytes.
pub const MAX_SIZE: usize = 64 * 1024;

/// The value of `key` in the text of a grant, as raw bytes; the first line that has it wins. `no_std`: this is
/// how the preload object reads a grant.
pub fn value<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(key)?.strip_prefix(b"="))
}

/// What stands behind a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoolKind {
    /// A real card for one container at a time.
    Whole,
    /// Part of a real card, with a memory quota.
    Slice,
    /// A GPU that does not exist.
    Simulated,
    /// No GPU of ours: the shim beside another vendor's device plugin.
    Observer,
    /// The operator's own driver, in a directory on the node.
    Custom,
}

impl PoolKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Whole, Self::Slice, Self::Simulated, Self::Observer, Self::Custom];

    /// The word in configuration, grants and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Slice => "slice",
            Self::Simulated => "simulated",
            Self::Observer => "observer",
            Self::Custom => "custom",
        }
    }

    /// The kind that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

#[cfg(feature = "std")]
pub use parsed::{Device, Grant, GrantError};

#[cfg(feature = "std")]
mod parsed {
    use super::{AUTO, MAX_SIZE, PoolKind, VERSION, VERSION_KEY};
    use std::collections::BTreeMap;
    use std::fmt;

    /// A parsed grant. [`fmt::Display`] writes the file's text; parsing that text gives an equal grant.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Grant {
        /// Random id: 32 lower-case hexadecimal digits.
        pub id: String,
        /// Name of the pool.
        pub pool: String,
        /// Kind of the pool.
        pub kind: PoolKind,
        /// Absolute path of the driver's `libcuda.so.1` as the container sees it; `None` is `auto`.
        pub driver: Option<String>,
        /// Absolute path of the driver's NVML; `None` is `auto`.
        pub nvml: Option<String>,
        /// Absolute path of the record file as the container sees it; `None`: nothing is recorded.
        pub records: Option<String>,
        /// Absolute path of the ledger as the container sees it; wanted where there is a quota.
        pub ledger: Option<String>,
        /// Memory quota of each device that is not in the list, bytes.
        pub quota_bytes: Option<u64>,
        /// The devices, in ordinal order.
        pub devices: Vec<Device>,
    }

    /// One device of a grant.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Device {
        /// `GPU-` and a UUID, or `MIG-` and one.
        pub uuid: String,
        /// PCI id, `domain:bus:device.function` in hexadecimal.
        pub pci: Option<String>,
        /// Name of a simulated model.
        pub model: Option<String>,
        /// Instances of a simulated card with MIG on, `<gi>/<ci>:<profile>`, between commas; `None`: MIG is off.
        pub mig: Option<String>,
        /// Memory of a simulated device, bytes.
        pub memory_bytes: Option<u64>,
        /// Memory quota, bytes.
        pub quota_bytes: Option<u64>,
        /// What a context is charged in each process, bytes.
        pub context_bytes: Option<u64>,
    }

    /// Why a text is no grant; names the line and the key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct GrantError {
        /// Number of the line, from 1; 0 if the error is about the whole text.
        pub line: usize,
        /// The key, if the line has one.
        pub key: String,
        /// What is wrong, and what is allowed.
        pub problem: String,
    }

    impl fmt::Display for GrantError {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            match (self.line, self.key.as_str()) {
                (0, "") => write!(out, "grant: {}", self.problem),
                (0, key) => write!(out, "grant, key {key:?}: {}", self.problem),
                (line, "") => write!(out, "grant, line {line}: {}", self.problem),
                (line, key) => write!(out, "grant, line {line}, key {key:?}: {}", self.problem),
            }
        }
    }

    impl std::error::Error for GrantError {}

    impl fmt::Display for Grant {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            writeln!(out, "{VERSION_KEY}={VERSION}")?;
            writeln!(out, "id={}\npool={}\nkind={}", self.id, self.pool, self.kind.as_str())?;
            writeln!(out, "driver={}", self.driver.as_deref().unwrap_or(AUTO))?;
            writeln!(out, "nvml={}", self.nvml.as_deref().unwrap_or(AUTO))?;
            if let Some(records) = &self.records {
                writeln!(out, "records={records}")?;
            }
            if let Some(ledger) = &self.ledger {
                writeln!(out, "ledger={ledger}")?;
            }
            if let Some(quota) = self.quota_bytes {
                writeln!(out, "quota={quota}")?;
            }
            for (index, device) in self.devices.iter().enumerate() {
                writeln!(out, "device.{index}.uuid={}", device.uuid)?;
                let texts = [("pci", &device.pci), ("model", &device.model), ("mig", &device.mig)];
                for (key, value) in texts {
                    if let Some(value) = value {
                        writeln!(out, "device.{index}.{key}={value}")?;
                    }
                }
                let sizes = [
                    ("memory", device.memory_bytes),
                    ("quota", device.quota_bytes),
                    ("context", device.context_bytes),
                ];
                for (key, value) in sizes {
                    if let Some(value) = value {
                        writeln!(out, "device.{index}.{key}={value}")?;
                    }
                }
            }
            Ok(())
        }
    }

    impl Grant {
        /// Parses the text of a grant.
        pub fn parse(text: &[u8]) -> Result<Self, GrantError> {
            let whole =
                |problem: &str| GrantError { line: 0, key: String::new(), problem: problem.to_owned() };
            if text.len() > MAX_SIZE {
                return Err(whole(&format!("{} bytes; a grant has at most {MAX_SIZE}", text.len())));
            }
            let text = std::str::from_utf8(text).map_err(|_| whole("not UTF-8"))?;
            let fields = Fields::read(text)?;
            Ok(Self {
                id: fields.checked("id", "32 lower-case hexadecimal digits", is_id)?,
                pool: fields.checked("pool", "the name of a pool", |name| !name.is_empty())?,
                kind: fields.kind()?,
                driver: fields.location("driver")?,
                nvml: fields.location("nvml")?,
                records: fields.optional_path("records")?,
                ledger: fields.optional_path("ledger")?,
                quota_bytes: fields.bytes("quota")?,
                devices: fields.devices()?,
            })
        }
    }

    fn is_id(text: &str) -> bool {
        text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    struct Fields<'a>(BTreeMap<&'a str, (usize, &'a str)>);

    impl<'a> Fields<'a> {
        fn read(text: &'a str) -> Result<Self, GrantError> {
            let mut fields = BTreeMap::new();
            let mut lines = (1..).zip(text.lines());
            let error = |line, key: &str, problem: &str| {
                Err(GrantError { line, key: key.to_owned(), problem: problem.to_owned() })
            };
            match lines.next().map(|(_, first)| first.split_once('=')) {
                Some(Some((VERSION_KEY, VERSION))) => {}
                Some(Some((VERSION_KEY, other))) => {
                    return error(
                        1,
                        VERSION_KEY,
                        &format!("version {other:?}; this reader knows {VERSION:?}"),
                    );
                }
                _ => return error(1, "", &format!("not \"{VERSION_KEY}={VERSION}\"")),
            }
            for (line, content) in lines {
                if content.is_empty() || content.starts_with('#') {
                    continue;
                }
                let Some((key, value)) = content.split_once('=') else {
                    return error(line, "", "no \"=\"; a line is key=value");
                };
                if value.chars().any(char::is_control) {
                    return error(line, key, "the value holds a control character");
                }
                if fields.insert(key, (line, value)).is_some() {
                    return error(line, key, "the key stands in the grant twice");
                }
            }
            Ok(Self(fields))
        }

        fn get(&self, key: &str) -> Option<(usize, &'a str)> {
            self.0.get(key).copied()
        }

        fn checked(
            &self,
            key: &str,
            wanted: &str,
            good: impl Fn(&str) -> bool,
        ) -> Result<String, GrantError> {
            match self.get(key) {
                Some((_, value)) if good(value) => Ok(value.to_owned()),
                Some((line, value)) => Err(refuse(line, key, value, wanted)),
                None => Err(GrantError {
                    line: 0,
                    key: key.to_owned(),
                    problem: format!("missing; wanted {wanted}"),
                }),
            }
        }

        fn kind(&self) -> Result<PoolKind, GrantError> {
            let words = PoolKind::ALL.map(PoolKind::as_str).join(", ");
            let word = self.checked("kind", &words, |word| PoolKind::from_word(word).is_some())?;
            PoolKind::from_word(&word).ok_or_else(|| refuse(0, "kind", &word, &words))
        }

        fn location(&self, key: &str) -> Result<Option<String>, GrantError> {
            let path = self.checked(key, "an absolute path or \"auto\"", |value| {
                value == AUTO || value.starts_with('/')
            })?;
            Ok((path != AUTO).then_some(path))
        }

        fn optional_path(&self, key: &str) -> Result<Option<String>, GrantError> {
            if self.get(key).is_none() {
                return Ok(None);
            }
            self.checked(key, "an absolute path", |value| value.starts_with('/')).map(Some)
        }

        fn devices(&self) -> Result<Vec<Device>, GrantError> {
            let mut devices = Vec::new();
            loop {
                let key = |name: &str| format!("device.{}.{name}", devices.len());
                let text = |name: &str| self.get(&key(name)).map(|(_, value)| value.to_owned());
                if self.get(&key("uuid")).is_none() {
                    break;
                }
                let uuid = self.checked(&key("uuid"), "GPU- or MIG- and a UUID", is_uuid)?;
                devices.push(Device {
                    uuid,
                    pci: text("pci"),
                    model: text("model"),
                    mig: text("mig"),
                    memory_bytes: self.bytes(&key("memory"))?,
                    quota_bytes: self.bytes(&key("quota"))?,
                    context_bytes: self.bytes(&key("context"))?,
                });
            }
            let beyond = |key: &str| {
                let index = key.strip_prefix("device.")?.split('.').next()?;
                index.parse().map_or(Some(true), |index: usize| Some(index >= devices.len()))
            };
            match self.0.iter().find(|(key, _)| beyond(key) == Some(true)) {
                Some((key, (line, _))) => Err(GrantError {
                    line: *line,
                    key: (*key).to_owned(),
                    problem: format!(
                        "device numbers run from 0 without gaps, each with a uuid; {} known",
                        devices.len()
                    ),
                }),
                None => Ok(devices),
            }
        }

        fn bytes(&self, key: &str) -> Result<Option<u64>, GrantError> {
            let Some((line, value)) = self.get(key) else { return Ok(None) };
            value.parse().map(Some).map_err(|_| refuse(line, key, value, "a number of bytes"))
        }
    }

    fn is_uuid(text: &str) -> bool {
        crate::card::uuid(text).or_else(|| crate::card::mig_uuid(text)).is_some()
    }

    fn refuse(line: usize, key: &str, value: &str, wanted: &str) -> GrantError {
        GrantError { line, key: key.to_owned(), problem: format!("{value:?} is not {wanted}") }
    }
}

#[cfg(test)]
#[cfg(feature = "std")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grant() -> Grant {
        Grant {
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            pool: "simulated".to_owned(),
            kind: PoolKind::Simulated,
            driver: Some("/opt/firstlight/driver/libcuda.so.1".to_owned()),
            nvml: None,
            records: Some("/run/firstlight/records".to_owned()),
            ledger: None,
            quota_bytes: None,
            devices: vec![Device {
                uuid: "GPU-6f1c1b54-0000-5000-8000-000000000000".to_owned(),
                pci: Some("00000000:41:00.0".to_owned()),
                model: Some("SIM-A40".to_owned()),
                memory_bytes: Some(48 << 30),
                ..Device::default()
            }],
        }
    }

    fn error(text: &str) -> String {
        Grant::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_printed_grant_parses_to_itself() {
        assert_eq!(Grant::parse(grant().to_string().as_bytes()).as_ref(), Ok(&grant()));
    }

    #[test]
    fn a_grant_of_a_slice_parses_to_itself() {
        let device = Device {
            quota_bytes: Some(8 << 30),
            context_bytes: Some(256 << 20),
            ..grant().devices[0].clone()
        };
        let slice = Grant {
            kind: PoolKind::Slice,
            ledger: Some("/run/firstlight/ledger".to_owned()),
            quota_bytes: Some(1 << 30),
            devices: vec![device],
            ..grant()
        };
        assert_eq!(Grant::parse(slice.to_string().as_bytes()).as_ref(), Ok(&slice));
        assert_eq!(value(slice.to_string().as_bytes(), b"quota"), Some(&b"1073741824"[..]));
        assert!(error(&slice.to_string().replace("ledger=/", "ledger=")).contains("an absolute path"));
    }

    #[test]
    fn a_card_with_mig_on_and_without_an_instance_parses_to_itself() {
        for mig in ["", "7/0:1g.10gb,1/0:3g.40gb"] {
            let device = Device { mig: Some(mig.to_owned()), ..grant().devices[0].clone() };
            let divided = Grant { devices: vec![device], ..grant() };
            assert_eq!(Grant::parse(divided.to_string().as_bytes()).as_ref(), Ok(&divided));
        }
    }

    #[test]
    fn the_preload_object_finds_values_without_parsing() {
        let text = grant().to_string();
        assert_eq!(value(text.as_bytes(), b"driver"), Some(&b"/opt/firstlight/driver/libcuda.so.1"[..]));
        assert_eq!(value(text.as_bytes(), b"drive"), None);
    }

    #[test]
    fn an_error_names_line_and_key() {
        let text = grant().to_string().replace("kind=simulated", "kind=imaginary");
        assert_eq!(
            error(&text),
            "grant, line 4, key \"kind\": \"imaginary\" is not whole, slice, simulated, observer, custom"
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        let text = grant().to_string().replace("pool=simulated\n", "");
        assert_eq!(error(&text), "grant, key \"pool\": missing; wanted the name of a pool");
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        assert_eq!(
            error("firstlight-grant=2\n"),
            "grant, line 1, key \"firstlight-grant\": version \"2\"; this reader knows \"1\""
        );
    }

    #[test]
    fn a_gap_in_the_device_numbers_is_refused() {
        let text = grant().to_string().replace("device.0.", "device.1.");
        assert!(error(&text).contains("device.1"), "{}", error(&text));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let text = format!("{}pool=other\n", grant());
        assert!(error(&text).ends_with("the key stands in the grant twice"));
    }

    #[test]
    fn an_unknown_key_is_ignored() {
        assert_eq!(Grant::parse(format!("{}later=1\n", grant()).as_bytes()).as_ref(), Ok(&grant()));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Grant::parse(&bytes);
            let _ = value(&bytes, b"driver");
        }

        #[test]
        fn a_damaged_grant_is_an_error_or_prints_to_itself(position in 0usize..300, byte: u8) {
            let mut bytes = grant().to_string().into_bytes();
            let position = position % bytes.len();
            bytes[position] = byte;
            if let Ok(parsed) = Grant::parse(&bytes) {
                prop_assert_eq!(Grant::parse(parsed.to_string().as_bytes()), Ok(parsed));
            }
        }
    }
}
