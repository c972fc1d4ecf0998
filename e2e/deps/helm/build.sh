#!/bin/sh
# Helm 3, told which Kubernetes it was made for: without the stamp `helm template` assumes 1.20.
. "$(dirname "$0")/../lib.sh"
cd "$(dirname "$0")"
stamp="-X helm.sh/helm/v3/internal/version.version=v3.22.0"
for package in helm.sh/helm/v3/pkg/chartutil helm.sh/helm/v3/pkg/lint/rules; do
    stamp="$stamp -X $package.k8sVersionMajor=1 -X $package.k8sVersionMinor=36"
done
export CGO_ENABLED=0
go_tools -ldflags "-s -w $stamp"
