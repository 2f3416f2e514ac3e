#!/usr/bin/env bash
# Prints the Python to use: PYTHON if it is set, else the first on PATH of version 3.11 to 3.13.
set -euo pipefail
[ "${1:-}" != --help ] || { sed -n '2s/^# //p' "${BASH_SOURCE[0]}"; exit 0; }

for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "error: $python cannot create virtual environments: install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2
            exit 1
        fi
        command -v "$python"
        exit 0
    fi
done
echo "error: no Python 3.11, 3.12 or 3.13 found (tried: ${PYTHON:-python3 python3.13 python3.12 python3.11}); install one, or set its path: PYTHON=/path/to/python make ..." >&2
exit 1
