#!/usr/bin/env bash
# Makes everything that geoetl needs on this machine, and does nothing where it is there already:
#   .venv         Python >= 3.12 with the locked packages and the project itself
#   PostgreSQL    with PostGIS, from Debian's packages (no cluster of the system is created or touched)
#   Chromium      in CI only, for the tests that need a browser
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly STAMP=.venv/.geoetl-stamp
readonly TOOLS=.tools

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

has_postgis() {
  local program version
  for program in /usr/lib/postgresql/*/bin/postgres; do
    version=${program#/usr/lib/postgresql/}
    [[ -x $program && -f /usr/share/postgresql/${version%%/*}/extension/postgis.control ]] && return 0
  done
  return 1
}

# The major version that this release of Debian or Ubuntu ships; nothing where its package lists were never read.
debian_postgres_version() {
  apt-cache show postgresql 2>/dev/null | sed -n 's/^Depends:.*postgresql-\([0-9]\{1,\}\).*/\1/p' | head -n 1
}

install_postgis() {
  command -v apt-get >/dev/null || fail \
    "PostgreSQL with PostGIS is missing, and this is not a Debian or Ubuntu." \
    "Install PostgreSQL >= 15 with PostGIS, so that \`postgres\` and \`initdb\` are on the path."
  local version become=()
  version=$(debian_postgres_version)
  if [[ $EUID -ne 0 ]]; then
    become=(sudo)
    # Without a terminal nobody can type a password.
    if ! sudo -n true 2>/dev/null && ! { [[ -t 0 ]] && command -v sudo >/dev/null; }; then
      version=${version:-15}
      fail "PostgreSQL with PostGIS is missing, and installing it needs root. Run, then try again:" \
        "  sudo apt-get update && sudo apt-get install --no-install-recommends postgresql-$version postgresql-$version-postgis-3"
    fi
  fi
  if [[ -z $version ]]; then
    say "reading Debian's package lists"
    "${become[@]}" apt-get update -qq
    version=$(debian_postgres_version)
    [[ -n $version ]] || fail "apt-get knows no package named postgresql. Check /etc/apt/sources.list."
  fi
  say "installing PostgreSQL $version and PostGIS"
  # Debian starts a cluster of its own at installation unless told otherwise. The file goes again afterwards.
  local quiet=/etc/postgresql-common/createcluster.d/geoetl.conf
  "${become[@]}" mkdir -p "${quiet%/*}"
  echo "create_main_cluster = false" | "${become[@]}" tee "$quiet" >/dev/null
  local install=("${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends
    "postgresql-$version" "postgresql-$version-postgis-3")
  local log
  log=$(mktemp)
  # A first failure is most often an old list that names packages which the mirror has replaced.
  if ! "${install[@]}" >"$log" 2>&1; then
    "${become[@]}" apt-get update -qq
    "${install[@]}" >"$log" 2>&1 || { "${become[@]}" rm -f "$quiet"; cat "$log" >&2; fail "apt-get install failed, see above."; }
  fi
  "${become[@]}" rm -f "$quiet"
  rm -f "$log"
  has_postgis || fail "apt-get install succeeded, and PostGIS is still not found under /usr/lib/postgresql."
}

# For the tests that look at Flower. They are skipped where there is none, but not in CI.
install_browser() {
  local become=()
  [[ $EUID -eq 0 ]] || become=(sudo)
  local install=("${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends
    chromium chromium-driver fonts-dejavu-core)
  say "installing chromium for the tests"
  "${install[@]}" >/dev/null 2>&1 || { "${become[@]}" apt-get update -qq && "${install[@]}" >/dev/null; } ||
    fail "apt-get could not install chromium and chromium-driver."
}

# The first Python >= 3.12 that really runs: a pyenv shim may be on the path and refuse.
find_python() {
  local candidate versions
  versions=$(printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3 | sort -Vr)
  for candidate in python3.14 python3.13 python3.12 python3 $versions; do
    "$candidate" -c 'import ssl, sys, venv; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || continue
    "$candidate" -c 'import sys; print(sys.executable)'
    return
  done
  fail "No Python >= 3.12 was found (tried python3.14, 3.13, 3.12, python3 and pyenv's versions)." \
    "Install one, for example with \`pyenv install 3.13\`, or put it on the path."
}

find_uv() {
  local candidate
  for candidate in uv "$TOOLS/uv/bin/uv"; do
    if "$candidate" --version >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
  say "installing uv into $TOOLS" >&2
  "$1" -m venv "$TOOLS/uv" >&2 || fail "\`$1 -m venv\` failed. On Debian: apt-get install python3-venv."
  "$TOOLS/uv/bin/python" -m pip install --quiet uv >&2 || fail "pip could not install uv."
  echo "$TOOLS/uv/bin/uv"
}

install_packages() {
  local python uv
  if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
    python=$(find_python)
    uv=$(find_uv "$python")
    say "creating .venv with $python"
    "$uv" venv --quiet --clear --python "$python" .venv
  else
    uv=$(find_uv .venv/bin/python)
  fi
  say "installing the locked packages into .venv"
  # The interpreter is always named: left to itself, uv asks pyenv's shims.
  "$uv" pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
  "$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
}

has_postgis || install_postgis
if [[ -n ${CI:-} ]] && ! { command -v chromium && command -v chromedriver; } >/dev/null; then install_browser; fi
wanted=$(sha256sum requirements.lock pyproject.toml)
if [[ ! -f $STAMP || $(<"$STAMP") != "$wanted" ]] || ! .venv/bin/python -c '' 2>/dev/null; then
  install_packages
  printf '%s\n' "$wanted" >"$STAMP"
  say "ready"
fi
