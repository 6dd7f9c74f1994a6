#!/usr/bin/env bash
# Fails where vulture finds dead code. Unused variables are left out: fields of models, rows and frames are read by name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

findings=$(.venv/bin/vulture) || [[ $? -eq 3 ]] # 3: it ran, and found something
if grep -vE 'unused (variable|attribute)' <<<"$findings" | grep .; then
  exit 1
fi
