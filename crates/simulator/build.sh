#!/usr/bin/env bash
# Builds the virtual driver into OUTDIR: libcuda.so.1 and libnvidia-ml.so.1. Usage: crates/simulator/build.sh OUTDIR
# It has std inside and is loaded into containers with an old glibc, so it is linked by zig against glibc 2.17.
set -euo pipefail
out="$(mkdir -p "${1:?usage: crates/simulator/build.sh OUTDIR}" && cd "$1" && pwd)"
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
zig="${FIRSTLIGHT_CACHE:-$HOME/.cache/firstlight}/tools/zigbuild-0.24.0"

if [ ! -e "$zig/complete" ]; then
    echo "installing zig, the linker for old glibc (once)"
    rm -rf "$zig"
    python3 -m venv "$zig"
    "$zig/bin/pip" install --quiet --disable-pip-version-check cargo-zigbuild==0.24.0 ziglang==0.16.0
    touch "$zig/complete"
fi
PATH="$zig/bin:$PATH" CARGO_ZIGBUILD_PYTHON_PATH="$zig/bin/python3" cargo-zigbuild zigbuild --quiet \
    --profile simulator --target x86_64-unknown-linux-gnu.2.17 -p firstlight-simulator-cuda -p firstlight-simulator-nvml
# What is the same stays (see crates/shim/build.sh).
place() {
    local built="$target/x86_64-unknown-linux-gnu/simulator/$1"
    cmp -s "$built" "$out/$2" || { cp "$built" "$out/.$2.new" && mv "$out/.$2.new" "$out/$2"; }
}
place libfirstlight_simulator_cuda.so libcuda.so.1
place libfirstlight_simulator_nvml.so libnvidia-ml.so.1
