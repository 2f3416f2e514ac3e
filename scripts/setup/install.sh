#!/usr/bin/env bash
# Installs the packages of poetry.lock into .venv: `install.sh core`, `install.sh dev` (core and the
# development tools), `install.sh mutation` (dev and mutmut) or `install.sh all` (everything but
# mutmut; EXTRAS="torch whisper" selects extras).
# ACCELERATOR=cpu installs builds for the CPU, ACCELERATOR=cuda builds for NVIDIA GPUs; by default
# it depends on whether there is a GPU. TORCH_INDEX replaces the index of PyTorch's CPU build.
set -euo pipefail
unset CDPATH PIP_PREFIX PIP_ROOT PIP_TARGET PIP_USER # they would install outside .venv
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

what=${1:-core}
case $what in
    core) options=(--only main) ;;
    dev) options=(--with "dev,notebook") ;;
    mutation) options=(--with "dev,notebook,mutation") ;;
    all)
        options=(--with "dev,notebook")
        for extra in ${EXTRAS:-all}; do options+=(-E "$extra"); done
        ;;
    --help) sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "error: unknown set $what: use core, dev, mutation or all" >&2; exit 2 ;;
esac

accelerator=${ACCELERATOR:-}
if [ -z "$accelerator" ]; then
    accelerator=cpu
    # its exit code can be 0 without a GPU; grep -q would cut it short, which pipefail counts as failed
    if nvidia-smi --list-gpus 2>/dev/null | grep '^GPU' >/dev/null; then accelerator=cuda; fi
fi
case $accelerator in
    cpu | cuda) ;;
    *) echo "error: unknown ACCELERATOR $accelerator: use cpu or cuda, or unset it to detect a GPU" >&2; exit 2 ;;
esac

if [ -L .venv ]; then
    echo "error: .venv is a link: installing from here would change another clone's environment" >&2
    exit 1
fi
# the current activity, with the elapsed time
say() { printf '%3d s  %s\n' "$SECONDS" "$*" >&2; }

poetry=$(bash scripts/setup/setup_poetry.sh)
# uv installs the packages that Poetry has locked, many times faster
uv=$(dirname "$(realpath "$poetry")")/uv
[ -x "$uv" ] || uv=$(command -v uv)
# a relocatable environment works in a clone that was copied or moved
if ! grep -q '^relocatable = true' .venv/pyvenv.cfg 2>/dev/null || ! .venv/bin/python -c '' 2>/dev/null; then
    python=$(bash scripts/setup/find_python.sh)
    rm -rf .venv
    "$uv" venv --native-tls --quiet --relocatable --seed --python "$python" .venv
fi
install() { "$uv" pip install --native-tls --python .venv/bin/python --no-deps --compile-bytecode --quiet "$@"; }
remove() { "$uv" pip uninstall --python .venv/bin/python --quiet "$@"; }
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

say "reading poetry.lock ..."
requirements=$(mktemp)
trap 'rm -f "$requirements"*' EXIT
if ! "$poetry" export "${options[@]}" >"$requirements" 2>"$requirements.log"; then
    cat "$requirements.log" >&2
    exit 1
fi
# removes the packages that match the pattern, with their hashes
without() {
    awk -v names="^($1)(\\\\[|==)" '/^[^ ]/ { skip = $0 ~ names } !skip' "$requirements" >"$requirements.rest"
    mv "$requirements.rest" "$requirements"
}
version=$(sed -nE 's/^torch==([^ ;]+).*/\1/p' "$requirements")
if [ "$(uname)" = Linux ] && [ "$accelerator" = cpu ]; then
    # PyTorch's CPU build is not the locked file; TensorFlow's is, and computes on the CPU if
    # NVIDIA's libraries are missing
    libraries='triton|cuda-.*|nvidia-(cu|nccl|nv).*'
    without "torch|$libraries"
    if [ -n "$version" ]; then
        say "installing PyTorch's CPU build, 200 MB: up to a few minutes ..."
        pip install -qq --no-deps "torch==$version+cpu" \
            --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}"
        # no longer needed, and with them TensorFlow would still use a GPU
        mapfile -t old < <(pip list --format freeze | sed -nE "s/^($libraries)==.*/\1/p")
        [ "${#old[@]}" = 0 ] || remove "${old[@]}"
    fi
elif [ -n "$version" ]; then
    # uv accepts an installed 2.13.0+cpu as 2.13.0
    if pip list --format freeze | grep '^torch==.*+cpu$' >/dev/null; then remove torch; fi
    # they install the same files, nvidia/{cudnn,nccl}/lib/*, as PyTorch's packages for CUDA 13
    without 'nvidia-(cudnn|nccl)-cu12'
    # if Poetry has locked two versions for one machine, the first is the one that PyTorch pins
    awk '/^[^ ]/ { split($1, name, "=="); skip = name[1] ~ /^nvidia-/ && seen[name[1]]++ } !skip' \
        "$requirements" >"$requirements.rest"
    mv "$requirements.rest" "$requirements"
fi
say "$(grep -c '==' "$requirements") packages into .venv: seconds from uv's cache, else up to a few minutes ..."
install --require-hashes -r "$requirements"
cp scripts/setup/mlops_template.pth .venv/lib/python3*/site-packages/
printf '#!/bin/sh\nexec "$(dirname "$0")/python" -m infrastructure.cli "$@"\n' >.venv/bin/mlops
chmod +x .venv/bin/mlops
.venv/bin/python -m compileall -q domain application infrastructure shared
say "installed: $what"
touch .venv/.core
[ "$what" = core ] || touch .venv/.dev
if [ "$what" = all ] && [ "${EXTRAS:-all}" = all ]; then touch .venv/.all; fi
