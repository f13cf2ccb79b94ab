#!/usr/bin/env bash
# Which lines of the source programs ran: what ci/coverage.sh and ci/fuzz.sh --coverage share. It is sourced, at the root of the
# checkout; who does so has a function `not_run`, which says why and ends.
#
# The counters lie in a mapped file (the profiler's continuous mode), so what a forked child ran counts too, and what a process
# ran that was killed.
line_flags='-C instrument-coverage -C llvm-args=-runtime-counter-relocation'

# find_llvm: sets profdata and cov. Those that come with this very compiler, or else the newest there are.
find_llvm() {
    local version
    profdata=$(compgen -G "$(rustc --print sysroot)/lib/rustlib/*/bin/llvm-profdata" | head -1 || true)
    for version in {30..18}; do
        [[ -n $profdata ]] && break
        profdata=$(command -v "llvm-profdata-$version" || true)
    done
    [[ -n $profdata ]] || not_run "install llvm-tools (rustup component add llvm-tools, or Debian's llvm-19)"
    cov=${profdata/profdata/cov}
}

# lines_of PROFILES OUT MODULES PROGRAM...: from the .profraw files in PROFILES, which PROGRAMs wrote, the lines of MODULES (one
# word of several folders) into OUT: file, line, how often it was run, text; tab separated. Lines of test modules do not count; a
# line of a macro or a generic counts once, and is run if one copy of it was.
lines_of() {
    local profiles=$1 out=$2 modules=$3 program objects=()
    shift 3
    "$profdata" merge -sparse "$profiles"/*.profraw -o "$out.profdata" ||
        not_run "$profdata cannot read the profiles of $(rustc --version): install one of a matching LLVM version"
    for program in "${@:2}"; do objects+=(-object "$program"); done
    # shellcheck disable=SC2086 # They are several folders.
    "$cov" export -format=lcov -skip-expansions -instr-profile "$out.profdata" "$1" ${objects[@]+"${objects[@]}"} -sources $modules >"$out.lcov" ||
        not_run "$cov cannot read the programs of $(rustc --version)"
    awk -v root="$PWD/" '
        /^SF:/ { file = substr($0, 4); sub("^" root, "", file); tests = number = 0
                 while ((getline line < file) > 0) {
                     text[++number] = line
                     if (!tests && line ~ /^#\[cfg\((all\()?test/) tests = number
                 }
                 close(file) }
        /^DA:/ { split(substr($0, 4), at, ","); if (tests && at[1] + 0 >= tests) next
                 printf "%s\t%d\t%s\t%s\n", file, at[1], at[2], text[at[1]] }' "$out.lcov" >"$out"
}
