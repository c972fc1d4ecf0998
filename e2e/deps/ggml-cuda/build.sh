#!/bin/sh
# needs: llama-source cuda-toolkit
# libggml-cuda.so with NVIDIA's nvcc. The device code is PTX for 8.6, unoptimised: nothing here executes it.
. "$(dirname "$0")/../lib.sh"
python3 -m venv "$WORK/venv"
"$WORK/venv/bin/pip" install --quiet cmake==4.1.2 ninja==1.13.0 >&2
PATH="$WORK/venv/bin:$PATH"
[ -d "$WORK/source" ] || cp -R "$NEED_llama_source" "$WORK/source"
toolkit=$NEED_cuda_toolkit
export LIBRARY_PATH="$toolkit/lib:$toolkit/lib/stubs"
cmake -S "$WORK/source" -B "$WORK/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DGGML_CUDA=ON -DGGML_BACKEND_DL=ON -DGGML_NATIVE=OFF -DGGML_CUDA_FA=OFF -DCMAKE_CUDA_ARCHITECTURES=86-virtual \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_WEBUI=OFF \
    -DCMAKE_CUDA_COMPILER="$toolkit/bin/nvcc" -DCUDAToolkit_ROOT="$toolkit" \
    "-DCMAKE_CUDA_FLAGS=-Xcicc -O0 -Xptxas -O0" \
    -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$ORIGIN'
cmake --build "$WORK/build" --target ggml-cuda -j 2
mkdir -p "$OUT/lib"
cp "$WORK/build/bin/libggml-cuda.so" "$OUT/lib/"
