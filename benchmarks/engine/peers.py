"""Celery's own chords on Redis+Redis and on Redis+PostgreSQL: each with a worker of the same concurrency."""

import sys
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from celery import Celery

from benchmarks.engine.site import ROOT, Site
from benchmarks.transport.process import Process, wait_until

#: The peer's app is named, not imported: its module reads the environment of its worker.
APP = "benchmarks.engine.peer_app"


@dataclass
class ChordPeer:
    """One pair of broker and result backend."""

    name: str
    broker: str
    backend: str
    folder: Path

    @contextmanager
    def worker(self, *, concurrency: int) -> Generator[Process]:
        self.journal.touch()
        env = {"BENCH_BROKER": self.broker, "BENCH_BACKEND": self.backend, "BENCH_JOURNAL": str(self.journal)}
        command = [
            sys.executable, "-m", "celery", "-A", APP, "worker", "-c", str(concurrency), "-l", "INFO",
            "-n", f"{uuid.uuid4().hex[:8]}@peer", "--without-gossip", "--without-mingle", "--without-heartbeat",
        ]  # fmt: skip
        worker = Process(command, log=self.folder / f"{self.name}-{time.monotonic_ns()}.log", env=env, cwd=ROOT)
        try:
            worker.wait_for(" ready.")
            yield worker
        finally:
            worker.kill()

    @property
    def journal(self) -> Path:
        return self.folder / f"{self.name}.journal"

    def start(self, tasks: int) -> str:
        """Start three chords of so many tasks, one after the other; the key of the journal's line at their end."""
        key = uuid.uuid4().hex
        with Celery("client", broker=self.broker, set_as_current=False) as client:
            client.send_task(f"{APP}.begin", args=(tasks, key), queue="peer", ignore_result=True)
        return key

    def start_alone(self, tasks: int) -> tuple[str, str]:
        """Send so many tasks without results or chords; keys of the journal's lines before and after them."""
        first, last = uuid.uuid4().hex, uuid.uuid4().hex
        with Celery("client", broker=self.broker, set_as_current=False) as client, client.producer_pool.acquire() as on:
            client.send_task(f"{APP}.mark", args=(first,), queue="peer", producer=on)
            for _ in range(tasks):
                client.send_task(f"{APP}.nothing", queue="peer", producer=on)
            client.send_task(f"{APP}.mark", args=(last,), queue="peer", producer=on)
        return first, last

    def ended_at(self, key: str, *, timeout_s: float = 300) -> float:
        def line() -> float | None:
            for each in self.journal.read_text().splitlines():
                found, at = each.split()
                if found == key:
                    return float(at)
            return None

        wait_until(line, timeout_s=timeout_s, what=f"the end of the chords on {self.name}", every_s=0.1)
        ended = line()
        assert ended is not None
        return ended


def chord_peers(site: Site, redis_url: str, folder: Path) -> list[ChordPeer]:
    """Both peers; the second keeps its results in a database of the stack's own cluster."""
    target = site.services.settings.database.admin
    assert target is not None, "the embedded stack names its administrator"
    name = "bench_peer"
    if not site.admin_sql("SELECT 1 FROM pg_database WHERE datname = %s", name):
        site.admin_sql(f"CREATE DATABASE {name}")
    url = f"db+postgresql+psycopg://{target.user}@/{name}?host={target.host}&port={target.port}"
    base = redis_url.rsplit("/", 1)[0]
    return [
        ChordPeer("redis", f"{base}/0", f"{base}/1", folder),
        ChordPeer("postgres", f"{base}/2", url, folder),
    ]
