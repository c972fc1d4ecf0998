#!/usr/bin/env bash
# Builds the preload objects into OUTDIR: libcuda.so.1 and libnvidia-ml.so.1. Usage: crates/shim/build.sh OUTDIR
set -euo pipefail
out="$(mkdir -p "${1:?usage: crates/shim/build.sh OUTDIR}" && cd "$1" && pwd)"
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
cargo build --quiet --profile shim -p firstlight-shim-cuda -p firstlight-shim-nvml
# What is the same stays: the command line, which holds these files, is linked anew for a new date.
place() { cmp -s "$target/shim/$1" "$out/$2" || { cp "$target/shim/$1" "$out/.$2.new" && mv "$out/.$2.new" "$out/$2"; }; }
place libfirstlight_shim_cuda.so libcuda.so.1
place libfirstlight_shim_nvml.so libnvidia-ml.so.1
