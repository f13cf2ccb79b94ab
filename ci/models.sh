#!/usr/bin/env bash
# Budget: quick, 3 minutes on 2 cores after building; full, 2 hours; the self-test, 2 minutes.
#
# The models under loom and under shuttle, and nothing else. Each test is a process of its own (ci/each-alone.sh), as many at
# once as there are processors; with several machines, OWNERDEAD_PARTITION=2/4 takes the second quarter of the tests. --self-test
# sees that a budget which is too small makes a run INCOMPLETE, and not a success.
#
#   ci/models.sh [quick|full|--self-test]
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-quick} in
quick) tier=(--quick) ;;
full) tier=() ;;
--self-test)
    code=0
    said=$(OWNERDEAD_BUDGET=1 cargo ownerdead check --quick --layer loom 2>&1) || code=$?
    if ((code == 0)) || ! grep -q '^INCOMPLETE in loom: no violation so far' <<<"$said"; then
        printf '%s\n' "$said"
        echo "models: FAILED: with a second for each sweep the run must be INCOMPLETE; it ended with exit code $code"
        exit 1
    fi
    grep '^INCOMPLETE' <<<"$said"
    echo "models: self-test passed: with a second for each sweep the run is INCOMPLETE, exit code $code"
    exit
    ;;
*) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
if cargo ownerdead check "${tier[@]}" --layer loom --layer shuttle; then
    echo "models: passed"
else
    code=$?
    echo "models: FAILED or incomplete"
    exit $code
fi
