#!/bin/sh
# needs: llama-source
# llama-server and llama-quantize with the CPU backends as plugins (Ollama starts both).
. "$(dirname "$0")/../lib.sh"
python3 -m venv "$WORK/venv"
"$WORK/venv/bin/pip" install --quiet cmake==4.1.2 ninja==1.13.0 >&2
PATH="$WORK/venv/bin:$PATH"
# The tree must stay as it was built: configure writes into it otherwise.
[ -d "$WORK/source" ] || cp -R "$NEED_llama_source" "$WORK/source"
cmake -S "$WORK/source" -B "$WORK/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DGGML_BACKEND_DL=ON -DGGML_NATIVE=OFF -DGGML_CPU_ALL_VARIANTS=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_WEBUI=OFF \
    -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$ORIGIN'
cmake --build "$WORK/build" --target llama-server llama-quantize ggml-cpu -j 2
mkdir -p "$OUT/lib"
cp -P "$WORK"/build/bin/llama-server "$WORK"/build/bin/llama-quantize "$WORK"/build/bin/lib*.so* "$OUT/lib/"
strip "$OUT/lib/llama-server" "$OUT/lib/llama-quantize" || true
