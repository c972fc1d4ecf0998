//! From what was typed to a grant. Every mistake is reported at once; nothing is touched.

use super::artefacts::Artefacts;
use crate::args::Gpu;
use anyhow::{Context as _, bail};
use firstlight_contract::bytes;
use firstlight_contract::fault;
use firstlight_contract::grant::{Device, Grant, PoolKind};
use firstlight_contract::models::{self, MAX_DEVICES, MODELS, Model};
use firstlight_contract::paths::{library, node};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// What `run` will do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) kind: PoolKind,
    pub(super) faults: Option<String>,
    driver: Option<PathBuf>,
    devices: u32,
    model: &'static Model,
    memory_bytes: u64,
    /// Quota of memory on each device.
    pub(super) quota_bytes: Option<u64>,
}

impl Plan {
    pub(super) fn new(args: &Gpu) -> anyhow::Result<Self> {
        let mut mistakes = Vec::new();
        let kind = take(kind(args), &mut mistakes).unwrap_or(PoolKind::Simulated);
        let faults = take(faults(args, kind), &mut mistakes).flatten();
        let driver = take(driver(args), &mut mistakes).flatten();
        let devices = take(devices(args, kind), &mut mistakes).unwrap_or(1);
        let model = take(model(args, kind), &mut mistakes).unwrap_or(&MODELS[0]);
        let memory = take(device_memory(args, kind), &mut mistakes).flatten();
        let quota_bytes = take(quota(args), &mut mistakes).flatten();
        if !mistakes.is_empty() {
            bail!("{}", mistakes.join("\n       "));
        }
        let memory_bytes = memory.unwrap_or(model.memory_bytes);
        Ok(Self { kind, faults, driver, devices, model, memory_bytes, quota_bytes })
    }

    /// How many devices the program was given, where `run` decides.
    pub(super) fn device_count(&self) -> Option<u32> {
        (self.kind == PoolKind::Simulated).then_some(self.devices)
    }

    /// The grant whose files lie in this folder.
    pub(super) fn grant(&self, artefacts: &Artefacts, folder: &Path) -> anyhow::Result<Grant> {
        let text = |path: &Path| -> anyhow::Result<String> {
            let text = path.to_str().with_context(|| format!("the path {} is not UTF-8", path.display()))?;
            Ok(text.to_owned())
        };
        let (driver, nvml) = match (&self.driver, self.kind) {
            (Some(driver), _) => {
                let nvml = driver.with_file_name(library::NVML);
                (Some(text(driver)?), if nvml.exists() { Some(text(&nvml)?) } else { None })
            }
            (None, PoolKind::Simulated) => {
                let (driver, nvml) = artefacts.simulator()?;
                (Some(text(&driver)?), Some(text(&nvml)?))
            }
            (None, _) => (None, None),
        };
        let devices = (0..self.device_count().unwrap_or(0)).map(|index| self.device(index)).collect();
        Ok(Grant {
            id: random_id()?,
            pool: self.kind.as_str().to_owned(),
            kind: self.kind,
            driver,
            nvml,
            records: Some(text(&folder.join(node::RECORDS_FILE))?),
            ledger: self.quota_bytes.map(|_| text(&folder.join(node::LEDGER_FILE))).transpose()?,
            quota_bytes: self.quota_bytes,
            devices,
        })
    }

    fn device(&self, index: u32) -> Device {
        Device {
            uuid: format!("GPU-51a01a7e-0000-5000-8000-{index:012x}"),
            pci: Some(format!("00000000:{:02X}:00.0", 0x41 + index)),
            model: Some(self.model.name.to_owned()),
            memory_bytes: Some(self.memory_bytes),
            quota_bytes: self.quota_bytes,
            ..Device::default()
        }
    }
}

fn take<T>(result: Result<T, String>, mistakes: &mut Vec<String>) -> Option<T> {
    result.map_err(|mistake| mistakes.push(mistake)).ok()
}

fn kind(args: &Gpu) -> Result<PoolKind, String> {
    let kind = match args.pool.as_deref() {
        None if args.driver.is_some() => PoolKind::Custom,
        None => PoolKind::Simulated,
        Some(word) => PoolKind::from_word(word)
            .ok_or_else(|| format!("--pool {word:?}: allowed are simulated, observer, custom"))?,
    };
    match (kind, &args.driver) {
        (PoolKind::Custom, None) => Err("--pool custom: name the driver with --driver PATH".to_owned()),
        (PoolKind::Simulated, Some(_)) => {
            Err("--pool simulated brings its own driver; leave out --driver, or use --pool custom".to_owned())
        }
        (PoolKind::Whole | PoolKind::Slice, _) => Err(format!(
            "--pool {}: shares of real GPUs exist only in a cluster; --pool observer uses the installed driver",
            kind.as_str()
        )),
        _ => Ok(kind),
    }
}

fn faults(args: &Gpu, kind: PoolKind) -> Result<Option<String>, String> {
    let Some(text) = &args.simulate else { return Ok(None) };
    if kind != PoolKind::Simulated {
        return Err(format!(
            "--simulate: only a simulated driver has faults on order, not --pool {}",
            kind.as_str()
        ));
    }
    fault::parse(text)
        .map(|faults| Some(fault::print(&faults)))
        .map_err(|error| format!("--simulate: {error}"))
}

fn driver(args: &Gpu) -> Result<Option<PathBuf>, String> {
    let Some(path) = &args.driver else { return Ok(None) };
    let file = if path.is_dir() { path.join(library::CUDA) } else { path.clone() };
    fs::canonicalize(&file)
        .map(|_| std::path::absolute(&file).ok())
        .map_err(|error| format!("--driver: cannot find {}: {error}", file.display()))
}

