#!/bin/sh
# Debian's static busybox: shell and tools of the images.
. "$(dirname "$0")/../lib.sh"
debian "$WORK/root" busybox-static
mkdir -p "$OUT/bin"
cp "$WORK/root/bin/busybox" "$OUT/bin/busybox"
