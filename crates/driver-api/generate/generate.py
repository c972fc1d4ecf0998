#!/usr/bin/env python3
"""Writes ../src/list.rs (the one list of driver and NVML functions) and ../src/code_names.rs (names of result codes).

    generate.py HEADERS_12 HEADERS_13 [--check]

Reads cuda.h, cudaTypedefs.h, cudaGL.h, cudaEGL.h, cudaVDPAU.h, cudaProfiler.h and nvml.h of CUDA 12 and 13 (PyPI packages
nvidia-cuda-runtime-cu12, nvidia-cuda-runtime, nvidia-nvml-dev*). What counts as a function:

* a name that a header declares with CUDAAPI or DECLDIR, the symbol that a macro gives it, and its variants for the
  per-thread default stream;
* an ABI that cudaTypedefs.h names: the k-th version of a name is the symbol with the k-th suffix ("", _v2, _v3 ...);
* what clients bind beyond that (EXTRA).

Ids are read from the present list and never change: records of an older shim are decoded by a newer agent.
"""

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
LIST = HERE.parent / "src" / "list.rs"
CODES = HERE.parent / "src" / "code_names.rs"
EXTRA = ["cuGetProcAddress", "cuProfilerInitialize", "cuProfilerStart", "cuProfilerStop"]
# cuGraphInstantiate at 12000 is cuGraphInstantiateWithFlags (cuda.h maps the name); it has no symbol of its own.
NOT_OF_ITS_OWN = {("cuGraphInstantiate", 12000): "cuGraphInstantiateWithFlags"}

DECLARED = re.compile(r"\bCUDAAPI\s+(cu[A-Z]\w*)\s*\(")
NVML = re.compile(r"\bDECLDIR\s+(?:char\s*\*\s*)?(nvml[A-Z]\w*)\s*\(")
NVML_MAP = re.compile(r"^\s*#\s*define\s+(nvml[A-Z]\w*)\s+(nvml[A-Z]\w*_v\d+)\s*$", re.M)
MAP = re.compile(r"^\s*#\s*define\s+(cu[A-Z]\w*)\s+(?:__CUDA_API_PT(?:SZ|DS)\()?(cu[A-Z]\w*)\)?\s*$", re.M)
PER_THREAD = re.compile(r"__CUDA_API_PT(SZ|DS)\((cu[A-Z]\w*)\)")
TYPEDEF = re.compile(r"\*\s*PFN_(cu[A-Z]\w*?)_v(\d+)(_ptsz|_ptds)?\)")


def read(folders):
    symbols, nvml, versions = set(EXTRA), set(), {}
    for folder in folders:
        for path in sorted(pathlib.Path(folder).glob("cuda*.h")):
            text = path.read_text(errors="replace")
            text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
            if path.name.endswith("ypedefs.h"):
                for name, version, suffix in TYPEDEF.findall(text):
                    versions.setdefault((name, suffix), set()).add(int(version))
                continue
            if path.name not in ("cuda.h", "cudaGL.h", "cudaEGL.h", "cudaVDPAU.h", "cudaProfiler.h"):
                continue
            symbols.update(DECLARED.findall(text))
            symbols.update(target for _, target in MAP.findall(text))
            symbols.update(f"{name}_pt{kind.lower()}" for kind, name in PER_THREAD.findall(text))
        text = (pathlib.Path(folder) / "nvml.h").read_text(errors="replace")
        nvml.update(NVML.findall(text))
        nvml.update(target for _, target in NVML_MAP.findall(text))
    return symbols, nvml, versions


def resolve(symbols, versions):
    """symbol -> (base name, [versions at which a lookup hands it out], per-thread)"""
    found = {}
    for (name, suffix), known in versions.items():
        known = sorted(known - {version for base, version in NOT_OF_ITS_OWN if base == name})
        for index, version in enumerate(known):
            # A per-thread variant exists from its own first version on, under the suffix of the legacy ABI of that version.
            legacy = sorted(versions.get((name, ""), known))
            legacy = [v for v in legacy if (name, v) not in NOT_OF_ITS_OWN]
            rank = sum(1 for v in legacy if v <= version) if suffix and legacy else index + 1
            symbol = name + (f"_v{rank}" if rank > 1 else "") + suffix
            if suffix and symbol not in symbols:
                # The per-thread variant of the newest ABI that the headers declare.
                candidates = [s for s in symbols if re.fullmatch(re.escape(name) + r"(_v\d+)?" + suffix, s)]
                symbol = sorted(candidates)[min(index, len(candidates) - 1)] if candidates else symbol
            symbols.add(symbol)
            base, at, thread = found.setdefault(symbol, (name, [], bool(suffix)))
            at.append(version)
    return found


