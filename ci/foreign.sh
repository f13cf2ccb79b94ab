#!/usr/bin/env bash
# Budget: 40 s after building, which takes a minute or two on 2 cores.
#
# The short form of docs/foreign.md. It fails if a known bug of the textbook mutex, its hole, or SQLite without a journal is not found, or if
# something is found in the mutex of this project or in SQLite. What it finds in other code of others is told, and fails nothing: nor if it is
# not seen in so short a time.
set -euo pipefail
cd "$(dirname "$0")/../chaos/foreign"
cargo build -q --release
foreign=${CARGO_TARGET_DIR:-../../target/foreign}/release/foreign
failed=0

# must CODE PATTERN ARGUMENT...: the exit code, and a line of the output.
must() {
    local expected=$1 pattern=$2 code=0 said line
    shift 2
    said=$("$foreign" "$@" 2>&1) || code=$?
    if ((code == expected)) && line=$(grep -m1 -E -- "$pattern" <<<"$said"); then
        printf 'foreign: %s: %s\n' "$*" "$(cut -c1-160 <<<"${line#"${line%%[! ]*}"}")"
    else
        printf 'foreign: %s: exit code %d, expected %d and "%s":\n%s\n' "$*" "$code" "$expected" "$pattern" "$said"
        failed=1
    fi
}

for lock in glibc ours textbook; do must 0 'nothing found' sweep "$lock"; done
for bug in 24 25 26 28 29 41; do must 1 'FOUND .*stuck' sweep "textbook-$bug"; done
must 1 'FOUND .*torn' sweep textbook-27
must 1 'FOUND .*the lock word names no owner' campaign textbook --seconds 60 --findings 1
# Its sleepers are forgotten by the hole of the protocol too, which the bug leaves open: of 24 findings eight were its own.
must 1 'FOUND .*took it over from a dead one' campaign textbook-35 --seconds 60 --findings 24
must 0 '[0-9]+ kills' campaign ours --seconds 5
must 0 '[0-9]+ kills' campaign sqlite --seconds 5
must 1 'FOUND .*(torn|lost)' campaign sqlite-off --kills 20000 --findings 1

code=0
said=$("$foreign" campaign glibc --seconds 5 --findings 2) || code=$?
case $code in
1) grep -m1 -E 'FOUND' <<<"$said" | sed 's/^ */foreign: campaign glibc: /' ;;
0) printf 'foreign: campaign glibc: not seen in %s\n' "$(grep -oE -m1 '[0-9]+ kills' <<<"$said")" ;;
*) printf 'foreign: campaign glibc: exit code %d:\n%s\n' "$code" "$said"; failed=1 ;;
esac
if ((failed)); then echo 'foreign: FAILED'; exit 1; fi
echo 'foreign: passed'
