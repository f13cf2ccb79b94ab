#!/usr/bin/env bash
# Budget: 5 minutes from a clean checkout on 2 cores.
#
# Which lines of src/ring, src/owner, src/lock and src/segment `cargo test` runs: 90 % of them or more, or it fails. How they are
# counted: ci/lines.sh. Exit code 3 where the tools cannot read what this compiler writes.
#
#   ci/coverage.sh            a table, and the lines that were not run
#   ci/coverage.sh --table    the table alone
set -euo pipefail
cd "$(dirname "$0")/.."
least=90
target=${CARGO_TARGET_DIR:-$PWD/target}/coverage
[[ ${1:-} == '' || ${1:-} == --table ]] || { echo 'usage: ci/coverage.sh [--table]' >&2; exit 64; }

not_run() { echo "coverage: not run: $1"; exit 3; }

# shellcheck source=ci/lines.sh
source ci/lines.sh
find_llvm

profiles=$target/profiles
export RUSTFLAGS="${RUSTFLAGS:-} $line_flags"
export CARGO_TARGET_DIR=$target LLVM_PROFILE_FILE="$profiles/%m%c.profraw"

mkdir -p "$target"
# The test programs, chaos with a second for each scenario; not the models, which run in builds of their own.
export OWNERDEAD_CHAOS_SECONDS=1
mapfile -t programs < <(cargo test --no-run --lib --test os --test bad_input --test properties --test chaos --message-format=json 2>"$target/build.log" |
    grep -oP '"executable":"\K[^"]+' | sort -u)
((${#programs[@]})) || { cat "$target/build.log"; echo 'coverage: FAILED: the tests do not build'; exit 1; }
# What build scripts and macros have left.
rm -rf "$profiles"
mkdir -p "$profiles"
for program in "${programs[@]}"; do
    "$program" --quiet >"$target/test.log" 2>&1 || { cat "$target/test.log"; echo "coverage: FAILED: ${program##*/}"; exit 1; }
done

lines_of "$profiles" "$target/lines" 'src/ring src/owner src/lock src/segment' "${programs[@]}"
awk -F '\t' -v least="$least" -v table="${1:-}" '
    { split($1, part, "/"); module = part[1] "/" part[2]
      if (!(module in all)) { modules[++kinds] = module; run[module] = 0 }
      all[module]++; total++
      if ($3 > 0) { run[module]++; covered++ } else if (table == "") printf "%s:%d:%s\n", $1, $2, $4 }
    function row(name, run, all) { printf "%-14s %5d / %-5d %6.1f %%\n", name, run, all, all ? 100 * run / all : 0 }
    END {
        printf "%-14s %5s / %-5s %8s\n", "module", "run", "lines", "share"
        for (i = 1; i <= kinds; i++) { row(modules[i], run[modules[i]], all[modules[i]])
                                       if (run[modules[i]] * 100 < least * all[modules[i]]) low = low " " modules[i] }
        row("all", covered, total)
        if (kinds < 4) { print "coverage: FAILED: found " kinds " modules, expected 4"; exit 1 }
        if (low != "") { print "coverage: FAILED: under " least " %:" low; exit 1 }
        print "coverage: passed: " least " % or more of the lines of each module"
    }' "$target/lines"
