#!/usr/bin/env bash
# Budget: none of its own.
#
# Runs a test binary with each test in a process of its own, as many at once as there are processors: explorations in
# one process take turns at its memory map, and two of them take longer than one after the other. cargo calls this for model
# builds (.cargo/config.toml). Where a single test is asked for (--exact, as cargo-nextest does) or nothing is run,
# the binary runs as it is. OWNERDEAD_PARTITION=2/4 takes the second quarter of the tests.
#
#   ci/each-alone.sh BINARY [ARGUMENTS of libtest]
set -uo pipefail
binary=$1
shift
threads=${RUST_TEST_THREADS:-$(nproc)} show=
take=
for argument; do
    if [[ -n $take ]]; then threads=$argument take=; continue; fi
    case $argument in
    --exact | --list | --help | -h | --format* | --bench*) exec "$binary" "$@" ;;
    --test-threads) take=1 ;;
    --test-threads=*) threads=${argument#*=} ;;
    --nocapture | --no-capture | --show-output) show=1 ;;
    esac
done
tests=$("$binary" --list "$@" 2>/dev/null | sed -n 's/: test$//p')
if [[ -n ${OWNERDEAD_PARTITION:-} ]]; then
    part=${OWNERDEAD_PARTITION%/*} parts=${OWNERDEAD_PARTITION#*/}
    [[ $OWNERDEAD_PARTITION =~ ^[0-9]+/[0-9]+$ ]] && ((part >= 1 && part <= parts)) ||
        { echo "OWNERDEAD_PARTITION=$OWNERDEAD_PARTITION: expected PART/PARTS, as 2/4" >&2; exit 64; }
    # By a sum of the name, so that a test stays in its part when others come and go.
    tests=$(while IFS= read -r name; do
        [[ -n $name ]] || continue
        sum=$(cksum <<<"$name")
        ((${sum%% *} % parts == part - 1)) && echo "$name"
    done <<<"$tests")
    [[ -n $tests ]] || { printf '\nrunning 0 tests of this part\n\n'; exit 0; }
fi
# Not libtest, or nothing to share out.
[[ -n ${OWNERDEAD_PARTITION:-} ]] || (($(grep -c . <<<"$tests") > 1)) || exec "$binary" "$@"

logs=$(mktemp -d "${binary%/*}/each-alone.XXXXXX") || exit 1
trap 'rm -rf "$logs"' EXIT
trap 'kill "$!" 2>/dev/null; exit 130' INT TERM
one() {
    local verdict=ok
    "$binary" --exact "$1" >"$logs/$1" 2>&1 || { verdict=FAILED; mv "$logs/$1" "$logs/$1.failed"; }
    echo "test $1 ... $verdict"
}
export -f one
export binary logs
printf '\nrunning %d tests, each in its own process\n' "$(grep -c . <<<"$tests")"
start=$SECONDS
# In the background, so that signals are heard.
xargs -d '\n' -P "$threads" -I{} bash -c 'one "$1"' _ {} <<<"$tests" &
wait "$!"
failed=0
for log in "$logs"/*; do
    case $log in
    *.failed) failed=$((failed + 1)) ;;
    *) [[ -n $show ]] || continue ;;
    esac
    printf '\n---- %s stdout ----\n' "$(basename "${log%.failed}")"
    # Without what libtest says of the one test: it is said once, for all.
    grep -vE '^(running 1 test|test .* \.\.\. |test result: |failures:|successes:)' "$log"
done
verdict=ok
((failed)) && verdict=FAILED
printf '\ntest result: %s. %d passed; %d failed; 0 ignored; 0 measured; 0 filtered out; finished in %d s\n\n' \
    "$verdict" $(($(grep -c . <<<"$tests") - failed)) "$failed" $((SECONDS - start))
((failed == 0)) || exit 101
