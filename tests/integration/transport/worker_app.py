"""The Celery app that the tests run in real worker processes. What tasks did is appended to a journal file."""

import os
import time
from pathlib import Path

from celery import Celery
from celery.exceptions import Reject

import geoetl.transport  # noqa: F401 - registers servicebus://

app = Celery("worker_app", broker="servicebus://")
app.conf.update(
    broker_transport_options={
        "connection_string": os.environ["TEST_CONNECTION_STRING"],
        "lock_duration_s": float(os.environ.get("TEST_LOCK_S", "2")),
        "requeue_delay_s": 0.05,
    },
    task_default_queue=os.environ["TEST_QUEUE"],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=int(os.environ.get("TEST_PREFETCH_MULTIPLIER", "1")),
    worker_enable_remote_control=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
)

_JOURNAL = Path(os.environ["TEST_JOURNAL"])


def write(event: str, key: str, *facts: object) -> None:
    """Append one line in one write: several processes share the file."""
    line = " ".join(map(str, (event, key, f"{time.time():.4f}", os.getpid(), *facts)))
    with _JOURNAL.open("ab", buffering=0) as journal:
        journal.write(f"{line}\n".encode())


@app.task(bind=True)
def mark(self, key, sleep_s=0.0):
    write("start", key, self.request.delivery_count, self.request.delivery_info["redelivered"])
    time.sleep(sleep_s)
    write("end", key)


@app.task(bind=True)
def reject_once(self, key):
    write("start", key, self.request.delivery_count, self.request.delivery_info["redelivered"])
    if not self.request.delivery_info["redelivered"]:
        raise Reject("not this time", requeue=True)
    write("end", key)


@app.task(bind=True)
def reject_for_ever(self, key):
    write("start", key)
    raise Reject("never", requeue=False)


@app.task(bind=True, max_retries=2)
def retry_twice(self, key):
    write("start", key, self.request.retries)
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    write("end", key)


@app.task
def publish_more(key, count):
    for index in range(count):
        mark.delay(f"{key}/{index}")
    write("end", key)
