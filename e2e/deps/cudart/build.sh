#!/bin/sh
# NVIDIA's own CUDA runtime, unmodified, and the public headers (PyPI).
#   lib/12.8 lib/12.9 lib/13.0 lib/13.5   libcudart.so.{12,13}
#   headers/12 headers/13                 cuda.h, cudaTypedefs.h, nvml.h, …
. "$(dirname "$0")/../lib.sh"

runtime() { # DIRECTORY REQUIREMENT SONAME
    wheel "$WORK/$1" "$2"
    mkdir -p "$OUT/lib/$1"
    file=$(find "$WORK/$1" -name "$3*" -type f | head -n 1)
    cp "$file" "$OUT/lib/$1/$3"
    chmod 755 "$OUT/lib/$1/$3"
}
runtime 12.8 nvidia-cuda-runtime-cu12==12.8.90 libcudart.so.12
runtime 12.9 nvidia-cuda-runtime-cu12==12.9.79 libcudart.so.12
runtime 13.0 nvidia-cuda-runtime==13.0.96 libcudart.so.13
runtime 13.5 nvidia-cuda-runtime==13.5.37 libcudart.so.13

mkdir -p "$OUT/headers"
cp -R "$(dirname "$(find "$WORK/12.9" -name cuda.h)")" "$OUT/headers/12"
cp -R "$(dirname "$(find "$WORK/13.5" -name cuda.h)")" "$OUT/headers/13"
wheel "$WORK/nvml12" nvidia-nvml-dev-cu12==12.9.79
cp "$(find "$WORK/nvml12" -name nvml.h | head -n 1)" "$OUT/headers/12/"
wheel "$WORK/nvml13" nvidia-nvml-dev==13.5.37
cp "$(find "$WORK/nvml13" -name nvml.h | head -n 1)" "$OUT/headers/13/"
