#!/usr/bin/env bash
# Budget: 2 minutes on 2 cores after building, 4 from a clean checkout.
#
# The benchmark in its quick form, with its figures in target/ownerdead/bench.json. It fails if a contender does; an aim that
# is missed is shown, and is no failure: a machine that is shared has bad days. Exit code 3 where there are not two processors.
#
#   ci/bench.sh [FILTER]
set -euo pipefail
cd "$(dirname "$0")/.."
figures=${CARGO_TARGET_DIR:-$PWD/target}/ownerdead/bench.json
mkdir -p "$(dirname "$figures")"
(($(nproc) > 1)) || { echo "bench: not run: two processors are needed"; exit 3; }

cargo bench -q --bench compare -- --quick --json "$figures" "$@" || { echo "bench: FAILED"; exit 1; }
[[ -s $figures ]] || { echo "bench: FAILED: no figures in ${figures#"$PWD"/}"; exit 1; }
rows=$(grep -c '"kept":' "$figures") without=$(grep -c '"kept": 0,' "$figures" || true)
((without < rows)) || { echo "bench: FAILED: the machine was too busy for a single sample"; exit 1; }
((without == 0)) || echo "bench: $without of $rows lines have no figure: the scheduler took a processor away in each of their samples, as on a busy machine, or in one that lasts"
echo "bench: passed: every contender ran"
