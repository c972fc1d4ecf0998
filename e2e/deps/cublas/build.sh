#!/bin/sh
# cuBLAS 13 (PyPI), unmodified: libcublas.so.13 and libcublasLt.so.13.
. "$(dirname "$0")/../lib.sh"
wheel "$WORK/cublas" nvidia-cublas==13.0.2.14
mkdir -p "$OUT/lib" "$OUT/include"
for name in libcublas.so.13 libcublasLt.so.13; do
    mv "$(find "$WORK/cublas" -name "$name" | head -n 1)" "$OUT/lib/$name"
    chmod 755 "$OUT/lib/$name"
done
cp -R "$(dirname "$(find "$WORK/cublas" -name cublas_v2.h)")/." "$OUT/include/"
