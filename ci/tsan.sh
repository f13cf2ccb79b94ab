#!/usr/bin/env bash
# Budget: 10 minutes.
#
# ThreadSanitizer over the tests whose threads share one process: it sees no accesses of another. The standard library is
# built with it, or it would report what that does; exit code 3 where that cannot be built.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
source=$(rustc +nightly --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std/Cargo.toml
if [[ ! -e $source ]]; then
    echo 'tsan: not run: it needs `rustup +nightly component add rust-src`'
    exit 3
fi
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=thread" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/tsan
run() { cargo +nightly test -Zbuild-std --target "$host" "$@"; }
run --lib -- --skip sync::scripts && run --test os -- of_one_process || { echo 'tsan: FAILED'; exit 1; }
echo 'tsan: passed'
