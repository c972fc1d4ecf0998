#!/bin/sh
# A pod's first process: waits for SIGTERM and reaps orphans. Static.
. "$(dirname "$0")/../lib.sh"
mkdir -p "$OUT/bin"
musl-gcc -static -Os -s -o "$OUT/bin/pause" "$(dirname "$0")/pause.c"
