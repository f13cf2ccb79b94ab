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
# What `cargo run` starts, a fuzzer say, is no test: asked for a list of its tests, it would do all its work unseen.
[[ $binary == */deps/* ]] || exec "$binary" "$@"
threads=${RUST_TEST_THREADS:-$(nproc)} show= take= ignored=()
for argument; do
    if [[ -n $take ]]; then threads=$argument take=; continue; fi
    case $argument in
    --exact | --list | --help | -h | --format* | --bench*) exec "$binary" "$@" ;;
    --test-threads) take=1 ;;
    --test-threads=*) threads=${argument#*=} ;;
    --nocapture | --no-capture | --show-output) show=1 ;;
    --ignored | --include-ignored) ignored=("$argument") ;;
    esac
done
tests=$("$binary" --list "$@" 2>/dev/null | sed -n 's/: test$//p')
# libtest lists those that are ignored too, unless it is told to run them.
skipped=
if ((${#ignored[@]} == 0)); then
    skipped=$("$binary" --list "$@" --ignored 2>/dev/null | sed -n 's/: test$//p')
    [[ -z $skipped ]] || tests=$(grep -vxF -- "$skipped" <<<"$tests" || true)
fi
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

# A folder of its own beside the binary: mktemp puts what makes it its own in place of the Xs, and says why if it cannot.
logs=$(mktemp -d "${binary%/*}/each-alone.XXXXXX") || exit 1
trap 'rm -rf "$logs"' EXIT
# one TEST [--ignored]: a test has passed if libtest says that it ran and passed. One that was killed has said nothing.
one() {
    local verdict=FAILED
    "$binary" --exact "$@" >"$logs/$1" 2>&1 && grep -q '^test result: ok. 1 passed;' "$logs/$1" && verdict=ok
    mv "$logs/$1" "$logs/$1.$verdict"
    echo "test $1 ... $verdict"
}
export -f one
export binary logs
total=$(grep -c . <<<"$tests")
printf '\nrunning %d tests, each in its own process\n' "$total"
start=$SECONDS
# In the foreground: what is in the background does not hear Ctrl-C.
xargs -d '\n' -P "$threads" -I{} bash -c 'one "$@"' _ {} "${ignored[@]}" <<<"$tests"
passed=0
while IFS= read -r test; do
    if [[ -e $logs/$test.ok ]]; then
        passed=$((passed + 1))
        [[ -n $show ]] || continue
    fi
    printf '\n---- %s stdout ----\n' "$test"
    # Without what libtest says of the one test: it is said once, for all.
    cat "$logs/$test".* 2>/dev/null | grep -vE '^(running 1 test|test .* \.\.\. |test result: |failures:|successes:)'
done <<<"$tests"
[[ -z $skipped ]] || printf 'test %s ... ignored\n' $skipped
verdict=ok
((passed == total)) || verdict=FAILED
printf '\ntest result: %s. %d passed; %d failed; %d ignored; 0 measured; 0 filtered out; finished in %d s\n\n' \
    "$verdict" "$passed" $((total - passed)) "$(grep -c . <<<"$skipped")" $((SECONDS - start))
((passed == total)) || exit 101
