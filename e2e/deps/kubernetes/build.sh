#!/bin/sh
# Kubernetes 1.36.3 from its Go module: API server, controller manager, scheduler, kubelet, kube-proxy, kubectl.
. "$(dirname "$0")/../lib.sh"
cd "$(dirname "$0")"
version=v1.36.3
# kubelet reports the stamped version and kubectl checks the skew against it.
stamp=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    stamp="$stamp -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=36"
done
export CGO_ENABLED=0
go_tools -ldflags "-s -w$stamp"
