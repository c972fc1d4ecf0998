#!/usr/bin/env bash
# Every benchmark, one after the other; each prints its figures beside the bars and ends with 1 where one is missed.
# Usage: make bench (needs `make deps` for the runtime's figure)
set -uo pipefail
cd "$(dirname "$0")/.."
cache="${FIRSTLIGHT_CACHE:-$HOME/.cache/firstlight}"
missed=0 programs=0

bench() {
    local name="$1"
    shift
    programs=$((programs + 1))
    printf '\n== %s\n' "$name"
    "$@" || missed=$((missed + 1))
}

export FIRSTLIGHT_SHIM_DIR="$PWD/build/shim" FIRSTLIGHT_DRIVER_DIR="$PWD/build/simulator"
export FIRSTLIGHT_CUDART="$cache/current/cudart/lib/13.0/libcudart.so.13"
[ -e "$FIRSTLIGHT_CUDART" ] || { echo "no $FIRSTLIGHT_CUDART (make deps): its figure is left out"; unset FIRSTLIGHT_CUDART; }
bench "shim: added to what is behind it" cargo run --quiet --release -p firstlight-shim --example bench
bench "shim: the quota's core" cargo run --quiet --release -p firstlight-shim --example quota
bench "shim: threads and processes at the edge of a quota" cargo run --quiet --release -p firstlight-shim --example race
# The static binaries, as they are shipped.
export FIRSTLIGHT_BENCH_PLUGIN="$PWD/build/bin/firstlight-plugin" FIRSTLIGHT_BENCH_WEBHOOK="$PWD/build/bin/firstlight-webhook"
bench "plugin" cargo bench --quiet -p firstlight-plugin --bench plugin
bench "webhook" cargo bench --quiet -p firstlight-webhook --bench webhook

printf '\n%s\n' "$([ "$missed" -eq 0 ] && echo "every bar is met" || echo "$missed of $programs programs miss a bar")"
exit "$missed"
