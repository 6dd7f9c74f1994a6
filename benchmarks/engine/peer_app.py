"""The same work as plain Celery chords; broker and result backend come from the environment.

Late acknowledgement, as the engine has; everything else is Celery's default.
"""

import os
import time
from pathlib import Path

from celery import Celery, chord

app = Celery("peer", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BACKEND"], set_as_current=False)
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True, task_default_queue="peer")


@app.task
def square(index: int) -> int:
    return index**2


@app.task
def complete_stage(squares: list[int], stage: int, tasks: int, key: str) -> int:
    """Start the next of three stages, or write down that the job is done."""
    total = sum(squares)
    if stage < 3:
        start_stage(stage + 1, tasks, key)
    else:
        _note(key)
    return total


@app.task(ignore_result=True)
def nothing() -> None:
    """What costs least: no result, no chord."""


@app.task(ignore_result=True)
def mark(key: str) -> None:
    """Write down when this ran."""
    _note(key)


@app.task(ignore_result=True)
def begin(tasks: int, key: str) -> None:
    start_stage(1, tasks, key)


def _note(key: str) -> None:
    with Path(os.environ["BENCH_JOURNAL"]).open("a") as journal:
        journal.write(f"{key} {time.time():.6f}\n")


def start_stage(stage: int, tasks: int, key: str) -> None:
    chord([square.si(index) for index in range(tasks)])(complete_stage.s(stage, tasks, key))
