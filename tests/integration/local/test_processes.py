import os
import signal
import sys
from pathlib import Path

import pytest

from geoetl.local.processes import Process, StartFailed, start, wait_until_ready

_SLEEP = "import time; time.sleep(60)"
#: Ignores SIGTERM, and has a child in its group that does too.
_STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""


def run_python(code: str, folder: Path) -> Process:
    return start([sys.executable, "-c", code], log=folder / "log", record=folder / "record.json")


def children_logged(process: Process, folder: Path) -> int:
    wait_until_ready(
        process, lambda: (folder / "log").read_text().endswith("\n"), what="it", log=folder / "log", timeout_s=20
    )
    return int((folder / "log").read_text())


def test_a_started_process_is_recorded_and_stops_when_told(tmp_path: Path):
    process = run_python(_SLEEP, tmp_path)
    assert process.is_running
    assert Process.read(tmp_path / "record.json") == process
    process.stop()
    assert not process.is_running


def test_a_process_that_ignores_the_request_is_killed_with_its_children(tmp_path: Path):
    process = run_python(_STUBBORN, tmp_path)
    child = Process.of(children_logged(process, tmp_path))
    assert child is not None
    process.stop(grace_s=0.1)
    assert not process.is_running
    assert not child.is_running


def test_children_that_outlived_a_killed_process_are_killed(tmp_path: Path):
    process = run_python(_STUBBORN, tmp_path)
    child = Process.of(children_logged(process, tmp_path))
    assert child is not None
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout_s=10)
    assert child.is_running
    process.stop()
    assert not child.is_running


def test_a_process_that_ends_before_it_is_ready_fails_with_its_last_words(tmp_path: Path):
    process = run_python("import time; time.sleep(0.2); raise SystemExit('port is taken')", tmp_path)
    with pytest.raises(StartFailed, match="The service ended before it was ready") as caught:
        wait_until_ready(process, lambda: False, what="The service", log=tmp_path / "log", timeout_s=20)
    assert "port is taken" in str(caught.value)


def test_a_process_that_is_never_ready_fails_in_time(tmp_path: Path):
    process = run_python(_SLEEP, tmp_path)
    try:
        with pytest.raises(StartFailed, match=r"not ready after 0\.1 s"):
            wait_until_ready(process, lambda: False, what="The service", log=tmp_path / "log", timeout_s=0.1)
    finally:
        process.stop()


def test_a_missing_program_fails_by_name(tmp_path: Path):
    with pytest.raises(StartFailed, match="no-such-program"):
        start(["no-such-program"], log=tmp_path / "log", record=tmp_path / "record.json")
