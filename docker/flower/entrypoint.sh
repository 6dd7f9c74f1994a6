#!/bin/sh
# Starts Flower, and refuses to show it to everybody: whoever sees it may end tasks.
set -eu

if [ -z "${FLOWER_BASIC_AUTH:-}${FLOWER_AUTH:-}" ] && [ "${GEOETL_FLOWER_OPEN:-}" != true ]; then
  echo "Flower was not started: nobody would have to sign in." >&2
  echo "Set FLOWER_BASIC_AUTH=user:password, or FLOWER_AUTH and FLOWER_AUTH_PROVIDER for Entra ID (see" >&2
  echo "docs/howto/watch-in-flower.md). GEOETL_FLOWER_OPEN=true is for a Flower behind something that asks." >&2
  exit 64
fi
exec geoetl flower "$@"
