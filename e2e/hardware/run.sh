#!/usr/bin/env bash
# What only a real GPU can show, on a machine that has one: NVIDIA's runtimes, llama.cpp and PyTorch behind the shim,
# call for call beside the simulator, and what the shim costs there. Needs no cluster and no network.
# Usage: e2e/hardware/run.sh BUNDLE REPORTS   (BUNDLE: the folder that `make hardware-bundle` fills)
set -uo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
bundle="$(cd "${1:?usage: e2e/hardware/run.sh BUNDLE REPORTS}" && pwd)"
reports="$(mkdir -p "${2:?usage: e2e/hardware/run.sh BUNDLE REPORTS}" && cd "$2" && pwd)"
cli="$bundle/bin/kubectl-firstlight"
bench="$bundle/bin/bench"
driver="${FIRSTLIGHT_DRIVER:-$(ldconfig -p | awk '$1 == "libcuda.so.1" && /x86-64/ { print $NF; exit }')}"
[ -n "$driver" ] || driver="$(find /usr/local/nvidia /usr/lib64 /usr/lib -name libcuda.so.1 2>/dev/null | head -1)"
[ -n "$driver" ] || { echo "no libcuda.so.1 on this machine"; exit 1; }

say() { printf '\n== %s\n' "$*"; }
# behind NAME POOL CMD…: runs a command behind the shim and prints the verdict's first lines.
behind() {
    local name="$1" pool="$2" code=0
    shift 2
    local choose=(--pool "$pool")
    [ "$pool" = custom ] && choose=(--pool custom --driver "$driver")
    timeout 240 "$cli" run "${choose[@]}" --report "$reports/$name.json" -- "$@" \
        >"$reports/$name.out" 2>"$reports/$name.err" || code=$?
    python3 - "$reports/$name.json" "$name" "$code" <<'PY'
import json, sys
path, name, code = sys.argv[1:]
try:
    report = json.load(open(path))
except OSError as error:
    sys.exit(print(f"{name}: exit {code}, no report: {error}"))
verdict = report["verdict"]
launches = sum(process.get("launches", 0) for process in report["processes"])
print(f"{name}: exit {code}, {verdict['outcome']}, {verdict['stage']}, {verdict['cause']}, {launches} launches, "
      f"{len(report['timeline'])} steps")
print(f"    {verdict['summary']}")
PY
}

say "machine"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
echo "driver $driver"

say "an NVML client"
behind smi observer nvidia-smi -L
cat "$reports/smi.out"

say "NVIDIA's runtimes, the real driver beside the simulator"
for version in 12.8 12.9 13.0 13.5; do
    library="$(ls "$bundle/cudart/$version"/libcudart.so.*)"
    behind "runtime-$version-real" custom "$bench" runtime "$library"
    behind "runtime-$version-simulated" simulated "$bench" runtime "$library"
    python3 "$here/compare.py" "$reports/runtime-$version-real.json" "$reports/runtime-$version-simulated.json"
done

say "the driver's manners (the golden file of the simulator's tests is questions-real.txt)"
questions="$here/../../crates/simulator/tests/questions"
python3 "$questions" "$driver" >"$reports/questions-real.txt" 2>&1
python3 "$questions" "$bundle/simulator/libcuda.so.1" >"$reports/questions-simulated.txt" 2>&1
diff "$reports/questions-real.txt" "$reports/questions-simulated.txt" >"$reports/questions.diff"
echo "different: $(grep -c '^<' "$reports/questions.diff") of $(grep -vc '^==' "$reports/questions-real.txt") answers"
grep 'ended by signal\|questions are wrong' "$reports/questions-real.txt"

say "PyTorch"
behind torch custom python3 -c 'import torch; a = torch.ones(256, 256, device="cuda"); print((a @ a).sum().item())'
cat "$reports/torch.out"

