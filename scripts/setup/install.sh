#!/usr/bin/env bash
# Installs what poetry.lock says into .venv: `install.sh core`, `install.sh dev` (core and the
# development tools), `install.sh mutation` (these and mutmut) or `install.sh all` (everything but
# mutmut; EXTRAS="torch ray" chooses extras).
# ACCELERATOR=cpu takes the builds for the CPU, ACCELERATOR=cuda those for NVIDIA GPUs; unset, a GPU
# decides. TORCH_INDEX is where PyTorch's CPU build comes from, if not from download.pytorch.org.
set -euo pipefail
unset CDPATH PIP_PREFIX PIP_ROOT PIP_TARGET PIP_USER # they would lead out of .venv
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
    *) echo "error: unknown set $what: core, dev, mutation or all" >&2; exit 2 ;;
esac

accelerator=${ACCELERATOR:-}
if [ -z "$accelerator" ]; then
    accelerator=cpu
    # it can exit with 0 without a GPU; no grep -q, since pipefail would report the broken pipe
    if nvidia-smi --list-gpus 2>/dev/null | grep '^GPU' >/dev/null; then accelerator=cuda; fi
fi
case $accelerator in
    cpu | cuda) ;;
    *) echo "error: unknown ACCELERATOR $accelerator: cpu, cuda, or none to let a GPU decide" >&2; exit 2 ;;
esac

if [ -L .venv ]; then
    echo "error: .venv is a link: installing from here would change another clone's environment" >&2
    exit 1
fi
# print progress with the elapsed time
say() { printf '%3d s  %s\n' "$SECONDS" "$*" >&2; }

poetry=$(bash scripts/setup/setup_poetry.sh)
# uv reads what Poetry has locked, and installs it many times faster
uv=$(dirname "$(realpath "$poetry")")/uv
[ -x "$uv" ] || uv=$(command -v uv)
# the commands of a relocatable environment run the Python beside them: a clone can be copied or moved
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
if ! "$poetry" export "${options[@]}" >"$requirements" 2>"$requirements.said"; then
    cat "$requirements.said" >&2
    exit 1
fi
# remove the packages that match the pattern from the requirements, with their lines of hashes
without() {
    awk -v names="^($1)(\\\\[|==)" '/^[^ ]/ { skip = $0 ~ names } !skip' "$requirements" >"$requirements.rest"
    mv "$requirements.rest" "$requirements"
}
version=$(sed -nE 's/^torch==([^ ;]+).*/\1/p' "$requirements")
if [ "$(uname)" = Linux ] && [ "$accelerator" = cpu ]; then
    # PyTorch's CPU build is another file than the locked one; TensorFlow's is the same, and without
    # NVIDIA's libraries it computes on the CPU
    libraries='triton|cuda-.*|nvidia-(cu|nccl|nv).*'
    without "torch|$libraries"
    if [ -n "$version" ]; then
        say "PyTorch's CPU build, 200 MB: up to some minutes ..."
        pip install -qq --no-deps "torch==$version+cpu" \
            --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}"
        # nothing needs them any more, and with them TensorFlow would still use a GPU
        mapfile -t old < <(pip list --format freeze | sed -nE "s/^($libraries)==.*/\1/p")
        [ "${#old[@]}" = 0 ] || remove "${old[@]}"
    fi
elif [ -n "$version" ]; then
    # uv would accept an installed 2.13.0+cpu as 2.13.0
    if pip list --format freeze | grep '^torch==.*+cpu$' >/dev/null; then remove torch; fi
    # both are the files nvidia/{cudnn,nccl}/lib/*: PyTorch's CUDA 13 ones stay whole
    without 'nvidia-(cudnn|nccl)-cu12'
    # of two versions that Poetry has locked for one machine, the first is the one that PyTorch pins
    awk '/^[^ ]/ { split($1, name, "=="); skip = name[1] ~ /^nvidia-/ && seen[name[1]]++ } !skip' \
        "$requirements" >"$requirements.rest"
    mv "$requirements.rest" "$requirements"
fi
say "$(grep -c '==' "$requirements") packages into .venv: seconds from uv's cache, else up to some minutes ..."
install --require-hashes -r "$requirements"
cp scripts/setup/mlops_template.pth .venv/lib/python3*/site-packages/
.venv/bin/python -m compileall -q domain application infrastructure shared
say "installed: $what"
touch .venv/.core
[ "$what" = core ] || touch .venv/.dev
if [ "$what" = all ] && [ "${EXTRAS:-all}" = all ]; then touch .venv/.all; fi
