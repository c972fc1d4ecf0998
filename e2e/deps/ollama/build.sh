#!/bin/sh
# needs: llama-server ggml-cuda cudart cublas
# Ollama 0.33.1 laid out as it expects: bin/ollama, lib/ollama/…, lib/ollama/cuda_v13/….
. "$(dirname "$0")/../lib.sh"
cd "$(dirname "$0")"
mkdir -p "$OUT/bin" "$OUT/lib/ollama/cuda_v13"
go build -mod=readonly -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/ollama/ollama/version.Version=0.33.1" -o "$OUT/bin/ollama" github.com/ollama/ollama
cp -P "$NEED_llama_server"/lib/* "$OUT/lib/ollama/"
# Hard links where the cache is one file system: the libraries are large.
for file in "$NEED_ggml_cuda/lib/libggml-cuda.so" "$NEED_cudart/lib/13.0/libcudart.so.13" \
    "$NEED_cublas/lib/libcublas.so.13" "$NEED_cublas/lib/libcublasLt.so.13"; do
    cp -l "$file" "$OUT/lib/ollama/cuda_v13/" 2>/dev/null || cp "$file" "$OUT/lib/ollama/cuda_v13/"
done
