#!/usr/bin/env bash
# Budget: HOURS after building; --merge some seconds; the self-test 90 seconds.
#
# All chaos scenarios in rounds, for HOURS (fractions are fine), each with a seed that follows from one master seed, its name and the
# round. What each did is a record below DIR; after each round there is a report of all of them. It can be stopped at any time, by
# Ctrl-C or worse: then it is INCOMPLETE, and goes on where it was with --resume, or with the same --out.
#
#   ci/chaos-nightly.sh HOURS [--out DIR]      OWNERDEAD_SEED: the master seed; OWNERDEAD_PARTITION=2/4: the second quarter of the tests
#   ci/chaos-nightly.sh --resume DIR
#   ci/chaos-nightly.sh --merge [--out DIR] DIR...      one report of the parts that several machines did
#   ci/chaos-nightly.sh --self-test
#
# Exit code: 0 when nothing was found; 1 when something was, or a test failed; 2 when it stopped early, or a part is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
# Test targets whose tests write records.
targets=(chaos)
# Seconds for each test of a round; the last round has less.
each=${OWNERDEAD_NIGHTLY_EACH:-60}
base=$(realpath -m "${CARGO_TARGET_DIR:-target}")/ownerdead

usage() { sed -n '8,13s/^# \{0,1\}//p' "$0" >&2; exit 64; }
now() { echo $(($(date +%s%N) / 1000000)); }
hours() { awk -v ms="$1" 'BEGIN { printf "%.3f", ms / 3600000 }'; }
of() { sed -n "s/^$1=//p" "$2/run"; }

# The programs: of each target, and the one that reports.
build() {
    local target said
    said=$(cargo build -q --release --features cli --bin ownerdead --message-format=json) || { echo 'nightly: FAILED: it does not build'; exit 1; }
    reporter=$(grep -oP '"executable":"\K[^"]+' <<<"$said" | tail -n 1)
    for target in "${targets[@]}"; do
        said=$(cargo test -q --release --no-run --test "$target" --message-format=json) || { echo 'nightly: FAILED: it does not build'; exit 1; }
        program[$target]=$(grep -oP '"executable":"\K[^"]+' <<<"$said" | tail -n 1)
    done
}

# The tests of this part, as `target name`: by a sum of the name, as ci/each-alone.sh does.
tests() {
    local target name sum part=${partition%/*} parts=${partition#*/}
    for target in "${targets[@]}"; do
        for name in $("${program[$target]}" --list 2>/dev/null | sed -n 's/: test$//p'); do
            sum=$(cksum <<<"$name")
            [[ -n $partition ]] && ((${sum%% *} % parts != part - 1)) || echo "$target $name"
        done
    done
}

# The record of the night itself: verdict, reason. Whole or absent, as all of them.
campaign() {
    local dir=$1 name=$2 verdict=$3 reason=$4 took=$5
    printf '{"version":1,"kind":"campaign","name":"%s","verdict":"%s","runs":[{"started_ms":%d,"shard":"%s","seed":%d,"took_ms":%d,"verdict":"%s","reason":"%s"}]}\n' \
        "$name" "$verdict" "$started" "$partition" "$seed" "$took" "$verdict" "${reason//[\"\\]/}" >"$dir/.$name.tmp"
    mv "$dir/.$name.tmp" "$dir/campaign-${name// /-}.json"
}

# report OUT DIR...: all of it; its exit code is the verdict's.
report() {
    local to=$1
    shift
    "$reporter" report --html "$to/report.html" --junit "$to/report.xml" --json "$to/report.json" "$@" >"$to/report.txt"
}

