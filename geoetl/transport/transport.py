"""kombu's transport: from a broker URL to channels, and from the reactor to Celery's event loop."""

import logging
import math
import selectors
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

from kombu.transport import virtual

from geoetl.transport import SCHEME, fork, scheduled
from geoetl.transport.channel import Channel
from geoetl.transport.delivery import Delivery
from geoetl.transport.errors import CHANNEL_ERRORS, CONNECTION_ERRORS, InvalidBrokerUrlError
from geoetl.transport.fanout import Bindings
from geoetl.transport.messages import UnreadableMessageError
from geoetl.transport.namespace import Namespace, namespace_for
from geoetl.transport.options import Options
from geoetl.transport.recipient import Recipient
from geoetl.transport.urls import Address, parse_address, parse_connection_string
from geoetl.transport.wakeup import Wakeup

logger = logging.getLogger(__name__)

#: Celery's event loop sleeps until a file descriptor or one of its timers; a signal ends neither (PEP 475). With this
#: timer a worker sees SIGTERM at once instead of after up to 5 s. It does nothing: no message waits for it.
SIGNAL_TICK_S = 0.2

#: Used when the kombu connection has no `connect_timeout`.
CONNECT_TIMEOUT_S = 5.0


class Transport(virtual.Transport):
    """One kombu connection. Deliveries arrive in an inbox whose wake-up is registered with the event loop."""

    Channel = Channel
    can_parse_url = True
    default_port = None
    driver_type = SCHEME
    driver_name = "azure-servicebus"
    polling_interval = None
    connection_errors = (*virtual.Transport.connection_errors, *CONNECTION_ERRORS)
    channel_errors = (*virtual.Transport.channel_errors, *CHANNEL_ERRORS)
    recoverable_connection_errors = connection_errors
    #: None: what the service refused now it will refuse again; kombu must not retry it without end.
    recoverable_channel_errors = ()
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"]), batch_publish=True
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        _silence_azure()
        self._options = Options.from_dict(client.transport_options)
        with suppress(InvalidBrokerUrlError):  # said by whoever connects: `celery report` only wants to print the URL
            self._address  # noqa: B018 - puts the URL in order before kombu looks at its alternatives
        self.bindings = Bindings()
        self._inbox: deque[tuple[Recipient, Delivery]] = deque()
        self._wakeup: Wakeup | None = None
        self._loop: Any = None
        self._tick: Any = None
        fork.register(self)

    @cached_property
    def _address(self) -> Address:
        return _address_of(self.client, self._options)

    @property
    def namespace(self) -> Namespace:
        return namespace_for(self._address, self._options)

    def establish_connection(self) -> Any:
        namespace = self.namespace
        # Once per process, so that Celery's own retry at its start sees when it is away; links and senders do later.
        if not namespace.was_reached:
            namespace.check_reachable(timeout_s=self.client.connect_timeout or CONNECT_TIMEOUT_S)
        if self._wakeup is None:
            self._wakeup = Wakeup()
        scheduled.install()
        return super().establish_connection()

    # -- from the reactor to the application -----------------------------------------------------------------------

    def callback_of(self, queue: str) -> Callable[[dict[str, Any]], Any]:
        """What kombu calls for the messages of the last consumer of a queue."""
        callbacks: Any = self._callbacks
        return callbacks[queue]

    def deliver_soon(self, recipient: Recipient, delivery: Delivery) -> None:
        """Put a delivery into the inbox; called by the reactor."""
        if (wakeup := self._wakeup) is None:  # closed meanwhile
            recipient.channel.release(delivery)
            return
        self._inbox.append((recipient, delivery))
        if recipient.is_cancelled:  # perhaps after `give_back`; releasing twice is fine
            recipient.channel.release(delivery)
        wakeup.set()

    def give_back(self, recipient: Recipient) -> None:
        """Release what is in the inbox for a consumer that was cancelled: nobody may look into it again."""
        for _ in range(len(self._inbox)):
            entry = self._inbox.popleft()
            if entry[0] is recipient:
                recipient.channel.release(entry[1])
            else:
                self._inbox.append(entry)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        self._loop = loop
        loop.add_reader(self._wakeup, self.on_readable, connection, loop)
        if self._tick is None:
            self._tick = loop.call_repeatedly(SIGNAL_TICK_S, lambda: None)

    def on_readable(self, connection: Any, loop: Any) -> None:
        if self._wakeup is not None:
            self._wakeup.clear()  # before looking into the inbox, see Wakeup
        self._deliver_all()

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver one message; wait for it if need be.

        One and no more: remote control counts the replies by its calls.

        Raises:
            TimeoutError: nothing arrived in time.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            if not self._inbox:
                self._wait(deadline)
            if self._deliver_one(*self._inbox.popleft()):
                return

    def _wait(self, deadline: float) -> None:
        wakeup = self._wakeup
        if wakeup is None:
            raise ConnectionError("The connection to Service Bus is closed; it cannot deliver anything.")
        with selectors.DefaultSelector() as selector:
            selector.register(wakeup, selectors.EVENT_READ)
            # A wake-up may come late, for what was delivered before it: then wait on.
            while not self._inbox:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                selector.select(None if left == math.inf else left)
                wakeup.clear()

    def _deliver_all(self) -> None:
        # Only what is there now: handlers may settle, which makes room for more, and other readers want their turn.
        try:
            for _ in range(len(self._inbox)):
                self._deliver_one(*self._inbox.popleft())
        finally:
            if self._inbox and self._wakeup is not None:  # a handler failed, or more came meanwhile
                self._wakeup.set()

    def _deliver_one(self, recipient: Recipient, delivery: Delivery) -> bool:
        """Whether somebody here wanted the message."""
        channel, queue = recipient.channel, recipient.queue
        if recipient.is_cancelled or channel.closed:
            channel.release(delivery)
            return False
        try:
            payload = channel.receive(delivery)
        except UnreadableMessageError as error:
            logger.error("dead-lettering a message of %s: %s", queue, error)  # noqa: TRY400 - the traceback says nothing more
            channel.dead_letter(delivery, reason="UnreadableMessage", description=f"({error}) refused")
            return False
        if not channel.is_bound_for(queue, payload):
            channel.basic_ack(payload["properties"]["delivery_tag"])
            return False
        recipient.callback(payload)
        return True

    # -- connections -----------------------------------------------------------------------------------------------

    def verify_connection(self, connection: Any) -> Any:
        """Always: links reconnect on their own, there is no connection to lose."""
        return True

    def close_connection(self, connection: Any) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._wakeup)
            self._loop = None
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        super().close_connection(connection)
        while self._inbox:
            recipient, delivery = self._inbox.popleft()
            recipient.channel.release(delivery)
        if self._wakeup is not None:
            closed, self._wakeup = self._wakeup, None
            closed.close()

    def close_inherited(self) -> None:
        """In a forked child."""
        if self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None
        self._inbox.clear()
        self._loop = self._tick = None

    def as_uri(
        self,
        uri: str,
        include_password: bool = False,
        mask: str = "**",
    ) -> str:
        del uri  # kombu may have cut it at a ';'
        try:
            return self._address.as_uri(mask=None if include_password else mask)
        except InvalidBrokerUrlError:  # the rest may be in options that this connection does not have
            return f"{SCHEME}://"

    @property
    def default_connection_params(self) -> dict[str, Any]:
        return {"hostname": "localhost"}


def _address_of(client: Any, options: Options) -> Address:
    """The address of a kombu connection, out of its options or its URL.

    kombu takes a ';' in a URL for a list of alternatives, which cuts a connection string into pieces. They are all
    still there, so put them together again and take them back as alternatives.
    """
    if options.connection_string:
        return parse_connection_string(options.connection_string)
    url: str = client.hostname or ""
    if "endpoint=" in url.lower() and client.alt:
        url = ";".join(client.alt)
        client.hostname, client.alt, client.cycle = url, [], None
    address = parse_address(url)
    if options.credential is not None:
        return Address(host=address.host, is_emulator=address.is_emulator, credential=options.credential)
    return address


def _silence_azure() -> None:
    """The SDK logs every state of every link at INFO. Lift its loggers to WARNING unless somebody set them."""
    for name in ("azure", "uamqp"):
        azure = logging.getLogger(name)
        if azure.level == logging.NOTSET:
            azure.setLevel(logging.WARNING)
