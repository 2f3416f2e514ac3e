#!/usr/bin/env bash
# Compares every package of poetry.lock with the known vulnerabilities, by pip-audit. Exits with 0 if
# there are none, 1 if there are, 3 if it cannot tell, such as without network. IGNORE="ID ..."
# accepts some, by their IDs.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ "${1:-}" != --help ] || { sed -n '2,4s/^# //p' "${BASH_SOURCE[0]}"; exit 0; }

poetry=$(bash scripts/setup/setup_poetry.sh)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$poetry" export --with dev,notebook --all-extras --without-hashes 2>"$folder/log" >"$folder/all" || {
    cat "$folder/log" >&2
    exit 3
}
# for every platform; pip-audit accepts one version of a package, so further ones are audited alone
sed 's/ *;.*//' "$folder/all" |
    awk -v folder="$folder" '{ split($0, name, "=="); print >(folder "/requirements." ++seen[name[1]]) }'
ignored=()
for id in ${IGNORE:-}; do ignored+=(--ignore-vuln "$id"); done
found=0
for requirements in "$folder"/requirements.*; do
    # pip-audit fails with 1 in either case, but writes a report only if it has looked up every package
    .venv/bin/python -m uv tool run --native-tls --quiet pip-audit@2.10.1 --disable-pip --no-deps \
        --requirement "$requirements" --progress-spinner off --desc off \
        --format markdown --output "$requirements.report" "${ignored[@]}" || {
        [ -s "$requirements.report" ] || { echo "error: no result: packages could not be looked up, see above" >&2; exit 3; }
        cat "$requirements.report"
        found=1
    }
done
exit $found
