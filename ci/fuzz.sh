#!/usr/bin/env bash
# Budget: SECONDS (default 60) for each fuzz target, after building; --coverage 5 minutes on 2 cores, --replay 3, building included.
#
# The fuzzers, that of schedules too, and nothing else; then a table of what each did, which is also in
# target/ownerdead/fuzz-targets.tsv. Needs a nightly toolchain and cargo-fuzz; exit code 3 without them.
#
#   ci/fuzz.sh [SECONDS [TARGET...]]    all targets, or these
#   ci/fuzz.sh --replay     plays all seeds and regressions in a build with --cfg fuzzing, those of `hostile` too; needs no nightly toolchain
#   ci/fuzz.sh --coverage   which lines of the structures each target's inputs run: its seeds, and what was found on this machine;
#                           also in target/ownerdead/fuzz-coverage.tsv. Needs no nightly toolchain but llvm-tools, or exit code 3
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
output=$target/ownerdead
not_run() { echo "fuzz: not run: $1"; exit 3; }
fail() { echo "fuzz: FAILED: $1"; exit 1; }

# In the background, so that Ctrl-C is heard; what is told then is told whatever is written to a log meanwhile.
running=
exec 3>&1
trap 'echo "fuzz: interrupted" >&3; [[ -z $running ]] || { kill "$running" && wait "$running"; } 2>/dev/null || true; exit 130' INT TERM
heard() {
    local code=0
    "$@" &
    running=$!
    wait "$running" || code=$?
    running=
    return "$code"
}

fuzz() {
    local code=0 table=$output/fuzz-targets.tsv
    # It makes a folder for each target, also where nothing was found. What was found stays.
    trap 'find fuzz/artifacts fuzz/schedule/artifacts -depth -type d -empty -delete 2>/dev/null || true' EXIT
    rm -f "$table"
    heard cargo ownerdead check --layer fuzz --fuzz-seconds "$1" "${@:2}" || code=$?
    if [[ -e $table ]]; then
        awk -F '\t' '{ printf "%-18s", $1; for (i = 2; i <= NF; i++) printf " %12s", $i; print "" }' "$table"
        echo "fuzz: the table for machines: ${table#"$PWD/"}"
    fi
    if ((code)); then
        echo "fuzz: FAILED or incomplete"
        exit "$code"
    fi
    echo "fuzz: passed"
}

# As `cargo test` does in its own build, where nobody can come between two accesses. What was not played has not passed.
replay() {
    local code=0
    RUSTFLAGS="${RUSTFLAGS:-} --cfg fuzzing" CARGO_TARGET_DIR=$target/fuzz-replay heard timeout --kill-after=10 1200 \
        cargo test --test fuzz_inputs -- --format terse >"$target/fuzz-replay.log" 2>&1 || code=$?
    if ((code)); then
        cat "$target/fuzz-replay.log"
        fail "an input fails, or the targets do not build"
    fi
    grep -E '^test result: ok\. [1-9][0-9]* passed; 0 failed; 0 ignored' "$target/fuzz-replay.log" ||
        { tail -n 20 "$target/fuzz-replay.log"; fail 'not all inputs were played'; }
    echo "fuzz: replay: passed"
}

