#!/usr/bin/env bash
# Checks that every dependency has a wheel at a permitted version for each supported Python:
# tools/resolve_pythons.sh [VERSION...]. It queries the package index and installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
UV=${UV:-.venv/bin/uv}
[ $# -gt 0 ] || set -- 3.11 3.12 3.13 3.14
resolved=$(mktemp)
trap 'rm -f "$resolved"' EXIT

failed=
for version in "$@"; do
  if "$UV" pip compile --quiet --system-certs --no-build --python-version "$version" \
      --extra worker --extra local --extra dev --constraints constraints.txt \
      --no-annotate --no-header --output-file "$resolved" pyproject.toml; then
    echo "Python $version: resolves, $(grep -c == "$resolved") packages"
  else
    echo "Python $version: does not resolve; the reason is above"
    failed=1
  fi
done
[ -z "$failed" ]
