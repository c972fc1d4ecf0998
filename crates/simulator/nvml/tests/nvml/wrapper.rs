//! The crate `nvml-wrapper`, as tools written in Rust use it. A process has one grant for its life, so each test is
//! this program started again.

use crate::common::{Grant, memory, model, nvml, uuid};
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::DeviceArchitecture;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

/// Says to a process that it is the client; the value is the number of devices that it must find.
const CLIENT: &str = "FIRSTLIGHT_TEST_CLIENT";

fn asked(index: usize, device: &Device<'_>, nvml: &Nvml) {
    assert_eq!(device.index().unwrap() as usize, index);
    assert_eq!(device.name().unwrap(), model(index));
    assert!(device.name().unwrap().starts_with("SIM-"));
    assert_eq!(device.uuid().unwrap(), uuid(index));
    let memory_info = device.memory_info().unwrap();
    assert_eq!((memory_info.total, memory_info.used, memory_info.free), (memory(index), 0, memory(index)));
    let pci = device.pci_info().unwrap();
    assert_eq!(pci.bus_id, format!("00000000:{:02X}:00.0", 0x41 + index));
    assert_eq!((pci.domain, pci.bus as usize), (0, 0x41 + index));
    let (architecture, major) = match index % 3 {
        0 => (DeviceArchitecture::Ampere, 8),
        1 => (DeviceArchitecture::Hopper, 9),
        _ => (DeviceArchitecture::Turing, 7),
    };
    assert_eq!(device.architecture().unwrap(), architecture);
    assert_eq!(device.cuda_compute_capability().unwrap().major, major);
    assert_eq!(device.running_compute_processes().unwrap(), []);
    assert_eq!(device.running_graphics_processes().unwrap(), []);
    assert!(matches!(device.temperature(TemperatureSensor::Gpu), Err(NvmlError::NotSupported)));
    assert!(matches!(device.utilization_rates(), Err(NvmlError::NotSupported)));
    assert!(matches!(device.serial(), Err(NvmlError::NotSupported)));
    assert_eq!(nvml.device_by_uuid(uuid(index)).unwrap().index().unwrap() as usize, index);
    assert_eq!(nvml.device_by_pci_bus_id(pci.bus_id).unwrap().index().unwrap() as usize, index);
}

/// The client; in the process that runs the tests it has nothing to do.
#[test]
fn asks() {
    let Some(count) = std::env::var(CLIENT).ok().and_then(|count| count.parse::<usize>().ok()) else {
        return;
    };
    let nvml = Nvml::builder().lib_path(nvml().as_os_str()).init().unwrap();
    assert_eq!(nvml.device_count().unwrap() as usize, count);
    assert_eq!(nvml.sys_driver_version().unwrap(), "580.65.06");
    assert_eq!(nvml.sys_cuda_driver_version().unwrap(), 13000);
    assert!(nvml.sys_nvml_version().unwrap().starts_with("13.580"));
    for index in 0..count {
        asked(index, &nvml.device_by_index(u32::try_from(index).unwrap()).unwrap(), &nvml);
    }
    let beyond = nvml.device_by_index(u32::try_from(count).unwrap());
    assert!(matches!(beyond, Err(NvmlError::InvalidArg)));
    nvml.shutdown().unwrap();
    println!("{count} devices asked");
}

fn asked_with(count: usize) {
    let grant = Grant::of(count);
    let mut client = grant.program(&std::env::current_exe().unwrap());
    let output = client
        .args(["--exact", "wrapper::asks", "--nocapture"])
        .env(CLIENT, count.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(&format!("{count} devices asked")), "{said}");
}

#[test]
fn the_wrapper_finds_one_device() {
    asked_with(1);
}

#[test]
fn the_wrapper_finds_sixteen_devices() {
    asked_with(16);
}

/// A grant without a device is no reason to fail: NVML is there, and counts none.
#[test]
fn the_wrapper_finds_none_where_none_was_granted() {
    asked_with(0);
}
