"""The Service Bus namespace: its queues are there and as they must be, and a message makes the round."""

import datetime as dt
import re
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import ServiceBusAuthenticationError, ServiceBusAuthorizationError, ServiceBusError

from geoetl.backend.app import OutboxCelery
from geoetl.config.broker import BrokerSettings, QueueSettings
from geoetl.errors import SystemFault, TransientError
from geoetl.health.diagnosis import Diagnosis

#: The service deletes a canary queue by itself after this, if this process dies before it does.
_CANARY_LIFE = dt.timedelta(minutes=5)
_WAIT_S = 10
_CONNECT_S = 5.0


class BrokerDenied(SystemFault):
    """The namespace refuses this key or identity."""

    default_code = "broker-denied"


class BrokerUnavailable(TransientError):
    """The namespace does not answer."""

    default_code = "broker-unavailable"


def check_broker(app: OutboxCelery, settings: BrokerSettings) -> Iterator[Diagnosis]:
    """Look at each queue, then send and receive a message on a queue made for it."""
    where = settings.namespace or _endpoint(settings)
    with _broker_errors(where), app.connection_for_write() as connection, connection.channel() as channel:
        # The namespace that workers and submitters of this process use, with the same credential.
        namespace: Any = channel.namespace
        namespace.check_reachable(timeout_s=_CONNECT_S)
        try:
            with namespace.clients.admin() as admin:
                queues = [_queue_diagnosis(admin, queue) for queue in settings.queues]
        except HttpResponseError as error:
            if error.status_code not in {401, 403} or settings.namespace is None:
                raise
            yield from _peek(namespace, settings, where)
            return
        yield _round_trip(namespace, where)
    yield from queues


def _endpoint(settings: BrokerSettings) -> str:
    """The address in a connection string, without its keys."""
    text = settings.connection_string.get_secret_value() if settings.connection_string else ""
    found = re.search(r"endpoint=sb://([^/;]+)", text, re.IGNORECASE)
    return found[1] if found else "the namespace"


def _round_trip(namespace: Any, where: str) -> Diagnosis:
    queue = f"geoetl-doctor-{uuid.uuid4().hex[:12]}"
    started = time.monotonic()
    with namespace.clients.admin() as admin:
        admin.create_queue(queue, auto_delete_on_idle=_CANARY_LIFE)
    try:
        with namespace.clients.sender(queue) as sender:
            sender.send_messages(ServiceBusMessage(b"tweet"))
        with namespace.clients.puller(queue, receive_and_delete=True) as receiver:
            received = receiver.receive_messages(1, max_wait_time=_WAIT_S)
    finally:
        with namespace.clients.admin() as admin:
            admin.delete_queue(queue)
    if not received:
        raise BrokerUnavailable(f"A message sent to {where} did not come back within {_WAIT_S} s.")
    took = time.monotonic() - started
    return Diagnosis("broker", "healthy", f"{where}: a message was sent and received in {took * 1000:.0f} ms")


def _peek(namespace: Any, settings: BrokerSettings, where: str) -> Iterator[Diagnosis]:
    """What can be tried without the right to manage: look into each queue without taking anything."""
    for queue in settings.queues:
        with namespace.clients.puller(queue.name) as receiver:
            receiver.peek_messages(1)
    yield Diagnosis(
        "broker",
        "healthy",
        f"{where}: the queues could be looked into; this identity may not manage them, so their settings are unknown",
    )


def _queue_diagnosis(admin: Any, queue: QueueSettings) -> Diagnosis:
    component = f"queue {queue.name}"
    try:
        found = admin.get_queue(queue.name)
        counts = admin.get_queue_runtime_properties(queue.name)
    except ResourceNotFoundError:
        return Diagnosis(
            component,
            "degraded",
            "The queue does not exist yet.",
            cause="queue-missing",
            hint="The first worker or submitter makes it, with the right to manage; else create it beforehand.",
        )
    if (status := str(getattr(found.status, "value", found.status))) != "Active":
        return Diagnosis(
            component,
            "unhealthy",
            f"The queue is {status}, not Active.",
            cause="queue-disabled",
            hint="Enable it in the namespace: its messages are kept meanwhile, and go on by themselves.",
        )
    lock_s = found.lock_duration.total_seconds()
    wrong: list[str] = []
    if lock_s < queue.lock_duration_s:
        wrong.append(f"locks messages for {lock_s:.0f} s instead of {queue.lock_duration_s} s")
    if found.max_delivery_count < queue.max_delivery_count:
        wrong.append(f"delivers {found.max_delivery_count} times instead of {queue.max_delivery_count}")
    if wrong:
        return Diagnosis(
            component,
            "degraded",
            f"It {' and '.join(wrong)}.",
            cause="queue-misconfigured",
            hint="Change the queue in the namespace, or the GEOETL_BROKER__… settings.",
        )
    if counts.dead_letter_message_count:
        return Diagnosis(
            component,
            "degraded",
            f"{counts.dead_letter_message_count} messages are dead-lettered.",
            cause="dead-letters",
            hint="Look at them before you purge them: a poison message, or workers that could not reach the database.",
        )
    return Diagnosis(component, "healthy", f"{counts.active_message_count} messages waiting")


@contextmanager
def _broker_errors(where: str) -> Generator[None]:
    """The SDK's errors as ours; never their text whole, which can quote tokens."""
    try:
        yield
    except (ClientAuthenticationError, ServiceBusAuthenticationError, ServiceBusAuthorizationError) as error:
        raise BrokerDenied(
            f"{where} refuses this key or identity ({type(error).__name__}).",
            hint="Check the key in the connection string, or grant the identity 'Azure Service Bus Data Owner'.",
        ) from error
    except HttpResponseError as error:
        if error.status_code in {401, 403}:
            raise BrokerDenied(
                f"{where} refuses this key or identity ({error.status_code}).",
                hint="The key needs Manage, Send and Listen; an identity 'Azure Service Bus Data Owner'.",
            ) from error
        raise BrokerUnavailable(f"{where} answered {error.status_code}.") from error
    except (ServiceRequestError, ServiceBusError, AzureError, OSError) as error:
        raise BrokerUnavailable(
            f"{where} does not answer ({type(error).__name__}).",
            hint="Check the namespace's name, and that this machine reaches its ports 5671 and 443.",
        ) from error
