#!/usr/bin/env bash
# Installs what poetry.lock says into .venv: `install.sh core`, `install.sh dev` (core and the
# development tools) or `install.sh all` (everything; EXTRAS="torch ray" chooses extras).
# TORCH=cpu takes PyTorch's CPU build, TORCH=cuda the one for NVIDIA GPUs; unset, a GPU decides.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

what=${1:-core}
case $what in
    core) options=() ;;
    dev) options=(--with dev) ;;
    all)
        options=(--with "dev,notebook")
        for extra in ${EXTRAS:-all}; do options+=(-E "$extra"); done
        ;;
    --help) sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "error: unknown set $what: core, dev or all" >&2; exit 2 ;;
esac

poetry=$(bash scripts/setup/setup_poetry.sh)
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
    python=$(bash scripts/setup/find_python.sh)
    rm -rf .venv
    "$python" -m venv .venv
fi
# uv reads what Poetry has locked, and installs it many times faster; a Poetry from elsewhere may
# come without it
uv=$(dirname "$(realpath "$poetry")")/uv
[ -x "$uv" ] || uv=$(command -v uv) || { .venv/bin/python -m pip install --disable-pip-version-check -qq uv==0.13.9; uv=.venv/bin/uv; }
install() { "$uv" pip install --native-tls --python .venv/bin/python --no-deps --compile-bytecode --quiet "$@"; }

requirements=$(mktemp)
trap 'rm -f "$requirements"' EXIT
"$poetry" export "${options[@]}" >"$requirements" 2>/dev/null
cuda='^(torch|triton|cuda-.*|nvidia-(cu|nccl|nv).*)=='
if [ "${TORCH:-}" != cuda ] && [ "$(uname)" = Linux ] &&
    { [ "${TORCH:-}" = cpu ] || ! nvidia-smi >/dev/null 2>&1; }; then
    if grep -q '^torch==' "$requirements"; then
        echo "installing PyTorch's CPU build ..." >&2
        version=$(sed -nE 's/^torch==([^ ]+).*/\1/p' "$requirements")
        .venv/bin/python -m pip install --disable-pip-version-check -qq --no-deps "torch==$version+cpu" \
            --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}"
    fi
    # the CPU build is another file than the locked one, and needs none of the CUDA packages
    awk -v cuda="$cuda" '/^[^ ]/ { skip = $0 ~ cuda } !skip' "$requirements" >"$requirements.cpu"
    mv "$requirements.cpu" "$requirements"
fi
echo "installing $(grep -c '==' "$requirements") packages into .venv ..." >&2
install --require-hashes -r "$requirements"
env -u VIRTUAL_ENV -u CONDA_PREFIX "$poetry" install --only-root --quiet
.venv/bin/python -m compileall -q domain application infrastructure shared
for done in core ${what/core/}; do touch ".venv/.$done"; done
[ "$what" != all ] || touch .venv/.dev
