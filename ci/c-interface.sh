#!/usr/bin/env bash
# Budget: 2 minutes from a clean checkout on 2 cores, seconds when nothing changed.
#
# The kill engine's C interface: the header for C and C++, and the example, swept. With its bug the place must be told; without it
# nothing may be found.
set -euo pipefail
cd "$(dirname "$0")/../chaos/c"
for tool in gcc g++; do
    command -v "$tool" >/dev/null || { echo "c-interface: not run: there is no $tool here"; exit 3; }
done
cargo build -q --release
library=${CARGO_TARGET_DIR:-../../target/c}/release
built=$library/c-interface
mkdir -p "$built"
failed=0

# check NAME EXPECTED_CODE PATTERN COMMAND...: the code, and a line of the output.
check() {
    local name=$1 expected=$2 pattern=$3 code=0 said
    shift 3
    said=$("$@" 2>&1) || code=$?
    if ((code == expected)) && grep -qE -- "$pattern" <<<"$said"; then
        printf 'c-interface: %s: as it must be: %s\n' "$name" "$(grep -m1 -E -- "$pattern" <<<"$said" | sed 's/^ *//')"
    else
        printf 'c-interface: %s: exit code %d, expected %d and "%s":\n%s\n' "$name" "$code" "$expected" "$pattern" "$said"
        failed=1
    fi
}

# build SOURCE OUTPUT FLAG...
build() {
    local source=$1 output=$2
    shift 2
    gcc -std=c11 -Wall -Wextra -Werror -O2 -g "$@" -Iinclude example/"$source" -o "$built/$output" \
        -L"$library" -l:libownerdead_c.a -lpthread -ldl -lm
}

echo '#include "ownerdead.h"' >"$built/header.c"
cp "$built/header.c" "$built/header.cpp"
check 'the header in C' 0 '' gcc -std=c99 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude "$built/header.c"
check 'the header in C++' 0 '' g++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -Iinclude "$built/header.cpp"
build ring.c ring-right
build ring.c ring-bug -DBUG
build refused.c refused
check 'the right ring, swept' 0 'nothing found' "$built/ring-right" sweep "$built/right.json"
check 'the right ring, killed' 0 'nothing found' "$built/ring-right" campaign
check 'the bug, swept' 1 'the victim died before instruction [0-9]+: (.* in )?push, .*example/ring\.c:[0-9]+' \
    "$built/ring-bug" sweep "$built/bug.json"
check 'the bug, killed' 1 'FOUND [0-9]+ times, .*torn: record [0-9]+ is published, and not whole' "$built/ring-bug" campaign
check 'the bug as JSON' 0 '"kind": "torn"' cat "$built/bug.json"
check 'the place as JSON' 0 '"file": ".*example/ring\.c"' cat "$built/bug.json"
check 'what is no subject' 0 'all were taken as they should be' "$built/refused"
if ((failed)); then echo 'c-interface: FAILED'; exit 1; fi
echo 'c-interface: passed'
