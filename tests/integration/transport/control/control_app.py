"""The Celery app of the workers that the control plane's tests talk to: nothing is switched off."""

import os
import time

from celery import Celery

import geoetl.transport  # noqa: F401 - registers servicebus://

app = Celery("control_app", broker="servicebus://", events="geoetl.transport.events:Events")
app.conf.update(
    broker_transport_options={
        "connection_string": os.environ["TEST_CONNECTION_STRING"],
        "lock_duration_s": 5,
        "create_queues": bool(os.environ.get("TEST_CREATE_QUEUES", "yes")),
    },
    control_exchange=os.environ["TEST_CONTROL_EXCHANGE"],
    event_exchange=os.environ["TEST_EVENT_EXCHANGE"],
    task_default_queue=os.environ["TEST_QUEUE"],
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    worker_pool_restarts=True,
)


@app.task
def nap(seconds):
    time.sleep(seconds)


@app.task
def say(word):
    return word
