#!/bin/sh
# containerd 2.2 with its runc shim and ctr.
. "$(dirname "$0")/../lib.sh"
cd "$(dirname "$0")"
export CGO_ENABLED=0
go_tools -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=2.2.9"