# How the night stands: figures from the log, which has a line for each test that ran.
stand() {
    local short
    read -r done_ms deaths violations short failed < <(awk -F '\t' '
        { ms += $6; deaths += $8; bad += $9 } $5 == "incomplete" { short = $3 }
        $5 != 0 && $5 != "stopped" && $5 != "incomplete" && !failed { failed = $3 "," $1 "," $5 }
        END { printf "%.0f %.0f %.0f %s %s\n", ms, deaths, bad, short == "" ? "-" : short, failed }' "$out/log.tsv")
    local verdict=incomplete reason name round code
    reason="$(hours "$done_ms") of $(hours "$total") h were done"
    if [[ ${1:-} == done ]]; then
        if [[ $short == - ]]; then verdict=pass reason=; else reason="$short did not look where it should: see failures.log"; fi
    fi
    [[ -z $failed ]] || { IFS=, read -r name round code <<<"$failed"; verdict=fail reason="$name ended with $code in round $round: see failures.log"; }
    campaign "$out/records" nightly "$verdict" "$reason" "$done_ms"
}

# one ROUND TARGET NAME MILLISECONDS
one() {
    local round=$1 target=$2 name=$3 ms=$4 code=0 begin result test_seed figures
    # 48 bits: a whole number for every reader of JSON.
    test_seed=$((16#$(sha256sum <<<"$seed $round $name" | cut -c 1-12)))
    : >"$out/now.tsv"
    touch "$out/begun"
    begin=$(now)
    OWNERDEAD_RECORDS=$out/records OWNERDEAD_REPORT=$out/now.tsv OWNERDEAD_SEED=$test_seed OWNERDEAD_PARTITION=$partition \
        OWNERDEAD_CHAOS_SECONDS=$(awk -v ms="$ms" 'BEGIN { printf "%.3f", ms / 1000 }') \
        "${program[$target]}" --exact "$name" --test-threads=1 >"$out/now.log" 2>&1 &
    running=$!
    # It may be stopped before it is known which one is to be ended.
    ((!stop)) || kill "$running" 2>/dev/null || true
    while kill -0 "$running" 2>/dev/null; do
        sleep "$((60 - (SECONDS - spoke) > 1 ? 60 - (SECONDS - spoke) : 1))" &
        ticker=$!
        wait -n "$running" "$ticker" || true
        if ((SECONDS - spoke >= 60)); then
            spoke=$SECONDS
            echo "nightly: $(hours $((done_ms + $(now) - begin))) of $(hours "$total") h, round $round, $name, $deaths deaths, $violations findings"
        fi
        kill "$ticker" 2>/dev/null || true
    done
    wait "$running" || code=$?
    running=
    result=$code
    # By our SIGTERM, or by the Ctrl-C that the terminal sends to all.
    ((!stop || (code != 143 && code != 130))) || result=stopped
    # One that found nothing, and has not looked where it should.
    [[ $result == 0 || $result == stopped || $(awk -F '\t' '{ state = $1 } END { print state }' "$out/now.tsv") != incomplete ]] || result=incomplete
    figures=$(awk -F '\t' '{ line = $4 "\t" $5 "\t" $6 } END { print line == "" ? "0\t0\t0" : line }' "$out/now.tsv")
    if [[ $result == 0 && -z $(find "$out/records" -name '*.json' ! -name 'campaign-*' -newer "$out/begun" | head -n 1) ]]; then
        result='no record'
    fi
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$round" "$target" "$name" "$test_seed" "$result" $(($(now) - begin)) "$figures" >>"$out/log.tsv"
    if [[ $result != 0 && $result != stopped ]]; then
        { echo "=== round $round, $name, seed $test_seed: $result"; cat "$out/now.log"; } >>"$out/failures.log"
        cat "$out/now.log"
        echo "nightly: $name: $result, in round $round with seed $test_seed"
    fi
}

# Whoever was forked dies with who forked it, which takes a moment.
gone() {
    local process until=$((SECONDS + 10)) left
    while :; do
        left=
        for process in /proc/[0-9]*; do
            [[ " ${program[*]} " == *" $(readlink "$process/exe" 2>/dev/null || echo none) "* ]] && left+=" ${process#/proc/}"
        done
        [[ -n $left ]] || return 0
        ((SECONDS < until)) || { echo "nightly: still alive:$left"; return 1; }
    done
}

night() {
    local round=0 todo rest count left code=0 target name ms test finished
    declare -gA program
    build
    mkdir -p "$out/records"
    if [[ -s $out/run ]]; then
        [[ -z ${asked:-} || $asked == "$(of total "$out")" ]] || { echo "nightly: $out is of a night of $(hours "$(of total "$out")") h: give another --out" >&2; exit 64; }
        total=$(of total "$out") seed=$(of seed "$out") partition=$(of partition "$out") started=$(of started "$out")
        echo "nightly: goes on in $out"
    else
        [[ -n ${asked:-} ]] || { echo "nightly: there is no run in $out" >&2; exit 64; }
        total=$asked seed=${OWNERDEAD_SEED:-$(($(od -An -N4 -tu4 /dev/urandom)))} started=$(now)
        printf 'total=%s\nseed=%s\npartition=%s\nstarted=%s\n' "$total" "$seed" "$partition" "$started" >"$out/run"
    fi
    touch "$out/log.tsv"
    stop=0 running= spoke=$SECONDS
    trap 'stop=1; [[ -z $running ]] || kill "$running" 2>/dev/null || true' INT TERM HUP
    mapfile -t todo < <(tests)
    count=${#todo[@]}
    echo "nightly: $count tests${partition:+ of part $partition}, $(hours "$total") h, master seed $seed, in $out"
    stand
    while ((count && !stop)); do
        round=$((round + 1))
        left=$((total - done_ms))
        # Some are made already, before it was resumed.
        mapfile -t rest < <(awk -F '\t' -v round="$round" '
            FILENAME ~ /log.tsv$/ { if ($1 == round && $5 != "stopped") made[$2 " " $3]; next } !($0 in made)' "$out/log.tsv" <(printf '%s\n' "${todo[@]}"))
        # What was begun is ended; no other round of less than half a second each.
        ((left >= count * 500)) || awk -F '\t' -v round="$round" '$1 == round { begun = 1 } END { exit !begun }' "$out/log.tsv" || break
        ((${#rest[@]})) || continue
        ms=$((left / ${#rest[@]}))
        ((ms <= each * 1000)) || ms=$((each * 1000))
        ((ms >= 500)) || ms=500
        for test in "${rest[@]}"; do
            ((!stop)) || break
            read -r target name <<<"$test"
            one "$round" "$target" "$name" "$ms"
            stand
        done
        report "$out" "$out/records" || true
    done
    gone || code=1
    rm -f "$out/now.tsv" "$out/now.log" "$out/begun"
    if ((stop)); then stand; else stand done; fi
    if ((count == 0)); then campaign "$out/records" nightly not-run "no test falls into part $partition" 0; fi
    finish "$out" "$out/records" || { finished=$?; ((code)) || code=$finished; }
    echo "nightly: $(hours "$done_ms") of $(hours "$total") h done, master seed $seed, in $out"
    exit "$code"
}

# finish OUT DIR...: the report, and what it says.
finish() {
    local code=0
    report "$@" || code=$?
    cat "$1/report.txt"
    echo "nightly: $1/report.html"
    case $code in
    0) echo 'nightly: passed' ;;
    2) if ((${count:-1})); then echo 'nightly: INCOMPLETE: nothing was found so far'; else echo 'nightly: not run: no test in this part'; code=0; fi ;;
    *) echo 'nightly: FAILED' ;;
    esac
    return "$code"
}

merge() {
    local dir parts='' seen=' ' missing='' part all=()
    declare -gA program
    build
    rm -rf "$out"
    mkdir -p "$out/records"
    for dir; do
        [[ -s $dir/run ]] || { echo "nightly: $dir is of no night: it has no file \`run\`"; missing+=" $dir"; continue; }
        all+=("$dir/records")
        part=$(of partition "$dir")
        [[ -n $part ]] || continue
        [[ -z $parts || $parts == "${part#*/}" ]] || { echo "nightly: parts of $parts and of ${part#*/}: expected one division" >&2; exit 64; }
        parts=${part#*/} seen+="${part%/*} "
    done
    for ((part = 1; part <= ${parts:-0}; part++)); do [[ $seen == *" $part "* ]] || missing+=" $part/$parts"; done
    partition='' seed=0 started=$(now)
    if [[ -n $missing ]]; then campaign "$out/records" 'nightly parts' incomplete "missing:$missing" 0; fi
    finish "$out" "${all[@]}" "$out/records" || exit $?
}

partition=${OWNERDEAD_PARTITION:-}
[[ -z $partition ]] || { [[ $partition =~ ^[0-9]+/[0-9]+$ ]] && ((${partition%/*} >= 1 && ${partition%/*} <= ${partition#*/})); } ||
    { echo "OWNERDEAD_PARTITION=$partition: expected PART/PARTS, as 2/4" >&2; exit 64; }
[[ ${OWNERDEAD_SEED:-0} =~ ^[0-9]+$ ]] || { echo "OWNERDEAD_SEED=$OWNERDEAD_SEED: expected a whole number" >&2; exit 64; }
case ${1:-} in
--self-test) exec bash ci/chaos-nightly-self-test.sh ;;
--resume) [[ $# == 2 ]] || usage; out=$(realpath -m "$2"); night ;;
--merge)
    shift
    out=$base/nightly-merged
    [[ ${1:-} != --out ]] || { out=$(realpath -m "${2:?}"); shift 2; }
    (($#)) || usage
    merge "$@"
    ;;
*)
    [[ ${1:-} =~ ^[0-9]*\.?[0-9]+$ && ($# == 1 || ($# == 3 && $2 == --out)) ]] || usage
    asked=$(awk -v hours="$1" 'BEGIN { printf "%.0f", hours * 3600000 }')
    out=$(realpath -m "${3:-$base/nightly/$(date -u +%Y%m%d-%H%M%S)}")
    night
    ;;
esac
