//! MIG: the instances into which a card may be divided. Which models can be, and into what, is NVIDIA's (*MIG User Guide*,
//! "Supported MIG Profiles"; slices and multiprocessors as `nvidia-smi mig -lgip` shows them). Memory is whole eighths of the
//! card's: nothing is reserved here.

use crate::identity::{self, mint_mig_uuid, read_mig_uuid};
use firstlight_contract::models::Model;

/// Most instances that a card can have at a time.
pub const MOST: u32 = 7;
/// Into how many parts the memory of a card is cut.
const EIGHTHS: u8 = 8;

/// What a GPU instance can be.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// Name of the model whose profile it is.
    pub model: &'static str,
    /// Name, such as `1g.10gb`.
    pub name: &'static str,
    /// Slices of seven.
    pub slices: u8,
    /// Eighths of the card's memory.
    pub eighths: u8,
    /// Multiprocessors of all slices, and of a compute instance with one of several.
    pub multiprocessors: (u16, u16),
}

/// All profiles. A profile's number is in the UUIDs of its instances: append, never insert.
pub static PROFILES: [Profile; 21] = [
    a100("1g.5gb", 1, 1, 14),
    a100("1g.5gb+me", 1, 1, 14),
    a100("1g.10gb", 1, 2, 14),
    a100("2g.10gb", 2, 2, 28),
    a100("3g.20gb", 3, 4, 42),
    a100("4g.20gb", 4, 4, 56),
    a100("7g.40gb", 7, 8, 98),
    hopper("SIM-H100", "1g.10gb", 1, 1, 16),
    hopper("SIM-H100", "1g.10gb+me", 1, 1, 16),
    hopper("SIM-H100", "1g.20gb", 1, 2, 26),
    hopper("SIM-H100", "2g.20gb", 2, 2, 32),
    hopper("SIM-H100", "3g.40gb", 3, 4, 60),
    hopper("SIM-H100", "4g.40gb", 4, 4, 64),
    hopper("SIM-H100", "7g.80gb", 7, 8, 132),
    hopper("SIM-H200", "1g.18gb", 1, 1, 16),
    hopper("SIM-H200", "1g.18gb+me", 1, 1, 16),
    hopper("SIM-H200", "1g.35gb", 1, 2, 26),
    hopper("SIM-H200", "2g.35gb", 2, 2, 32),
    hopper("SIM-H200", "3g.71gb", 3, 4, 60),
    hopper("SIM-H200", "4g.71gb", 4, 4, 64),
    hopper("SIM-H200", "7g.141gb", 7, 8, 132),
];

const fn a100(name: &'static str, slices: u8, eighths: u8, all: u16) -> Profile {
    Profile { model: "SIM-A100", name, slices, eighths, multiprocessors: (all, 14) }
}

const fn hopper(model: &'static str, name: &'static str, slices: u8, eighths: u8, all: u16) -> Profile {
    Profile { model, name, slices, eighths, multiprocessors: (all, 16) }
}

/// The model whose instance it is where nothing says that.
const UNKNOWN_IS_OF: &str = "SIM-H100";

/// Whether cards of this model can be divided.
pub fn is_supported(model: &Model) -> bool {
    PROFILES.iter().any(|profile| profile.model == model.name)
}

/// A MIG device: a compute instance, with the GPU instance that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Profile of the GPU instance.
    pub profile: &'static Profile,
    /// Slices that compute: all of the GPU instance's, or fewer.
    pub compute: u8,
    /// Number of the GPU instance.
    pub gi: u32,
    /// Number of the compute instance in it.
    pub ci: u32,
    /// UUID.
    pub uuid: [u8; 16],
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Whether the grant gives it, as device nodes do in a container: CUDA shows it unasked.
    pub given: bool,
}

impl Instance {
    /// How NVIDIA names it: `1g.10gb`, or `1c.3g.40gb` where it computes with one slice of three.
    pub fn name(&self) -> String {
        let name = self.profile.name;
        if self.compute == self.profile.slices {
            name.to_owned()
        } else {
            format!("{}c.{name}", self.compute)
        }
    }

    /// Multiprocessors.
    pub fn multiprocessors(&self) -> u16 {
        let (all, each) = self.profile.multiprocessors;
        if self.compute == self.profile.slices { all } else { u16::from(self.compute) * each }
    }

    /// Engines that copy: one a slice (`nvidia-smi mig -lgip`).
    pub fn copy_engines(&self) -> u8 {
        self.profile.slices
    }

