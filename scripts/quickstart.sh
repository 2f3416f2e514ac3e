#!/usr/bin/env bash
# From a clone to a served, monitored model: installs what is missing, trains, validates, builds the
# Bento, serves it, sends a prediction and its feedback, and shows the metrics that changed.
# --install-only stops after the installation. The script stops at the first failure.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
    --help) sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --install-only | '') ;;
    *) echo "error: unknown option $1 (see --help)" >&2; exit 2 ;;
esac

step=install
trap 'code=$?; [ $code = 0 ] || echo "quickstart stopped at: $step (exit code $code); see the error above" >&2' EXIT
for tool in git make; do
    command -v "$tool" >/dev/null || { echo "error: $tool is not installed" >&2; exit 1; }
done
steps=(installed train validate bento-build deploy demo)
[ "${1:-}" != --install-only ] || steps=(installed)
for step in "${steps[@]}"; do
    number=$((${number:-0} + 1)) began=$SECONDS
    printf '\n== %d/%d %s\n' "$number" "${#steps[@]}" "${step/installed/install}"
    make --silent "$step"
    printf '   %d s, %d s since the start\n' $((SECONDS - began)) "$SECONDS"
done
if [ "${1:-}" = --install-only ]; then
    echo "installed into .venv; next: make quickstart"
    exit 0
fi
echo
make --silent where
