//! Reports in the words of the preflight, and what they mean.

use super::*;

fn report(lines: &str) -> Report {
    let fields = |line: &str| line.split('|').map(str::trim).collect::<Vec<_>>().join("\t");
    let text = lines.lines().map(fields).collect::<Vec<_>>().join("\n");
    let report = Report::parse(&format!("{}\n{text}\n", firstlight_contract::preflight::HEADER)).unwrap();
    assert_eq!(report.foreign_lines, 0, "{text}");
    report
}

#[track_caller]
fn assert_is(lines: &str, cause: Cause, confidence: Confidence) -> Finding {
    let finding = judge(&report(lines)).unwrap_or_else(|| panic!("nothing found in\n{lines}"));
    assert_eq!((finding.cause, finding.confidence), (cause, confidence), "{finding:#?}");
    finding
}

const V13: &str = "/usr/lib/ollama/cuda_v13/libggml-cuda.so";
const ALL_WELL: &str = "ollama | ok | 80 | /usr/bin/ollama | 0.33.1
    load | ok | 40 | /usr/lib/ollama/cuda_v13/libggml-cuda.so
    open | ok | 1 | libcuda.so.1 | /opt/firstlight/lib/libcuda.so.1
    version | ok | 0 | | 13000
    init | ok | 20
    table | ok | 0
    count | ok | 0 | | 1
    query | ok | 0 | SIM-A40 | GPU-1 00000000:41:00.0
    context | ok | 1
    memory | ok | 0 | | 1/1
    allocate | ok | 0
    code | ok | 0
    launch | ok | 0
    runtime-count | ok | 3 | /usr/lib/ollama/cuda_v13/libcudart.so.13 | 1";

#[test]
fn nothing_is_wrong_where_everything_went_well() {
    assert_eq!(judge(&report(ALL_WELL)), None);
    assert!(came_up(&report(ALL_WELL)));
    assert!(!came_up(&report("init | ok | 20")), "no kernel was launched");
}

#[test]
fn the_loaders_words_tell_a_missing_symbol_from_a_missing_file() {
    let load = |words: &str| format!("load | failed | 3 | {V13} | {words}");
    assert_is(&load("undefined symbol: cuMemCreate"), Cause::BackendUndefinedSymbol, Certain);
    assert_is(&load("version `libcudart.so.13' not found"), Cause::BackendUndefinedSymbol, Certain);
    let file = "libcublas.so.13: cannot open shared object file: No such file or directory";
    assert_is(&load(file), Cause::BackendRuntimeLibraryMissing, Certain);
    assert_is(&load("file too short"), Cause::BackendRuntimeLibraryMissing, Certain);
    let driver = "libcuda.so.1: cannot open shared object file";
    assert_is(&load(driver), Cause::DriverNotInjected, Likely);
    assert_is(&load("bad weather"), Cause::Unknown, Unknown);
}

#[test]
fn one_backend_that_opens_is_enough() {
    let both = format!(
        "load | failed | 1 | /usr/lib/ollama/cuda_v12/libggml-cuda.so | undefined symbol: x\nload | ok | 2 | {V13}"
    );
    assert_eq!(judge(&report(&both)), None);
}

#[test]
fn an_image_of_ollama_without_any_cuda_backend_is_the_wrong_tag() {
    let none = format!("ollama | ok | 3 | /usr/bin/ollama | 0.33.1\nload | absent | 0 | {V13}");
    assert_is(&none, Cause::BackendRuntimeLibraryMissing, Certain);
    assert_is(&format!("load | absent | 0 | {V13}"), Cause::BackendRuntimeLibraryMissing, Likely);
    assert_eq!(judge(&report("load | skipped | 0 | | no dynamic loader")), None, "it was not looked for");
}

#[test]
fn a_code_alone_is_never_certain() {
    for (line, cause) in [
        ("init | code:999 | 1", Cause::DriverInitFailed),
        ("init | code:802 | 1", Cause::FabricNotReady),
        ("init | code:803 | 1", Cause::DriverUserKernelMismatch),
        ("version | code:34 | 1", Cause::CompatOrStubDriver),
        ("count | code:3 | 1", Cause::DeviceQueryFailed),
        ("context | code:2 | 1", Cause::NoRoomForContext),
        ("context | code:801 | 1", Cause::VgpuProfileUnsupported),
        ("context | code:719 | 1", Cause::ContextFailed),
        ("memory | code:1 | 1", Cause::MemoryInfoWrong),
        ("code | code:222 | 1", Cause::PtxJitUnavailable),
        ("code | code:209 | 1", Cause::ArchitectureNotInBuild),
        ("launch | code:700 | 1", Cause::ComputeFailed),
    ] {
        assert_is(line, cause, Likely);
    }
}

#[test]
fn nvml_and_the_librarys_folder_tell_803_apart() {
    let nvml =
        "nvml | code:18 | 1\nmodule | ok | 0 | /proc/driver/nvidia/version | 550.54\ninit | code:803 | 1";
    assert_is(nvml, Cause::DriverUserKernelMismatch, Certain);
    let compat = "driver | ok | 0 | /usr/lib/x/libcuda.so.1 | /usr/local/cuda/compat/libcuda.so.1\ninit | code:803 | 1";
    assert_is(compat, Cause::CompatOrStubDriver, Certain);
}

