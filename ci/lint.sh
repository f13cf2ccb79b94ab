#!/usr/bin/env bash
# Budget: 5 minutes from a clean checkout on 2 cores, seconds when nothing changed; --self-test 3 minutes.
#
# Keeps raw atomics, cells, futexes and the models' cfgs inside src/sync, each floor off the floors above it, and core dumps out;
# then formatting and clippy, in the normal build and in both model builds.
#
#   ci/lint.sh              all of it
#   ci/lint.sh --text       only what reads the text: no build
#   ci/lint.sh --self-test  plants one violation of each kind in a copy, and sees that each is rejected
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
failed=()
# The one line that says where a model build without a model is left empty; see build.rs.
empty_crate='^src/lib\.rs:[0-9]+:#!\[cfg\(any\(not\(model\), loom, shuttle\)\)\]$'

# Code of the given files and folders as `file:line:code`: comments cut off, a `use` with its braces on one line.
code() {
    local found=()
    for place in "$@"; do [[ -e $place ]] && found+=("$place"); done
    ((${#found[@]})) || return 0
    find "${found[@]}" -name '*.rs' -print0 | sort -z | xargs -0 -r awk '
        FNR == 1 { if (held != "") print held; held = "" }
        { line = $0; sub(/\/\/.*$/, "", line) }
        line ~ /^[ \t]*$/ { next }
        held != "" { held = held " " line; if (line ~ /;/) { print held; held = "" } next }
        line ~ /^[ \t]*(pub(\([a-z]+\))?[ \t]+)?use[ \t]/ && line !~ /;/ { held = FILENAME ":" FNR ":" line; next }
        { print FILENAME ":" FNR ":" line }
        END { if (held != "") print held }'
}

# rule NAME PATTERN PLACE...: no code in PLACE matches PATTERN (of perl's kind).
rule() {
    local name=$1 pattern=$2 hits
    shift 2
    hits=$(code "$@" | grep -v '^src/sync/' | grep -vE "$empty_crate" | grep -P -- "^[^:]+:[0-9]+:.*(?:$pattern)" || true)
    report "$name" "$hits"
}

# floor FOLDER MODULE...: no code in src/FOLDER names a MODULE of the crate.
floor() {
    local folder=$1 modules hits
    shift
    modules=$(IFS='|'; echo "$*")
    hits=$(code "src/$folder" "src/$folder.rs" | grep -P "\b(crate|ownerdead)::(\{([^;]*[{,\s])?)?($modules)\b" || true)
    report "src/$folder is below $(IFS=/; echo "$*")" "$hits"
}

report() {
    if [[ -n $2 ]]; then
        failed+=("$1")
        printf 'lint: %s:\n%s\n' "$1" "$(sed 's/^/    /' <<<"$2")"
    fi
}

text() {
    local everywhere=(src models chaos tests fuzz/fuzz_targets fuzz/src fuzz/examples fuzz/schedule/fuzz_targets fuzz/schedule/src
        examples benches)
    rule 'atomics outside src/sync' \
        '\b(core|std)::(\{[^;]*)?sync::(\{([^;]*[{,\s])?)?atomic\b' "${everywhere[@]}"
    rule 'UnsafeCell outside src/sync' '\bUnsafeCell\b' "${everywhere[@]}"
    rule 'futex outside src/sync' '\bSYS_futex' "${everywhere[@]}"
    rule 'raw system calls outside src/sync' '\blibc::(\{[^;]*)?syscall\b' "${everywhere[@]}"
    rule 'cfg(loom), cfg(shuttle) outside src/sync' '\bcfg(_attr)?!?\(.*\b(loom|shuttle)\b' "${everywhere[@]}"
    rule 'loom::, shuttle:: outside src/sync' \
        '(?<![\w:])(::)?(loom|shuttle)::|\b(use|extern crate)\s+(::)?(loom|shuttle)\b' "${everywhere[@]}"
    floor sync owner lock ring cell segment harness inspect
    floor owner lock ring cell segment harness inspect
    floor harness lock ring cell segment inspect
    floor segment lock ring cell harness inspect
    floor lock ring cell harness inspect
    floor cell ring harness inspect
    floor ring harness inspect
    floor inspect harness
    # As the README types them.
    report 'scripts that cannot be executed' "$(find ci -name '*.sh' ! -perm -u+x)"
    # A core dump that a debugger left was committed once.
    report 'files of more than 1 MiB' "$(find . \( -name target -o -name .git \) -prune -o -type f -size +1024k -print)"
    rule 'libc, nix in src/lock, src/ring, src/inspect.rs' '(?<![\w:])(::)?(libc|nix)\b' src/lock src/cell src/ring src/inspect.rs
}

# run NAME COMMAND...: a tool that must succeed.
run() {
    local name=$1
    shift
    echo "lint: $name"
    "$@" || failed+=("$name")
}

verdict() {
    if ((${#failed[@]})); then
        (IFS=';'; echo "lint: FAILED: ${failed[*]}")
        exit 1
    fi
    echo "lint: passed"
}

self_test() {
    local copy=$target/lint-self-test missed=0 place
    rm -rf "$copy/tree"
    mkdir -p "$copy/tree"
    for place in Cargo.toml Cargo.lock build.rs rustfmt.toml clippy.toml src models chaos tests fuzz/fuzz_targets \
        fuzz/src fuzz/examples fuzz/schedule/fuzz_targets fuzz/schedule/src examples benches ci; do
        [[ -e $place ]] && cp -r --parents "$place" "$copy/tree"
    done
    cd "$copy/tree"
    # Not a member of whatever lies around it.
    grep -q '^\[workspace\]' Cargo.toml || printf '\n[workspace]\n' >>Cargo.toml
    bash ci/lint.sh --text >/dev/null || { echo "lint self-test: FAILED: the tree itself does not pass --text"; exit 1; }

    printf '%-40s %-24s %s\n' planted in verdict
    # plant NAME FILE CODE WHY COMMAND...: with CODE added to FILE, COMMAND must fail and say WHY.
    plant() {
        local name=$1 file=$2 code=$3 why=$4 kept result said
        shift 4
        kept=$(mktemp)
        mkdir -p "$(dirname "$file")"
        if [[ -e $file ]]; then cp "$file" "$kept"; else rm "$kept"; fi
        printf '%b\n' "$code" >>"$file"
        if ! said=$("$@" 2>&1) && grep -qF "$why" <<<"$said"; then result=rejected; else result=MISSED missed=$((missed + 1)); fi
        printf '%-40s %-24s %s\n' "$name" "$file" "$result"
        if [[ -e $kept ]]; then mv "$kept" "$file"; else rm "$file"; fi
    }
    local lint=(bash ci/lint.sh --text) new=src/ring/planted.rs
    plant 'core atomic' $new 'use core::sync::atomic::AtomicU64;' 'atomics outside' "${lint[@]}"
    plant 'std atomic in braces' $new 'use std::{\n    fmt,\n    sync::{\n        Arc,\n        atomic::Ordering,\n    },\n};' 'atomics outside' "${lint[@]}"
    plant 'std atomic in a path' tests/os/planted.rs 'fn f(a: &std::sync::atomic::AtomicBool) {}' 'atomics outside' "${lint[@]}"
    plant 'UnsafeCell' models/planted.rs 'use std::cell::UnsafeCell;' 'UnsafeCell outside' "${lint[@]}"
    plant 'futex' chaos/planted.rs 'const F: i64 = SYS_futex_waitv;' 'futex outside' "${lint[@]}"
    plant 'raw system call' src/segment/planted.rs 'fn f() { unsafe { libc::syscall(1) }; }' 'raw system calls outside' "${lint[@]}"
    plant 'cfg(loom)' src/harness/planted.rs '#[cfg(loom)]\nfn f() {}' 'cfg(loom), cfg' "${lint[@]}"
    plant 'cfg(any(.., shuttle))' models/planted.rs '#![cfg(any(loom, shuttle))]' 'cfg(loom), cfg' "${lint[@]}"
    plant 'cfg!(loom)' examples/planted.rs 'const L: bool = cfg!(loom);' 'cfg(loom), cfg' "${lint[@]}"
    plant 'loom::' models/planted.rs 'fn f() { loom::model(|| {}); }' 'loom::, shuttle::' "${lint[@]}"
    plant 'use shuttle' fuzz/fuzz_targets/planted.rs 'use shuttle as s;' 'loom::, shuttle::' "${lint[@]}"
    plant 'loom:: in a schedule' fuzz/schedule/src/planted.rs 'fn f() { loom::model(|| {}); }' 'loom::, shuttle::' "${lint[@]}"
    plant 'sync names owner' src/sync/planted.rs 'use crate::owner::Slot;' 'src/sync is below' "${lint[@]}"
    plant 'owner names lock' src/owner/planted.rs 'use crate::lock::RobustMutex;' 'src/owner is below' "${lint[@]}"
    plant 'harness names ring' src/harness/planted.rs 'use crate::{\n    ring::spsc,\n};' 'src/harness is below' "${lint[@]}"
    plant 'segment names harness' src/segment/planted.rs 'use crate::harness;' 'src/segment is below' "${lint[@]}"
    plant 'lock names ring' src/lock/planted.rs 'fn f() { crate::ring::f() }' 'src/lock is below' "${lint[@]}"
    plant 'ring names harness' $new 'use crate::{sync::atomic, harness::report};' 'src/ring is below' "${lint[@]}"
    plant 'ring names inspect' $new 'use crate::inspect::Image;' 'src/ring is below' "${lint[@]}"
    plant 'inspect names harness' src/inspect.rs 'use crate::harness::Sweep;' 'src/inspect is below' "${lint[@]}"
    plant 'ring names libc' $new 'use libc::pid_t;' 'libc, nix in' "${lint[@]}"
    plant 'lock names nix' src/lock/planted.rs 'fn f() { nix::unistd::getpid(); }' 'libc, nix in' "${lint[@]}"
    plant 'a script that is no program' ci/planted.sh '#!/bin/sh' 'cannot be executed' "${lint[@]}"
    plant 'a core dump' core "$(printf '%01100000d' 0)" 'of more than 1 MiB' "${lint[@]}"
    plant 'formatting' src/lib.rs 'fn  f( ) { }' 'Diff in' cargo fmt --all --check
    local clippy=(env CARGO_TARGET_DIR="$copy/target" cargo clippy -q --lib -- -D warnings)
    # If the tree itself did not pass, clippy's "rejected" would mean nothing.
    if "${clippy[@]}" >/dev/null 2>&1; then
        plant 'an atomic under another name' src/lib.rs \
            '/// A.\npub fn planted(a: &::std::sync::atomic::AtomicU64) {\n    let _ = a;\n}' 'disallowed type' "${clippy[@]}"
        plant 'unsafe without a proof' src/lib.rs \
            '/// A.\npub fn planted(a: &u8) -> u8 {\n    unsafe { *(a as *const u8) }\n}' 'missing a safety comment' "${clippy[@]}"
        plant 'a public item without a word' src/lib.rs 'pub fn planted() {}' 'missing documentation' "${clippy[@]}"
    else
        echo 'clippy does not pass the tree itself'
        missed=$((missed + 1))
    fi
    rm -rf "$copy/tree"
    if ((missed)); then echo "lint self-test: FAILED: $missed missed"; exit 1; fi
    echo "lint self-test: passed: every planted violation was rejected"
}

case ${1:-} in
--self-test) self_test ;;
--text) text; verdict ;;
'')
    text
    run 'cargo fmt' cargo fmt --all --check
    run 'clippy' cargo clippy -q --all-targets --features cli -- -D warnings
    run 'cargo fmt in fuzz' cargo fmt --check --manifest-path fuzz/Cargo.toml
    for package in chaos/c chaos/foreign; do
        run "cargo fmt in $package" cargo fmt --check --manifest-path "$package/Cargo.toml"
        run "clippy in $package" env CARGO_TARGET_DIR="$target/${package#chaos/}" \
            cargo clippy -q --manifest-path "$package/Cargo.toml" -- -D warnings
    done
    for model in loom shuttle; do
        run "clippy under $model" env RUSTFLAGS="${RUSTFLAGS:-} --cfg $model" CARGO_TARGET_DIR="$target/$model" \
            cargo clippy -q --tests -- -D warnings
    done
    verdict
    ;;
*) echo "usage: ci/lint.sh [--text | --self-test]" >&2; exit 64 ;;
esac
