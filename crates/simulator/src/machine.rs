//! The devices of this process and the faults on order.

use crate::identity::{Pci, mint_pci, mint_uuid, parse_mig_uuid, parse_uuid, print_mig_uuid, print_uuid};
use crate::mig::{self, Instance};
use crate::visible::{self, Candidate};
use firstlight_contract::fault::{self, Fault};
use firstlight_contract::grant::{self, Grant, PoolKind};
use firstlight_contract::models::{self, DEFAULT_MODEL, MODELS, Model};
use firstlight_contract::{names, paths};
use std::sync::OnceLock;

/// Seed of the identities where no grant gives them.
const SEED: u64 = 0x0f15_7119_4700_0001;

/// Engines of a card that copy.
pub const COPY_ENGINES: u8 = 3;

/// One virtual card, as NVML shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The model: name, capability, multiprocessors.
    pub model: &'static Model,
    /// Memory in bytes; the model's, or what the grant says.
    pub memory_bytes: u64,
    /// UUID.
    pub uuid: [u8; 16],
    /// PCI id.
    pub pci: Pci,
    /// Its instances where MIG is on; `None`: it is off.
    pub mig: Option<Vec<Instance>>,
}

/// One device of CUDA's: a card, or an instance of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Number of the card in [`Machine::devices`].
    pub card: usize,
    /// Number of the instance among the card's.
    pub instance: Option<usize>,
    /// Name.
    pub name: String,
    /// The card's model: capability.
    pub model: &'static Model,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Multiprocessors.
    pub multiprocessors: u16,
    /// Engines that copy.
    pub copy_engines: u8,
    /// UUID.
    pub uuid: [u8; 16],
    /// PCI id of the card.
    pub pci: Pci,
}

impl Device {
    /// Name of one of its instances.
    pub fn name_of(&self, instance: &Instance) -> String {
        format!("{} MIG {}", self.model.name, instance.name())
    }

    /// What one of its instances is called: by its own UUID, and by that of the card and two numbers, as before 470.
    pub fn names_of(&self, instance: &Instance) -> [String; 2] {
        let old = format!("MIG-{}/{}/{}", print_uuid(self.uuid), instance.gi, instance.ci);
        [print_mig_uuid(instance.uuid), old]
    }

    fn shown(&self, card: usize) -> Shown {
        let Self { model, memory_bytes, uuid, pci, .. } = *self;
        let (name, multiprocessors) = (model.name.to_owned(), model.multiprocessors);
        let copy_engines = COPY_ENGINES;
        Shown { card, instance: None, name, model, memory_bytes, multiprocessors, copy_engines, uuid, pci }
    }

    /// What CUDA could show of it, each with the name by which it is chosen.
    fn candidates(&self, card: usize) -> Vec<(Candidate, Shown)> {
        let Some(instances) = &self.mig else {
            return vec![(Candidate::Card(print_uuid(self.uuid)), self.shown(card))];
        };
        let candidate = |(number, one): (usize, &Instance)| {
            let shown = Shown {
                instance: Some(number),
                name: self.name_of(one),
                memory_bytes: one.memory_bytes,
                multiprocessors: one.multiprocessors(),
                copy_engines: one.copy_engines(),
                uuid: one.uuid,
                ..self.shown(card)
            };
            (Candidate::Instance { names: self.names_of(one), given: one.given }, shown)
        };
        instances.iter().enumerate().map(candidate).collect()
    }
}

/// Everything that this process has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// All devices of the grant, in its order: what NVML shows.
    pub devices: Vec<Device>,
    /// What CUDA shows, in CUDA's order.
    pub visible: Vec<Shown>,
    /// What shall go wrong.
    pub faults: Vec<Fault>,
}

impl Machine {
    /// Builds the machine from the text of a grant (`None`: there is none) and two environment variables.
    ///
    /// Without a grant there is one default device and no fault. A grant that cannot be read gives no device: what
    /// the container was promised is unknown. Faults are obeyed only where the grant says `simulated`; an order
    /// that cannot be parsed gives no device either, since a fault that silently does not happen misleads; nor does a
    /// card with instances that it cannot have.
    pub fn new(grant: Option<&[u8]>, simulate: Option<&str>, visible: Option<&str>) -> Self {
        let grant = match grant.map(Grant::parse) {
            None => None,
            Some(Ok(grant)) => Some(grant),
            Some(Err(_)) => return Self::default(),
        };
        let simulated = grant.as_ref().is_some_and(|grant| grant.kind == PoolKind::Simulated);
        let Ok(faults) = fault::parse(simulate.filter(|_| simulated).unwrap_or_default()) else {
            return Self::default();
        };
        let devices = match &grant {
            Some(grant) if simulated || !grant.devices.is_empty() => match granted(grant) {
                Some(devices) => devices,
                None => return Self::default(),
            },
            _ => default_device().into_iter().collect(),
        };
        let of_card = |(card, device): (usize, &Device)| device.candidates(card);
        let (candidates, shown): (Vec<Candidate>, Vec<Shown>) =
            devices.iter().enumerate().flat_map(of_card).unzip();
        let chosen = visible::select(visible, &candidates).into_iter();
        Self { visible: chosen.filter_map(|number| shown.get(number).cloned()).collect(), devices, faults }
    }

