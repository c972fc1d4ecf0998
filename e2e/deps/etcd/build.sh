#!/bin/sh
# etcd 3.6: the module's root is the server.
. "$(dirname "$0")/../lib.sh"
cd "$(dirname "$0")"
export CGO_ENABLED=0
go_tools -ldflags "-s -w"
mv "$OUT/bin/v3" "$OUT/bin/etcd" 2>/dev/null || mv "$OUT/bin/server" "$OUT/bin/etcd"
