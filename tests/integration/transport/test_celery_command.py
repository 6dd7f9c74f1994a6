"""Celery's command line without an app: the scheme of the broker is known where this package is installed."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery


def celery(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_queues_of_a_broker_url_are_shown(
    connection_string: str, client_for: Callable[..., Celery], queue: str, tmp_path: Path
):
    if "UseDevelopmentEmulator" not in connection_string:
        pytest.skip("the namespace is real: its key is not put on a command line")
    client_for(queue).send_task("any", countdown=60)
    (host,) = re.findall(r"sb://([^;/]+)", connection_string)
    url = f"servicebus://RootManageSharedAccessKey:SAS_KEY_VALUE@{host}"

    shown = celery(tmp_path, "-b", url, "servicebus")

    assert shown.returncode == 0, shown.stderr
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith(queue)]
    assert line.split() == [queue, "0", "1", "0"]


def test_another_broker_is_refused_with_what_to_do(tmp_path: Path):
    refused = celery(tmp_path, "-b", "memory://", "servicebus")
    assert refused.returncode == 1
    assert "name one of servicebus:// with --broker" in refused.stderr