    /// The machine of this process, read once.
    pub fn of_process() -> &'static Self {
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        MACHINE.get_or_init(|| {
            let variable =
                |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
            let mounted = std::fs::read(paths::container::GRANT);
            let grant = match mounted {
                Ok(text) => Some(text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // A path that was given but cannot be read is a broken promise, not a missing one.
                    std::env::var_os(names::env::GRANT).map(|path| std::fs::read(path).unwrap_or_default())
                }
                Err(_) => Some(Vec::new()),
            };
            Self::new(
                grant.as_deref(),
                variable(names::env::SIMULATE).as_deref(),
                variable("CUDA_VISIBLE_DEVICES").as_deref(),
            )
        })
    }

    /// The device of a CUDA ordinal.
    pub fn device(&self, ordinal: i32) -> Option<&Shown> {
        self.visible.get(usize::try_from(ordinal).ok()?)
    }

    /// The fault of this kind, if it was ordered.
    pub fn fault<T>(&self, choose: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.faults.iter().find_map(choose)
    }
}

fn model(name: Option<&str>) -> Option<&'static Model> {
    name.and_then(models::by_name).or_else(|| models::by_name(DEFAULT_MODEL)).or(MODELS.first())
}

fn default_device() -> Option<Device> {
    let model = model(None)?;
    let (uuid, pci) = (mint_uuid(SEED, 0), mint_pci(0));
    Some(Device { model, memory_bytes: model.memory_bytes, uuid, pci, mig: None })
}

/// The cards of a grant; `None`: it says of one what cannot be. An instance is one of a card of the grant, or comes with a
/// card of its own, as a container sees the card of an instance that it was given.
fn granted(grant: &Grant) -> Option<Vec<Device>> {
    let most = usize::try_from(models::MAX_DEVICES).unwrap_or(usize::MAX);
    let mut cards: Vec<Device> = Vec::new();
    for (index, granted) in (0_u32..).zip(grant.devices.iter().take(most)) {
        let pci = granted.pci.as_deref().and_then(Pci::parse);
        match parse_mig_uuid(&granted.uuid) {
            Some(uuid) => give(&mut cards, uuid, granted, (index, pci))?,
            None => cards.push(card(granted, pci.unwrap_or_else(|| mint_pci(index)))?),
        }
    }
    Some(cards)
}

fn card(granted: &grant::Device, pci: Pci) -> Option<Device> {
    let model = model(granted.model.as_deref())?;
    let memory_bytes = granted.memory_bytes.unwrap_or(model.memory_bytes);
    let uuid = parse_uuid(&granted.uuid)?;
    let instances = |text: &String| mig::parse(text, uuid, model, memory_bytes);
    let mig = match &granted.mig {
        Some(text) => Some(instances(text)?),
        None => None,
    };
    Some(Device { model, memory_bytes, uuid, pci, mig })
}

