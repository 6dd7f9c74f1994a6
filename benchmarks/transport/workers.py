"""Celery workers as real processes, the client that publishes to them, and the journal that their tasks write."""

import json
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celery import Celery

import benchmarks.transport.stock  # noqa: F401 - registers stock://
import geoetl.transport  # noqa: F401 - registers servicebus://
from benchmarks.transport.peers import Peer
from benchmarks.transport.process import Process

ROOT = Path(__file__).parents[2]
APP = "benchmarks.transport.app"


@dataclass
class Site:
    """One broker, fresh queues on it, and a journal: everything that one run needs."""

    peer: Peer
    folder: Path
    queue_count: int = 1
    prefetch: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.peer.name}-", dir=self.folder))
        name = uuid.uuid4().hex[:10]
        self.queues = [f"bench-{name}-{number}" for number in range(self.queue_count)]
        self.journal = self.folder / "journal"
        self.journal.touch()
        self.client = Celery("client", broker=self.peer.url, set_as_current=False)
        self.client.conf.update(
            broker_transport_options=self._options, task_default_queue=self.queues[0], task_ignore_result=True
        )

    @property
    def _options(self) -> dict[str, Any]:
        return {**self.peer.options, **self.options}

    def start(self, pool: str = "prefork", concurrency: int = 2) -> Process:
        """A worker of all queues, ready."""
        env = {
            "BENCH_BROKER": self.peer.url, "BENCH_OPTIONS": json.dumps(self._options), "BENCH_QUEUE": self.queues[0],
            "BENCH_PREFETCH": str(self.prefetch), "BENCH_JOURNAL": str(self.journal),
            "BENCH_CONTROL": "yes" if self.peer.is_controlled else "",
        }  # fmt: skip
        command = [
            sys.executable, "-m", "celery", "-A", APP, "worker", "-l", "INFO", "-P", pool, "-c", str(concurrency),
            "-Q", ",".join(self.queues), "-n", f"{uuid.uuid4().hex[:10]}@bench",
            "--without-gossip", "--without-mingle", *([] if self.peer.is_controlled else ["--without-heartbeat"]),
        ]  # fmt: skip
        worker = Process(command, log=self.folder / f"worker-{time.monotonic_ns()}.log", env=env, cwd=ROOT)
        try:
            worker.wait_for(" ready.")
        except BaseException:  # interrupted, too: nobody else knows the process yet
            worker.kill()
            raise
        return worker

    def publish(self, *tasks: tuple[str, Sequence[Any]], queue: str | None = None) -> None:
        """Publish tasks as one batch where the broker knows batches."""
        with self.client.connection_for_write() as connection, self.client.amqp.Producer(connection) as producer:
            if not producer.supports_batch_publish:
                self._send(producer, tasks, queue)
                return
            with producer.batch():
                self._send(producer, tasks, queue)

    def _send(self, producer: Any, tasks: Sequence[tuple[str, Sequence[Any]]], queue: str | None) -> None:
        for name, arguments in tasks:
            self.client.send_task(f"{APP}.{name}", arguments, producer=producer, queue=queue or self.queues[0])

    def times(self, event: str) -> dict[str, float]:
        """When each key's event was first written, in seconds since the epoch."""
        found: dict[str, float] = {}
        for line in self.journal.read_text().splitlines():
            word, key, at = line.split()
            if word == event:
                found.setdefault(key, float(at))
        return found

    def close(self) -> None:
        self.client.close()
        self.client.pool.force_close_all()
