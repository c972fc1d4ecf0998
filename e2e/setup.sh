#!/usr/bin/env bash
# Installs from Debian and rustup what build and tests need. Does nothing, quickly, where all of it is there.
set -euo pipefail

packages=(musl-tools nftables libseccomp-dev pkg-config iproute2 conntrack openssl python3-venv prometheus)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    [ "$(id -u)" -eq 0 ] || { echo "setup: needs root to install ${missing[*]}" >&2; exit 1; }
    echo "installing ${missing[*]}"
    # Nobody's daemons start by being installed.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

target=x86_64-unknown-linux-musl
if ! rustup target list --installed 2>/dev/null | grep -qx "$target"; then
    echo "adding the Rust target $target"
    rustup target add "$target" >/dev/null
fi
