#!/usr/bin/env bash
# Budget: a second.
#
# After the checks nothing of theirs may remain: no segment in /dev/shm, and no process.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
found=0

while IFS= read -r segment; do
    echo "left in /dev/shm: $segment"
    found=1
done < <(find /dev/shm -maxdepth 1 \( -name 'ownerdead*' -o -name '.ownerdead*' \) -user "$(id -u)" 2>/dev/null)

for process in /proc/[0-9]*; do
    # A deleted binary's link ends in " (deleted)".
    exe=$(readlink "$process/exe" 2>/dev/null) || continue
    if [[ $exe == "$target"/* ]]; then
        echo "still alive: ${process#/proc/} $(tr '\0' ' ' <"$process/cmdline" 2>/dev/null || true)"
        found=1
    fi
done

if ((found)); then echo "leftovers: FAILED"; exit 1; fi
echo "leftovers: none"
