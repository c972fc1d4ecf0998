#!/bin/sh
# needs: llama-source
# Ollama 0.12.3, the last whose server opens libcuda by absolute path itself. Its CUDA runner is not built:
# discovery needs none.
. "$(dirname "$0")/../lib.sh"
cd "$(dirname "$0")"
# Module archives lack folders named `vendor`: nlohmann, stb and miniaudio come from llama.cpp's tree.
vendor="$NEED_llama_source/vendor"
export CGO_ENABLED=1 CGO_CPPFLAGS="-I$vendor" CGO_CXXFLAGS="-I$vendor"
mkdir -p "$OUT/bin" "$OUT/lib/ollama"
go build -mod=readonly -trimpath -buildvcs=false \
    -ldflags "-s -w -X github.com/ollama/ollama/version.Version=0.12.3" -o "$OUT/bin/ollama" github.com/ollama/ollama
