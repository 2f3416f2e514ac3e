#!/usr/bin/env bash
# Makes Poetry available: the one on PATH if it is 2 or later and can export its lock, else a private
# one in .poetry, which also has `poetry shell`. The last line of output is its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ "${1:-}" = --help ]; then
    sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}"
    exit 0
fi

can_export() { "$1" export --help >/dev/null 2>&1 && "$1" --version 2>/dev/null | grep -Eq 'version ([2-9]|[1-9][0-9])\.'; }

if found=$(command -v poetry) && can_export "$found"; then
    echo "$found"
    exit 0
fi
private=$PWD/.poetry/bin/poetry
if ! can_export "$private"; then
    python=$(bash scripts/setup/find_python.sh)
    echo "installing Poetry into .poetry ..." >&2
    rm -rf .poetry
    "$python" -m venv .poetry
    .poetry/bin/python -m pip install --disable-pip-version-check -qq \
        poetry==2.5.1 poetry-plugin-export==1.10.1 poetry-plugin-shell==1.0.1 uv==0.13.9
    echo "to type 'poetry' yourself: export PATH=\"$PWD/.poetry/bin:\$PATH\"" >&2
fi
echo "$private"