def code_names(folders):
    """The numbers of CUresult and nvmlReturn_t, the newest header's name first."""
    tables = {}
    for name, header, pattern in [
        ("CUDA", "cuda.h", r"^\s*(CUDA_(?:SUCCESS|ERROR_\w+))\s*=\s*(\d+)"),
        ("NVML", "nvml.h", r"^\s*(NVML_(?:SUCCESS|ERROR_\w+))\s*=\s*(\d+)"),
    ]:
        codes = tables.setdefault(name, {})
        for folder in reversed(folders):
            text = (pathlib.Path(folder) / header).read_text(errors="replace")
            for word, number in re.findall(pattern, text, re.M):
                codes.setdefault(int(number), word)
    out = ["//! Written by generate/generate.py from the public headers; do not edit.", ""]
    for name, codes in tables.items():
        out += [f"/// Names of {'CUresult' if name == 'CUDA' else 'nvmlReturn_t'}, by number.",
                f"pub(crate) static {name}: [(u32, &str); {len(codes)}] = ["]
        out += [f'    ({number}, "{codes[number]}"),' for number in sorted(codes)]
        out += ["];", ""]
    return "\n".join(out)


def base_of(symbol):
    name = re.sub(r"(_ptsz|_ptds)$", "", symbol)
    return re.sub(r"_v\d+$", "", name)


def present_ids():
    if not LIST.exists():
        return {}
    return {name: int(number) for number, name in re.findall(r"^\s*\((\d+), (\w+),", LIST.read_text(), re.M)}


def words(file):
    table = {}
    for line in (HERE / file).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            word, *names = line.split()
            table.update({name: word for name in names})
    return table


def main():
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    symbols, nvml, versions = read(folders)
    found = resolve(symbols, versions)
    ids, action, effect = present_ids(), words("actions.txt"), words("effects.txt")
    unknown = sorted((set(action) | set(effect)) - symbols - nvml)
    if unknown:
        sys.exit(f"actions.txt names what no header declares: {', '.join(unknown)}")
    vanished = sorted(set(ids) - symbols - nvml)
    if vanished:
        sys.exit(f"in the list, but in no header (ids are never reused: keep the older headers): {', '.join(vanished)}")
    following = max(ids.values(), default=-1) + 1
    for name in sorted(symbols) + sorted(nvml):
        if name not in ids:
            ids[name] = following
            following += 1
    out = ["//! Written by generate/generate.py from the public headers; do not edit. Ids are append-only.", "", "/// Calls back with a row for each function: `(id, symbol, base name, per-thread stream, action, effect, [versions]),`.", "#[macro_export]", "macro_rules! driver_functions {", "    ($callback:ident) => {", "        $callback! {"]
    rows = {"driver": [], "nvml": []}
    for name in sorted(ids, key=ids.get):
        if name in nvml:
            rows["nvml"].append(f"({ids[name]}, {name}, {base_of(name)}, false, {action.get(name, 'forward')}, {effect.get(name, 'none')}, []),")
        else:
            base, at, thread = found.get(name, (base_of(name), [], name.endswith(("_ptsz", "_ptds"))))
            listed = ", ".join(str(version) for version in sorted(at))
            rows["driver"].append(f"({ids[name]}, {name}, {base}, {str(thread).lower()}, {action.get(name, 'forward')}, {effect.get(name, 'none')}, [{listed}]),")
    out += ["            " + row for row in rows["driver"]]
    out += ["        }", "    };", "}", "", "/// The same for NVML.", "#[macro_export]", "macro_rules! nvml_functions {", "    ($callback:ident) => {", "        $callback! {"]
    out += ["            " + row for row in rows["nvml"]]
    out += ["        }", "    };", "}", ""]
    for path, text in [(LIST, "\n".join(out)), (CODES, code_names(folders))]:
        if "--check" not in sys.argv:
            path.write_text(text)
        elif path.read_text() != text:
            sys.exit(f"{path.name} is not what generate.py writes from these headers: run it without --check and commit")
    print(f"{len(rows['driver'])} driver functions, {len(rows['nvml'])} NVML functions")


main()
