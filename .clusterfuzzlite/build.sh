#!/usr/bin/env bash
# Builds all fuzz targets, and puts each into OUT with its seeds, its dictionary and its options.
#
# ClusterFuzzLite and OSS-Fuzz run this in their container, which sets SRC, WORK, OUT and RUSTFLAGS; ci/clusterfuzzlite.sh runs it
# outside.
set -euo pipefail
cd "$SRC/ownerdead"
# Where cargo-fuzz builds is below the name of the machine.
host=$(rustc -vV | sed -n 's/^host: //p')

# The targets of a package, but those that need a feature: they are known to fail.
targets() {
    awk 'function give() { if (name != "") print name; name = "" }
         /^\[/ { give(); bin = $0 == "[[bin]]" }
         bin && /^name *=/ { gsub(/^[^"]*"|"[^"]*$/, ""); name = $0 }
         bin && /^required-features *=/ { name = ""; bin = 0 }
         END { give() }' "$1/Cargo.toml"
}

# ship PACKAGE BUILD-OPTIONS OPTION...: each OPTION is a line of the targets' .options.
ship() {
    local package=$1 build=$2 target seeds
    local built=$WORK/${package//\//-}
    shift 2
    # In the package's folder and with this variable: the container's own `cargo` finds both that way when it builds for coverage.
    # shellcheck disable=SC2086 # They are several words.
    (cd "$package" && CARGO_TARGET_DIR=$built cargo fuzz build --fuzz-dir . -O --debug-assertions $build)
    for target in $(targets "$package"); do
        cp "$built/$host/release/$target" "$OUT/"
        seeds=("$package/corpus/$target"/*)
        python3 -m zipfile -c "$OUT/${target}_seed_corpus.zip" "${seeds[@]}"
        if [[ -e $package/dictionaries/$target.dict ]]; then cp "$package/dictionaries/$target.dict" "$OUT/"; fi
        printf '%s\n' '[libfuzzer]' "$@" >"$OUT/$target.options"
    done
}

# An input that takes so long does not end. `cargo ownerdead check` says 30, but ClusterFuzz takes no more than 25.
hang='timeout = 25'
ship fuzz '' "$hang"

# Its coroutines change stacks, which address sanitizer does not follow. The flags of the container ask for it.
flags=
for flag in ${RUSTFLAGS:-}; do [[ $flag == -Zsanitizer=* ]] || flags+="$flag "; done
export RUSTFLAGS="$flags--cfg shuttle"
# What is longer is slower, and no better.
ship fuzz/schedule '--sanitizer none' "$hang" 'max_len = 128'
