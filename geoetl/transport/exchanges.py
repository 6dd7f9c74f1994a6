"""Topics and subscriptions on the service, which stand for kombu's exchanges and the queues bound to them."""

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.servicebus.management import ServiceBusAdministrationClient

from geoetl.transport.clients import Clients
from geoetl.transport.errors import administration_error
from geoetl.transport.options import Options

logger = logging.getLogger(__name__)

#: The service deletes a subscription that nobody received from for so long: those of killed processes. Its minimum.
SUBSCRIPTION_IDLE_LIMIT = timedelta(minutes=5)

#: The same for topics. Publishing and every subscription in use keep one alive.
TOPIC_IDLE_LIMIT = timedelta(days=1)

#: Time to live of a message when the queue was declared without one: nobody answers a question as old as this.
MESSAGE_LIFETIME = timedelta(minutes=5)

#: Service Bus: the longest name of a subscription.
MAX_SUBSCRIPTION_NAME = 50

_SUBSCRIPTIONS = "/Subscriptions/"
_DIGEST_CHARS = 10


@dataclass(frozen=True, slots=True)
class Subscription:
    """A queue that lives no longer than its consumer, bound to an exchange."""

    topic: str
    name: str
    lifetime: timedelta = MESSAGE_LIFETIME

    @property
    def path(self) -> str:
        """What a receiver attaches to."""
        return f"{self.topic}{_SUBSCRIPTIONS}{self.name}"


def subscription_name(queue: str) -> str:
    """A legal name that still shows the queue's; different for different queues.

    Example:
        >>> subscription_name("a@b.celery.pidbox")
        'a_b.celery.pidbox-37d0d03ac0'
    """
    legal = "".join(mark if mark.isalnum() or mark in "_.-" else "_" for mark in queue)
    digest = sha256(queue.encode()).hexdigest()[:_DIGEST_CHARS]
    return f"{legal[: MAX_SUBSCRIPTION_NAME - _DIGEST_CHARS - 1]}-{digest}"


class Exchanges:
    """The topics and subscriptions this process knows to exist. Thread-safe; every call may block on HTTP.

    Where the namespace does not let us create them, the control plane is off: said once, and from then on every call
    does nothing. Tasks do not depend on it.
    """

    def __init__(self, clients: Clients, options: Options) -> None:
        self._clients = clients
        self._lock = threading.Lock()
        self._known: set[str] = set()
        #: Subscriptions made by this process and not yet removed.
        self._subscriptions: dict[str, Subscription] = {}
        self._lock_duration = timedelta(seconds=options.lock_duration_s)
        self.is_off = False
        if not options.create_queues:
            self._turn_off("the transport option `create_queues` is off")

    def ensure(self, entity: str) -> None:
        """Create a topic, or a subscription that was added and is not yet removed.

        Raises:
            NamespaceBusyError: the administration API is throttled or ill.
            azure.core.exceptions.AzureError: it cannot be reached.
        """
        if self.is_off or entity in self._known:
            return
        with self._lock:
            if entity in self._known:
                return
            subscription = self._subscriptions.get(entity)
            try:
                with self._clients.admin() as admin:
                    if subscription is not None:
                        self._create_subscription(admin, subscription)
                    elif _SUBSCRIPTIONS not in entity:
                        self._create_topic(admin, entity)
            except HttpResponseError as error:
                # 401, 403: no Manage right. 400: topics are refused, as in the Basic tier.
                if error.status_code not in {400, 401, 403}:
                    raise administration_error(error, f"create '{entity}'") from error
                self._turn_off(f"the namespace refused to create '{entity}': {error.status_code}, {error.message}")
                return
            self._known.add(entity)

    def forget(self, entity: str) -> None:
        """The service said that it is gone: create it next time."""
        with self._lock:
            self._known.discard(entity)

    def add(self, subscription: Subscription) -> None:
        """Create a subscription, to be removed by `remove` or at the end of the process.

        Raises:
            NamespaceBusyError: the administration API is throttled or ill.
            azure.core.exceptions.AzureError: it cannot be reached.
        """
        if not self.is_off:
            self._subscriptions[subscription.path] = subscription
            self.ensure(subscription.path)

    def remove(self, path: str) -> None:
        """Delete a subscription; when that fails it deletes itself after a while."""
        subscription = self._subscriptions.pop(path, None)
        self.forget(path)
        if subscription is None or self.is_off:
            return
        try:
            with self._clients.admin() as admin:
                admin.delete_subscription(subscription.topic, subscription.name, retry_total=0)
        except ResourceNotFoundError:
            return
        except AzureError as error:
            logger.info("subscription %s is left to delete itself when idle: %s", path, error)

    def active_messages(self, subscription: Subscription) -> int:
        """Messages that are waiting or locked; 0 for a missing subscription."""
        try:
            with self._clients.admin() as admin:
                found = admin.get_subscription_runtime_properties(subscription.topic, subscription.name)
                return found.active_message_count or 0
        except ResourceNotFoundError:
            return 0

    def remove_all(self) -> None:
        """Delete what is left of this process's subscriptions."""
        for path in list(self._subscriptions):
            self.remove(path)

    def _create_topic(self, admin: ServiceBusAdministrationClient, topic: str) -> None:
        with suppress(ResourceExistsError):
            admin.create_topic(topic, auto_delete_on_idle=TOPIC_IDLE_LIMIT)
            logger.info("created topic %s", topic)

    def _create_subscription(self, admin: ServiceBusAdministrationClient, wanted: Subscription) -> None:
        try:
            self._create_on_topic(admin, wanted)
        except ResourceNotFoundError:
            self._create_topic(admin, wanted.topic)
            self._create_on_topic(admin, wanted)
        self._known.add(wanted.topic)

    def _create_on_topic(self, admin: ServiceBusAdministrationClient, wanted: Subscription) -> None:
        with suppress(ResourceExistsError):
            admin.create_subscription(
                wanted.topic,
                wanted.name,
                lock_duration=self._lock_duration,
                default_message_time_to_live=wanted.lifetime,
                auto_delete_on_idle=SUBSCRIPTION_IDLE_LIMIT,
                max_delivery_count=2000,
            )

    def _turn_off(self, reason: str) -> None:
        self.is_off = True
        logger.warning(
            "remote control and events are off (`celery inspect`, `control`, `events` and Flower see nothing): %s. "
            "Tasks are not concerned. They need a namespace of the Standard tier and the Manage right, or the role "
            "Azure Service Bus Data Owner.",
            reason,
        )
