#!/usr/bin/env bash
# Budget: a second.
#
# Every file that README.md links to or names as a script exists. Exit code 3 where there is no README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ -e README.md ]] || { echo "readme: not run: there is no README.md"; exit 3; }
missing=0
while IFS= read -r path; do
    [[ -e ${path%%#*} ]] || { echo "README.md names $path, which does not exist"; missing=1; }
done < <(
    {
        grep -oP '\]\(\K(?!https?:|mailto:|#)[^)\s]+' README.md || true
        grep -oP '(?<![\w/.-])(\.ci/run|ci/[a-z_-]+\.sh)\b' README.md || true
    } | sort -u
)
if ((missing)); then echo "readme: FAILED"; exit 1; fi
echo "readme: passed"
