#!/usr/bin/env bash
# Writes requirements.lock from pyproject.toml: every package for every platform and Python that we support, with hashes,
# and without the address of any index, so that it installs from whichever one a machine is set up for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

uv=$(command -v uv || echo .tools/uv/bin/uv)
"$uv" pip compile pyproject.toml --python .venv/bin/python --extra local --group dev \
  --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet "$@" --output-file requirements.lock
if grep -nE '://|^-' requirements.lock; then
  echo "requirements.lock names an address or an option; see above" >&2
  exit 1
fi