# `timeout` passes a signal to all that was started. Built as they are for fuzzing, but for libFuzzer's own instruments: it only plays inputs here.
coverage() {
    local work=$target/fuzz-coverage modules='src/ring src/segment src/owner src/lock src/cell' package flags program name programs inputs
    # shellcheck source=ci/lines.sh
    source ci/lines.sh
    find_llvm
    rm -rf "$work/lines"
    mkdir -p "$work/lines" "$output"
    # Build scripts and macros write theirs too.
    export LLVM_PROFILE_FILE="$work/profiles/%m%c.profraw"
    for package in fuzz fuzz/schedule; do
        flags="--cfg fuzzing -C debug-assertions $line_flags"
        [[ $package == fuzz ]] || flags+=' --cfg shuttle'
        RUSTFLAGS="${RUSTFLAGS:-} $flags" CARGO_TARGET_DIR=$work/${package//\//-} heard timeout --kill-after=10 1200 cargo build --release --bins \
            --manifest-path "$package/Cargo.toml" --message-format=json >"$work/built" 2>"$work/log" ||
            { tail -n 40 "$work/log"; fail "the targets of $package do not build"; }
        mapfile -t programs < <(grep -oP '"executable":"\K[^"]+' "$work/built")
        ((${#programs[@]})) || fail "$package has no targets"
        for program in "${programs[@]}"; do
            name=${program##*/}
            mapfile -d '' inputs < <(find "$package/corpus/$name" "$output/corpus/$name" -type f -print0 2>/dev/null)
            ((${#inputs[@]})) || fail "$name has no inputs: there should be seeds in $package/corpus/$name"
            rm -rf "$work/profiles"
            mkdir -p "$work/profiles"
            heard timeout --kill-after=10 1200 xargs -0 -a <(printf '%s\0' "${inputs[@]}") \
                "$program" -timeout=30 -artifact_prefix="$work/" >"$work/log" 2>&1 ||
                { tail -n 40 "$work/log"; fail "$name: an input of its corpus fails; its name is in the last line above with \`Running:\`"; }
            lines_of "$work/profiles" "$work/lines/$name" "$modules" "$program"
            echo "${#inputs[@]}" >"$work/lines/$name.inputs"
        done
    done
    # A line counts that some target was built with; the same for all, so that shares can be compared.
    (cd "$work/lines" && awk -F '\t' -v names="$modules" -v table="$output/fuzz-coverage.tsv" '
        FNR == 1 { target = FILENAME; targets[++count] = target; getline inputs[target] < (target ".inputs") }
        { split($1, part, "/"); module = part[1] "/" part[2]; line = $1 ":" $2
          if (!(line in known)) { known[line]; all[module]++; total++ }
          if ($3 > 0) { if (!((target, line) in seen)) { seen[target, line]; run[target, module]++; run[target, "all"]++ }
                        if (!(line in together)) { together[line]; run["together", module]++; run["together", "all"]++ } } }
        function share(target, module, of) {
            printf "%s\t%s\t%d\t%d\n", target, module, run[target, module], of > table
            printf " %12.1f %%", of ? 100 * run[target, module] / of : 0 }
        function row(target, inputs) {
            printf "%-18s %7s", target, inputs
            for (i = 1; i <= kinds; i++) share(target, modules[i], all[modules[i]])
            share(target, "all", total); print "" }
        END {
            kinds = split(names, modules, " ")
            print "target\tmodule\trun\tlines" > table
            printf "%-18s %7s", "target", "inputs"
            for (i = 1; i <= kinds; i++) printf " %14s", modules[i]
            printf " %14s\n", "all"
            for (n = 1; n <= count; n++) row(targets[n], inputs[targets[n]])
            row("together", "")
            printf "%-18s %7s", "lines", ""
            for (i = 1; i <= kinds; i++) { printf " %14d", all[modules[i]]; if (!all[modules[i]]) missing = missing " " modules[i] }
            printf " %14d\n", total
            if (missing != "") { print "fuzz: FAILED: no line was counted in" missing; exit 1 }
        }' $(printf '%s\n' *.inputs | sed 's/\.inputs$//'))
    echo "fuzz: the table for machines: ${output#"$PWD/"}/fuzz-coverage.tsv"
}

case ${1:-} in
--coverage) coverage ;;
--replay) replay ;;
-h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0" ;;
'' | [1-9]*)
    cargo +nightly --version >/dev/null 2>&1 && cargo fuzz --version >/dev/null 2>&1 ||
        not_run 'it needs `rustup toolchain install nightly --profile minimal` and `cargo install cargo-fuzz --locked`'
    seconds=${1:-60}
    shift $(($# > 0))
    fuzz "$seconds" "${@/#/--fuzz-target=}"
    ;;
*) echo "fuzz: $1 is no number of seconds; see --help" >&2; exit 64 ;;
esac
