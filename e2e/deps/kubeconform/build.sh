#!/bin/sh
# kubeconform: checks rendered manifests against the Kubernetes schemas.
. "$(dirname "$0")/../lib.sh"
cd "$(dirname "$0")"
export CGO_ENABLED=0
go_tools -ldflags "-s -w"
