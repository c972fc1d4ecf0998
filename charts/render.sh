#!/usr/bin/env bash
# Renders the chart for `kubectl apply` into manifests/ (write), or compares it with what is committed and
# tests the alerts (check).
set -euo pipefail
cd "$(dirname "$0")/.."
helm="${HELM:-${FIRSTLIGHT_CACHE:-$HOME/.cache/firstlight}/current/helm/bin/helm}"
[ -x "$helm" ] || { echo "charts/render.sh: no helm at $helm; run \`make deps\`" >&2; exit 1; }

render() {
    "$helm" template firstlight charts/firstlight --namespace firstlight-system --kube-version 1.30.0 "$@" |
        grep -v '^# Source: '
}

out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT
{
    echo "# Rendered from charts/firstlight by \`make manifests\`; do not edit."
    echo "apiVersion: v1"
    echo "kind: Namespace"
    echo "metadata:"
    echo "  name: firstlight-system"
    echo "  labels:"
    echo "    # The plugin mounts the kubelet's socket directories."
    echo "    pod-security.kubernetes.io/enforce: privileged"
    render --set-json 'pools=[{"name":"simulated","kind":"simulated"}]' --skip-tests
} >"$out/firstlight.yaml"

case "${1:-}" in
    write)
        mkdir -p manifests
        cp "$out/firstlight.yaml" manifests/firstlight.yaml
        ;;
    check)
        "$helm" lint --quiet charts/firstlight
        promtool check rules charts/firstlight/rules/firstlight.yaml >/dev/null
        promtool test rules charts/rules-test.yaml >/dev/null
        diff -u manifests/firstlight.yaml "$out/firstlight.yaml" || {
            echo "manifests/firstlight.yaml is not what the chart renders; run \`make manifests\` and commit it" >&2
            exit 1
        }
        ;;
    *)
        echo "usage: charts/render.sh write|check" >&2
        exit 64
        ;;
esac