fn devices(args: &Gpu, kind: PoolKind) -> Result<u32, String> {
    match args.devices {
        Some(_) if kind != PoolKind::Simulated => Err("--devices: only for simulated devices".to_owned()),
        Some(count) if !(1..=MAX_DEVICES).contains(&count) => {
            Err(format!("--devices {count}: allowed are 1 to {MAX_DEVICES}"))
        }
        count => Ok(count.unwrap_or(1)),
    }
}

fn model(args: &Gpu, kind: PoolKind) -> Result<&'static Model, String> {
    let name = args.model.as_deref().unwrap_or(models::DEFAULT_MODEL);
    if args.model.is_some() && kind != PoolKind::Simulated {
        return Err("--model: only for simulated devices".to_owned());
    }
    models::by_name(name).ok_or_else(|| {
        let known: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        format!("--model {name:?}: allowed are {}", known.join(", "))
    })
}

/// Least memory of a simulated device, and least quota: a context alone takes more on most cards.
const LEAST_MEMORY: u64 = 64 << 20;

fn device_memory(args: &Gpu, kind: PoolKind) -> Result<Option<u64>, String> {
    if args.device_memory.is_some() && kind != PoolKind::Simulated {
        return Err(
            "--device-memory: only for simulated devices; --memory is a quota in front of any driver"
                .to_owned(),
        );
    }
    size("--device-memory", args.device_memory.as_deref())
}

fn quota(args: &Gpu) -> Result<Option<u64>, String> {
    size("--memory", args.memory.as_deref())
}

fn size(option: &str, text: Option<&str>) -> Result<Option<u64>, String> {
    let Some(text) = text else { return Ok(None) };
    bytes::parse(text).filter(|bytes| *bytes >= LEAST_MEMORY).map(Some).ok_or_else(|| {
        format!("{option} {text:?}: write a size of at least 64MiB, in MiB or GiB, such as 8GiB")
    })
}

fn random_id() -> anyhow::Result<String> {
    let mut bytes = [0u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser as _;

    fn plan(options: &[&str]) -> anyhow::Result<Plan> {
        let words = ["f", "run"].iter().chain(options).chain(&["--", "true"]);
        let Command::Run(run) = Args::try_parse_from(words).unwrap().command else { panic!("not run") };
        Plan::new(&run.gpu)
    }

    fn refusal(options: &[&str]) -> String {
        plan(options).unwrap_err().to_string()
    }

    #[test]
    fn without_options_one_device_is_simulated() {
        let plan = plan(&[]).unwrap();
        assert_eq!(
            (plan.kind, plan.devices, plan.model.name),
            (PoolKind::Simulated, 1, models::DEFAULT_MODEL)
        );
        assert_eq!(plan.memory_bytes, plan.model.memory_bytes);
    }

    #[test]
    fn a_driver_of_one_s_own_makes_the_pool_custom() {
        assert_eq!(plan(&["--driver", "/bin/sh"]).unwrap().kind, PoolKind::Custom);
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let wrong = [
            "--simulate",
            "explode",
            "--devices",
            "17",
            "--model",
            "RTX",
            "--memory",
            "lots",
            "--device-memory",
            "1",
        ];
        let text = refusal(&wrong);
        for part in ["explode", "--devices 17", "SIM-A40", "--memory \"lots\"", "--device-memory \"1\""] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn only_a_simulated_device_has_a_size_to_choose_and_the_refusal_names_the_quota() {
        let text = refusal(&["--pool", "observer", "--device-memory", "1GiB"]);
        assert!(text.contains("only for simulated devices; --memory is a quota"), "{text}");
    }

    #[test]
    fn a_quota_is_for_each_device_of_any_driver() {
        let grant = |options: &[&str]| {
            let plan = plan(options).unwrap();
            plan.grant(&Artefacts::at(PathBuf::from("/cache")), Path::new("/tmp/x")).unwrap()
        };
        let custom = grant(&["--driver", "/bin/sh", "--memory", "1Gi"]);
        assert_eq!((custom.ledger.as_deref(), custom.quota_bytes), (Some("/tmp/x/ledger"), Some(1 << 30)));
        assert!(custom.to_string().contains("\nledger=/tmp/x/ledger\nquota=1073741824\n"), "{custom}");
        let simulated = grant(&["--memory", "1Gi", "--device-memory", "8Gi", "--devices", "2"]);
        let sizes = simulated.devices.iter().map(|device| (device.quota_bytes, device.memory_bytes));
        assert_eq!(sizes.collect::<Vec<_>>(), [(Some(1 << 30), Some(8 << 30)); 2]);
        let without = grant(&[]);
        assert_eq!((without.ledger, without.quota_bytes, without.devices[0].quota_bytes), (None, None, None));
    }

    #[test]
    fn faults_are_for_simulated_drivers() {
        assert!(refusal(&["--pool", "observer", "--simulate", "init-returns=3"]).contains("--simulate"));
        assert_eq!(
            plan(&["--simulate", "init-returns=3"]).unwrap().faults.as_deref(),
            Some("init-returns=3")
        );
    }

    #[test]
    fn a_grant_reads_back_as_it_was_written() {
        let plan = plan(&["--devices", "2", "--device-memory", "8GiB", "--memory", "1GiB"]).unwrap();
        let artefacts = Artefacts::at(PathBuf::from("/cache"));
        let grant = plan.grant(&artefacts, Path::new("/tmp/x")).unwrap();
        assert_eq!(Grant::parse(grant.to_string().as_bytes()).unwrap(), grant);
        assert_eq!(grant.devices.len(), 2);
        assert_eq!(grant.devices[1].memory_bytes, Some(8 << 30));
        assert_ne!(grant.devices[0].uuid, grant.devices[1].uuid);
    }
}
