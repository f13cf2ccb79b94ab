#!/usr/bin/env bash
# Budget: quick, 4 minutes on 2 cores after building; full, hours.
#
# The models under loom and under shuttle, and nothing else.
#
#   ci/models.sh [quick|full]
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-quick} in
quick) tier=(--quick) ;;
full) tier=() ;;
*) echo "usage: ci/models.sh [quick|full]" >&2; exit 64 ;;
esac
if cargo ownerdead check "${tier[@]}" --layer loom --layer shuttle; then
    echo "models: passed"
else
    code=$?
    echo "models: FAILED or incomplete"
    exit $code
fi