    fn new(card: [u8; 16], memory_bytes: u64, numbers: identity::Instance) -> Option<Self> {
        let profile = PROFILES.get(usize::from(numbers.profile))?;
        let identity::Instance { compute, gi, ci, .. } = numbers;
        (1..=profile.slices).contains(&compute).then(|| Self {
            profile,
            compute,
            gi: gi.into(),
            ci: ci.into(),
            uuid: mint_mig_uuid(card, numbers),
            memory_bytes: share(memory_bytes, profile),
            given: false,
        })
    }

    /// The instance that a grant names, of which its UUID says what it is; one from elsewhere is the smallest of its model.
    /// `model` and `memory_bytes`: what the grant says besides.
    pub fn named(uuid: [u8; 16], model: Option<&Model>, memory_bytes: Option<u64>) -> Option<Self> {
        let numbers = read_mig_uuid(uuid);
        let read = numbers.and_then(|numbers| Self::new(uuid, 0, numbers));
        let instance = read.or_else(|| {
            let first = |name: &str| PROFILES.iter().position(|profile| profile.model == name);
            let number = model.and_then(|model| first(model.name)).or_else(|| first(UNKNOWN_IS_OF))?;
            let compute = PROFILES.get(number)?.slices;
            let profile = u8::try_from(number).ok()?;
            Self::new(uuid, 0, identity::Instance { profile, compute, gi: 0, ci: 0 })
        })?;
        let whole = firstlight_contract::models::by_name(instance.profile.model)?.memory_bytes;
        let memory_bytes = memory_bytes.unwrap_or_else(|| share(whole, instance.profile));
        Some(Self { uuid, memory_bytes, given: true, ..instance })
    }
}

fn share(whole: u64, profile: &Profile) -> u64 {
    whole / u64::from(EIGHTHS) * u64::from(profile.eighths)
}

/// Reads the instances of a card, `<gi>/<ci>:<profile>` between commas; nothing: MIG is on, and there is none. `None`: such a
/// card cannot be, because the text is none, the model has no such profile, or the card has not so much.
pub fn parse(text: &str, card: [u8; 16], model: &Model, memory_bytes: u64) -> Option<Vec<Instance>> {
    if !is_supported(model) {
        return None;
    }
    let words = text.split(',').filter(|_| !text.is_empty());
    let all: Vec<Instance> = words.map(|word| one(word, card, model, memory_bytes)).collect::<Option<_>>()?;
    fits(&all).then_some(all)
}

fn one(text: &str, card: [u8; 16], model: &Model, memory_bytes: u64) -> Option<Instance> {
    let (place, name) = text.split_once(':')?;
    let (gi, ci) = place.split_once('/')?;
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u8>().ok().filter(|_| plain)
    };
    let (part, name) = match name.split_once("c.") {
        Some((part, name)) => (Some(number(part)?), name),
        None => (None, name),
    };
    let mut known = PROFILES.iter().zip(0_u8..);
    let (profile, at) = known.find(|(known, _)| known.model == model.name && known.name == name)?;
    // All slices are said by saying nothing.
    let compute = match part {
        Some(part) if part >= profile.slices => return None,
        Some(part) => part,
        None => profile.slices,
    };
    let numbers = identity::Instance { profile: at, compute, gi: number(gi)?, ci: number(ci)? };
    Instance::new(card, memory_bytes, numbers)
}

