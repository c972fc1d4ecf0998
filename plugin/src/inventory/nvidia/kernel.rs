//! What NVIDIA's kernel module says in `/proc/driver/nvidia`. It asks for no privilege: the files can be read by
//! anybody, in every container.

use firstlight_contract::card;

/// Longest value that is kept.
const MAX_VALUE: usize = 128;

/// `gpus/<pci>/information`: one card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Information {
    /// Model, such as `NVIDIA A40`.
    pub model: Option<String>,
    /// `GPU-…`; `None` until somebody has opened the card for the first time since the module was loaded.
    pub uuid: Option<String>,
    /// Number of the device node.
    pub minor: Option<u32>,
    /// PCI id, in the spelling of grants.
    pub pci: Option<String>,
    /// Whether the administrator took the card out (`NVreg_ExcludedGpus`).
    pub excluded: bool,
}

/// Reads an information file. Lines that are not known are passed over: each driver writes some of its own.
pub fn information(text: &str) -> Information {
    let mut found = Information::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match key.trim() {
            "Model" => found.model = printable(value),
            "GPU UUID" => found.uuid = card::uuid(value),
            "Device Minor" => found.minor = value.parse().ok(),
            "Bus Location" => found.pci = card::pci(value),
            "GPU Excluded" => found.excluded = value == "Yes",
            _ => {}
        }
    }
    found
}

/// The number of the device node that opens a MIG instance, in its `access` file below
/// `/proc/driver/nvidia/capabilities` (NVIDIA, *MIG User Guide*, "Device Nodes and Capabilities").
///
/// ```text
/// DeviceFileMinor: 12
/// DeviceFileMode: 256
/// DeviceFileModify: 1
/// ```
pub fn capability(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix("DeviceFileMinor:"))?.trim().parse().ok()
}

/// The module's version in `version`, such as `535.104.05`.
///
/// ```text
/// NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023
/// NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build  (root@host)
/// ```
pub fn version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    line.split_whitespace().find(|word| is_version(word)).map(str::to_owned)
}

/// Whether a word is a driver's version: two or three numbers with points between them.
pub fn is_version(word: &str) -> bool {
    let numbers: Vec<&str> = word.split('.').collect();
    let good =
        |number: &&str| (1..=6).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    (2..=3).contains(&numbers.len()) && numbers.iter().all(good)
}

fn printable(value: &str) -> Option<String> {
    let text: String = value.chars().filter(|letter| !letter.is_control()).take(MAX_VALUE).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INFORMATION: &str = "Model: \t\t NVIDIA A40\nIRQ:   \t\t 120\n\
        GPU UUID: \t GPU-6f1c1b54-0000-5000-8000-000000000000\nVideo BIOS: \t 94.02.5c.00.03\nBus Type: \t PCIe\n\
        DMA Size: \t 47 bits\nDMA Mask: \t 0x7fffffffffff\nBus Location: \t 0000:41:00.0\nDevice Minor: \t 3\n\
        GPU Firmware: \t 535.104.05\nGPU Excluded:\t No\n";

    #[test]
    fn a_card_says_model_uuid_minor_and_place() {
        let card = information(INFORMATION);
        assert_eq!(card.model.as_deref(), Some("NVIDIA A40"));
        assert_eq!(card.uuid.as_deref(), Some("GPU-6f1c1b54-0000-5000-8000-000000000000"));
        assert_eq!((card.minor, card.excluded), (Some(3), false));
        assert_eq!(card.pci.as_deref(), Some("00000000:41:00.0"));
    }

    #[test]
    fn a_card_that_nobody_opened_has_no_uuid_yet() {
        let text = INFORMATION
            .replace("6f1c1b54-0000-5000-8000-000000000000", "????????-????-????-????-????????????");
        assert_eq!(information(&text).uuid, None);
    }

    #[test]
    fn an_excluded_card_is_known_as_one() {
        assert!(information(&INFORMATION.replace(" No", " Yes")).excluded);
    }

    #[test]
    fn a_capability_names_its_device_node() {
        assert_eq!(capability("DeviceFileMinor: 12\nDeviceFileMode: 256\nDeviceFileModify: 1\n"), Some(12));
        for text in ["", "DeviceFileMode: 256\n", "DeviceFileMinor: -1\n", "DeviceFileMinor:\n"] {
            assert_eq!(capability(text), None, "{text}");
        }
    }

    #[test]
    fn both_kernel_modules_say_their_version() {
        let own = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n\
                   GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n";
        let open =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build  (root@a)\n";
        assert_eq!(version(own).as_deref(), Some("535.104.05"));
        assert_eq!(version(open).as_deref(), Some("550.54.15"));
        assert_eq!(version("GCC version:  gcc version 12.2.0\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics_or_yields_long_values(text: String, value in ".{0,400}") {
            let _ = (version(&text), information(&text), capability(&text));
            let card = information(&format!("Model: {value}\nDevice Minor: {value}\n"));
            prop_assert!(card.model.unwrap_or_default().chars().count() <= MAX_VALUE);
        }

        #[test]
        fn a_version_is_found_wherever_it_stands(major in 300_u32..999, minor in 0_u32..200, words in "[a-z ]{0,20}") {
            let text = format!("NVRM version: NVIDIA {words} {major}.{minor} built\n");
            prop_assert_eq!(version(&text), Some(format!("{major}.{minor}")));
        }
    }
}
