#!/usr/bin/env bash
# Budget: an hour for all on 2 cores after building (139 changes; the stores that sink take longest), 5 minutes for a sample of five.
#
# Is each ordering and each compiler fence in src/ needed, and may a compiler move each store as far as they let it? What a model
# comes by is changed, one thing at a time, in one binary, under loom:
#
#   A>B      a memory ordering is weakened by a step: a model must fail
#   delayed  a store sinks until something holds it back: no model may fail; one to the robust list, which has fences
#            around it for that, must make one fail
#   unfenced a compiler fence, or a call to the robust list, holds no store back: with some store delayed, a model must fail
#
# One that survives, where a model must fail, needs a reason in models/orderings.tsv; a reason whose place is gone fails too.
#
#   ci/orderings.sh                        all of them
#   ci/orderings.sh --sample N [--seed S]  N of them, by chance
#   ci/orderings.sh --only TEXT            those whose line holds TEXT
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
work=$CARGO_TARGET_DIR/orderings
reasons=models/orderings.tsv
sample=0 seed=$RANDOM only=
while (($#)); do
    case $1 in
    --sample) sample=${2:?--sample takes a number} && shift ;;
    --seed) seed=${2:?--seed takes a number} && shift ;;
    --only) only=${2:?--only takes a text} && shift ;;
    -h | --help) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit ;;
    *) echo "orderings: $1 is no option; see --help" >&2; exit 64 ;;
    esac
    shift
done
rm -rf "$work"
mkdir -p "$work"
trap 'echo "orderings: interrupted"; exit 130' INT TERM
export work reasons

