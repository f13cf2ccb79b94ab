#!/usr/bin/env bash
# Budget: 8 minutes from a clean checkout on 2 cores, a minute when nothing changed.
#
# Does .clusterfuzzlite/build.sh, which ClusterFuzzLite and OSS-Fuzz run in their container, ship all that it should? Here it runs
# outside: with the container's variables below the target directory, and the flags that the container sets for Rust. Then each
# target of both packages must be there, with all its seeds in its archive, and must start from them with its options and its
# dictionary. Needs a nightly toolchain, cargo-fuzz and python3; exit code 3 without them.
#
#   ci/clusterfuzzlite.sh
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in
'') ;;
-h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit ;;
*) echo "clusterfuzzlite: $1 is no option; see --help" >&2; exit 64 ;;
esac
if ! cargo +nightly --version >/dev/null 2>&1 || ! cargo fuzz --version >/dev/null 2>&1 || ! python3 --version >/dev/null 2>&1; then
    echo "clusterfuzzlite: not run: it needs \`rustup toolchain install nightly --profile minimal\`, \`cargo install cargo-fuzz --locked\` and python3"
    exit 3
fi
work=$(realpath -m "${CARGO_TARGET_DIR:-target}")/clusterfuzzlite
# Executions of each target beside its seeds.
runs=500
failed=0

# In the background, so that Ctrl-C is heard; `timeout` passes the signal to all that was started.
running=
stop() { echo 'clusterfuzzlite: interrupted'; [[ -z $running ]] || { kill "$running" && wait "$running"; } 2>/dev/null || true; exit 130; }
trap stop INT TERM
# What is built stays, for the next time.
trap 'rm -rf "$work/src" "$work/out" "$work/try"' EXIT
quietly() {
    local code=0
    timeout --kill-after=10 1200 "$@" >"$work/log" 2>&1 &
    running=$!
    wait "$running" || code=$?
    running=
    return "$code"
}

rm -rf "$work/src" "$work/out" "$work/try"
mkdir -p "$work/src" "$work/out" "$work/work"
ln -s "$PWD" "$work/src/ownerdead"
echo "clusterfuzzlite: building"
quietly env -u CARGO_TARGET_DIR SRC="$work/src" OUT="$work/out" WORK="$work/work" SANITIZER=address RUSTUP_TOOLCHAIN=nightly \
    RUSTFLAGS='--cfg fuzzing -Zsanitizer=address -Cdebuginfo=1 -Cforce-frame-pointers' bash -eu "$work/src/ownerdead/.clusterfuzzlite/build.sh" ||
    { tail -n 40 "$work/log"; echo 'clusterfuzzlite: FAILED: build.sh failed'; exit 1; }

# wrong TARGET WHAT: what was found, what was expected, and what to look into.
wrong() { printf 'clusterfuzzlite: %s: %s\n' "$1" "$2"; failed=$((failed + 1)); }

# The targets as cargo tells them, but those that need a feature: PACKAGE TARGET.
targets() {
    local package
    for package in fuzz fuzz/schedule; do
        cargo metadata --no-deps --format-version 1 --manifest-path "$package/Cargo.toml" | python3 -c '
import json, sys
for target in json.load(sys.stdin)["packages"][0]["targets"]:
    if target["kind"] == ["bin"] and not target.get("required-features"):
        print(sys.argv[1], target["name"])' "$package"
    done
}

# As the container starts a target: each line of its section is a flag. A line of another form is said on stderr.
options() {
    python3 -c '
import configparser, sys
file = configparser.ConfigParser()
file.read_file(open(sys.argv[1]))
if file.sections() != ["libfuzzer"]:
    sys.exit(f"its sections are {file.sections()}, expected [libfuzzer] alone")
for name, value in file["libfuzzer"].items():
    if not value.isdigit():
        sys.exit(f"{name} is {value!r}, expected a number")
    print(f"-{name}={value}")' "$1" 2>&1
}

# try PACKAGE TARGET: starts it from its archive.
try() {
    local package=$1 target=$2 flags seeds before=$failed
    local try=$work/try/$target dictionary=$work/out/$target.dict zip=$work/out/${target}_seed_corpus.zip
    [[ -x $work/out/$target ]] || { wrong "$target" 'it is not in OUT: build.sh leaves it out'; return; }
    mkdir -p "$try/seeds" "$try/found"
    python3 -m zipfile -e "$zip" "$try/seeds" || { wrong "$target" "${zip##*/} is no archive, or is missing"; return; }
    diff -r "$package/corpus/$target" "$try/seeds" || wrong "$target" "${zip##*/} does not hold what is in $package/corpus/$target"
    flags=$(options "$work/out/$target.options") || { wrong "$target" "$target.options: ${flags##*$'\n'}"; return; }
    if [[ -e $package/dictionaries/$target.dict ]]; then flags+=" -dict=$dictionary"; fi
    seeds=$(find "$try/seeds" -type f | wc -l)
    # shellcheck disable=SC2086 # They are several words.
    quietly "$work/out/$target" $flags -runs=$((seeds + runs)) -artifact_prefix="$try/" "$try/found" "$try/seeds" ||
        { tail -n 20 "$work/log"; wrong "$target" "it ended with an error, started with $(tr '\n' ' ' <<<"$flags")"; return; }
    grep 'unrecognized flag' "$work/log" && wrong "$target" "$target.options has a flag that libFuzzer does not know"
    grep -qE "seed corpus: files: $seeds " "$work/log" ||
        wrong "$target" "it read $(grep -oE 'files: [0-9]+' "$work/log" || echo 'no files'), expected the $seeds seeds"
    grep -qE '^Done [0-9]+ runs' "$work/log" || wrong "$target" "it did not say that it is done: $(tail -n 1 "$work/log")"
    grep -qE 'cov: [0-9]{2,}' "$work/log" || wrong "$target" 'it covers next to nothing: was it built for fuzzing?'
    # Without it, what is read outside of the mapped memory goes unseen; shuttle's coroutines must not have it.
    case $package:$(grep -qaF __asan_report_load "$work/out/$target" && echo yes) in
    fuzz:) wrong "$target" 'it has no address sanitizer' ;;
    fuzz/schedule:yes) wrong "$target" 'it has address sanitizer, which does not follow coroutines' ;;
    esac
    ((failed > before)) || printf 'clusterfuzzlite: %-14s %3d seeds, %s\n' "$target" "$seeds" "$(tr '\n' ' ' <<<"$flags" | sed "s#$work/out/##g")"
}

listed=$(targets)
[[ -n $listed ]] || { echo 'clusterfuzzlite: FAILED: neither Cargo.toml has a target'; exit 1; }
while read -r package target; do try "$package" "$target"; done <<<"$listed"
# Every program in OUT is fuzzed: none that is known to fail may be there.
while read -r program; do
    grep -q " ${program##*/}\$" <<<"$listed" || wrong "${program##*/}" 'it is in OUT, and no target that should be shipped'
done < <(find "$work/out" -type f -perm -u+x)
if ((failed)); then echo "clusterfuzzlite: FAILED: $failed wrong"; exit 1; fi
echo "clusterfuzzlite: passed: $(wc -l <<<"$listed") targets"
