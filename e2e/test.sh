#!/usr/bin/env bash
# Every level of tests; the last line is "N passed, N failed". Usage: e2e/test.sh [all|libraries|cluster]
#   libraries  unit, property and library tests of every crate (no cluster)
#   cluster    the tests of e2e/tests against a fresh local cluster
set -uo pipefail
cd "$(dirname "$0")/.."
level="${1:-all}"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
broken=0
rows="${CARGO_TARGET_DIR:-target}/causes"
rm -rf "$rows"

run() {
    echo "-- $*"
    "$@" 2>&1 | tee -a "$log"
    # A build that fails prints no test result: it must not pass unseen.
    local rc="${PIPESTATUS[0]}"
    [ "$rc" -eq 0 ] || grep -q '^test result: FAILED' "$log" || broken=$((broken + 1))
}

case "$level" in all | libraries)
    run cargo test --workspace --no-fail-fast
    ;;
esac
case "$level" in all | cluster)
    # Tests that only use the installation go three at a time; the others change it, or the node, and go alone.
    together=(e2e_admission e2e_bad_input e2e_cards e2e_causes e2e_faults e2e_gate e2e_not_injected e2e_ollama
        e2e_policies e2e_pools e2e_preflight e2e_published)
    threes=() alone=()
    for file in e2e/tests/*.rs; do
        name="$(basename "$file" .rs)"
        case " ${together[*]} " in *" $name "*) threes+=(--test "$name") ;; *) alone+=(--test "$name") ;; esac
    done
    run cargo test -p firstlight-e2e --no-fail-fast "${alone[@]}" -- --ignored --test-threads=1
    run cargo test -p firstlight-e2e --no-fail-fast "${threes[@]}" -- --ignored --test-threads=3
    ;;
esac

# What the tests made happen: each cause beside its look-alike; and what they could not, with the reason.
not_made=crates/testing/not-made.tsv
if [ -d "$rows" ]; then
    echo "-- causes made to happen, and their look-alikes ($(cat "$rows"/*.tsv | wc -l) causes)"
    sort "$rows"/*.tsv |
        awk -F '\t' '{ printf "%-32s %-8s %s\n  not %-26s          %s\n", $1, $2, $3, $4, $5 }'
    echo "-- causes not made to happen ($(wc -l <"$not_made"))"
    awk -F '\t' '{ printf "%-32s %s\n", $1, $2 }' "$not_made"
fi
# Each cause of the catalogue is in exactly one of the two lists.
if [ "$level" = all ]; then
    told="$(cat "$rows"/*.tsv "$not_made" | cut -f1 | sort)"
    if ! diff <(sed -n 's/^## \([a-z]\)/\1/p' docs/causes.md | sort) <(echo "$told"); then
        echo "the causes of docs/causes.md (<) differ from those that were made to happen or are in $not_made (>)"
        broken=$((broken + 1))
    fi
fi

awk -v broken="$broken" '
    /^test result:/ { passed += $4; failed += $6 }
    END { printf "%d passed, %d failed\n", passed, failed + broken; exit failed + broken > 0 || passed == 0 }
' "$log"
