#!/usr/bin/env bash
# Budget: 5 minutes from a clean checkout on 2 cores.
#
# Which lines of src/ring, src/owner, src/lock and src/segment `cargo test` runs: 90 % of them or more, or it fails. The
# counters lie in a mapped file (the profiler's continuous mode), so what a forked child ran counts too, and what a process
# ran that was killed. Exit code 3 where the tools cannot read what this compiler writes.
#
#   ci/coverage.sh            a table, and the lines that were not run
#   ci/coverage.sh --table    the table alone
set -euo pipefail
cd "$(dirname "$0")/.."
least=90
target=${CARGO_TARGET_DIR:-$PWD/target}/coverage
[[ ${1:-} == '' || ${1:-} == --table ]] || { echo 'usage: ci/coverage.sh [--table]' >&2; exit 64; }

not_run() { echo "coverage: not run: $1"; exit 3; }

# Those that come with this very compiler, or else the newest there are.
profdata=$(compgen -G "$(rustc --print sysroot)/lib/rustlib/*/bin/llvm-profdata" | head -1 || true)
for version in {30..18}; do
    [[ -n $profdata ]] && break
    profdata=$(command -v "llvm-profdata-$version" || true)
done
[[ -n $profdata ]] || not_run "install llvm-tools (rustup component add llvm-tools, or Debian's llvm-19)"
cov=${profdata/profdata/cov}

profiles=$target/profiles
export RUSTFLAGS="${RUSTFLAGS:-} -C instrument-coverage -C llvm-args=-runtime-counter-relocation"
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

"$profdata" merge -sparse "$profiles"/*.profraw -o "$target/all.profdata" ||
    not_run "$profdata cannot read the profiles of $(rustc --version): install one of a matching LLVM version"
objects=()
for program in "${programs[@]:1}"; do objects+=(-object "$program"); done
"$cov" export -format=lcov -skip-expansions -instr-profile "$target/all.profdata" "${programs[0]}" "${objects[@]}" \
    -sources src/ring src/owner src/lock src/segment >"$target/lcov.info" ||
    not_run "$cov cannot read the programs of $(rustc --version)"

# Lines of test modules do not count; a line of a macro or a generic counts once, and is run if one copy of it was.
awk -v least="$least" -v table="${1:-}" -v root="$PWD/" '
    /^SF:/ { file = substr($0, 4); sub("^" root, "", file); tests = 0
             split(file, part, "/"); module = part[1] "/" part[2]
             number = 0
             while ((getline line < file) > 0) {
                 text[file, ++number] = line
                 if (!tests && line ~ /^#\[cfg\((all\()?test/) tests = number
             }
             close(file)
             if (!(file in seen)) { seen[file]; files[++count] = file; of[file] = module }
             if (!(module in all)) { modules[++kinds] = module; all[module] = run[module] = 0 } }
    /^DA:/ { split(substr($0, 4), at, ","); if (tests && at[1] + 0 >= tests) next
             all[module]++; total++
             if (at[2] > 0) { run[module]++; covered++ } else missed[file] = missed[file] " " at[1] }
    function row(name, run, all) { printf "%-14s %5d / %-5d %6.1f %%\n", name, run, all, all ? 100 * run / all : 0 }
    END {
        if (table == "") for (i = 1; i <= count; i++) {
            lines = split(missed[files[i]], number_of, " ")
            for (j = 1; j <= lines; j++) printf "%s:%d:%s\n", files[i], number_of[j], text[files[i], number_of[j]]
        }
        printf "%-14s %5s / %-5s %8s\n", "module", "run", "lines", "share"
        for (i = 1; i <= kinds; i++) { row(modules[i], run[modules[i]], all[modules[i]])
                                       if (run[modules[i]] * 100 < least * all[modules[i]]) low = low " " modules[i] }
        row("all", covered, total)
        if (kinds < 4) { print "coverage: FAILED: found " kinds " modules, expected 4"; exit 1 }
        if (low != "") { print "coverage: FAILED: under " least " %:" low; exit 1 }
        print "coverage: passed: " least " % or more of the lines of each module"
    }' "$target/lcov.info"
