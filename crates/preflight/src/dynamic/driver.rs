//! The driver, asked stage by stage as a CUDA program asks it. The first stage that fails is the last one, except for
//! the private tables: only NVIDIA's runtime needs them, and what works without them tells a virtual driver that lacks
//! them from a broken one.

use crate::library::{Library, Wrong, functions};
use crate::nvml::{not_opened, text};
use crate::out::Out;
use firstlight_contract::paths::library::CUDA;
use firstlight_contract::preflight::{Finding, Outcome, Probe};
use firstlight_driver_api::codes::cuda_name;
use firstlight_driver_api::tables::TABLES;
use firstlight_preflight::steps::loader_words;
use std::ffi::{CStr, c_char, c_void};

functions! {
    cuDriverGetVersion(version: &mut i32);
    cuInit(flags: u32);
    cuGetExportTable(table: &mut usize, uuid: &[u8; 16]);
    cuGetProcAddress_v2(name: *const c_char, found: &mut usize, version: i32, flags: u64, status: &mut u32);
    cuDeviceGetCount(count: &mut i32);
    cuDeviceGet(device: &mut i32, ordinal: i32);
    cuDeviceGetName(name: &mut [u8; 128], length: i32, device: i32);
    cuDeviceGetAttribute(value: &mut i32, attribute: u32, device: i32);
    cuDeviceTotalMem_v2(bytes: &mut usize, device: i32);
    cuDeviceGetUuid(uuid: &mut [u8; 16], device: i32);
    cuDeviceGetPCIBusId(id: &mut [u8; 32], length: i32, device: i32);
    cuDevicePrimaryCtxRetain(context: &mut usize, device: i32);
    cuDevicePrimaryCtxRelease_v2(device: i32);
    cuCtxSetCurrent(context: usize);
    cuCtxSynchronize();
    cuMemGetInfo_v2(free: &mut usize, total: &mut usize);
    cuMemAlloc_v2(pointer: &mut u64, bytes: usize);
    cuMemFree_v2(pointer: u64);
    cuModuleLoadData(module: &mut usize, image: *const c_char);
    cuModuleGetFunction(function: &mut usize, module: usize, name: *const c_char);
    cuModuleUnload(module: usize);
    #[expect(clippy::too_many_arguments, reason = "it has that many")]
    cuLaunchKernel(
        function: usize, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared: u32, stream: usize, parameters: *const c_void, extra: *const c_void
    );
}

/// Devices that are asked: ggml takes no more.
const MOST_DEVICES: i32 = 16;
const ALLOCATION: usize = 1 << 20;
/// A kernel that does nothing, in the oldest PTX that Ollama's builds have a use for: every driver of a card that they
/// run on compiles it.
const PTX: &CStr =
    c".version 6.0\n.target sm_50\n.address_size 64\n.visible .entry firstlight()\n{\n\tret;\n}\n";
const KERNEL: &CStr = c"firstlight";

const CAPABILITY_MAJOR: u32 = 75;
const CAPABILITY_MINOR: u32 = 76;

pub(crate) fn probe(out: &mut Out) {
    let Some(driver) = open(out) else { return };
    let _ = stages(out, driver);
}

fn open(out: &mut Out) -> Option<Library> {
    out.begin(Probe::Open, CUDA);
    let finding = |outcome| Finding::new(Probe::Open, outcome).on(CUDA);
    match Library::open(CUDA) {
        Ok(library) => {
            let file = library.file_of(c"cuInit").unwrap_or_default();
            out.found(finding(Outcome::Ok).saying(file));
            Some(library)
        }
        Err(words) => {
            out.found(finding(not_opened(CUDA, &words)).saying(loader_words(CUDA, &words)));
            None
        }
    }
}

/// A stage failed, which was said.
struct Stop;

/// Tries one stage, and says what came of it.
fn stage<T>(
    out: &mut Out,
    probe: Probe,
    subject: &str,
    work: impl FnOnce() -> Result<T, Wrong>,
    detail: impl FnOnce(&T) -> Finding,
) -> Result<T, Stop> {
    out.begin(probe, subject);
    let wrong = match work() {
        Ok(value) => {
            let finding = detail(&value);
            let went_well = !finding.outcome.is_bad();
            out.found(finding);
            return if went_well { Ok(value) } else { Err(Stop) };
        }
        Err(wrong) => wrong,
    };
    out.found(finding(probe, wrong, subject));
    Err(Stop)
}

