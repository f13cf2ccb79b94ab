#!/usr/bin/env bash
# Budget: 5 minutes.
#
# Miri over the tests that need no system call of ours: the words of rights and lives, records, headers. Exit code 3 where Miri
# cannot run. What maps memory or sleeps in the kernel is out of its reach.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo 'miri: not run: it needs `rustup +nightly component add miri rust-src`'
    exit 3
fi
cargo +nightly miri test --lib -- --skip sync::scripts || { echo 'miri: FAILED'; exit 1; }
echo 'miri: passed'
