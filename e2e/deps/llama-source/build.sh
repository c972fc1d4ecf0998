#!/bin/sh
# llama.cpp's whole tree, from the sdist of llama-cpp-python (PyPI).
. "$(dirname "$0")/../lib.sh"
version=0.3.36
say "PyPI llama-cpp-python $version (source)"
# `pip download` of a source distribution would run its build to read the metadata: take the archive's address
# from the index instead.
python3 - "$version" "$WORK/sdist.tar.gz" <<'PY'
import json, ssl, sys, urllib.request, hashlib, os
version, target = sys.argv[1:]
context = ssl.create_default_context(cafile="/etc/ssl/certs/ca-certificates.crt")
index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
request = urllib.request.Request(f"{index}/llama-cpp-python/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
files = json.load(urllib.request.urlopen(request, context=context))["files"]
entry = next(f for f in files if f["filename"] in (f"llama_cpp_python-{version}.tar.gz", f"llama-cpp-python-{version}.tar.gz"))
data = urllib.request.urlopen(urllib.parse.urljoin(request.full_url, entry["url"]), context=context).read()
assert hashlib.sha256(data).hexdigest() == entry["hashes"]["sha256"], "digest of the source archive differs from the index"
open(target, "wb").write(data)
PY
tar -xzf "$WORK/sdist.tar.gz" -C "$WORK"
mv "$WORK"/llama_cpp_python-$version/vendor/llama.cpp/* "$OUT/"
