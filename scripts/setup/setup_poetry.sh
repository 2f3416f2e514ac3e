#!/usr/bin/env bash
# Finds Poetry and uv: those on PATH if Poetry is version 2 or later and can export its lock file;
# otherwise it installs them into .poetry, with `poetry shell`, checking the hashes in poetry.txt. The
# last line is Poetry's path. After a change of the versions in this file, --lock writes poetry.txt.
set -euo pipefail
unset CDPATH PIP_PREFIX PIP_ROOT PIP_TARGET PIP_USER # they would install outside .poetry
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if [ "${1:-}" = --help ]; then
    sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"
    exit 0
fi

locked=scripts/setup/poetry.txt
if [ "${1:-}" = --lock ]; then
    printf '%s\n' uv==0.13.9 poetry==2.5.1 poetry-plugin-export==1.10.1 poetry-plugin-shell==1.0.1 |
        .poetry/bin/uv pip compile --native-tls --quiet --universal --python-version 3.11 \
            --generate-hashes --no-header --no-annotate - --output-file "$locked"
    exit 0
fi

can_export() { "$1" export --help >/dev/null 2>&1 && "$1" --version 2>/dev/null | grep -Eq 'version ([2-9]|[1-9][0-9])\.'; }
has_uv() { [ -x "$(dirname "$(realpath "$1")")/uv" ] || command -v uv >/dev/null; }

if found=$(command -v poetry) && can_export "$found" && has_uv "$found"; then
    echo "$found"
    exit 0
fi
private=$PWD/.poetry/bin/poetry
if ! can_export "$private"; then
    python=$(bash scripts/setup/find_python.sh)
    echo "installing Poetry into .poetry: about half a minute ..." >&2
    rm -rf .poetry
    "$python" -m venv .poetry
    awk '/^[^ ]/ { ours = /^uv==/ } ours' "$locked" >.poetry/uv.txt
    .poetry/bin/python -m pip install --disable-pip-version-check -qq --require-hashes -r .poetry/uv.txt
    echo 'relocatable = true' >>.poetry/pyvenv.cfg # uv then installs commands that can be moved
    .poetry/bin/uv pip install --native-tls --python .poetry/bin/python --quiet --require-hashes -r "$locked"
fi
echo "to use 'poetry' on the command line: export PATH=\"$PWD/.poetry/bin:\$PATH\"" >&2
echo "$private"
