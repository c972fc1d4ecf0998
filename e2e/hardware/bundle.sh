#!/usr/bin/env bash
# Collects what run.sh needs into one folder, for a machine without a network.
# Usage: e2e/hardware/bundle.sh FOLDER (needs `make deps binaries`)
set -euo pipefail
cd "$(dirname "$0")/../.."
out="${1:?usage: e2e/hardware/bundle.sh FOLDER}"
current="${FIRSTLIGHT_CACHE:-$HOME/.cache/firstlight}/current"
target="${CARGO_TARGET_DIR:-target}"
cargo build --quiet --release -p firstlight-shim --example bench
rm -rf "$out"
mkdir -p "$out/bin" "$out/cudart"
cp build/bin/kubectl-firstlight build/bin/firstlight-prober "$target/release/examples/bench" "$out/bin/"
cp -R build/shim "$out/shim"
cp -R build/simulator "$out/simulator"
cp -R "$current/cudart/lib/." "$out/cudart/"
cp -R "$current/llama-server/lib" "$out/lib"
cp "$current/ggml-cuda/lib/libggml-cuda.so" "$out/lib/"
cp "$current/model/tiny.gguf" "$out/"
