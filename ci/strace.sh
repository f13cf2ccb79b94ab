#!/usr/bin/env bash
# Budget: 1 minute from a clean checkout.
#
# Shows that an uncontended push, pop, lock and unlock makes no system call: examples/quiet.rs writes "begin NAME" and
# "end NAME" around a thousand of each, and strace must see nothing in between. Exit code 3 where strace cannot run.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
trace=$target/ownerdead/quiet.strace
mkdir -p "$(dirname "$trace")"

not_run() { echo "strace: not run: $1"; exit 3; }
command -v strace >/dev/null || not_run "install strace"
[[ -e examples/quiet.rs ]] || not_run "this checkout has no examples/quiet.rs"
strace -f -o "$trace" true 2>/dev/null || not_run "this machine does not permit ptrace"

cargo build -q --release --example quiet || { echo "strace: FAILED: examples/quiet.rs does not build"; exit 1; }
strace -f -o "$trace" "$target/release/examples/quiet" >/dev/null || { echo "strace: FAILED: quiet ended with $?"; exit 1; }

awk '
    function name(line) { match(line, /"(begin|end) [A-Za-z0-9_ -]+/); line = substr(line, RSTART + 1, RLENGTH - 1)
                          sub(/^(begin|end) /, "", line); return line }
    / write\([0-9]+, "begin / { inside = name($0); calls[inside] = 0; order[++count] = inside; next }
    / write\([0-9]+, "end /   { if (name($0) != inside) unmatched = 1; inside = ""; next }
    inside != "" && / (<\.\.\. )?[a-z0-9_]+(\(| resumed)/ { calls[inside]++; if (calls[inside] <= 5) print "    in " inside ": " $0 }
    END {
        if (inside != "") unmatched = 1
        for (i = 1; i <= count; i++) { printf "%-24s %d system calls\n", order[i], calls[order[i]]; all += calls[order[i]] }
        split("push pop lock unlock", needed, " ")
        for (i in needed) {
            found = 0
            for (j = 1; j <= count; j++) if (order[j] ~ "(^|[^a-z])" needed[i] "([^a-z]|$)") found = 1
            if (!found) { print "    no section for " needed[i]; missing = 1 }
        }
        if (unmatched) print "    a begin without its end"
        exit (all > 0 || missing || unmatched)
    }' "$trace" || { echo "strace: FAILED: see ${trace#"$PWD"/}"; exit 1; }
echo "strace: passed: no system call on an uncontended operation"
