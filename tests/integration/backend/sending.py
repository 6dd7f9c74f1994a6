"""What tests of the outbox and of its relay do: send, relay, look at what has arrived."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from geoetl.backend.messages import capture
from geoetl.backend.relay import Relay, enqueue


def queued(app) -> list[tuple[str, list, dict]]:
    """Take everything out of the app's queue: task id, args and headers."""
    found = []
    with app.connection_for_read() as connection:
        queue = next(iter(app.amqp.queues.values()))(connection.default_channel)
        while message := queue.get(no_ack=True):
            found.append((message.headers["id"], message.payload[0], message.headers))
    return found


def commit(app, *signatures) -> None:
    conn = app.connections()
    with conn.transaction(), capture() as captured:
        for signature in signatures:
            signature.apply_async()
        enqueue(conn, captured)


@contextmanager
def running(relay: Relay) -> Iterator[threading.Event]:
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def eventually(fact, within_s: float = 60.0) -> None:
    until = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < until, f"not within {within_s} s"
        time.sleep(0.02)
