#!/usr/bin/env bash
# The whole path on one machine without a GPU: cluster, chart, Ollama, annotation, verdict; then a GPU that is broken
# on purpose. Run it by `make demo`; running it twice works.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache="${FIRSTLIGHT_CACHE:-$HOME/.cache/firstlight}"
started=$SECONDS
namespace=demo
export KUBECONFIG=/var/lib/firstlight-cluster/kubeconfig/admin
kubectl="$cache/current/kubernetes/bin/kubectl"
helm="$cache/current/helm/bin/helm"
prometheus=http://10.77.0.2:9090
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
clock() { printf '%02d:%02d' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)); }
step() { printf '%s[%s]%s %s\n' "$dim" "$(clock)" "$plain" "$*"; }
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
die() { printf '[%s] demo: %s\n' "$(clock)" "$*" >&2; exit 1; }

# quietly WORDS…  runs a command; what it printed is shown only if it fails.
quietly() { "$@" >"$log" 2>&1 || { cat "$log" >&2; die "failed: $*"; }; }

# until_true SECONDS WHAT COMMAND…
until_true() {
    local patience=$1 what=$2 end=$((SECONDS + $1))
    shift 2
    until "$@" >"$log" 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { cat "$log" >&2; die "gave up after $patience s waiting for $what"; }
        sleep 0.5
    done
}

k() { "$kubectl" -n "$namespace" "$@"; }
pod() { k get pods -l "app=$1" --field-selector=status.phase=Running --sort-by=.metadata.creationTimestamp -o jsonpath='{.items[-1:].metadata.name}'; }
condition() { k get pods -l "app=$1" -o jsonpath='{range .items[*].status.conditions[?(@.type=="firstlight.dev/GpuReady")]}{.status}{"\n"}{end}'; }
has_condition() { condition "$1" | grep -qx "$2"; }
service() { echo "/api/v1/namespaces/$namespace/services/$1:11434/proxy$2"; }
ask() { k create --raw "$(service "$1" "$2")" -f - <<<"$3"; }
query() { python3 - "$prometheus" "$1" <<'PY'
import json, sys, urllib.parse, urllib.request
base, text = sys.argv[1:]
url = base + "/api/v1/query?" + urllib.parse.urlencode({"query": text})
result = json.load(urllib.request.urlopen(url, timeout=5))["data"]["result"]
for row in result:
    labels = dict(row["metric"])
    name = labels.pop("__name__", "")
    shown = ",".join(f'{key}="{labels[key]}"' for key in ("namespace", "pod", "container", "kind", "outcome", "cause") if key in labels)
    print(f'{name}{{{shown}}} {row["value"][1]}')
sys.exit(0 if result else 1)
PY
}

step "products: Kubernetes, containerd, Ollama, llama.cpp with CUDA, libcudart (the first time this takes half an hour)"
make deps
step "Firstlight: shim, simulator, plugin, webhook, kubectl-firstlight, images, chart"
make build
export PATH="$PWD/build/bin:$PATH"

step "a single-node Kubernetes cluster in namespaces of its own"
make cluster-up
until_true 30 "the API server" "$kubectl" get --raw /readyz
step "images into the node's containerd"
make cluster-images

step "helm install firstlight"
# The tag stays the same: pods say of which bytes their image is, so that a new build replaces them.
built() { sha256sum "build/images/$1.tar" | cut -c1-16; }
quietly "$helm" upgrade --install firstlight charts/firstlight --namespace firstlight-system --create-namespace \
    --values e2e/demo/values.yaml --wait --timeout 120s \
    --set-string "plugin.podAnnotations.built=$(built plugin)" \
    --set-string "webhook.podAnnotations.built=$(built webhook)"
quietly "$kubectl" create namespace "$namespace" --dry-run=client -o yaml
"$kubectl" apply -f "$log" >/dev/null

step "kubectl apply: Ollama 0.33.1 from a manifest that knows nothing of Firstlight"
quietly k apply -f e2e/demo/ollama.yaml
step "kubectl annotate deployment ollama firstlight.dev/gpu=simulated"
quietly k annotate --overwrite deployment ollama firstlight.dev/gpu=simulated
quietly k rollout status deployment ollama --timeout 120s
until_true 90 "the verdict on deployment ollama" has_condition ollama True

step "a model of 3 million random weights, and a prompt"
until_true 30 "Ollama's API" k get --raw "$(service ollama /api/version)"
quietly k exec "$(pod ollama)" -c ollama -- sh -c 'printf "FROM /models/tiny.gguf\n" >/tmp/Modelfile && ollama create tiny -f /tmp/Modelfile'
answer="$(ask ollama /api/generate '{"model":"tiny","prompt":"hello","stream":false,"options":{"num_predict":8}}')"
loaded="$(k get --raw "$(service ollama /api/ps)")"

step "the same Ollama on a GPU that is broken: firstlight.dev/simulate=no-export-table"
sed 's/^\(  *\)name: ollama$/\1name: ollama-broken/; s/app: ollama }/app: ollama-broken }/' e2e/demo/ollama.yaml |
    sed '0,/labels:/s//annotations: { firstlight.dev\/gpu: simulated, firstlight.dev\/simulate: no-export-table }\n  labels:/' >"$log.yaml"
quietly k apply -f "$log.yaml"
rm -f "$log.yaml"
quietly k rollout status deployment ollama-broken --timeout 120s
until_true 90 "the verdict on deployment ollama-broken" has_condition ollama-broken False
until_true 60 "Prometheus to have scraped the verdicts" query 'firstlight_cuda_init_failure_info{namespace="demo"} == 1'
until_true 60 "Prometheus to have scraped the success" query 'firstlight_cuda_init_total{namespace="demo",outcome="success"} >= 1'

good="$(pod ollama)"
bad="$(pod ollama-broken)"
title "kubectl firstlight diagnose $good"
kubectl-firstlight diagnose -n "$namespace" "$good" || true
title "kubectl firstlight diagnose $bad"
kubectl-firstlight diagnose -n "$namespace" "$bad" || true
title "What Ollama says"
python3 - "$answer" "$loaded" <<'PY'
import json, sys
answer, loaded = (json.loads(text) for text in sys.argv[1:])
model = loaded["models"][0]
print(f'  generated {answer["eval_count"]} tokens; /api/ps: size {model["size"]} bytes, size_vram {model["size_vram"]} bytes')
PY
k logs "$good" -c ollama | grep -o 'library=CUDA.*' | tail -n 1 | sed 's/^/  inference compute: /' || true
title "kubectl describe pod"
for each in "$good" "$bad"; do
    k get events --field-selector "involvedObject.name=$each" -o jsonpath='{range .items[*]}{.type}  {.reason}  {.message}{"\n"}{end}' |
        grep -E '  (Cuda|NotInj)' | sed "s|^|  $each  |" || true
done
title "Prometheus"
query 'firstlight_cuda_init_total{namespace="demo"} >= 1' | sed 's/^/  /'
query 'firstlight_cuda_init_failure_info{namespace="demo"} == 1' | sed 's/^/  /'
query 'firstlight_gpu_in_use{namespace="demo"} == 1' | sed 's/^/  /' || true

title "Try next"
cat <<TEXT
  export KUBECONFIG=$KUBECONFIG PATH=$PWD/build/bin:$cache/current/kubernetes/bin:\$PATH
  kubectl firstlight status
  kubectl firstlight explain export-table-missing
  kubectl -n $namespace annotate --overwrite deployment ollama-broken firstlight.dev/simulate=init-returns=999

  Prometheus answers at $prometheus. Stop it all with: make demo-down
TEXT
step "done"
