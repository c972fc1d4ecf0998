#!/bin/sh
# The shared libraries that Ollama and llama.cpp load, from Debian: the root of the Ollama images.
. "$(dirname "$0")/../lib.sh"
debian "$WORK/root" libc6 libgcc-s1 libstdc++6 libgomp1
mkdir -p "$OUT/lib/x86_64-linux-gnu" "$OUT/lib64" "$OUT/etc"
for folder in lib usr/lib; do
    cp -R -P "$WORK/root/$folder/x86_64-linux-gnu/." "$OUT/lib/x86_64-linux-gnu/"
done
rm -rf "$OUT/lib/x86_64-linux-gnu/gconv" "$OUT/lib/x86_64-linux-gnu/audit"
ln -s /lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 "$OUT/lib64/ld-linux-x86-64.so.2"
