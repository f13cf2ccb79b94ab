#!/usr/bin/env bash
# Budget: an hour and more for all on 2 cores, 2 minutes for a sample of three, from a checkout without a build.
#
# Known bugs of this field, as patches: models/bugs/ and, for real processes, chaos/bugs/. Each is applied to
# a copy of the tree, and the check that its head names must fail there. The same check must pass without the patch.
#
#   ci/bugs.sh                        all of them
#   ci/bugs.sh 8 60                   those numbers
#   ci/bugs.sh --layer chaos 8 60     of their checks those of this layer (may be repeated): as --list says
#   ci/bugs.sh --sample N [--seed S]  N of them, by chance
#   ci/bugs.sh --build                whether each applies and builds, and no more: a minute
#   ci/bugs.sh --list
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/bugs
tree=$target/tree
log=$target/log
# A check that says nothing for so long has not caught anything. The slowest control takes a tenth of it.
limit=300
sample=0 seed=$RANDOM list= build=
numbers=() layers=()
while (($#)); do
    case $1 in
    --sample) sample=${2:?--sample takes a number} && shift ;;
    --seed) seed=${2:?--seed takes a number} && shift ;;
    --layer) layers+=("${2:?--layer takes a name}") && shift ;;
    --list) list=1 ;;
    --build) build=1 ;;
    [0-9]*) numbers+=("$((10#$1))") ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit ;;
    *) echo "bugs: $1 is no option and no number; see --help" >&2; exit 64 ;;
    esac
    shift
done

# head FIELD PATCH: a line of the patch's head.
head_of() { sed -n "/^---/q; s/^$1: //p" "$2"; }

