#!/usr/bin/env bash
# Budget: none of its own.
#
# Runs a test binary with each test in a process of its own, as many at once as there are processors: explorations in
# one process take turns at its memory map, and two of them take longer than one after the other. cargo calls this for model
# builds (.cargo/config.toml). Where a single test is asked for (--exact, as cargo-nextest does) or nothing is run,
# the binary runs as it is.
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
# Not libtest, or nothing to share out.
(($(grep -c . <<<"$tests") > 1)) || exec "$binary" "$@"

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
    cat "$log"
done
verdict=ok
((failed)) && verdict=FAILED
printf '\ntest result: %s. %d passed; %d failed; 0 ignored; 0 measured; 0 filtered out; finished in %d s\n\n' \
    "$verdict" $(($(grep -c . <<<"$tests") - failed)) "$failed" $((SECONDS - start))
((failed == 0)) || exit 101
