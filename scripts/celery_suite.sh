#!/usr/bin/env bash
# Runs Celery's own integration suite (t/integration of its source distribution) with our transport and our backend.
#
#   scripts/celery_suite.sh [pytest arguments]        e.g.  -k test_canvas
#
# Environment:
#   BROKER_URL      broker under test: any URL of kombu; `redis` (default): the Redis that the suite needs anyway;
#                   `emulator`: our transport on our Service Bus emulator
#   BACKEND_URL     result backend under test; `postgres` (default): ours, on a private cluster; `redis`
#   TEST_TIMEOUT    seconds per test, default 70 (tests that are known to wait in vain wait 60)
#   RUN_TIMEOUT     seconds after which the run ends in good order, default 2400
#   REPORT          folder for logs and the JUnit file (failures.log grows while it runs), default .tools/celery-suite/report
#
# The suite counts across processes in a Redis: installed with apt-get where it is missing, started on a free port.
# Tests that ask for a backend whose URL starts with `redis` run on any backend. The last line is "N passed, M failed".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VERSION=5.7.0
readonly ROOT=$PWD
readonly HOME_DIR=$ROOT/.tools/celery-suite
REPORT=$(realpath -m "${REPORT:-$HOME_DIR/report}")
readonly REPORT
UV=$(command -v uv || echo .tools/uv/bin/uv)
readonly UV
#: Of Redis as a broker or backend, or of services that are neither: nothing they say is about what is tested here.
readonly OTHER_SERVICES=(redis_backend connection_recovery backend_leak_in_fixture_teardown backend cache_backend
  database_backend)

started=()
stop() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  [[ -z ${CELERY_SUITE_CLUSTER:-} ]] || python -m celery_suite_plugin stop "$CELERY_SUITE_CLUSTER"
  [[ -z ${scratch:-} ]] || rm -rf "$scratch"
}
trap stop EXIT

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

install_redis() {
  command -v redis-server >/dev/null && return
  echo "celery-suite: installing Debian's redis-server" >&2
  local become=()
  [[ $EUID -eq 0 ]] || become=(sudo)
  # Only the program: no service of the system is started.
  printf '#!/bin/sh\nexit 101\n' | "${become[@]}" tee /usr/sbin/policy-rc.d >/dev/null
  "${become[@]}" chmod +x /usr/sbin/policy-rc.d
  "${become[@]}" apt-get update -qq >&2
  "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >&2
  "${become[@]}" rm -f /usr/sbin/policy-rc.d
}

install_suite() {
  mkdir -p "$HOME_DIR"
  if [[ ! -x $HOME_DIR/venv/bin/celery ]]; then
    "$UV" venv -q --python "$ROOT/.venv/bin/python" "$HOME_DIR/venv"
    "$UV" pip install -q --python "$HOME_DIR/venv/bin/python" "celery[redis]==$VERSION" 'pytest<10' pip setuptools wheel \
      pytest-asyncio pytest-celery pytest-click pytest-order pytest-rerunfailures pytest-subtests pytest-timeout \
      django psutil -e "$ROOT[local]"
  fi
  if [[ ! -d $HOME_DIR/celery-$VERSION ]]; then
    "$HOME_DIR/venv/bin/python" -m pip download -q --no-deps --no-binary :all: -d "$HOME_DIR" "celery==$VERSION"
    tar -xzf "$HOME_DIR/celery-$VERSION.tar.gz" -C "$HOME_DIR"
  fi
}

# A copy of the suite, in which its checks for a Redis backend are opened to any. Two of its tests clear the flag that
# their worker sets only after they have sent the task, and fail where the worker is faster: they clear it before.
copy_suite() {
  cp -r "$HOME_DIR/celery-$VERSION/t" "$HOME_DIR/celery-$VERSION/pyproject.toml" "$scratch/"
  sed -i "s/\(if not \(manager\.\)\?app\.conf\.result_backend\)\.startswith(.redis.)/\1/" \
    "$scratch"/t/integration/test_{canvas,tasks,group_chains}.py
  sed -i -E '/replaced_task\.delay\(\)$/ { N; s/^(.*)\n( *assertion_result = False)$/\2\n\1/ }' \
    "$scratch"/t/integration/test_tasks.py
  for name in "${OTHER_SERVICES[@]}"; do rm "$scratch/t/integration/test_$name.py"; done
}

start_redis() {
  export REDIS_HOST=127.0.0.1 REDIS_PORT
  REDIS_PORT=$(free_port)
  redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --save '' --appendonly no >"$REPORT/redis.log" 2>&1 &
  started+=($!)
  until redis-cli -p "$REDIS_PORT" ping >/dev/null 2>&1; do sleep 0.1; done
}

start_emulator() {
  "$HOME_DIR/venv/bin/python" -m geoetl.emulator --port 0 --ready-file "$scratch/emulator" >"$REPORT/emulator.log" 2>&1 &
  started+=($!)
  until [[ -s $scratch/emulator ]]; do sleep 0.1; done
  # A URL and not a connection string: one test starts a worker without an app.
  export TEST_BROKER
  TEST_BROKER=$(sed -E 's#^Endpoint=sb://([^;]+);SharedAccessKeyName=([^;]+);SharedAccessKey=([^;]+);.*#servicebus://\2:\3@\1#' \
    "$scratch/emulator")
}

mkdir -p "$REPORT"
scratch=$(mktemp -d)
install_redis
install_suite
copy_suite
start_redis
cd "$scratch"
export PATH=$HOME_DIR/venv/bin:$PATH PYTHONPATH=$scratch:$ROOT/scripts PYTHONFAULTHANDLER=1

case ${BROKER_URL:-redis} in
  redis) export TEST_BROKER=redis://127.0.0.1:$REDIS_PORT/0 ;;
  emulator) start_emulator ;;
  *) export TEST_BROKER=$BROKER_URL ;;
esac
case ${BACKEND_URL:-postgres} in
  redis) export TEST_BACKEND=redis://127.0.0.1:$REDIS_PORT/1 ;;
  postgres)
    # They look at subscriptions of the Redis backend.
    for name in get forget; do
      set -- "$@" --deselect "t/integration/test_tasks.py::test_task_redis_result_backend::test_asyncresult_${name}_cancels_subscription"
    done
    export CELERY_SUITE_CLUSTER=$scratch/cluster TEST_BACKEND
    TEST_BACKEND=$(python -m celery_suite_plugin start "$CELERY_SUITE_CLUSTER")
    ;;
  *) export TEST_BACKEND=$BACKEND_URL ;;
esac

export CELERY_SUITE_FAILURES=$REPORT/failures.log
rm -f "$CELERY_SUITE_FAILURES"
python -m pytest -p celery.contrib.pytest -p celery_suite_plugin -p no:cacheprovider t/integration \
  --test-timeout "${TEST_TIMEOUT:-70}" --session-timeout "${RUN_TIMEOUT:-2400}" \
  -v --tb=short -rfEs --junitxml="$REPORT/junit.xml" "$@" >"$REPORT/pytest.log" 2>&1 || true
python -m celery_suite_plugin report "$REPORT/junit.xml"
