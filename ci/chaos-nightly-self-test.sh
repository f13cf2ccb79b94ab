#!/usr/bin/env bash
# Budget: 90 seconds on 2 cores after building.
#
# Two parts of a night of some seconds: the first is stopped by SIGINT, must be INCOMPLETE, and is resumed; the two are merged.
# What is told in the end must be the sum of what each run wrote; a part that is missing, a run that was stopped, and a finding that is
# planted must show in the verdict; and nothing may be left behind. ci/chaos-nightly.sh --self-test calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
base=$(realpath -m "${CARGO_TARGET_DIR:-target}")/ownerdead/nightly-self-test
# Rounds of a second for each test, so that there are several.
export OWNERDEAD_SEED=7 OWNERDEAD_NIGHTLY_EACH=1
unset OWNERDEAD_RECORDS OWNERDEAD_REPORT OWNERDEAD_PARTITION
running=
trap '[[ -z $running ]] || { kill "$running" 2>/dev/null; wait "$running"; } || true' EXIT
trap 'echo "nightly self-test: interrupted"; exit 130' INT TERM
fail() { echo "nightly self-test: FAILED: $1"; [[ -z ${2:-} ]] || sed 's/^/    /' "$2"; exit 1; }
rm -rf "$base"
mkdir -p "$base"
segments() { find /dev/shm -maxdepth 1 -name '*ownerdead*' -user "$(id -u)" | sort; }
before=$(segments)

# expect CODE NAME COMMAND...: COMMAND ends with CODE; what it said is in NAME.log.
expect() {
    local want=$1 name=$2 code=0
    shift 2
    "$@" >"$base/$name.log" 2>&1 || code=$?
    ((code == want)) || fail "$name: exit code $code, expected $want" "$base/$name.log"
}
told() { sed -n 's/^report: [A-Za-z]*: \([0-9]*\) deaths.*/\1/p' "$base/$1.log" | tail -n 1; }
# What the files say themselves: of each, its own deaths, which stand before those of its places.
written() { grep -ohPm1 '^\{"version".*?"deaths":\K[0-9]+' "$@" | awk '{ sum += $1 } END { print sum + 0 }'; }

# Stopped in the middle of a test that goes on for long, when it has killed somebody.
OWNERDEAD_PARTITION=1/2 OWNERDEAD_NIGHTLY_EACH=600 env --default-signal=INT bash ci/chaos-nightly.sh 1 --out "$base/one" >"$base/stopped.log" 2>&1 &
running=$!
under_way() { grep -sl '"verdict":"incomplete"' "$base/one/records"/chaos-*.json | xargs -r grep -LE '^\{[^{]*"deaths":0,'; }
until [[ -n $(under_way) ]]; do
    kill -0 "$running" 2>/dev/null || fail 'the first part ended by itself' "$base/stopped.log"
done
kill -INT "$running"
code=0
wait "$running" || code=$?
running=
((code == 2)) || fail "a part that was stopped: exit code $code, expected 2" "$base/stopped.log"
grep -q '^nightly: INCOMPLETE' "$base/stopped.log" && grep -qE '^nightly: 0\.0[0-9]+ of 1\.000 h done' "$base/stopped.log" ||
    fail 'a part that was stopped does not say INCOMPLETE and how far it got' "$base/stopped.log"
grep -q '^incomplete campaign nightly' "$base/stopped.log" || fail 'the night itself is not incomplete' "$base/stopped.log"
(($(awk -F '\t' '$5 == "stopped" { deaths += $8 } END { print deaths + 0 }' "$base/one/log.tsv"))) || fail 'nobody had died in the test that was stopped'
stopped=$(told stopped)
expect 2 stopped-again bash ci/chaos-nightly.sh --merge --out "$base/half" "$base/one"
grep -q 'missing: 2/2' "$base/stopped-again.log" || fail 'a part that is missing is not named' "$base/stopped-again.log"

# The rest of it is short.
sed -i 's/^total=.*/total=15000/' "$base/one/run"
expect 0 resumed bash ci/chaos-nightly.sh --resume "$base/one"
(($(told resumed) > stopped)) || fail "resumed: $(told resumed) deaths, expected more than the $stopped before" "$base/resumed.log"
OWNERDEAD_PARTITION=2/2 expect 0 two bash ci/chaos-nightly.sh 0.002 --out "$base/two"
[[ $(cut -f 3 "$base/one/log.tsv" "$base/two/log.tsv" | sort -u | wc -l) == "$(cargo test -q --release --test chaos -- --list 2>/dev/null | grep -c ': test$')" ]] ||
    fail 'the two parts are not all of the tests'

expect 2 one-of-two bash ci/chaos-nightly.sh --merge --out "$base/merged" "$base/one"
expect 0 merged bash ci/chaos-nightly.sh --merge --out "$base/merged" "$base/one" "$base/two"
sum=$(written "$base"/{one,two}/records/chaos-*.json)
[[ $(told merged) == "$sum" && $sum == "$(($(told resumed) + $(told two)))" ]] ||
    fail "merged: $(told merged) deaths, the files have $sum, the parts said $(told resumed) and $(told two)" "$base/merged.log"
for file in report.html report.xml report.json; do [[ -s $base/merged/$file ]] || fail "the merged report has no $file"; done

cp -r "$base/two" "$base/planted"
printf '{"version":1,"kind":"chaos","name":"planted","verdict":"pass","runs":[{"started_ms":1,"took_ms":1,"verdict":"pass"}],"findings":[{"kind":"lost","text":"planted","count":1}]}\n' \
    >"$base/planted/records/planted.json"
expect 1 planted bash ci/chaos-nightly.sh --merge --out "$base/with-finding" "$base/one" "$base/planted"
grep -q '^found in chaos planted: lost' "$base/planted.log" || fail 'a finding that was planted is not told' "$base/planted.log"
rm "$base/planted/records/planted.json"
echo '{"version":1' >"$base/planted/records/half.json"
expect 2 unreadable bash ci/chaos-nightly.sh --merge --out "$base/with-half" "$base/one" "$base/planted"

# A test that failed and told nothing, as one that was killed would have: the night has failed, for as many rounds as there are.
cp -r "$base/two" "$base/silent"
awk -F '\t' 'BEGIN { OFS = FS } NR == 1 { $5 = 139 } { print }' "$base/two/log.tsv" >"$base/silent/log.tsv"
expect 1 silent timeout 60 bash ci/chaos-nightly.sh --resume "$base/silent"
grep -q '^fail       campaign nightly .* ended with 139 in round 1' "$base/silent.log" || fail 'a test that failed silently is not told' "$base/silent.log"

left=$(find "$base" -name '.*.tmp' -o -name 'now.*')
[[ -z $left ]] || fail "left behind: $left"
program=$(cargo test -q --release --no-run --test chaos --message-format=json | grep -oP '"executable":"\K[^"]+' | tail -n 1)
for process in /proc/[0-9]*; do
    [[ $(readlink "$process/exe" 2>/dev/null) != "$program" ]] || fail "still alive: ${process#/proc/}"
done
# Those of other checkouts come and go.
for segment in $(comm -13 <(echo "$before") <(segments)); do
    ! grep -qsF "$segment" /proc/[0-9]*/maps && [[ -e $segment ]] && fail "left behind: $segment"
done
echo "nightly self-test: passed: stopped after $stopped deaths, $(told resumed) when resumed, $(told two) in the other part, $(told merged) in all"