/// Gives an instance. `place`: number of the device in the grant, and where its card is.
fn give(
    cards: &mut Vec<Device>,
    uuid: [u8; 16],
    granted: &grant::Device,
    place: (u32, Option<Pci>),
) -> Option<()> {
    let mut known = cards.iter_mut().filter_map(|card| card.mig.as_mut()).flatten();
    if let Some(known) = known.find(|known| known.uuid == uuid) {
        known.given = true;
        return Some(());
    }
    let named = granted.model.as_deref().and_then(models::by_name);
    let instance = Instance::named(uuid, named, granted.memory_bytes)?;
    let (index, pci) = (place.0, place.1.unwrap_or_else(|| mint_pci(place.0)));
    let beside = cards.iter_mut().find(|card| card.pci == pci && card.model.name == instance.profile.model);
    if let Some(instances) = beside.and_then(|card| card.mig.as_mut()) {
        instances.push(instance);
        return Some(());
    }
    let model = models::by_name(instance.profile.model)?;
    // Nobody has said which one it is.
    let card = mint_uuid(
        SEED ^ u64::from(pci.domain) << 16 ^ u64::from(pci.bus) << 8 ^ u64::from(pci.device),
        index,
    );
    let memory_bytes = model.memory_bytes;
    cards.push(Device { model, memory_bytes, uuid: card, pci, mig: Some(vec![instance]) });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn grant(kind: &str, devices: usize) -> Vec<u8> {
        let mut text = format!(
            "firstlight-grant=1\nid={}\npool=p\nkind={kind}\ndriver=auto\nnvml=auto\n",
            "0".repeat(32)
        );
        for index in 0..devices {
            writeln!(text, "device.{index}.uuid=GPU-{index:08x}-0000-5000-8000-000000000000").unwrap();
        }
        text.into_bytes()
    }

    #[test]
    fn without_a_grant_there_is_one_default_device_and_no_fault() {
        let machine = Machine::new(None, Some("init-returns=999"), None);
        assert_eq!(machine.devices.len(), 1);
        assert_eq!(machine.devices[0].model.name, DEFAULT_MODEL);
        assert!(machine.faults.is_empty());
    }

    #[test]
    fn faults_are_obeyed_only_where_the_grant_says_simulated() {
        let faults = |kind| Machine::new(Some(&grant(kind, 1)), Some("init-returns=999"), None).faults;
        assert_eq!(faults("simulated"), [Fault::InitReturns(999)]);
        assert_eq!(faults("custom"), []);
    }

    #[test]
    fn sixteen_devices_differ_in_uuid_and_pci_id() {
        let machine = Machine::new(Some(&grant("simulated", 16)), None, None);
        assert_eq!(machine.visible.len(), 16);
        for (at, device) in machine.devices.iter().enumerate() {
            assert!(machine.devices[..at].iter().all(|one| one.uuid != device.uuid && one.pci != device.pci));
        }
    }

    #[test]
    fn a_grant_that_cannot_be_read_gives_no_device() {
        assert_eq!(Machine::new(Some(b"nonsense"), None, None), Machine::default());
    }

    #[test]
    fn an_order_that_cannot_be_read_gives_no_device() {
        assert_eq!(Machine::new(Some(&grant("simulated", 1)), Some("explode"), None), Machine::default());
    }

    #[test]
    fn hidden_devices_stay_known_to_nvml() {
        let machine = Machine::new(Some(&grant("simulated", 3)), None, Some("2"));
        let visible: Vec<usize> = machine.visible.iter().map(|shown| shown.card).collect();
        assert_eq!((machine.devices.len(), visible), (3, vec![2]));
    }

    /// A card with MIG on and these instances, beside one whose model has none.
    fn divided(mig: &str) -> Vec<u8> {
        let more = format!("device.0.model=SIM-H100\ndevice.0.mig={mig}\ndevice.1.model=SIM-A40\n");
        [grant("simulated", 2), more.into_bytes()].concat()
    }

    fn names(machine: &Machine) -> Vec<&str> {
        machine.visible.iter().map(|shown| shown.name.as_str()).collect()
    }

    #[test]
    fn an_instance_is_shown_where_it_is_chosen_and_its_card_never() {
        let machine = |visible| Machine::new(Some(&divided("7/0:1g.10gb,1/0:3g.40gb")), None, visible);
        assert_eq!(names(&machine(None)), ["SIM-A40"], "nobody gave one");
        let instances = machine(None).devices[0].mig.clone().unwrap();
        let name = print_mig_uuid(instances[1].uuid);
        let chosen = machine(Some(&name));
        assert_eq!(names(&chosen), ["SIM-H100 MIG 3g.40gb"]);
        let shown = &chosen.visible[0];
        assert_eq!((shown.card, shown.instance, shown.multiprocessors), (0, Some(1), 60));
        assert_eq!((shown.memory_bytes, shown.uuid, shown.pci), (40 << 30, instances[1].uuid, mint_pci(0)));
        assert_eq!(names(&machine(Some("GPU-00000000"))), Vec::<&str>::new());
        let given =
            [divided("7/0:1g.10gb,1/0:3g.40gb"), format!("device.2.uuid={name}\n").into_bytes()].concat();
        let given = Machine::new(Some(&given), None, None);
        assert_eq!((names(&given), given.devices.len()), (vec!["SIM-H100 MIG 3g.40gb"], 2));
    }

    #[test]
    fn an_instance_alone_is_what_it_was_on_its_card() {
        let card = Machine::new(Some(&divided("7/0:1g.10gb,8/0:1g.10gb")), None, None).devices.remove(0);
        let all = card.mig.unwrap();
        let mut text = grant("whole", 0);
        for (index, one) in all.iter().enumerate() {
            let uuid = print_mig_uuid(one.uuid);
            text.extend(
                format!("device.{index}.uuid={uuid}\ndevice.{index}.pci=00000000:46:00.0\n").into_bytes(),
            );
        }
        let machine = Machine::new(Some(&text), None, None);
        assert_eq!(names(&machine), ["SIM-H100 MIG 1g.10gb"], "the first of two");
        assert_eq!((machine.visible[0].uuid, machine.visible[0].pci.bus), (all[0].uuid, 0x46));
        assert_eq!(machine.devices.len(), 1, "they have one card");
        let told = machine.devices[0].mig.clone().unwrap();
        let given: Vec<Instance> = all.into_iter().map(|one| Instance { given: true, ..one }).collect();
        assert_eq!(told, given);
    }

    #[test]
    fn a_card_with_instances_that_it_cannot_have_gives_no_device() {
        for mig in ["7/0:1g.5gb", "nonsense"] {
            assert_eq!(Machine::new(Some(&divided(mig)), None, None), Machine::default());
        }
        let undividable = [grant("simulated", 1), b"device.0.mig=\n".to_vec()].concat();
        assert_eq!(Machine::new(Some(&undividable), None, None), Machine::default());
    }
}
