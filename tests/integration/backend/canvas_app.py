"""The app that the canvas tests run in real worker processes: plain Celery tasks, and a table of what they did."""

import os
import signal
import time

from celery import Task, chord, group
from celery.exceptions import Ignore

import geoetl.transport  # noqa: F401 - registers servicebus://
from geoetl.backend.app import OutboxCelery

app = OutboxCelery("canvas", broker="servicebus://", backend=os.environ["TEST_BACKEND_URL"])
app.conf.update(
    broker_transport_options={
        "connection_string": os.environ["TEST_CONNECTION_STRING"],
        "lock_duration_s": 5,
        "requeue_delay_s": 0.05,
    },
    result_backend_transport_options={"lease_s": float(os.environ.get("TEST_LEASE_S", "30"))},
    task_default_queue=os.environ["TEST_QUEUE"],
    task_reject_on_worker_lost=True,
    task_track_started=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


def task(*args, **options):
    # Not shared: a test process loads this module once for each worker it starts.
    return app.task(*args, shared=False, **options)


def note(what: str, task_id: str) -> None:
    app.connections().execute("INSERT INTO done (what, task_id, pid) VALUES (%s, %s, %s)", (what, task_id, os.getpid()))


@task
def add(x, y):
    return x + y


@task
def xsum(values):
    return sum(values)


@task
def ident(x):
    return x


@task
def boom(*_):
    raise ValueError("boom")


@task(bind=True)
def flaky(self, x):
    note("try", self.request.id)
    if self.request.retries < 2:
        raise self.retry(countdown=0.05, exc=ValueError("flaky"))
    return x


class CountedBase(Task):
    """An application's own base class, with hooks of its own."""

    def before_start(self, task_id, args, kwargs):
        note("base hook", task_id)


@task(bind=True, base=CountedBase, autoretry_for=(KeyError,), retry_kwargs={"countdown": 0.05}, max_retries=3)
def autoretried(self, x):
    if self.request.retries < 1:
        raise KeyError(x)
    return x


@task(bind=True)
def replaced(self, x):
    raise self.replace(add.s(x, 100))


@task(bind=True)
def replaced_by_chord(self, x):
    raise self.replace(chord([add.s(x, 1), add.s(x, 2)], xsum.s()))


@task(bind=True)
def replaced_by_group(self, x):
    raise self.replace(group(add.s(x, 1), add.s(x, 2)))


@task(bind=True)
def joins_its_chord(self, x):
    self.add_to_chord(add.si(x, 1000))
    return x


@task(bind=True)
def effect(self, x):
    note("effect", self.request.id)
    return x


@task
def errback(request, exc, traceback):
    note("errback", request.id)


@task
def state_seen(task_id, asked_by):
    note(f"state seen by {asked_by}", app.AsyncResult(task_id).state)


@task
def ignored(x):
    raise Ignore


@task(ignore_result=True, bind=True)
def forgettable(self, x):
    note("forgettable", self.request.id)
    return x


@task(bind=True)
def reports(self, x):
    self.update_state(state="PROGRESS", meta={"done": 1})
    return x


@task(bind=True)
def slow(self, seconds):
    note("start", self.request.id)
    time.sleep(seconds)
    note("end", self.request.id)
    return seconds


@task(bind=True)
def dies_once(self, x):
    """``kill -9`` of its own process, the first time."""
    note("start", self.request.id)
    (times,) = app.connections().execute("SELECT count(*) FROM done WHERE task_id = %s", (self.request.id,)).fetchone()
    if times == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@task(time_limit=1)
def hangs():
    time.sleep(30)
