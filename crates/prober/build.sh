#!/usr/bin/env bash
# Builds the prober's dynamic half into OUTDIR. Usage: crates/prober/build.sh OUTDIR
# The node's own loader starts it, whose glibc may be old, so it is linked by zig against glibc 2.17, as the simulator is.
set -euo pipefail
out="$(mkdir -p "${1:?usage: crates/prober/build.sh OUTDIR}" && cd "$1" && pwd)"
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
    --profile preflight --target x86_64-unknown-linux-gnu.2.17 -p firstlight-prober
# What is the same stays (see crates/shim/build.sh).
built="$target/x86_64-unknown-linux-gnu/preflight/firstlight-prober"
cmp -s "$built" "$out/firstlight-prober" || {
    cp "$built" "$out/.firstlight-prober.new" && mv "$out/.firstlight-prober.new" "$out/firstlight-prober"
}