fn finding(probe: Probe, wrong: Wrong, about: &str) -> Finding {
    let (name, finding) = match wrong {
        Wrong::Absent(name) => {
            (name, Finding::new(probe, Outcome::Absent).saying("the driver has no such function"))
        }
        Wrong::Code(name, code) => {
            let words = cuda_name(code).unwrap_or("no code of cuda.h");
            (name, Finding::new(probe, Outcome::Code(code)).saying(words))
        }
    };
    // Which device, where it is not the first.
    let of = about.split_once(" of ").map(|(_, device)| format!("{name} of {device}"));
    finding.on(of.as_deref().unwrap_or(name))
}

fn stages(out: &mut Out, driver: Library) -> Result<(), Stop> {
    let ok = |probe, subject: &str| Finding::new(probe, Outcome::Ok).on(subject);
    let version = || {
        let mut version = 0;
        cuDriverGetVersion(driver, &mut version).map(|()| version)
    };
    let name = "cuDriverGetVersion";
    stage(out, Probe::Version, name, version, |version| {
        ok(Probe::Version, name).saying(version.to_string())
    })?;
    stage(out, Probe::Init, "cuInit", || cuInit(driver, 0), |()| ok(Probe::Init, "cuInit"))?;
    tables(out, driver);
    let count = || {
        let mut count = 0;
        cuDeviceGetCount(driver, &mut count).map(|()| count)
    };
    let count = stage(out, Probe::Count, "cuDeviceGetCount", count, |count| {
        ok(Probe::Count, "cuDeviceGetCount").saying(count.to_string())
    })?;
    if count < 1 {
        return Err(Stop);
    }
    let devices = 0..count.min(MOST_DEVICES);
    for ordinal in devices.clone() {
        let name = of("cuDeviceGet", ordinal);
        stage(out, Probe::Query, &name, || Properties::of(driver, ordinal), Properties::finding)?;
    }
    for ordinal in devices.clone() {
        let name = of("cuDevicePrimaryCtxRetain", ordinal);
        let device =
            stage(out, Probe::Context, &name, || retain(driver, ordinal), |_| ok(Probe::Context, &name))?;
        let name = of("cuMemGetInfo", ordinal);
        stage(
            out,
            Probe::Memory,
            &name,
            || memory(driver),
            |(free, total)| {
                let outcome = if *total > 0 && free <= total { Outcome::Ok } else { Outcome::Failed };
                Finding::new(Probe::Memory, outcome).on(&name).saying(format!("{free}/{total}"))
            },
        )?;
        if ordinal > 0 {
            // One device is enough for what follows; its context stays.
            let _ = cuDevicePrimaryCtxRelease_v2(driver, device);
        }
    }
    // The first device again: retained above, made current anew.
    let _ = retain(driver, 0);
    let allocate = || {
        let mut pointer = 0;
        cuMemAlloc_v2(driver, &mut pointer, ALLOCATION)?;
        cuMemFree_v2(driver, pointer)
    };
    stage(out, Probe::Allocate, "cuMemAlloc", allocate, |()| {
        ok(Probe::Allocate, "cuMemAlloc").saying(ALLOCATION.to_string())
    })?;
    let load = || {
        let (mut module, mut function) = (0, 0);
        cuModuleLoadData(driver, &mut module, PTX.as_ptr())?;
        cuModuleGetFunction(driver, &mut function, module, KERNEL.as_ptr())?;
        Ok((module, function))
    };
    let (module, function) =
        stage(out, Probe::Code, "cuModuleLoadData", load, |_| ok(Probe::Code, "cuModuleLoadData"))?;
    let nothing = std::ptr::null();
    let launch = || {
        cuLaunchKernel(driver, function, 1, 1, 1, 1, 1, 1, 0, 0, nothing, nothing)?;
        cuCtxSynchronize(driver)
    };
    let launched =
        stage(out, Probe::Launch, "cuLaunchKernel", launch, |()| ok(Probe::Launch, "cuLaunchKernel"));
    // Everything was answered; the process ends now.
    let _ = cuModuleUnload(driver, module);
    let _ = cuDevicePrimaryCtxRelease_v2(driver, 0);
    launched
}

/// The function's name for the first device, else with the device.
fn of(function: &str, ordinal: i32) -> String {
    if ordinal == 0 { function.to_owned() } else { format!("{function} of device {ordinal}") }
}

/// Tables that some of the runtimes 12.8 to 13.5 do without: 12.x tolerates a refusal of the one, only 13.5 asks for the
/// other. Whether this image's does is seen when it is asked for devices.
const FOR_SOME: [&str; 2] = ["context-checks", "tools-context"];

