"""How long one message takes while nothing else moves, and what receiving many costs: without Celery, and with it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

from kombu import Connection, Consumer, Producer, Queue

import geoetl.transport  # noqa: F401 - registers servicebus://
from benchmarks.transport.figures import Figures, percentile
from benchmarks.transport.peers import Peer
from benchmarks.transport.process import wait_until
from benchmarks.transport.workers import Site
from geoetl.transport.delivery import Delivery
from geoetl.transport.namespace import close_all

#: Pause between messages, so that each finds an idle connection.
PAUSE_S = 0.01


def measure(peer: Peer, folder: Path, figures: Figures, *, quick: bool) -> None:
    try:
        _measure_idle(peer, figures, messages=300 if quick else 2000)
        _measure_many(peer, figures, messages=3000 if quick else 10_000)
    finally:
        close_all()
    _measure_worker(Site(peer, folder, queue_count=3), figures, tasks=100 if quick else 500)


def _measure_idle(peer: Peer, figures: Figures, *, messages: int) -> None:
    """One message at a time: publish call to callback, and acknowledgement to the service's confirmation."""
    delivered: list[float] = []
    settled: list[float] = []
    with ExitStack() as stack:
        connection = stack.enter_context(Connection(peer.url))
        queues = [Queue(f"bench-idle-{number}") for number in range(3)]
        confirmations: dict[UUID, float] = {}
        acknowledged: list[tuple[UUID, float]] = []
        published_at = 0.0

        def on_message(body: Any, message: Any) -> None:
            delivered.append(time.perf_counter() - published_at)
            acknowledged.append((UUID(message.delivery_tag), time.perf_counter()))
            message.ack()

        consumer = stack.enter_context(Consumer(connection, queues, callbacks=[on_message], prefetch_count=4))
        _watch_confirmations(consumer.channel, lambda token: confirmations.setdefault(token, time.perf_counter()))
        producer = Producer(connection.channel())
        for number in range(messages):
            published_at = time.perf_counter()
            producer.publish(number, routing_key=queues[number % 3].name)
            while len(acknowledged) <= number:
                connection.drain_events(timeout=10)
            wait_until(
                lambda: acknowledged[-1][0] in confirmations, timeout_s=10, what="a confirmation", every_s=PAUSE_S
            )
        settled = [confirmations[token] - at for token, at in acknowledged]
    figures.add("settle_p50_ms", percentile(settled, 50) * 1e3)
    figures.add("settle_p99_ms", percentile(settled, 99) * 1e3)
    figures.add("delivery_p50_ms", percentile(delivered, 50) * 1e3)
    figures.add("delivery_p99_ms", percentile(delivered, 99) * 1e3)


def _watch_confirmations(channel: Any, on_confirmed: Callable[[UUID], object]) -> None:
    """Be told when the service has confirmed a settlement; kombu has no word for that."""
    receiving = channel.namespace.receiving
    original = receiving.on_settled

    def on_settled(delivery: Delivery, error: Exception | None) -> None:
        on_confirmed(delivery.token)
        original(delivery, error)

    receiving.on_settled = on_settled


def _measure_many(peer: Peer, figures: Figures, *, messages: int) -> None:
    """Processor time of this process for each message published in batches, then received and acknowledged."""
    with Connection(peer.url) as connection:
        queue = Queue("bench-many")(connection.default_channel)
        queue.declare()
        begin = time.process_time()
        producer = Producer(connection.default_channel)
        with producer.batch():
            for number in range(messages):
                producer.publish(number, routing_key=queue.name)
        figures.add("publish_cpu_us_per_message", (time.process_time() - begin) / messages * 1e6)

        seen = 0

        def on_message(body: Any, message: Any) -> None:
            nonlocal seen
            seen += 1
            message.ack()

        begin, wall = time.process_time(), time.perf_counter()
        with Consumer(connection.channel(), [queue], callbacks=[on_message], prefetch_count=200):
            while seen < messages:
                connection.drain_events(timeout=10)
        figures.add("client_cpu_us_per_message", (time.process_time() - begin) / messages * 1e6)
        figures.add("messages_per_s", messages / (time.perf_counter() - wall))


def _measure_worker(site: Site, figures: Figures, *, tasks: int) -> None:
    """From the publish call to the task's first line, in an idle prefork worker of three queues."""
    worker = site.start()
    published: dict[str, float] = {}
    try:
        for number in range(tasks + 5):
            key = str(number)
            published[key] = time.time()
            site.client.send_task("benchmarks.transport.app.mark", [key], queue=site.queues[number % 3])
            wait_until(lambda: key in site.times("end"), timeout_s=10, what="a task", every_s=PAUSE_S)  # noqa: B023
    finally:
        worker.kill()
        site.close()
    started = site.times("start")
    # The first ones open connections.
    waits = [started[key] - at for key, at in list(published.items())[5:]]
    figures.add("task_start_p50_ms", percentile(waits, 50) * 1e3)
    figures.add("task_start_p99_ms", percentile(waits, 99) * 1e3)
