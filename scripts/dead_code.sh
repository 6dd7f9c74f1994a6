#!/usr/bin/env bash
# Fails where vulture finds dead code. Unused arguments are left to ruff (ARG), which knows protocols and overrides.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

findings=$(.venv/bin/vulture) || [[ $? -eq 3 ]] # 3: it ran, and found something
if grep -v 'unused variable' <<<"$findings" | grep .; then
  exit 1
fi
