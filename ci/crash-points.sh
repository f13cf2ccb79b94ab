#!/usr/bin/env bash
# Budget: 4 minutes on 2 cores after building.
#
# Which calls of `sync` in the structures' source a process died before, in some model; and which in none, with the reason from
# models/crash-points.tsv. The total is what stands in the source, not what a run came by. One without a reason fails, and so
# does a reason for a call that is reached, or gone.
#
#   ci/crash-points.sh [loom|shuttle]     loom by default
#   ci/crash-points.sh --sites FILE       runs nothing: goes by what all loom models have written, as
#                                         OWNERDEAD_SITES=FILE cargo ownerdead check does, and ci/orderings.sh in target/orderings/all
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:-loom} given=
[[ $model == --sites ]] && given=$(realpath -m -- "${2:?--sites takes a file}") model=loom
[[ $model == loom || $model == shuttle ]] || { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 64; }
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
work=$CARGO_TARGET_DIR/crash-points
reasons=models/crash-points.tsv
rm -rf "$work"
mkdir -p "$work"
: >"$work/sites"

# file:line:column, operation, line of source: every call, comments and unit tests left out. Methods that others have too
# (`get` of a Cell) count where their receiver is a shared cell. What record.rs does is done at its callers' places.
find src/ring src/lock src/cell src/owner -name '*.rs' ! -name image.rs ! -name bell.rs ! -name record.rs -print0 | sort -z | xargs -0 awk '
    FNR == 1 { tests = 0 }
    /^#\[cfg\((all\()?test/ { tests = 1 }
    tests || /^[[:space:]]*\/\// { next }
    {
        line = $0; sub(/^[[:space:]]+/, "", line)
        rest = $0; done = 0
        while (match(rest, /[.](load|store|swap|compare_exchange(_weak)?|fetch_[a-z]+|set_pending|clear_pending|link|unlink)[(]|(data|cell)[.]get(_mut)?[(]|payload::[a-z_]+[(]|Checksum::in_place[(]|(^|[^a-z_.:])(wait|wait_any|wake|fence)[(]/)) {
            found = substr(rest, RSTART, RLENGTH); at = done + RSTART
            if (found ~ /[.]/) { dot = index(found, "."); at += dot; name = substr(found, dot + 1) }
            else if (found ~ /^[A-Za-z]/) name = found
            else { at++; name = substr(found, 2) }
            sub(/[(]$/, "", name)
            printf "%s:%d:%d\t%s\t%s\n", FILENAME, FNR, at, name, line
            done += RSTART + RLENGTH - 1; rest = substr(rest, RSTART + RLENGTH)
        }
    }' | grep -vP '\t(pub(\([a-z]+\))? )?fn ' >"$work/calls"
(($(wc -l <"$work/calls"))) || { echo "crash-points: FAILED: no call found in the source"; exit 1; }

if [[ -n $given ]]; then
    cp -- "$given" "$work/sites" || { echo 'crash-points: FAILED: no such file: see --help, which names who writes it'; exit 1; }
else
    OWNERDEAD_SITES=$work/sites RUSTFLAGS="${RUSTFLAGS:-} --cfg $model" CARGO_TARGET_DIR=$CARGO_TARGET_DIR/$model \
        cargo test -q --release --tests >"$work/log" 2>&1 ||
        { cat "$work/log"; echo "crash-points: FAILED: the models do not pass"; exit 1; }
fi

# A call that a process came by, and that the search above does not know, would be missing from the total. A compiler fence is
# no instruction, so nobody dies at it.
awk -F '\t' 'NR == FNR { known[$1]; next } $5 != "held" && $4 != "compiler_fence" && $3 ~ /^src\/(ring|lock|cell|owner)\// && !($3 in known) && !seen[$3]++ { print "  " $3, $4 }' \
    "$work/calls" "$work/sites" >"$work/unknown"
[[ ! -s $work/unknown ]] || { echo 'crash-points: FAILED: calls that are not found in the source:'; cat "$work/unknown"; exit 1; }
awk -F '\t' -v reasons="$reasons" '
    function file_of(site) { sub(/:.*/, "", site); return site }
    FILENAME == reasons { if ($0 !~ /^#/ && NF >= 3) { why[$1, $2] = $3; unused[$1 "\t" $2] } next }
    FILENAME ~ /sites$/ { if ($5 == "died") died[$3] += $6; else if ($5 != "held") passed[$3]; next }
    {
        file = file_of($1); total[file]++; all++
        if ($1 in died) { hit[file]++; hits++; next }
        delete unused[file "\t" $3]
        if ((file, $3) in why) { excused[file]++; text = why[file, $3] }
        else { missing++; text = "NO REASON" }
        list = list sprintf("  %-34s %-18s %-9s %s\n", $1, $2, ($1 in passed) ? "passed" : "not seen", text)
    }
    END {
        printf "%-32s %6s %8s %10s\n", "source", "calls", "died at", "with reason"
        for (file in total) printf "%-32s %6d %8d %10d\n", file, total[file], hit[file], excused[file] | "sort"
        close("sort")
        printf "%-32s %6d %8d\n\n", "all", all, hits
        if (list != "") printf "no process died at:\n%s\n", list
        for (reason in unused) { print "a reason for what is reached, or gone: " reason; missing++ }
        if (missing) { print "crash-points: FAILED: " missing " without a death or a reason"; exit 1 }
        print "crash-points: passed: a process died at " hits " of " all " calls; the others have their reasons"
    }' "$reasons" "$work/sites" "$work/calls"