export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom" CARGO_TARGET_DIR=$CARGO_TARGET_DIR/loom
cargo test --release --no-run >"$work/build" 2>&1 || { cat "$work/build"; echo "orderings: FAILED: the models do not build"; exit 1; }
mapfile -t binaries < <(sed -n 's/^ *Executable models\/[^ ]* (\(.*\))$/\1/p' "$work/build")
((${#binaries[@]})) || { echo "orderings: FAILED: no model was built"; exit 1; }

# What each sweep comes by, and how long it takes without a change.
for binary in "${binaries[@]}"; do
    OWNERDEAD_SITES=$work/sites OWNERDEAD_REPORT=$work/report ci/each-alone.sh "$binary" >"$work/log" 2>&1 ||
        { cat "$work/log"; echo "orderings: FAILED: ${binary##*/} does not pass as it is"; exit 1; }
    # One without a sweep of its own comes by nothing.
    [[ -e $work/sites ]] || continue
    awk -v binary="$binary" -F '\t' 'BEGIN { OFS = FS } { print $0, binary }' "$work/sites" >>"$work/all"
    rm "$work/sites"
done

# kind, site, part, from, to, operation: one line for each change.
awk -F '\t' '
    BEGIN { OFS = FS; weaker["Acquire"] = weaker["Release"] = "Relaxed"; weaker["AcqRel"] = "Acquire Release"; weaker["SeqCst"] = "AcqRel" }
    $3 !~ /^src\// || $5 == "held" || $5 == "died" || seen[$3, $4, $5]++ { next }
    { place[$3] }
    $4 ~ /^(payload )?store$/ { print "delay", $3, "-", "-", "-", $4 }
    $4 ~ /^(pending|robust) / { print "list", $3, "-", "-", "-", $4 }
    $4 ~ /^(pending|robust|compiler_fence)/ { print "unfence", $3, "-", "-", "-", $4; fences++ }
    $5 == "-" { next }
    { orderings++ }
    $6 == "Relaxed" { relaxed++ }
    $6 == "SeqCst" && $4 == "load" { print "weaken", $3, $5, $6, "Acquire", $4; next }
    $6 == "SeqCst" && $4 == "store" { print "weaken", $3, $5, $6, "Release", $4; next }
    { count = split(weaker[$6], to, " "); for (i = 1; i <= count; i++) print "weaken", $3, $5, $6, to[i], $4 }
    END {
        printf "orderings: %d call sites, with %d orderings (%d Relaxed already) and %d fences\n", length(place), orderings, relaxed, fences >"/dev/stderr"
    }' "$work/all" 2>"$work/count" | sort -t$'\t' -k1,1 -k2,2 -V >"$work/changes"
cat "$work/count"
if [[ -n $only ]]; then grep -F -- "$only" "$work/changes" >"$work/some" || true; mv "$work/some" "$work/changes"; fi
if ((sample)); then
    awk -v seed="$seed" 'BEGIN { srand(seed) } { print rand() "\t" $0 }' "$work/changes" | sort | cut -f 2- | head -n "$sample" >"$work/some"
    mv "$work/some" "$work/changes"
    echo "orderings: a sample of $sample, seed $seed"
fi
echo "orderings: $(wc -l <"$work/changes") changes"

# text SITE: the line of source, trimmed: what a reason is filed under, since line numbers move.
text() { sed -n "$(cut -d : -f 2 <<<"$1")s/^[[:space:]]*//p" "${1%%:*}"; }
# reason SITE PART STEP
reason() {
    [[ -e $reasons ]] || return 0
    FILE=${1%%:*} LINE=$(text "$1") awk -F '\t' -v part="$2" -v step="$3" \
        '$1 == ENVIRON["FILE"] && $2 == ENVIRON["LINE"] && $3 == part && $4 == step { print $5; exit }' "$reasons"
}
# tests SITE...: the tests that come by all of these sites, the quickest first: test, binary.
tests() {
    awk -F '\t' -v sites="$*" '
        BEGIN { OFS = FS; count = split(sites, site, " ") }
        NR == FNR { if ($1 == "pass") time[$3] = $7; next }
        { total[$2] += first[$1]++ ? 0 : time[$1]; binary[$2] = $7; by[$2, $3] = 1 }
        END { for (test in binary) { for (i = 1; i <= count && (test, site[i]) in by; i++); if (i > count) print total[test], test, binary[test] } }' \
        "$work/report" "$work/all" | sort -n | cut -f 2-
}
# passes TEST BINARY: whether it ran to its end and found nothing.
passes() { "$2" --exact "$1" --show-output >"$log" 2>&1 && grep -q '^test result: ok. 1 passed;' "$log"; }
# fails TEST BINARY: whether it found something. One that ran out of its budget, or was killed, has caught nothing.
fails() { ! passes "$@" && grep -q '^test result: FAILED. 0 passed; 1 failed;' "$log" && ! grep -q INCOMPLETE "$log"; }
# change NUMBER LINE: makes it, and says what came of it.
change() {
    local number=$1 kind site part from to operation by= test binary start=$SECONDS step what held count=0
    IFS=$'\t' read -r kind site part from to operation <<<"$2"
    log=$work/log.$number
    case $kind in
    weaken)
        step="$from>$to" what="$part $step"
        while IFS=$'\t' read -r test binary; do
            if OWNERDEAD_WEAKEN="$site/$part=$to" fails "$test" "$binary"; then by=$test; break; fi
        done < <(tests "$site")
        ;;
    delay)
        step=delayed what="$operation delayed"
        while IFS=$'\t' read -r test binary; do
            if ! OWNERDEAD_DELAY="$site" passes "$test" "$binary"; then by=$test; break; fi
            # One in which it never came to that has shown nothing.
            if grep -qE '; [1-9][0-9]* stores were delayed' "$log"; then count=$((count + 1)); fi
        done < <(tests "$site")
        ;;
    list)
        step=delayed what="$operation delayed"
        while IFS=$'\t' read -r test binary; do
            if OWNERDEAD_DELAY="$site" fails "$test" "$binary"; then by=$test; break; fi
        done < <(tests "$site")
        ;;
    unfence)
        step=unfenced what="$operation unfenced"
        while IFS=$'\t' read -r held test binary; do
            if OWNERDEAD_DELAY=$held OWNERDEAD_UNFENCE=$site fails "$test" "$binary"; then by="$test, $held delayed"; break; fi
        done < <(tests "$site" | awk -F '\t' -v site="$site" -v operation="$operation" '
            BEGIN { OFS = FS }
            NR == FNR { if ($3 == site && $4 == operation && $5 == "held") store[$2, $6]; next }
            { for (pair in store) { split(pair, of, SUBSEP); if (of[1] == $1) print of[2], $1, $2 } }' "$work/all" -)
        ;;
    esac
    local verdict result why
    why=$(reason "$site" "$part" "$step")
    if [[ $kind == delay ]]; then
        if [[ -n $by ]] || ((!count)); then verdict=failed result="FAILED in ${by:-no test}: a compiler may do this"; else verdict=held result="held, in $count tests"; fi
    elif [[ -n $by ]]; then verdict=caught result="caught by $by"
    elif [[ -n $why ]]; then verdict=excused result="survives: $why"
    else verdict=failed result="SURVIVED: $(text "$site")"; fi
    echo "$verdict" >>"$work/verdicts"
    printf '%-34s %-24s %4d s  %s\n' "$site" "$what" $((SECONDS - start)) "$result"
}
export -f text reason tests passes fails change
: >"$work/verdicts"
awk '{ print NR; print }' "$work/changes" | xargs -d '\n' -n 2 -P "$(nproc)" bash -c 'change "$@"' _

# A reason for what is no longer there is a reason for nothing.
failed=0
if [[ -e $reasons ]]; then
    while IFS=$'\t' read -r file line part step _; do
        [[ $file == \#* || -z $file ]] && continue
        if ! grep -qxF -- "$line" <(sed 's/^[[:space:]]*//' "$file" 2>/dev/null); then
            echo "orderings: a reason without its place: $file: $line ($part, $step)"
            failed=$((failed + 1))
        fi
    done <"$reasons"
fi
count() { grep -cx "$1" "$work/verdicts" || true; }
failed=$((failed + $(count failed)))
[[ $(wc -l <"$work/verdicts") == $(wc -l <"$work/changes") ]] || { echo "orderings: FAILED: not every change was judged"; exit 1; }
echo "orderings: $(count caught) caught, $(count held) held, $(count excused) survive for a reason"
if ((failed)); then echo "orderings: FAILED: $failed without a check or a reason"; exit 1; fi
echo "orderings: passed"
