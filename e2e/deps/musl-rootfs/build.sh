#!/bin/sh
# musl's loader and a program linked against it: what a glibc preload must not break.
. "$(dirname "$0")/../lib.sh"
mkdir -p "$OUT/lib" "$OUT/bin"
debian "$WORK/root" musl
cp -L "$WORK/root/lib/x86_64-linux-musl/libc.so" "$OUT/lib/ld-musl-x86_64.so.1" 2>/dev/null ||
    cp -L "$WORK/root/usr/lib/x86_64-linux-musl/libc.so" "$OUT/lib/ld-musl-x86_64.so.1"
musl-gcc -Os -s -o "$OUT/bin/hello-musl" "$(dirname "$0")/hello.c"
