#!/bin/sh
# runc with seccomp: without the build tag every pod fails, "config provided but seccomp not supported".
# Needs Debian's libseccomp-dev and pkg-config.
. "$(dirname "$0")/../lib.sh"
cd "$(dirname "$0")"
export CGO_ENABLED=1
go_tools -tags "seccomp netgo osusergo" -ldflags "-s -w -X main.version=1.4.3"
