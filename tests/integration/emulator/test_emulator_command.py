"""The emulator as a process: it says when it is ready and goes when it is told to."""

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from geoetl.emulator import AccessPolicy
from geoetl.emulator.server import DEFAULT_KEY, DEFAULT_KEY_NAME


def port_of(connection_string: str) -> int:
    return int(connection_string.split(";", maxsplit=1)[0].rpartition(":")[2])


def test_command_announces_itself_and_stops_cleanly_on_sigterm_and_sigint(tmp_path, start_emulator):
    for number in (signal.SIGTERM, signal.SIGINT):
        ready = tmp_path / "ready"
        process, connection_string = start_emulator("--ready-file", str(ready), "--admin-port", "0", "--key", "k")
        assert connection_string.startswith("Endpoint=sb://127.0.0.1:")
        assert connection_string.endswith(";SharedAccessKey=k;UseDevelopmentEmulator=true;")
        deadline = time.monotonic() + 60
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ready.read_text().strip() == connection_string
        with urllib.request.urlopen(f"http://127.0.0.1:{port_of(connection_string)}/health", timeout=60) as answer:
            assert answer.status == 200
        # A client that hangs on does not keep the server from stopping.
        with socket.create_connection(("127.0.0.1", port_of(connection_string))):
            process.send_signal(number)
            assert process.wait(timeout=60) == 0
        assert not ready.exists()


def test_command_refuses_administration_when_told_to(start_emulator):
    _, connection_string = start_emulator("--no-manage")
    port = port_of(connection_string)
    token = AccessPolicy(DEFAULT_KEY_NAME, DEFAULT_KEY).sign(f"sb://127.0.0.1:{port}/", int(time.time()) + 60)
    request = urllib.request.Request(f"http://127.0.0.1:{port}/q", headers={"Authorization": token})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value as answer:
        assert (answer.code, b"Manage" in answer.read()) == (401, True)


def test_taken_port_ends_the_command_with_a_message(start_emulator):
    _, connection_string = start_emulator()
    ended = subprocess.run(
        [sys.executable, "-m", "geoetl.emulator", "--port", str(port_of(connection_string))],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 1
    assert "could not start on 127.0.0.1" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_importing_the_emulator_loads_nothing_else_of_the_package():
    code = "import sys, geoetl.emulator; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    ours = {name for name in ended.stdout.split() if name.startswith("geoetl.")}
    assert {name.split(".")[1] for name in ours} == {"emulator"}
