#!/usr/bin/env bash
# Builds both halves of the preflight into OUTDIR. Usage: crates/preflight/build.sh OUTDIR
# The static one runs in every image. The dynamic one is started by the image's own loader, so it is linked by zig against
# glibc 2.17, as the simulator is.
set -euo pipefail
out="$(mkdir -p "${1:?usage: crates/preflight/build.sh OUTDIR}" && cd "$1" && pwd)"
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
cargo build --quiet --profile preflight --target x86_64-unknown-linux-musl \
    -p firstlight-preflight --bin firstlight-preflight
PATH="$zig/bin:$PATH" CARGO_ZIGBUILD_PYTHON_PATH="$zig/bin/python3" cargo-zigbuild zigbuild --quiet \
    --profile preflight --target x86_64-unknown-linux-gnu.2.17 -p firstlight-preflight --bin firstlight-preflight-dynamic
# What is the same stays (see crates/shim/build.sh).
place() {
    local built="$target/$1/preflight/$2"
    cmp -s "$built" "$out/$2" || { cp "$built" "$out/.$2.new" && mv "$out/.$2.new" "$out/$2"; }
}
place x86_64-unknown-linux-musl firstlight-preflight
place x86_64-unknown-linux-gnu firstlight-preflight-dynamic