/// Whether a card has room for these: each number once, not more of a GPU instance than it has, nor of the card.
fn fits(all: &[Instance]) -> bool {
    let (mut slices, mut eighths) = (0, 0);
    for (at, instance) in all.iter().enumerate() {
        let of_it = || all.iter().filter(|other| other.gi == instance.gi);
        let before = all.get(..at).unwrap_or_default();
        let again = before.iter().any(|other| (other.gi, other.ci) == (instance.gi, instance.ci));
        let computing: u32 = of_it().map(|other| u32::from(other.compute)).sum();
        let one_profile = of_it().all(|other| other.profile == instance.profile);
        if again || !one_profile || computing > u32::from(instance.profile.slices) {
            return false;
        }
        if !before.iter().any(|other| other.gi == instance.gi) {
            slices += u32::from(instance.profile.slices);
            eighths += u32::from(instance.profile.eighths);
        }
    }
    slices <= MOST && eighths <= u32::from(EIGHTHS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firstlight_contract::models::{MODELS, by_name};
    use proptest::prelude::*;

    const CARD: [u8; 16] = [7; 16];

    fn of(model: &str, text: &str) -> Option<Vec<Instance>> {
        let model = by_name(model).unwrap();
        parse(text, CARD, model, model.memory_bytes)
    }

    #[test]
    fn a_card_says_its_instances_with_their_numbers() {
        let all = of("SIM-H100", "7/0:1g.10gb,1/0:3g.40gb").unwrap();
        let told: Vec<_> = all
            .iter()
            .map(|one| (one.name(), one.gi, one.ci, one.multiprocessors(), one.memory_bytes >> 30))
            .collect();
        assert_eq!(told, [("1g.10gb".to_owned(), 7, 0, 16, 10), ("3g.40gb".to_owned(), 1, 0, 60, 40)]);
        assert_eq!(of("SIM-H100", ""), Some(Vec::new()));
    }

    #[test]
    fn compute_instances_share_the_memory_of_their_gpu_instance() {
        let all = of("SIM-A100", "1/0:1c.3g.20gb,1/1:2c.3g.20gb").unwrap();
        let told: Vec<_> =
            all.iter().map(|one| (one.name(), one.multiprocessors(), one.memory_bytes >> 30)).collect();
        assert_eq!(told, [("1c.3g.20gb".to_owned(), 14, 20), ("2c.3g.20gb".to_owned(), 28, 20)]);
        assert_ne!(all[0].uuid, all[1].uuid);
    }

    #[test]
    fn what_no_card_can_be_is_none() {
        for (model, text) in [
            ("SIM-A40", ""),
            ("SIM-A40", "7/0:1g.10gb"),
            ("SIM-H100", "7/0:1g.5gb"),
            ("SIM-H100", "7/0"),
            ("SIM-H100", "7:1g.10gb"),
            ("SIM-H100", "+7/0:1g.10gb"),
            ("SIM-H100", "7/0:1g.10gb,"),
            ("SIM-H100", "7/0:1g.10gb,7/0:1g.10gb"),
            ("SIM-H100", "1/0:4g.40gb,2/0:4g.40gb"),
            ("SIM-H100", "1/0:3g.40gb,2/0:3g.40gb,7/0:1g.10gb"),
            ("SIM-H100", "1/0:3c.3g.40gb"),
            ("SIM-H100", "1/0:0c.3g.40gb"),
            ("SIM-H100", "1/0:2c.3g.40gb,1/1:2c.3g.40gb"),
            ("SIM-H100", "1/0:1c.3g.40gb,1/1:1c.4g.40gb"),
        ] {
            assert_eq!(of(model, text), None, "{model} {text:?}");
        }
    }

    #[test]
    fn a_uuid_alone_says_what_the_instance_is() {
        let told = of("SIM-A100", "3/1:2c.4g.20gb").unwrap().remove(0);
        let named = Instance::named(told.uuid, None, None).unwrap();
        assert_eq!(named, Instance { given: true, ..told.clone() });
        assert_eq!(Instance::named(told.uuid, None, Some(5)).map(|one| one.memory_bytes), Some(5));
    }

    #[test]
    fn an_instance_from_elsewhere_is_the_smallest_of_its_model() {
        let named =
            |model| Instance::named([0xd9; 16], by_name(model), None).map(|one| (one.name(), one.uuid));
        assert_eq!(named("SIM-H200"), Some(("1g.18gb".to_owned(), [0xd9; 16])));
        assert_eq!(named("SIM-A40"), Some(("1g.10gb".to_owned(), [0xd9; 16])));
    }

    #[test]
    fn every_profile_is_of_a_model_and_fits_it() {
        for profile in &PROFILES {
            assert!(of(profile.model, &format!("0/0:{}", profile.name)).is_some(), "{profile:?}");
        }
        let divided: Vec<_> =
            MODELS.iter().filter(|model| is_supported(model)).map(|model| model.name).collect();
        assert_eq!(divided, ["SIM-A100", "SIM-H100", "SIM-H200"]);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_fits(text in "([0-9/:,cgb.]|1g\\.10gb|/0:|3g\\.40gb){0,12}", uuid: [u8; 16]) {
            let model = by_name("SIM-H100").unwrap();
            if let Some(all) = parse(&text, uuid, model, model.memory_bytes) {
                prop_assert!(all.len() <= 7);
                for one in all {
                    let named = Instance::named(one.uuid, None, None);
                    prop_assert_eq!(named, Some(Instance { given: true, ..one }));
                }
            }
            let _ = Instance::named(uuid, Some(model), None);
        }
    }
}
