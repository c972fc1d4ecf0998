//! How a real card is named: by UUID, by PCI id, by model.

use std::ffi::OsString;

/// `GPU-` and a UUID in lower case; `None` for anything else. The driver writes question marks in place of the
/// digits until somebody has opened the card.
pub fn uuid(text: &str) -> Option<String> {
    uuid_of("GPU-", text)
}

/// `MIG-` and a UUID in lower case, the name of a MIG instance since driver 470 (NVIDIA, *MIG User Guide*, "CUDA Device
/// Enumeration"); `None` for anything else.
pub fn mig_uuid(text: &str) -> Option<String> {
    uuid_of("MIG-", text)
}

fn uuid_of(prefix: &str, text: &str) -> Option<String> {
    let digits = text.strip_prefix(prefix).filter(|digits| digits.len() == 36)?;
    let good = |(index, byte): (usize, u8)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    digits.bytes().enumerate().all(good).then(|| format!("{prefix}{}", digits.to_ascii_lowercase()))
}

/// A PCI id as grants write it, `00000000:41:00.0`: domain in eight digits, lower case. Read are those of Linux
/// (`0000:41:00.0`), of NVML (`00000000:41:00.0`), and those without a domain (`41:00.0`).
pub fn pci(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (domain, bus, rest) = match parts.as_slice() {
        [bus, rest] => ("0", *bus, *rest),
        [domain, bus, rest] => (*domain, *bus, *rest),
        _ => return None,
    };
    let (device, function) = rest.split_once('.')?;
    let hex = |digits: &str, longest: usize, most: u32| {
        let good =
            (1..=longest).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then(|| u32::from_str_radix(digits, 16).ok()).flatten().filter(|number| *number <= most)
    };
    Some(format!(
        "{:08x}:{:02x}:{:02x}.{}",
        hex(domain, 8, u32::MAX)?,
        hex(bus, 2, 0xff)?,
        hex(device, 2, 0x1f)?,
        hex(function, 1, 7)?
    ))
}

/// The numbers of names that begin so, in order: how the kernel module calls the folders of MIG instances, `gi3` and
/// `ci0` (`/proc/driver/nvidia/capabilities/gpu0/mig/gi3/ci0`).
pub fn numbered(names: impl IntoIterator<Item = OsString>, prefix: &str) -> Vec<u32> {
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    let mut numbers: Vec<u32> = names.filter_map(|name| name.strip_prefix(prefix)?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Whether a model's name matches a pattern in which `*` stands for anything; upper and lower case are alike.
pub fn matches_model(pattern: &str, model: &str) -> bool {
    let (pattern, model) = (pattern.to_lowercase(), model.to_lowercase());
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == model };
    let Some(mut left) = model.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').map_or(("", rest), |(middle, last)| (middle, last));
    // The leftmost place of each piece leaves most room for those after it.
    for piece in middle.split('*').filter(|piece| !piece.is_empty()) {
        let Some(at) = left.find(piece) else { return false };
        left = left.get(at + piece.len()..).unwrap_or_default();
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_instances_are_read_in_the_order_of_their_numbers() {
        let names = ["gi10", "gi2", "ci0", "gi", "gix", "access"].map(OsString::from);
        assert_eq!(numbered(names, "gi"), [2, 10]);
    }
    use proptest::prelude::*;

    #[test]
    fn a_uuid_is_read_in_either_case_and_question_marks_are_none() {
        let text = "GPU-6F1C1B54-0000-5000-8000-000000000000";
        assert_eq!(uuid(text).as_deref(), Some("GPU-6f1c1b54-0000-5000-8000-000000000000"));
        assert_eq!(uuid("GPU-????????-????-????-????-????????????"), None);
        assert_eq!(uuid("MIG-6f1c1b54-0000-5000-8000-000000000000"), None);
    }

    #[test]
    fn an_instance_has_a_name_of_its_own_and_those_of_old_drivers_are_none() {
        let text = "MIG-6F1C1B54-0000-5000-8000-000000000000";
        assert_eq!(mig_uuid(text).as_deref(), Some("MIG-6f1c1b54-0000-5000-8000-000000000000"));
        for text in
            ["GPU-6f1c1b54-0000-5000-8000-000000000000", "MIG-GPU-6f1c1b54-0000-5000-8000-000000000000/1/0"]
        {
            assert_eq!(mig_uuid(text), None);
        }
    }

    #[test]
    fn all_spellings_of_a_pci_id_are_one() {
        for text in ["41:00.0", "0000:41:00.0", "00000000:41:00.0", "0000:41:0.0"] {
            assert_eq!(pci(text).as_deref(), Some("00000000:41:00.0"), "{text}");
        }
        assert_eq!(pci("10000:E1:1f.7").as_deref(), Some("00010000:e1:1f.7"));
        for text in ["", "41", "41:00", "41:20.0", "41:00.8", "0:0:0:0.0", "+1:00.0"] {
            assert_eq!(pci(text), None, "{text}");
        }
    }

    #[test]
    fn a_star_stands_for_anything() {
        for pattern in ["*", "NVIDIA A40", "nvidia a40", "*A40", "NVIDIA*", "*a*0*", "NV*A40*"] {
            assert!(matches_model(pattern, "NVIDIA A40"), "{pattern}");
        }
        for pattern in ["", "A40", "*A4", "NVIDIA A40*0", "*H100*"] {
            assert!(!matches_model(pattern, "NVIDIA A40"), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn what_was_read_reads_the_same_again(text in "[0-9a-f:.]{0,20}") {
            if let Some(id) = pci(&text) {
                prop_assert_eq!(pci(&id), Some(id.clone()));
            }
        }

        #[test]
        fn no_text_panics(text: String, other: String) {
            let _ = (uuid(&text), mig_uuid(&text), pci(&text), matches_model(&text, &other));
        }

        #[test]
        fn a_model_matches_itself_cut_anywhere(model in "[a-zA-Z0-9 ]{0,12}", cut in 0_usize..12) {
            let cut = cut.min(model.len());
            let (start, end) = model.split_at(cut);
            let pattern = format!("{start}*{end}");
            prop_assert!(matches_model(&pattern, &model));
        }
    }
}
