"""Real worker processes of ``canvas_app``."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from geoetl.backend.app import OutboxCelery
from geoetl.backend.messages import capture
from geoetl.backend.relay import enqueue
from geoetl.config import DatabaseTarget

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]


@dataclass
class CanvasWorker:
    """A worker process of ``canvas_app``, its database, and the same app here as a client."""

    app: OutboxCelery
    tasks: Any
    database: DatabaseTarget
    process: subprocess.Popen[bytes]
    log: Path
    environ: dict[str, str]

    def sql(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database.conninfo(application_name="canvas-test"), autocommit=True) as conn:
            cursor = conn.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def submit(self, signature: Any) -> Any:
        """Send a canvas through the outbox, in one transaction."""
        conn = self.app.connections()
        with conn.transaction(), capture() as captured:
            result = signature.apply_async()
            enqueue(conn, captured)
        return result

    def settle(self, within_s: float = 60.0) -> None:
        """Wait until nothing waits and nothing runs."""
        until = time.monotonic() + within_s
        while True:
            waiting = self.sql("SELECT count(*) FROM geoetl.outbox WHERE parked_at IS NULL")[0][0]
            running = self.sql("SELECT count(*) FROM geoetl.result WHERE phase = 'running'")[0][0]
            if not waiting and not running:
                return
            assert time.monotonic() < until, f"{waiting} messages wait, {running} tasks run after {within_s} s"
            time.sleep(0.05)

    def eventually(self, fact: Callable[[], Any], within_s: float = 60.0) -> None:
        until = time.monotonic() + within_s
        while not fact():
            assert time.monotonic() < until, f"not within {within_s} s"
            time.sleep(0.02)

    def done(self, what: str) -> list[str]:
        return [row[0] for row in self.sql("SELECT task_id FROM done WHERE what = %s", what)]


#: Every message of the outbox is published several times.
COPY_EVERY_MESSAGE = """
CREATE FUNCTION copy_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() = 1 THEN
        INSERT INTO geoetl.outbox (source, ref, envelope, body, not_before)
        SELECT NEW.source, NEW.ref, NEW.envelope, NEW.body, NEW.not_before FROM generate_series(2, {copies});
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER copies AFTER INSERT ON geoetl.outbox FOR EACH ROW WHEN (NEW.dedupe IS NULL)
    EXECUTE FUNCTION copy_message();
"""


def load_canvas_app() -> Any:
    """A module of its own for each worker: its tasks belong to that worker's app."""
    spec = importlib.util.spec_from_file_location("canvas_app", FOLDER / "canvas_app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start_process(log: Path, arguments: Sequence[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "celery", "-A", "canvas_app", "worker", "-l", "INFO", "--without-gossip",
               "--without-mingle", *(arguments or ("-c", "3"))]  # fmt: skip
    environ = os.environ | environ | {"PYTHONPATH": f"{FOLDER}:{ROOT}"}
    with log.open("ab") as out:
        return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=out)


def wait_for_ready(worker: CanvasWorker, within_s: float = 60.0) -> None:
    until = time.monotonic() + within_s
    while " ready." not in worker.log.read_text(errors="replace"):
        assert worker.process.poll() is None, worker.log.read_text(errors="replace")
        assert time.monotonic() < until, "the worker did not get ready"
        time.sleep(0.05)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
