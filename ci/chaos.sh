#!/usr/bin/env bash
# Budget: SECONDS_TOTAL (default 60) for all scenarios together, after building.
#
# Real processes, really killed: the time is split over the scenarios, and the kills are counted.
#
#   ci/chaos.sh [SECONDS_TOTAL]     OWNERDEAD_SEED repeats a run
set -euo pipefail
cd "$(dirname "$0")/.."
total=${1:-60}
case $total in
-h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit ;;
'' | *[!0-9]*) echo "chaos: $total is no number of seconds; see --help" >&2; exit 64 ;;
esac
(($# < 2)) || { echo "chaos: $2: one number of seconds is taken, and is split over all scenarios; for one of them see docs/chaos.md" >&2; exit 64; }
total=$((10#$total))
report=${CARGO_TARGET_DIR:-$PWD/target}/ownerdead/chaos-soak.tsv
chaos=(cargo test -q --release --test chaos --)

"${chaos[@]}" --list >/dev/null || { echo "chaos: FAILED: it does not build"; exit 1; }
scenarios=$("${chaos[@]}" --list 2>/dev/null | grep -c ': test$' || true)
((scenarios)) || { echo "chaos: FAILED: no scenario is listed"; exit 1; }
each=$((total / scenarios))
((each)) || { echo "chaos: $total s are less than a second for each of $scenarios scenarios" >&2; exit 64; }
mkdir -p "$(dirname "$report")"
: >"$report"
echo "chaos: $scenarios scenarios, $each s each"

start=$(date +%s.%N)
code=0
# One at a time: two at once would take each other's processor.
OWNERDEAD_REPORT=$report OWNERDEAD_CHAOS_SECONDS=$each "${chaos[@]}" --test-threads=1 || code=$?
took=$(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')

awk -F '\t' -v took="$took" '
    { state[$3] = $1; cases[$3] = $4; deaths[$3] = $5; bad[$3] = $6; time[$3] = $7; detail[$3] = $8 }
    END {
        printf "%-28s %-10s %12s %10s %9s %10s  %s\n", "scenario", "state", "cases", "kills", "kills/s", "violations", ""
        for (name in state) {
            printf "%-28s %-10s %12.0f %10.0f %9.1f %10.0f  %s\n", name, state[name], cases[name], deaths[name],
                (time[name] > 0 ? deaths[name] / time[name] : 0), bad[name], detail[name]
            all += deaths[name]; wrong += bad[name]
            if (state[name] != "pass" && state[name] != "not-run") short = 1
        }
        printf "chaos: %.0f kills in %s s: %.1f kills/s, violations: %.0f\n", all, took, all / took, wrong
        exit (!all || wrong || short)
    }' "$report" || code=1
if ((code)); then echo "chaos: FAILED"; exit 1; fi
echo "chaos: passed"
