#!/bin/sh
# needs: cublas
# nvcc 13.0 and what it needs to build ggml-cuda, laid out as CMake's FindCUDAToolkit expects (PyPI).
. "$(dirname "$0")/../lib.sh"
wheel "$WORK/site" nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
mv "$WORK"/site/nvidia/cu13/* "$OUT/"
cp -R "$NEED_cublas/include/." "$OUT/include/"
cp "$NEED_cublas"/lib/*.so.13 "$OUT/lib/"
cd "$OUT"
find bin nvvm/bin -type f -exec chmod 755 {} +
ln -sfn lib lib64
for name in cudart cublas cublasLt; do
    ln -sfn "lib$name.so.13" "lib/lib$name.so"
done
# A link-time stand-in for the driver: the eleven names that ggml binds directly.
mkdir -p lib/stubs
for name in cuDeviceGet cuDeviceGetAttribute cuGetErrorString cuMemAddressFree cuMemAddressReserve cuMemCreate \
    cuMemGetAllocationGranularity cuMemMap cuMemRelease cuMemSetAccess cuMemUnmap; do
    echo "int $name(void) { return 34; }"
done > "$WORK/stub.c"
cc -shared -fPIC -Wl,-soname,libcuda.so.1 -o lib/stubs/libcuda.so "$WORK/stub.c"
