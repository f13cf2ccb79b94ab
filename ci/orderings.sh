#!/usr/bin/env bash
# Budget: 30 minutes for all on 2 cores after building, 2 minutes for a sample of five.
#
# Is each ordering in src/ needed? Each one that a model comes by is weakened, one step at a time, in one binary, and the
# models that come by it must fail under loom. One that survives needs a reason in models/orderings.tsv, and a reason whose place
# is gone fails too.
#
#   ci/orderings.sh                        all of them
#   ci/orderings.sh --sample N [--seed S]  N of them, by chance
#   ci/orderings.sh --only TEXT            those whose site holds TEXT
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
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit ;;
    *) echo "orderings: $1 is no option; see --help" >&2; exit 64 ;;
    esac
    shift
done
rm -rf "$work"
mkdir -p "$work"
trap 'echo "orderings: interrupted"; exit 130' INT TERM

export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom" CARGO_TARGET_DIR=$CARGO_TARGET_DIR/loom
cargo test --release --no-run >"$work/build" 2>&1 || { cat "$work/build"; echo "orderings: FAILED: the models do not build"; exit 1; }
mapfile -t binaries < <(sed -n 's/^ *Executable models\/[^ ]* (\(.*\))$/\1/p' "$work/build")
((${#binaries[@]})) || { echo "orderings: FAILED: no model was built"; exit 1; }

# What each sweep comes by, and how long it takes without a change.
for binary in "${binaries[@]}"; do
    OWNERDEAD_SITES=$work/sites OWNERDEAD_REPORT=$work/report "$binary" -q >"$work/log" 2>&1 ||
        { cat "$work/log"; echo "orderings: FAILED: ${binary##*/} does not pass as it is"; exit 1; }
    # One without a sweep of its own comes by nothing.
    [[ -e $work/sites ]] || continue
    awk -v binary="$binary" -F '\t' 'BEGIN { OFS = FS } { print $0, binary }' "$work/sites" >>"$work/all"
    rm "$work/sites"
done

# site, part, from, to, operation: one line for each step by which an ordering can be weakened.
awk -F '\t' '
    BEGIN { OFS = FS; weaker["Acquire"] = weaker["Release"] = "Relaxed"; weaker["AcqRel"] = "Acquire Release"; weaker["SeqCst"] = "AcqRel" }
    $3 !~ /^src\// || seen[$3, $5]++ { next }
    { sites++ }
    $6 == "SeqCst" && $4 == "load" { print $3, $5, $6, "Acquire", $4; next }
    $6 == "SeqCst" && $4 == "store" { print $3, $5, $6, "Release", $4; next }
    { count = split(weaker[$6], to, " "); for (i = 1; i <= count; i++) print $3, $5, $6, to[i], $4 }
    END { print sites + 0 > "'"$work"'/count" }' "$work/all" | sort -t: -k1,1 -k2,2n >"$work/mutants"
total=$(wc -l <"$work/mutants")
relaxed=$(($(cat "$work/count") - $(cut -f 1,2 "$work/mutants" | sort -u | wc -l)))
places=$(cut -f 3 "$work/all" | sort -u | grep -c '^src/')
echo "orderings: $(cat "$work/count") at $places places; $relaxed are Relaxed already, the others can be weakened in $total steps"
if [[ -n $only ]]; then grep -F -- "$only" "$work/mutants" >"$work/some" || true; mv "$work/some" "$work/mutants"; fi
if ((sample)); then
    awk -v seed="$seed" 'BEGIN { srand(seed) } { print rand() "\t" $0 }' "$work/mutants" | sort | cut -f 2- | head -n "$sample" >"$work/some"
    mv "$work/some" "$work/mutants"
    echo "orderings: a sample of $sample, seed $seed"
fi

# text SITE: the line of source, trimmed: what a reason is filed under, since line numbers move.
text() { sed -n "$(cut -d : -f 2 <<<"$1")s/^[[:space:]]*//p" "${1%%:*}"; }
# reason SITE PART FROM TO
reason() {
    [[ -e $reasons ]] || return 0
    FILE=${1%%:*} LINE=$(text "$1") awk -F '\t' -v part="$2" -v step="$3>$4" \
        '$1 == ENVIRON["FILE"] && $2 == ENVIRON["LINE"] && $3 == part && $4 == step { print $5; exit }' "$reasons"
}

failed=0 caught=0 excused=0
printf '%-34s %-8s %-18s %-34s %8s\n' site part weakened 'caught by' time
while IFS=$'\t' read -r site part from to operation; do
    by= took=
    # The quickest models first.
    while IFS=$'\t' read -r _ test binary; do
        start=$(date +%s.%N)
        if ! OWNERDEAD_WEAKEN="$site/$part=$to" "$binary" --exact "$test" >"$work/log" 2>&1; then
            # One that only ran out of its budget has caught nothing.
            grep -q 'INCOMPLETE' "$work/log" && continue
            by=$test
            took=$(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { printf "%.2f s", b - a }')
            break
        fi
    done < <(awk -F '\t' -v site="$site" 'NR == FNR { if ($1 == "pass") time[$3] = $7; next } $3 == site && !seen[$2]++ { print time[$1] "\t" $2 "\t" $7 }' \
        "$work/report" "$work/all" | sort -n)
    if [[ -n $by ]]; then
        caught=$((caught + 1))
    else
        why=$(reason "$site" "$part" "$from" "$to")
        if [[ -n $why ]]; then by="survived: $why" excused=$((excused + 1)); else by="SURVIVED: $operation, $(text "$site")" failed=$((failed + 1)); fi
    fi
    printf '%-34s %-8s %-18s %-34s %8s\n' "$site" "$part" "$from>$to" "$by" "$took"
done <"$work/mutants"

# A reason for what is no longer there is a reason for nothing.
if [[ -e $reasons ]]; then
    while IFS=$'\t' read -r file line part step _; do
        [[ $file == \#* || -z $file ]] && continue
        if ! grep -qxF -- "$line" <(sed 's/^[[:space:]]*//' "$file" 2>/dev/null); then
            echo "orderings: a reason without its place: $file: $line ($part, $step)"
            failed=$((failed + 1))
        fi
    done <"$reasons"
fi
if ((failed)); then echo "orderings: FAILED: $failed without a check or a reason; $caught caught, $excused survive for a reason"; exit 1; fi
echo "orderings: passed: $caught caught, $excused survive for a reason"
