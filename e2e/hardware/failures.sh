#!/usr/bin/env bash
# Breaks CUDA in the ways that containers do, on a machine with a card, and keeps what the shim recorded: files that the
# tests of the diagnosis read. Nothing outside the processes started here is changed.
# Usage: e2e/hardware/failures.sh BUNDLE DRIVER OUT   (needs root for the mount namespaces)
set -uo pipefail
bundle="$(cd "${1:?usage: e2e/hardware/failures.sh BUNDLE DRIVER OUT}" && pwd)"
driver="${2:?usage: e2e/hardware/failures.sh BUNDLE DRIVER OUT}"
out="$(mkdir -p "${3:?usage: e2e/hardware/failures.sh BUNDLE DRIVER OUT}" && cd "$3" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# record NAME DRIVER CMD…: the command is the last one of a chain; what comes before it sets the scene unrecorded.
record() {
    local name="$1" libcuda="$2" code=0
    shift 2
    : >"$out/$name.records"
    chmod 666 "$out/$name.records"
    printf 'firstlight-grant=1\nid=%032d\npool=hardware\nkind=custom\ndriver=%s\nnvml=auto\nrecords=%s\n' \
        0 "$libcuda" "$out/$name.records" >"$work/$name.grant"
    BEHIND="env LD_PRELOAD=$bundle/shim/libcuda.so.1 FIRSTLIGHT_GRANT=$work/$name.grant" timeout 60 "$@" \
        >"$work/out" 2>&1 || code=$?
    printf '%s: exit %s: %s\n' "$name" "$code" "$(tail -1 "$work/out")"
    "$bundle/bin/kubectl-firstlight" decode "$out/$name.records" | grep -E ' = [0-9]+ \(|missing|refused' | head -6 |
        sed 's/^/    /'
}
# scene SCRIPT CMD…: runs the command in a mount namespace of its own, after the script.
scene() {
    local script="$1"
    shift
    unshare -m bash -c "set -e; mount --make-rprivate /; $script; exec \$BEHIND \"\$@\"" scene "$@"
}
plain() { bash -c 'exec $BEHIND "$@"' plain "$@"; }
export -f scene plain

# Who may not make device nodes, as in a container; the driver makes them for root.
nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
bench="$bundle/bin/bench"
runtime="$bundle/cudart/13.0/libcudart.so.13"
count=("$bench" runtime "$runtime")
in_scene() { local name="$1" script="$2"; shift 2; record "$name" "$driver" bash -c 'scene "$@"' _ "$script" "$@"; }

in_scene works true "${count[@]}"
in_scene works-as-nobody true "${nobody[@]}" "${count[@]}"
for pair in minus-1=-1 empty= 7=7 other-uuid=GPU-00000000-1111-2222-3333-444444444444 nonsense=nonsense; do
    in_scene "visible-devices-${pair%%=*}" "export CUDA_VISIBLE_DEVICES='${pair#*=}'" "${count[@]}"
done
# A /dev of its own with the nodes of the card, less one.
own_dev='mount -t tmpfs none /mnt; cp -a /dev/null /dev/zero /dev/urandom /mnt/; cp -a /dev/nvidia* /mnt/ 2>/dev/null || true'
for node in nvidiactl nvidia-uvm nvidia-uvm-tools nvidia0; do
    in_scene "no-$node" "$own_dev; rm -f /mnt/$node; mount --move /mnt /dev" "${nobody[@]}" "${count[@]}"
    in_scene "empty-$node" "mount --bind /dev/null /dev/$node" "${count[@]}"
    in_scene "forbidden-$node" "$own_dev; chmod 600 /mnt/$node; mount --move /mnt /dev" "${nobody[@]}" "${count[@]}"
