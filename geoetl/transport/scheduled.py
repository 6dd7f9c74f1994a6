"""`inspect scheduled` on Service Bus: tasks wait for their time on the service, in no worker, so it is asked."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusReceivedMessage

from geoetl.transport import sdk
from geoetl.transport.messages import UnreadableMessageError, from_service_bus

logger = logging.getLogger(__name__)

#: Messages of a queue that are looked at, from its oldest: those behind a longer backlog are not shown.
PEEK_LIMIT = 250

#: What Celery's own answer names: the priority of its timers.
_TIMER_PRIORITY = 6


def install() -> None:
    """Answer for the service where this process is a Celery worker.

    The command is Celery's own, by its name in the registry of commands; on other brokers it does what it did.
    """
    control: Any = sys.modules.get("celery.worker.control")  # loaded by workers only, before they connect
    if control is None or getattr(control.Panel.data["scheduled"], "asks_the_service", False):
        return
    in_worker: Callable[[Any], list[dict[str, Any]]] = control.Panel.data["scheduled"]

    def scheduled(state: Any) -> list[dict[str, Any]]:
        """List of ETA/countdown tasks that wait, in this worker or on the service."""
        return [*in_worker(state), *_on_service(state)]

    scheduled.asks_the_service = True  # pyright: ignore[reportFunctionMemberAccess] - a mark on a function
    control.Panel.data["scheduled"] = scheduled


def _on_service(state: Any) -> Iterator[dict[str, Any]]:
    consumer = state.consumer.task_consumer
    if consumer is None or (namespace := getattr(consumer.channel, "namespace", None)) is None:  # another transport's
        return
    for queue in consumer.queues:
        try:
            # Not the public receiver: opening and closing one takes a second, and the worker's loop waits here.
            link = sdk.ControlLink(namespace.clients.control_receiver(consumer.channel.entity(queue.name)))
            with closing(link):
                messages = link.peek(PEEK_LIMIT)
        except (AzureError, OSError) as error:
            logger.warning("cannot look for scheduled tasks in %s: %s", queue.name, error)
            continue
        now = datetime.now(UTC)
        for message in messages:
            due = message.scheduled_enqueue_time_utc
            if due is not None and due > now and (found := _described(state, consumer, message)) is not None:
                yield found


def _described(state: Any, consumer: Any, message: ServiceBusReceivedMessage) -> dict[str, Any] | None:
    """A task as Celery describes those in a worker's timer; None where no worker could run it."""
    from celery.worker.request import Request  # noqa: PLC0415 - of workers only

    try:
        payload = from_service_bus(message, delivery_tag=str(message.sequence_number))
        received = consumer.channel.message_to_python(payload)
        received.accept = consumer.accept
        request: Any = Request(received, app=state.app, hostname=state.hostname)
    except (UnreadableMessageError, KeyError, ValueError, TypeError):  # not kombu's, an unknown task, a stored body
        return None
    return {
        "eta": request.eta.isoformat() if request.eta else None,
        "priority": _TIMER_PRIORITY,
        "request": request.info(),
    }
