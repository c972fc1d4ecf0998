//! The rows: cause, how it was made to happen, its twin, how that was.

use crate::world::{Said, World, built, row};
use firstlight_testing::{product, runtime};

const ALL: &str = "count memory malloc=4096 load launch=3 sync";

macro_rules! causes {
    ($($test:ident: $cause:literal by $how:literal => $made:expr, twin $twin:literal by $twin_how:literal => $other:expr;)+) => {
        $(#[test]
        fn $test() {
            if built() {
                let (said, other): (Said, Said) = ($made, $other);
                row($cause, $how, $twin, $twin_how, &said, &other);
            }
        })+
    };
}

fn ordered(faults: &str) -> Said {
    World::ordered(faults).does(ALL)
}

fn works() -> Said {
    World::simulated().does(ALL)
}

fn under_12(world: World) -> Said {
    world.runs(&format!("CUDART={} cuda {ALL}", runtime("12.9").display()))
}

const NODES: [&str; 3] = ["nvidiactl", "nvidia0", "nvidia-uvm"];

causes! {
    ok: "ok" by "everything works, kernels are launched and waited for" => works(),
        twin "unknown" by "devices are counted and nothing more is done" => World::simulated().does("count");
    never_attempted: "never-attempted" by "a program without CUDA" => World::simulated().command(&["true"]),
        twin "recorder-not-loaded" by "a static program" => World::simulated().command(&[&busybox(), "true"]);
    recorder_not_loaded: "recorder-not-loaded" by "a static program" => World::simulated().command(&[&busybox(), "true"]),
        twin "never-attempted" by "a dynamic program without CUDA" => World::simulated().command(&["true"]);
    cpu_by_design: "cpu-by-design" by "a runner with -ngl 0 after a good discovery"
        => World::simulated().runs("llama-server --list-devices count memory; llama-server --model /x -ngl 0"),
        twin "ok" by "the same without -ngl 0, on the GPU"
        => World::simulated().runs("llama-server --list-devices count memory; llama-server --model /x count memory load launch=3 sync");
    preload_object_broken: "preload-object-broken" by "a preloaded library that needs one that is not there"
        => World::simulated().preloading_what_lacks_a_library().command(&["true"]),
        twin "never-attempted" by "a preloaded library that is not there itself"
        => World::simulated().with("LD_PRELOAD", "/nowhere/other.so").command(&["true"]);
    foreign_shim_fault: "foreign-shim-fault" by "a preloaded library that crashes when it is loaded"
        => World::simulated().preloading(&["-DCRASH"]).command(&["true"]),
        twin "never-attempted" by "a preloaded library that does nothing"
        => World::simulated().preloading(&[]).command(&["true"]);
    driver_library_not_found: "driver-library-not-found" by "a text file in place of the driver"
        => World::not_a_driver().does("count"),
        twin "driver-not-injected" by "an installed driver, and no device nodes"
        => World::installed("node.c", &[]).with("INIT", "100").runs("driver-api init");
    driver_not_injected: "driver-not-injected" by "cuInit returns 100, and no device nodes"
        => World::installed("node.c", &[]).with("INIT", "100").runs("driver-api init"),
        twin "uvm-device-missing" by "the same with all nodes but that of unified memory"
        => World::installed("node.c", &NODES[..2]).with("INIT", "100").runs("driver-api init");
    uvm_device_missing: "uvm-device-missing" by "cuInit returns 999, and no /dev/nvidia-uvm"
        => World::installed("node.c", &NODES[..2]).with("INIT", "999").runs("driver-api init"),
        twin "driver-init-failed" by "the same with all nodes"
        => World::installed("node.c", &NODES).with("INIT", "999").runs("driver-api init");
    hidden_by_env: "hidden-by-env" by "CUDA_VISIBLE_DEVICES=-1"
        => World::simulated().with("CUDA_VISIBLE_DEVICES", "-1").does(ALL),
        twin "ok" by "CUDA_VISIBLE_DEVICES=0" => World::simulated().with("CUDA_VISIBLE_DEVICES", "0").does(ALL);
    symbol_lookup_broken: "symbol-lookup-broken" by "a driver without cuInit" => ordered("no-function=cuInit"),
        twin "driver-too-old" by "a driver that says 11.8" => ordered("driver-version=11080");
    driver_too_old: "driver-too-old" by "a driver that says 12.8 under a runtime of CUDA 13"
        => ordered("driver-version=12080"),
        twin "ok" by "the same under a runtime of CUDA 12" => under_12(World::ordered("driver-version=12080"));
    compat_or_stub_driver: "compat-or-stub-driver" by "cuInit returns 803, the library lies in compat/"
        => World::driver("node.c", &[], "compat").with("INIT", "803").runs("driver-api init"),
        twin "driver-user-kernel-mismatch" by "the same library in another folder"
        => World::driver("node.c", &[], "lib").with("INIT", "803").runs("driver-api init");
    driver_user_kernel_mismatch: "driver-user-kernel-mismatch" by "cuInit returns 803" => ordered("init-returns=803"),
        twin "compat-or-stub-driver" by "cuInit returns 804" => ordered("init-returns=804");
    fabric_not_ready: "fabric-not-ready" by "cuInit returns 802" => ordered("init-returns=802"),
        twin "ok" by "cuInit takes two seconds and returns 0" => ordered("hang=cuInit:2");
    cgroup_device_lost: "cgroup-device-lost" by "kernels were launched; a new process gets 999"
        => World::driver("node.c", &[], "lib").runs("driver-api init work; INIT=999 driver-api init"),
        twin "driver-init-failed" by "no kernel was launched; a new process gets 999"
        => World::driver("node.c", &[], "lib").runs("driver-api init; INIT=999 driver-api init");
    driver_init_failed: "driver-init-failed" by "cuInit returns 3" => ordered("init-returns=3"),
        twin "device-query-failed" by "the device queries return 3" => ordered("query-returns=3");
    discovery_timeout: "discovery-timeout" by "cuInit has not returned after 21 seconds"
        => World::ordered("hang=cuInit:60").runs("timeout -s KILL 21 cuda count"),
        twin "ok" by "cuInit returns after two seconds" => ordered("hang=cuInit:2");
    export_table_missing: "export-table-missing" by "a driver without cuGetExportTable" => ordered("no-export-table"),
        twin "export-table-refused" by "a driver that refuses the first table"
        => ordered("refuse-table=cudart-interface:500");
    export_table_refused: "export-table-refused" by "a driver that refuses the first table"
        => ordered("refuse-table=cudart-interface:500"),
        twin "ok" by "a driver that refuses the table that the runtime does without"
        => ordered("refuse-table=optional-12-9:500");
    dummy_symbol_crash: "dummy-symbol-crash" by "the driver says success of cuDeviceGet and gives none; it is called"
        => World::driver("node.c", &[], "lib").with("NULLS", "1").runs("exec driver-api init null"),
        twin "foreign-shim-fault" by "another preloaded library crashes"
        => World::simulated().preloading(&["-DCRASH"]).command(&["true"]);
    device_query_failed: "device-query-failed" by "the device queries return 999" => ordered("query-returns=999"),
        twin "hidden-by-env" by "CUDA_VISIBLE_DEVICES is empty"
        => World::simulated().with("CUDA_VISIBLE_DEVICES", "").does(ALL);
    mig_device_filtered: "mig-device-filtered" by "the second discovery names a device that the driver does not know"
        => World::simulated().runs("ollama runner --ollama-engine count; \
            GGML_CUDA_INIT=1 CUDA_VISIBLE_DEVICES=GPU-00000000-1111-2222-3333-444444444444 ollama runner --ollama-engine count"),
        twin "driver-init-failed" by "the same without the mark of the second discovery"
        => World::simulated().runs("cuda count; \
            CUDA_VISIBLE_DEVICES=GPU-00000000-1111-2222-3333-444444444444 ollama runner --ollama-engine count; true");
    no_room_for_context: "no-room-for-context" by "the context returns 2" => ordered("context-returns=2"),
        twin "out-of-memory-at-load" by "an allocation of more than there is"
        => World::simulated().does("count memory malloc=0x40000000000");
    vgpu_profile_unsupported: "vgpu-profile-unsupported" by "the context returns 801" => ordered("context-returns=801"),
        twin "export-table-refused" by "a private table returns 801" => ordered("refuse-table=cudart-interface:801");
    memory_info_wrong: "memory-info-wrong" by "cuMemGetInfo returns 999"
        => World::ordered("memory-info-returns=999").does("count memory"),
        twin "no-room-for-context" by "cuMemGetInfo returns 2"
        => World::ordered("memory-info-returns=2").does("count memory");
    context_failed: "context-failed" by "the context returns 719" => ordered("context-returns=719"),
        twin "no-room-for-context" by "the context returns 2" => ordered("context-returns=2");
    gpu_lost_after_start: "gpu-lost-after-start" by "the device falls off the bus after two launches"
        => ordered("lost-after-launches=2"),
        twin "device-error-sticky" by "every launch returns 700" => ordered("launch-returns=700");
    out_of_memory_at_load: "out-of-memory-at-load" by "an allocation of more than there is"
        => World::simulated().does("count memory malloc=0x40000000000"),
        twin "no-room-for-context" by "the context returns 2" => ordered("context-returns=2");
    ptx_jit_unavailable: "ptx-jit-unavailable" by "loading a module returns 221" => ordered("load-returns=221"),
        twin "architecture-not-in-build" by "loading a module returns 209" => ordered("load-returns=209");
    architecture_not_in_build: "architecture-not-in-build" by "loading a module returns 209" => ordered("load-returns=209"),
        twin "ptx-jit-unavailable" by "loading a module returns 222" => ordered("load-returns=222");
    api_not_provided: "api-not-provided" by "a driver without cuLaunchKernel" => ordered("no-function=cuLaunchKernel"),
        twin "ok" by "a driver without cuGraphicsGLRegisterBuffer" => ordered("no-function=cuGraphicsGLRegisterBuffer");
    device_error_sticky: "device-error-sticky" by "every launch returns 700" => ordered("launch-returns=700"),
        twin "compute-failed" by "every launch returns 1" => ordered("launch-returns=1");
    compute_failed: "compute-failed" by "every launch returns 1" => ordered("launch-returns=1"),
        twin "device-error-sticky" by "every launch returns 700" => ordered("launch-returns=700");
    vulkan_instead_of_cuda: "vulkan-instead-of-cuda" by "a runner with Vulkan's backend, for 21 seconds"
        => World::simulated().runs("ollama serve; GGML_BACKEND_PATH=/usr/lib/ollama/vulkan/libggml-vulkan.so \
            llama-server sleep=21 --model /x"),
        twin "never-attempted" by "the same with CUDA's backend"
        => World::simulated().runs("ollama serve; GGML_BACKEND_PATH=/usr/lib/ollama/cuda_v13/libggml-cuda.so \
            llama-server sleep=1 --model /x");
}

/// The static busybox of the products.
fn busybox() -> String {
    product("busybox/bin/busybox").to_str().unwrap().to_owned()
}
