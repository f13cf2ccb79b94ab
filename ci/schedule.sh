#!/usr/bin/env bash
# Budget: 5 minutes on 2 cores after building, usually one.
#
# Does the fuzzer of schedules find what is known to be wrong? The textbook robust mutex loses a wake-up between three if one of
# them dies at the wrong moment. From nothing, the fuzzer must find it within LIMIT seconds (default 180), and its minimiser must
# shorten it to at most 32 bytes that fail in the same way. Needs a nightly toolchain and cargo-fuzz; exit code 3 without them.
#
#   ci/schedule.sh [LIMIT]
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1 || ! cargo fuzz --version >/dev/null 2>&1; then
    echo "schedule: not run: it needs \`rustup toolchain install nightly --profile minimal\` and \`cargo install cargo-fuzz --locked\`"
    exit 3
fi
target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/ownerdead/schedule
artifacts=fuzz/schedule/artifacts/schedule_textbook
export RUSTFLAGS="${RUSTFLAGS:-} --cfg shuttle" RUST_BACKTRACE=0
rm -rf "$work" "$artifacts"
mkdir -p "$work/corpus"
# What the minimiser leaves beside the targets goes, whatever happens.
trap 'rm -rf "$artifacts"; rmdir fuzz/schedule/artifacts 2>/dev/null || true' EXIT
trap 'echo "schedule: interrupted"; exit 130' INT TERM
fail() { echo "schedule: FAILED: $1"; exit 1; }

fuzz() {
    local command=$1
    shift
    cargo +nightly fuzz "$command" --fuzz-dir fuzz/schedule --target-dir "$target/fuzz-shuttle" --sanitizer none \
        --features fixture "$@"
}
fuzz build schedule_textbook >"$work/build" 2>&1 || { cat "$work/build"; fail 'it does not build'; }

start=$SECONDS
fuzz run schedule_textbook "$work/corpus" -- -max_total_time="${1:-180}" -max_len=128 -print_final_stats=1 \
    -exact_artifact_path="$work/found" >"$work/run" 2>&1 && fail "nothing was found in ${1:-180} s"
[[ -s $work/found ]] && grep -q '^Violated.*lost wake-up' "$work/run" || { tail -n 40 "$work/run"; fail 'it ended otherwise'; }
executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/run")
echo "schedule: found after $executions executions, $((SECONDS - start)) s, in $(stat -c %s "$work/found") bytes"

fuzz tmin --runs 20000 schedule_textbook "$work/found" >"$work/tmin" 2>&1 || { tail -n 40 "$work/tmin"; fail 'it could not be shortened'; }
short=$(sed -n '/^Minimized artifact:/,$ { s/^[[:space:]]\+\(.*minimized-from-.*\)$/\1/p }' "$work/tmin" | head -n 1)
# What is as short as can be is left as it is, and nothing is written.
[[ -n $short ]] || { grep -qF "failed to minimize beyond $work/found " "$work/tmin" && short=$work/found; } || fail 'the minimiser left nothing'
cp "$short" "$work/short"
fuzz run schedule_textbook "$work/short" >"$work/again" 2>&1 && fail 'what is left after shortening does not fail'
sed -n '/the interleaving that violates it/,/^Violated/p' "$work/again"
grep -q '^Violated.*lost wake-up' "$work/again" || fail 'what is left after shortening fails otherwise'
bytes=$(stat -c %s "$work/short")
((bytes <= 32)) || fail "$bytes bytes are left after shortening, expected at most 32"
echo "schedule: passed: shortened to $bytes bytes"
