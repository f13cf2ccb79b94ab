#!/usr/bin/env bash
# Budget: SECONDS (default 60) for each fuzz target, after building.
#
# The fuzzers, that of schedules too, and nothing else. Needs a nightly toolchain and cargo-fuzz; exit code 3 without them.
#
#   ci/fuzz.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1 || ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: not run: it needs \`rustup toolchain install nightly --profile minimal\` and \`cargo install cargo-fuzz --locked\`"
    exit 3
fi
if cargo ownerdead check --layer fuzz --fuzz-seconds "${1:-60}"; then
    echo "fuzz: passed"
else
    code=$?
    echo "fuzz: FAILED or incomplete"
    exit $code
fi