done
in_scene no-nvidia0-for-root "$own_dev; rm -f /mnt/nvidia0; mount --move /mnt /dev" "${count[@]}"
in_scene no-device-nodes "$own_dev; rm -rf /mnt/nvidia*; mount --move /mnt /dev" "${nobody[@]}" "${count[@]}"
in_scene no-proc-driver 'mount -t tmpfs none /proc/driver' "${nobody[@]}" "${count[@]}"
in_scene no-sys 'mount -t tmpfs none /sys' "${nobody[@]}" "${count[@]}"
in_scene few-descriptors 'ulimit -n 6' "${count[@]}"
in_scene little-address-space 'ulimit -v 4000000' "${count[@]}"
in_scene no-locked-memory 'ulimit -l 0' "${count[@]}"
in_scene few-processes 'ulimit -u 1' setpriv --reuid 65533 --regid 65533 --clear-groups "${count[@]}"
stub="$(find /usr/local/cuda*/ / -xdev -path '*stubs/libcuda.so' 2>/dev/null | head -1)"
[ -z "$stub" ] || record stub-library "$stub" bash -c 'plain "$@"' _ "${count[@]}"
record no-such-file /nonexistent/libcuda.so.1 bash -c 'plain "$@"' _ "${count[@]}"
head -c 100000 "$driver" >"$work/cut.so.1"
record cut-file "$work/cut.so.1" bash -c 'plain "$@"' _ "${count[@]}"

# Past cuInit: contexts, memory, code.
cat >"$work/client.py" <<'PY'
import ctypes, os, sys
cuda = ctypes.CDLL("libcuda.so.1")
def must(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    if code:
        print(f"{name} answered {code}"); sys.exit(1)
def context():
    handle = ctypes.c_uint64()
    must("cuInit", 0)
    must("cuDevicePrimaryCtxRetain", ctypes.byref(handle), 0)
    must("cuCtxSetCurrent", handle)
what = sys.argv[1]
if what == "fork":
    must("cuInit", 0)
    child = os.fork()
    if child == 0:
        number = ctypes.c_int()
        must("cuInit", 0)
        must("cuDeviceGetCount", ctypes.byref(number))
        context(); print("the child works"); sys.stdout.flush(); os._exit(0)
    sys.exit(os.waitpid(child, 0)[1] >> 8)
if what == "memory":
    context()
    pointer = ctypes.c_uint64()
    must("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(1 << 40))
if what in ("module", "new-module", "kernel", "fault"):
    context()
    module, function = ctypes.c_uint64(), ctypes.c_uint64()
    version = "99.0" if what == "new-module" else "7.0"
    target = "sm_90" if what == "new-module" else "sm_50"
    write = ".reg .b32 %r<2>;\nmov.u32 %r1, 7;\n.reg .b64 %rd<3>;\nmov.u64 %rd1, 16;\nst.global.u32 [%rd1], %r1;\n"
    text = (f".version {version}\n.target {target}\n.address_size 64\n.visible .entry kernel()\n"
            f"{{\n{write if what == 'fault' else ''}ret;\n}}\n")
    must("cuModuleLoadData", ctypes.byref(module), text.encode())
    must("cuModuleGetFunction", ctypes.byref(function), module, b"kernel")
    threads = 4096 if what == "kernel" else 32
    must("cuLaunchKernel", function, 1, 1, 1, threads, 1, 1, 0, None, None, None)
    must("cuCtxSynchronize")
print("works")
PY
client() { local name="$1" script="$2"; shift 2; in_scene "$name" "$script" python3 "$work/client.py" "$@"; }
client fork-after-init true fork
client too-much-memory true memory
client module-works true module
client module-too-new true new-module
client no-jit-compiler 'for file in $(ldconfig -p | grep -o "/[^ ]*ptxjitcompiler[^ ]*") /usr/local/nvidia/lib64/libnvidia-ptxjitcompiler.so*; do [ -f "$file" ] && mount --bind /dev/null "$(readlink -f "$file")" || true; done; export CUDA_CACHE_DISABLE=1' module
client no-ptx-allowed 'export CUDA_DISABLE_PTX_JIT=1' module
client launch-refused true kernel
client kernel-faults true fault