/// A line for each table that is not served, or one for all.
fn tables(out: &mut Out, driver: Library) {
    const NAME: &str = "cuGetExportTable";
    out.begin(Probe::Table, NAME);
    if !has(driver, c"cuGetExportTable") {
        return out.found(finding(Probe::Table, Wrong::Absent(NAME), NAME));
    }
    let (mut served, mut without) = (0, Vec::new());
    for table in TABLES.iter().filter(|table| !table.optional) {
        let mut address = 0;
        out.begin(Probe::Table, table.name);
        match cuGetExportTable(driver, &mut address, &table.uuid) {
            Ok(()) if address != 0 => served += 1,
            Ok(()) => {
                let finding = Finding::new(Probe::Table, Outcome::Failed).on(table.name);
                out.found(finding.saying("success, and no table"));
            }
            Err(Wrong::Code(..)) if FOR_SOME.contains(&table.name) => without.push(table.name),
            Err(wrong) => out.found(finding(Probe::Table, wrong, NAME).on(table.name)),
        }
    }
    if served > 0 {
        let without =
            if without.is_empty() { String::new() } else { format!(", not {}", without.join(", ")) };
        out.found(
            Finding::new(Probe::Table, Outcome::Ok).on(NAME).saying(format!("{served} tables{without}")),
        );
    }
}

/// Whether the driver has this function, as the runtime asks: behind a shim every symbol is there, and only the
/// driver's own lookup knows. A driver without the lookup is believed: then the symbols speak.
fn has(driver: Library, name: &CStr) -> bool {
    const VERSION: i32 = 12_000;
    let (mut found, mut status) = (0, 0);
    match cuGetProcAddress_v2(driver, name.as_ptr(), &mut found, VERSION, 0, &mut status) {
        Ok(()) => found != 0,
        Err(Wrong::Code(..)) => false,
        Err(Wrong::Absent(_)) => driver.find(name).is_some(),
    }
}

/// What a device says of itself.
struct Properties {
    name: String,
    capability: (i32, i32),
    bytes: usize,
    uuid: [u8; 16],
    /// Nothing where the driver does not tell: nobody needs it to come up.
    pci: String,
}

impl Properties {
    fn of(driver: Library, ordinal: i32) -> Result<Self, Wrong> {
        let mut device = 0;
        cuDeviceGet(driver, &mut device, ordinal)?;
        let mut name = [0; 128];
        cuDeviceGetName(driver, &mut name, 127, device)?;
        let attribute = |number| {
            let mut value = 0;
            cuDeviceGetAttribute(driver, &mut value, number, device).map(|()| value)
        };
        let capability = (attribute(CAPABILITY_MAJOR)?, attribute(CAPABILITY_MINOR)?);
        let mut bytes = 0;
        cuDeviceTotalMem_v2(driver, &mut bytes, device)?;
        let mut uuid = [0; 16];
        cuDeviceGetUuid(driver, &mut uuid, device)?;
        let mut pci = [0; 32];
        let pci = cuDeviceGetPCIBusId(driver, &mut pci, 31, device).map_or(String::new(), |()| text(&pci));
        Ok(Self { name: text(&name), capability, bytes, uuid, pci })
    }

    fn finding(&self) -> Finding {
        let Self { name, capability: (major, minor), bytes, uuid, pci } = self;
        let outcome =
            if *bytes > 0 && *major > 0 && !name.is_empty() { Outcome::Ok } else { Outcome::Failed };
        let uuid = gpu_uuid(*uuid);
        let detail = format!("{uuid} {pci} capability {major}.{minor}, {bytes} bytes").replace("  ", " ");
        Finding::new(Probe::Query, outcome).on(name).saying(detail)
    }
}

/// As NVIDIA's tools write it.
fn gpu_uuid(uuid: [u8; 16]) -> String {
    uuid.iter().enumerate().fold("GPU".to_owned(), |text, (index, byte)| {
        let dash = if matches!(index, 0 | 4 | 6 | 8 | 10) { "-" } else { "" };
        format!("{text}{dash}{byte:02x}")
    })
}

/// Makes the device's context the current one; the device.
fn retain(driver: Library, ordinal: i32) -> Result<i32, Wrong> {
    let (mut device, mut context) = (0, 0);
    cuDeviceGet(driver, &mut device, ordinal)?;
    cuDevicePrimaryCtxRetain(driver, &mut context, device)?;
    cuCtxSetCurrent(driver, context)?;
    Ok(device)
}

fn memory(driver: Library) -> Result<(usize, usize), Wrong> {
    let (mut free, mut total) = (0, 0);
    cuMemGetInfo_v2(driver, &mut free, &mut total)?;
    Ok((free, total))
}
