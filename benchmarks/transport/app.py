"""The Celery app of the measured workers; everything that differs comes from the environment.

Heartbeats, gossip and remote control are off, as not all brokers have these, but where their cost is measured.
"""

import json
import os
import time
from pathlib import Path

from celery import Celery

import benchmarks.transport.stock  # noqa: F401 - registers stock://
import geoetl.transport  # noqa: F401 - registers servicebus://

app = Celery("bench", broker=os.environ["BENCH_BROKER"], events="geoetl.transport.events:Events", set_as_current=False)
app.conf.update(
    broker_transport_options=json.loads(os.environ["BENCH_OPTIONS"]),
    broker_connection_retry_on_startup=True,
    task_default_queue=os.environ["BENCH_QUEUE"],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=int(os.environ["BENCH_PREFETCH"]),
    worker_enable_remote_control=bool(os.environ.get("BENCH_CONTROL")),
    worker_send_task_events=bool(os.environ.get("BENCH_CONTROL")),
    worker_cancel_long_running_tasks_on_connection_loss=False,
)


def write(event: str, key: str) -> None:
    """Append one line in one write: several processes share the file."""
    line = f"{event} {key} {time.time():.6f}\n"
    with Path(os.environ["BENCH_JOURNAL"]).open("ab", buffering=0) as journal:
        journal.write(line.encode())


@app.task
def noop(number: int) -> None:
    pass


@app.task(bind=True)
def mark(self: object, key: str, sleep_s: float = 0.0) -> None:
    write("start", key)
    time.sleep(sleep_s)
    write("end", key)