#[test]
fn device_nodes_decide_what_999_and_100_are() {
    let nodes = |control: &str, unified: &str, code: u32| {
        format!(
            "device | {control} | 0 | /dev/nvidiactl\ndevice | {unified} | 0 | /dev/nvidia-uvm\ninit | code:{code} | 1"
        )
    };
    assert_is(&nodes("ok", "errno:2", 999), Cause::UvmDeviceMissing, Certain);
    assert_is(&nodes("ok", "errno:1", 100), Cause::UvmDeviceMissing, Certain);
    assert_is(&nodes("ok", "errno:2", 304), Cause::DriverInitFailed, Likely);
    assert_is(&nodes("errno:2", "errno:2", 100), Cause::DriverNotInjected, Certain);
    assert_is(&nodes("errno:1", "errno:1", 999), Cause::CgroupDeviceLost, Likely);
    assert_is(&nodes("ok", "ok", 999), Cause::DriverInitFailed, Likely);
}

#[test]
fn a_variable_that_hides_the_devices_is_named() {
    let hidden = "environment | ok | 0 | CUDA_VISIBLE_DEVICES | -1\ninit | code:100 | 1";
    assert!(
        assert_is(hidden, Cause::HiddenByEnv, Certain).evidence[1].contains("CUDA_VISIBLE_DEVICES=\"-1\"")
    );
    let one = "environment | ok | 0 | CUDA_VISIBLE_DEVICES | 0\ninit | code:100 | 1";
    assert_is(one, Cause::DriverInitFailed, Likely);
    let empty = "environment | ok | 0 | CUDA_VISIBLE_DEVICES | -1\ninit | ok | 1\ncount | ok | 0 | | 0";
    assert_is(empty, Cause::HiddenByEnv, Certain);
}

#[test]
fn what_the_driver_lacks_is_told_from_what_it_refuses() {
    assert_is("table | absent | 0", Cause::ExportTableMissing, Certain);
    assert_is("table | code:500 | 0 | cudart-interface", Cause::ExportTableRefused, Certain);
    assert_is("init | absent | 0", Cause::SymbolLookupBroken, Certain);
    assert_is("query | absent | 0 | cuDeviceGetName", Cause::DeviceQueryFailed, Certain);
    assert_is("launch | absent | 0", Cause::ApiNotProvided, Certain);
}

#[test]
fn a_runtime_that_refuses_a_driver_that_works_names_the_layer_between() {
    let integrity = ALL_WELL.replace("runtime-count | ok | 3", "runtime-count | code:103 | 3");
    assert_is(&integrity, Cause::IntegrityCheckFailed, Certain);
    let old =
        ALL_WELL.replace("runtime-count | ok | 3", "runtime-count | code:35 | 3").replace("13000", "12080");
    assert_is(&old, Cause::DriverTooOld, Certain);
    let other = ALL_WELL.replace("runtime-count | ok | 3", "runtime-count | code:36 | 3");
    assert_is(&other, Cause::Unknown, Unknown);
}

#[test]
fn two_devices_with_one_identity_are_noticed() {
    let second = "\nquery | ok | 0 | SIM-A40 | GPU-2 00000000:41:00.0";
    assert_is(&(ALL_WELL.to_owned() + second), Cause::DeviceIdentityInconsistent, Certain);
    let other = "\nquery | ok | 0 | SIM-A40 | GPU-2 00000000:42:00.0";
    assert_eq!(judge(&report(&(ALL_WELL.to_owned() + other))), None);
}

#[test]
fn a_hang_or_a_crash_beside_another_preloaded_library_is_that_librarys_affair_first() {
    assert_is("init | timeout | 10000", Cause::DiscoveryTimeout, Likely);
    assert_is("init | signal:11 | 0", Cause::Unknown, Unknown);
    let other = "preload | ok | 0 | /opt/other.so\n";
    assert_is(&format!("{other}init | timeout | 10000"), Cause::ForeignShimFault, Likely);
    assert_is(&format!("{other}init | signal:11 | 0"), Cause::ForeignShimFault, Likely);
}

#[test]
fn another_preloaded_library_explains_only_what_nothing_else_does() {
    let other = "preload | ok | 0 | /opt/other.so | dlopen, dlsym\n";
    assert_is(
        &format!("{other}load | failed | 0 | {V13} | bad weather"),
        Cause::LibcInterposerPresent,
        Likely,
    );
    let code = assert_is(&format!("{other}init | code:999 | 0"), Cause::DriverInitFailed, Likely);
    assert!(code.evidence.iter().any(|line| line.contains("replaces dlopen, dlsym")), "{code:?}");
    assert_is(&format!("{other}table | absent | 0"), Cause::ExportTableMissing, Certain);
}

#[test]
fn an_object_that_cannot_be_preloaded_breaks_everything_and_one_that_is_not_there_nothing() {
    let broken = "preload | failed | 0 | /opt/other.so | libmissing.so: cannot open shared object file";
    assert_is(broken, Cause::PreloadObjectBroken, Certain);
    assert_eq!(judge(&report("preload | absent | 0 | /opt/other.so")), None);
}

#[test]
fn a_privileged_program_is_named_where_all_else_went_well() {
    let privileged = format!("privileges | failed | 0 | /usr/bin/ollama | cap_sys_nice\n{ALL_WELL}");
    assert_is(&privileged, Cause::SecureModeLoader, Likely);
    assert_is(
        "privileges | failed | 0 | /usr/bin/ollama | set-id\ninit | code:802 | 0",
        Cause::FabricNotReady,
        Likely,
    );
}