say "llama.cpp"
cublas="$(find / -xdev -name 'libcublas.so.13' -not -path '/proc/*' 2>/dev/null | head -1)"
export LD_LIBRARY_PATH="$bundle/lib:$bundle/cudart/13.0:$(dirname "$cublas")"
behind llama custom python3 "$here/generate.py" "$bundle" 8091
echo "tokens/s behind the shim: $(cat "$reports/llama.out")"
grep -iE 'cuda|offloaded|error' /tmp/llama-8091.log | head -12
for round in 1 2 3; do
    plain="$(python3 "$here/generate.py" "$bundle" 8092)"
    "$cli" run --pool custom --driver "$driver" -- python3 "$here/generate.py" "$bundle" 8093 \
        >"$reports/rate" 2>/dev/null
    python3 -c 'import sys; a, b = map(float, sys.argv[2:]); print(f"round {sys.argv[1]}: {a:.1f} tokens/s without, {b:.1f} with: ratio {b / a:.4f}")' \
        "$round" "$plain" "$(cat "$reports/rate")"
done
say "llama.cpp under a quota that it does not reach"
for round in 1 2 3; do
    plain="$("$cli" run --pool custom --driver "$driver" -- python3 "$here/generate.py" "$bundle" 8094 2>/dev/null)"
    limited="$("$cli" run --memory 8GiB --driver "$driver" -- python3 "$here/generate.py" "$bundle" 8095 2>/dev/null)"
    python3 -c 'import sys; a, b = map(float, sys.argv[2:]); print(f"round {sys.argv[1]}: {a:.1f} tokens/s without a quota, {b:.1f} with: ratio {b / a:.4f}")' \
        "$round" "$plain" "$limited"
done
unset LD_LIBRARY_PATH

say "a quota in front of the real driver, to the byte (every line is a question and its answer)"
"$cli" run --memory 1GiB --driver "$driver" -- python3 "$here/quota.py" $((1 << 30)) 2>"$reports/quota.err"

say "what a context costs on this card (contextMemory, less what CUDA itself counts)"
used() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | head -1; }
before="$(used)"
mkfifo "$reports/hold"
"$cli" run --memory 1GiB --driver "$driver" -- python3 "$here/quota.py" hold 1 <"$reports/hold" \
    >"$reports/context.out" 2>/dev/null &
exec 3>"$reports/hold"
for _ in $(seq 100); do [ -s "$reports/context.out" ] && break; sleep 0.1; done
echo "memory in use: $before MiB before, $(used) MiB with one context and one byte"
exec 3>&-
wait
rm "$reports/hold"

say "what the shim adds, to the simulator"
FIRSTLIGHT_SHIM_DIR="$bundle/shim" FIRSTLIGHT_DRIVER_DIR="$bundle/simulator" "$bench" | sed -n '/^added to \//,/cuStream/p'

say "what the shim adds, to the real driver (whose own calls vary by more than a bar)"
FIRSTLIGHT_SHIM_DIR="$bundle/shim" FIRSTLIGHT_DRIVER_DIR="$(dirname "$driver")" \
    FIRSTLIGHT_CUDART="$(ls "$bundle"/cudart/13.0/libcudart.so.13)" "$bench" || true

say "the prober's look, beside nvidia-smi's (it goes on while the driver fails below)"
"$bundle/bin/firstlight-prober" --interval-seconds 1 >"$reports/prober.out" 2>"$reports/prober.err" &
prober=$!
for _ in $(seq 60); do grep -q '"look"\|"nothing"' "$reports/prober.out" && break; sleep 0.5; done
grep -m1 '"look"\|"nothing"' "$reports/prober.out"
nvidia-smi --query-gpu=uuid,memory.total,memory.reserved,compute_cap,mig.mode.current,ecc.mode.current --format=csv,noheader

say "a real driver that fails (the records are the files of crates/diagnosis/tests/real)"
"$here/failures.sh" "$bundle" "$driver" "$reports/failures"

say "errors that the driver reported to the prober meanwhile"
kill "$prober"
grep '"xid"' "$reports/prober.out" | sort | uniq -c
echo "looks: $(grep -c '"look"' "$reports/prober.out")"
