#!/bin/sh
# A Llama of 2 to 3 million random weights (fixed seed), about 5 MB: models/tiny.gguf.
. "$(dirname "$0")/../lib.sh"
folder=$(cd "$(dirname "$0")" && pwd)
python3 -m venv "$WORK/venv"
"$WORK/venv/bin/pip" install --quiet gguf==0.17.1 numpy >&2
"$WORK/venv/bin/python" "$folder/tiny.py" "$OUT/tiny.gguf"
