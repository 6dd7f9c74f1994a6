"""A whole embedded stack for the run, real worker processes, and the command line."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from geoetl.cli.main import main
from geoetl.config.settings import load_settings
from geoetl.db.connections import Connection, connect
from geoetl.engine.services import Services
from geoetl.local.stack import Stack
from geoetl.models.refs import BlobRef
from geoetl.worker.app import create_app
from tests.stack import require

ROOT = Path(__file__).parents[2]

QUEUES = ("standard", "gdal")

#: Short leases, so that what a dead worker held comes back within a test; low thresholds, so that both queues work and
#: a raster of 50 MB is very large.
TUNING = {
    "GEOETL_WORKER__LEASE_S": "3",
    "GEOETL_WORKER__HEARTBEAT_S": "0.5",
    "GEOETL_WORKER__REAP_S": "0.5",
    "GEOETL_WORKER__RESEND_S": "2",
    "GEOETL_RASTER__GDAL_THRESHOLD_BYTES": "20000000",
    "GEOETL_RASTER__BANDS_THRESHOLD_BYTES": "40000000",
    "GEOETL_RASTER__BAND_ROWS": "512",
}


@dataclass
class Worker:
    """A worker process with its children."""

    process: subprocess.Popen[bytes]
    log: Path
    _is_told_to_stop: bool = False

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def signal(self, number: signal.Signals) -> None:
        """To the main process and every child."""
        # The main process first when it is frozen, so that it replaces nobody; its children first when it dies.
        pids = [*self.children(), self.process.pid]
        for pid in reversed(pids) if number == signal.SIGSTOP else pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """``kill -9`` of the main process and of every child."""
        self.signal(signal.SIGKILL)
        self.process.wait(60)

    def begin_to_stop(self) -> None:
        """Ask it to end what it runs and go, without waiting for that."""
        if self.process.poll() is None and not self._is_told_to_stop:
            self._is_told_to_stop = True  # a second request would be a colder shutdown
            self.process.terminate()

    def stop(self) -> None:
        self.begin_to_stop()
        if self.process.poll() is None:
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def await_line(self, text: str, *, within_s: float = 60.0) -> None:
        eventually(lambda: text in self.log.read_text(errors="replace"), within_s=within_s, what=f"{text!r} in its log")


@dataclass
class Installation:
    """The stack as its users have it."""

    home: Path
    services: Services
    environ: dict[str, str]
    _standing: Worker | None = None

    def standing(self) -> Worker:
        """The worker of tests that leave it as it was."""
        if self._standing is None or self._standing.process.poll() is not None:
            self._standing = self.worker("standing")
        return self._standing

    def dismiss(self) -> None:
        """From here on no worker is up but those a test starts."""
        if self._standing is not None:
            self._standing.stop()
            self._standing = None

    def worker(self, name: str, *queues: str, concurrency: int = 2, environ: Mapping[str, str] | None = None) -> Worker:
        log = self.home / "logs" / f"{name}-{time.monotonic_ns()}.log"
        command = [
            sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-Q", ",".join(queues or QUEUES),
            "-n", f"{name}@%h", "--concurrency", str(concurrency), "--loglevel", "INFO",
        ]  # fmt: skip
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**self.environ, **(environ or {})}, stdout=out, stderr=out
            )
        worker = Worker(process, log)
        worker.await_line(" ready.")
        return worker

    def geoetl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command as a user does."""
        return subprocess.run(
            [sys.executable, "-m", "geoetl", *words],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def run_here(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same command in this process: seconds of imports less."""
        out, err = io.StringIO(), io.StringIO()
        status = 0
        with (
            mock.patch.dict(os.environ, self.environ, clear=True),
            mock.patch.object(sys, "argv", ["geoetl", *words]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as exc:
                status = exc.code if isinstance(exc.code, int) else 1
        return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    def put(self, name: str, content: Path | bytes) -> BlobRef:
        ref = BlobRef.of("bronze", "bronze", name)
        self.services.store.upload(ref, content, content_type="image/tiff", overwrite=True)
        return ref

    def sql(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        return self.services.connections().execute(query, params).fetchall()

    def business(self) -> Connection:
        """A connection of its own to the business database; close it."""
        return connect(self.services.settings.database.business, application_name="acceptance")

    def rows(self) -> dict[str, int]:
        """How many rows there are in each table that a submit writes to."""
        tables = ("job", "run", "stage", "task", "outbox", "event")
        return {table: self.sql(f"SELECT count(*) FROM geoetl.{table}")[0][0] for table in tables}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=1, help="how often each chaos scenario is played")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "round_no" in metafunc.fixturenames:
        # The option exists only where this folder was named on the command line.
        metafunc.parametrize("round_no", range(1, metafunc.config.getoption("--rounds", default=1) + 1))


def eventually(fact: Callable[[], Any], *, within_s: float = 60.0, what: str = "it") -> Any:
    until = time.monotonic() + within_s
    while not (answer := fact()):
        assert time.monotonic() < until, f"{what}: not within {within_s} s"
        time.sleep(0.05)
    return answer


@pytest.fixture(scope="session")
def installation() -> Generator[Installation]:
    with tempfile.TemporaryDirectory(prefix="geoetl-acceptance-") as folder:
        home = Path(folder)
        stack = Stack(home)
        require(stack.up)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GEOETL_")}
        # Memory is shared out among all that use one scratch folder; and what a killed worker left goes with this one.
        scratch = home / "scratch"
        scratch.mkdir()
        environ |= {
            "GEOETL_HOME": str(home), "PYTHONPATH": str(ROOT), "GEOETL_RASTER__SCRATCH_DIR": str(scratch), **TUNING
        }  # fmt: skip
        services = create_app(load_settings(environ, cwd=home)).services
        yield Installation(home, services, environ)
        services.close()
        stack.down()


@pytest.fixture(scope="module")
def _standing_for_one_file(installation: Installation) -> Generator[None]:
    yield
    installation.dismiss()


@pytest.fixture
def a_worker(installation: Installation, _standing_for_one_file: None) -> Worker:
    """A worker for both queues that the next tests use as well: it is neither killed nor asked about its past."""
    return installation.standing()


@pytest.fixture
def workers(installation: Installation) -> Generator[Callable[..., Worker]]:
    """Start workers, of which there are none before; all are gone after the test."""
    installation.dismiss()
    started: list[Worker] = []

    def start(*args: Any, **kwargs: Any) -> Worker:
        worker = installation.worker(*args, **kwargs)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.begin_to_stop()
    for worker in started:
        worker.stop()


def document(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON document a command printed."""
    assert done.stdout, done.stderr
    return json.loads(done.stdout)