patches=()
for patch in models/bugs/*.patch chaos/bugs/*.patch; do
    [[ -e $patch ]] || continue
    number=$(head_of Bug "$patch")
    if ((${#numbers[@]})) && [[ " ${numbers[*]} " != *" $number "* ]]; then continue; fi
    patches+=("$PWD/$patch")
done
((${#patches[@]})) || { echo "bugs: FAILED: no patch of that number" >&2; exit 64; }
if ((sample)); then
    mapfile -t patches < <(printf '%s\n' "${patches[@]}" | awk -v seed="$seed" \
        'BEGIN { srand(seed) } { print rand() "\t" $0 }' | sort | cut -f 2 | head -n "$sample" | sort)
    echo "bugs: a sample of $sample, seed $seed"
fi
if [[ -n $list ]]; then
    for patch in "${patches[@]}"; do
        printf '%3s  %-8s %s\n' "$(head_of Bug "$patch")" "$(head_of Check "$patch" | cut -d ' ' -f 1 | paste -sd +)" "$(head_of Name "$patch")"
    done
    exit
fi

# Seconds for a chaos scenario without the bug, and with it: it stops when it has found something.
calm=3 wild=60

# The fuzzers' tools, without which a check of theirs is not run.
fuzzers=
if cargo +nightly --version >/dev/null 2>&1 && cargo fuzz --version >/dev/null 2>&1; then fuzzers=1; fi

# fuzz SECONDS TARGET: as `check`, from the seeds alone.
fuzz() {
    local found=$target/found/$2 code=0
    rm -rf "$found"
    mkdir -p "$found"
    (cd "$tree" && cargo +nightly fuzz build --target-dir "$CARGO_TARGET_DIR" "$2") >"$log" 2>&1 || return 2
    (cd "$tree" && timeout --kill-after=10 "$limit" cargo +nightly fuzz run --target-dir "$CARGO_TARGET_DIR" "$2" "$found" \
        "fuzz/corpus/$2" -- "-max_total_time=$1" -timeout=10) >"$log" 2>&1 || code=$?
    ((code != 124 && code != 137)) || return 124
    ((code == 0)) || return 1
    grep -q '^Done [1-9]' "$log" || return 3
}

# check SECONDS LAYER TARGET [FILTER]: 0 if it passes, 1 if it fails, 2 if it does not build, 3 if it ran no test, 124 out of time.
check() {
    local seconds=$1 layer=$2 test=$3 code=0
    shift
    local command=(cargo test --test "$test")
    if [[ $layer == loom || $layer == shuttle ]]; then
        command=(env RUSTFLAGS="${RUSTFLAGS:-} --cfg $layer" cargo test --release --test "$test")
    fi
    if [[ $layer == sweep ]]; then
        command=(cargo test --release --test "$test")
    fi
    if [[ $layer == chaos ]]; then
        command=(env OWNERDEAD_CHAOS_SECONDS="$seconds" cargo test --release --test "$test")
    fi
    [[ $test == lib ]] && command=(cargo test --lib)
    export CARGO_TARGET_DIR=$target/$layer
    if [[ $layer == fuzz ]]; then
        fuzz "$seconds" "$test" || code=$?
        return "$code"
    fi
    (cd "$tree" && "${command[@]}" --no-run) >"$log" 2>&1 || return 2
    (cd "$tree" && timeout --kill-after=10 "$limit" "${command[@]}" -- ${3:+"$3"}) >"$log" 2>&1 || code=$?
    ((code != 124 && code != 137)) || return 124
    if ((code == 0)); then
        awk '/^test result: ok/ { ran += $4 } END { exit !ran }' "$log" || return 3
        return 0
    fi
    # A harness that ends without a word of its tests has crashed: that catches a bug too, but say so.
    return 1
}

# The copy, changed files alone, so that little is built anew.
rm -rf "$tree.new"
mkdir -p "$tree.new" "$tree"
git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -f "$1" ] || cp --parents -p "$1" "$2"' _ {} "$tree.new"
grep -q '^\[workspace\]' "$tree.new/Cargo.toml" || printf '\n[workspace]\n' >>"$tree.new/Cargo.toml"
(cd "$tree.new" && find . -type f) | while IFS= read -r file; do
    cmp -s "$tree.new/$file" "$tree/$file" || { mkdir -p "$tree/$(dirname "$file")" && cp "$tree.new/$file" "$tree/$file"; }
done
(cd "$tree" && find . -type f) | while IFS= read -r file; do [[ -e $tree.new/$file ]] || rm "$tree/$file"; done
rm -rf "$tree.new"

apply() { (cd "$tree" && GIT_CEILING_DIRECTORIES=$target git apply "$@"); }
# What is applied now, the last one first.
applied=()
undo() {
    local patch
    for patch in "${applied[@]}"; do apply -R "$patch"; done
    applied=()
}
trap 'undo; exit 130' INT TERM
trap undo EXIT

# built: whether the tree builds, for the models and without. The patches are of the library alone.
built() {
    local cfg
    for cfg in '' '--cfg loom'; do
        (cd "$tree" && RUSTFLAGS="${RUSTFLAGS:-} $cfg" cargo check --lib --target-dir "$target/check${cfg#--cfg }") >"$log" 2>&1 || return 1
    done
}

# Groups, each of all patches that fit beside each other: four builds in place of some 150.
build_all() {
    local left=() later group patch groups=0 failed=0
    cannot() { echo "bugs: $(basename "$1") $2"; failed=$((failed + 1)); }
    built || { cat "$log"; echo 'bugs: FAILED: the tree does not build without any patch'; return 1; }
    for patch in "${patches[@]}"; do
        if sed -n 's,^+++ b/,,p' "$patch" | grep -qvP '^src/(?!bin/)'; then
            cannot "$patch" 'patches what is not of the library'
        else
            left+=("$patch")
        fi
    done
    while ((${#left[@]})); do
        group=() later=()
        for patch in "${left[@]}"; do
            if apply "$patch" 2>"$log"; then applied=("$patch" "${applied[@]}") group+=("$patch"); else later+=("$patch"); fi
        done
        if ((!${#group[@]})); then
            for patch in "${left[@]}"; do cannot "$patch" 'does not apply'; done
            break
        fi
        groups=$((groups + 1))
        if ! built; then
            # Whose fault it is.
            undo
            for patch in "${group[@]}"; do
                apply "$patch" && applied=("$patch")
                built || { cannot "$patch" 'does not build:'; grep -m 3 -A 2 '^error' "$log"; }
                undo
            done
        fi
        undo
        left=("${later[@]}")
    done
    if ((failed)); then echo "bugs: FAILED: $failed of ${#patches[@]} patches"; return 1; fi
    echo "bugs: passed: all ${#patches[@]} patches apply and build, in $groups groups"
}
if [[ -n $build ]]; then
    code=0
    build_all || code=$?
    exit "$code"
fi

declare -A control
failed=0 caught=0 missing=0
printf '%3s  %-66s %-8s %-17s %7s  %s\n' bug name layer target time verdict
# bug PATCH LAYER TARGET [FILTER]
bug() {
    local patch=$1 layer=$2 test=$3 filter=${4:-} start time key code verdict
    start=$(date +%s.%N)
    took() { awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }'; }
    time=
    if [[ $layer == fuzz && -z $fuzzers ]]; then
        printf '%3s  %-66s %-8s %-17s %7s  %s\n' "$(head_of Bug "$patch")" "$(head_of Name "$patch")" "$layer" "$test" '' \
            'not run: it needs a nightly toolchain and cargo-fuzz'
        missing=$((missing + 1))
        return
    fi
    key="$layer $test $filter"
    if [[ -z ${control[$key]:-} ]]; then
        code=0
        check "$calm" "$layer" "$test" "$filter" || code=$?
        control[$key]=$code
        ((code == 0)) || cp "$log" "$target/control.log"
    fi
    if ((control[$key])); then
        verdict="CONTROL FAILED: without the bug the check ends with ${control[$key]}; see ${target#"$PWD"/}/control.log"
    elif ! apply --check "$patch" 2>"$log"; then
        verdict='DOES NOT APPLY'
    else
        applied=("$patch")
        apply "$patch"
        start=$(date +%s.%N)
        code=0
        check "$wild" "$layer" "$test" "$filter" || code=$?
        time=$(took)
        cp "$log" "$target/$(basename "$patch" .patch).log"
        undo
        case $code in
        1) verdict=caught ;;
        2) verdict='DOES NOT BUILD' ;;
        124) verdict="SURVIVED: silent for $limit s" ;;
        *) verdict=SURVIVED ;;
        esac
    fi
    if [[ $verdict == caught ]]; then caught=$((caught + 1)); else failed=$((failed + 1)); fi
    printf '%3s  %-66s %-8s %-17s %5s s  %s\n' "$(head_of Bug "$patch")" "$(head_of Name "$patch")" "$layer" "$test" "$time" "$verdict"
}

# A patch may name several checks: each of them must catch it.
for patch in "${patches[@]}"; do
    mapfile -t checks < <(head_of Check "$patch")
    ((${#checks[@]})) || { echo "bugs: FAILED: $patch names no check"; exit 1; }
    for named in "${checks[@]}"; do
        read -r layer test filter <<<"$named"
        if ((${#layers[@]})) && [[ " ${layers[*]} " != *" $layer "* ]]; then continue; fi
        bug "$patch" "$layer" "$test" "$filter"
    done
done
if ((failed)); then echo "bugs: FAILED: $failed of $((failed + caught)) not caught"; exit 1; fi
((caught + missing)) || { echo "bugs: FAILED: no check of ${layers[*]} in these patches" >&2; exit 64; }
((missing)) && also=", $missing checks not run" || also=
echo "bugs: passed: all $caught caught$also (times with building)"
