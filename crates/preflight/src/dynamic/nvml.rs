//! NVML: initialised, asked for the driver's version, shut down.

use crate::library::{Library, Wrong, functions};
use crate::out::Out;
use firstlight_contract::paths::library::NVML;
use firstlight_contract::preflight::{Finding, Outcome, Probe};
use firstlight_driver_api::codes::nvml_name;
use firstlight_preflight::steps::loader_words;

functions! {
    nvmlInit_v2();
    nvmlSystemGetDriverVersion(version: &mut [u8; 80], length: u32);
    nvmlShutdown();
}

pub(crate) fn probe(out: &mut Out) {
    out.begin(Probe::Nvml, NVML);
    let finding = |outcome| Finding::new(Probe::Nvml, outcome).on(NVML);
    let library = match Library::open(NVML) {
        Ok(library) => library,
        Err(words) => return out.found(finding(not_opened(NVML, &words)).saying(loader_words(NVML, &words))),
    };
    out.found(match version(library) {
        Ok(version) => finding(Outcome::Ok).saying(version),
        Err(Wrong::Absent(name)) => finding(Outcome::Failed).saying(format!("no function {name}")),
        Err(Wrong::Code(name, code)) => finding(Outcome::Code(code))
            .saying(format!("{name}: {}", nvml_name(code).unwrap_or("unknown code"))),
    });
}

fn version(library: Library) -> Result<String, Wrong> {
    nvmlInit_v2(library)?;
    let mut version = [0; 80];
    nvmlSystemGetDriverVersion(library, &mut version, 80)?;
    // Its answer was given; how it shuts down is nobody's question.
    let _ = nvmlShutdown(library);
    Ok(text(&version))
}

/// A string that ends with a zero, or with its buffer.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// A library that is not there is told from one that cannot be loaded.
pub(crate) fn not_opened(name: &str, words: &str) -> Outcome {
    let missing = format!("{name}: cannot open shared object file: No such file or directory");
    if words == missing { Outcome::Absent } else { Outcome::Failed }
}
