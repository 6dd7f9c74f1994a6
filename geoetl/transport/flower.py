"""Queue lengths for the broker page of Flower, which knows no Service Bus by itself.

Call `register` in Flower's configuration file (`flowerconfig.py`), in front of any Celery app on this transport:

    from geoetl.transport.flower import register

    register()

It needs the Manage right; without it the page is empty and Flower's log says why.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import urlparse

from flower.utils.broker import Broker

from geoetl.transport import SCHEME
from geoetl.transport.clients import Clients
from geoetl.transport.namespace import entity_name
from geoetl.transport.options import Options
from geoetl.transport.queues import Queues
from geoetl.transport.urls import Address, Identity, parse_address, parse_connection_string

#: How old a count may be, in seconds: requests to the administration API are limited, and Flower's pages reload.
MAX_AGE_S = 10.0


class QueueLengths:
    """Messages by queue, waiting or locked, asked for when somebody looks and the last answer is old. Thread-safe."""

    def __init__(self, ask: Callable[[], Mapping[str, int]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._lengths: Mapping[str, int] = {}
        self._ask_at = float("-inf")

    def read(self) -> Mapping[str, int]:
        """The counts; none for a while after the service refused.

        Raises:
            azure.core.exceptions.AzureError: it refuses now, or cannot be reached.
        """
        with self._lock:
            if self._clock() >= self._ask_at:
                self._ask_at = self._clock() + MAX_AGE_S
                self._lengths = {}
                self._lengths = self._ask()
            return self._lengths


class ServiceBusBroker:
    """What Flower makes for each look at its broker page; the counts are the process's."""

    def __init__(self, broker_url: str, *_: Any, broker_options: Mapping[str, Any] | None = None, **__: Any) -> None:
        self._options = Options.from_dict(broker_options or {})
        self._lengths = _lengths_of(_address(broker_url, self._options), self._options)

    async def queues(self, names: list[str]) -> list[dict[str, Any]]:
        """What Flower shows of the queues it asks for; those that do not exist are left out."""
        loop = asyncio.get_running_loop()
        lengths = await loop.run_in_executor(None, self._lengths.read)
        entities = {name: entity_name(name, self._options) for name in names}
        return [{"name": name, "messages": lengths[entity]} for name, entity in entities.items() if entity in lengths]


def register() -> None:
    """Have Flower know the scheme of this transport."""
    known: Any = Broker.__new__

    def make(cls: type, broker_url: str, *args: Any, **kwargs: Any) -> Any:
        if urlparse(broker_url).scheme == SCHEME:
            return ServiceBusBroker(broker_url, *args, **kwargs)
        return known(cls, broker_url, *args, **kwargs)

    Broker.__new__ = staticmethod(make)


@cache
def _lengths_of(address: Address, options: Options) -> QueueLengths:
    queues = Queues(Clients(address, options))
    return QueueLengths(lambda: {queue.name: queue.active for queue in queues.states()})


def _address(broker_url: str, options: Options) -> Address:
    if options.connection_string:
        return parse_connection_string(options.connection_string)
    if options.credential is None:
        return parse_address(broker_url)
    # A credential object is in the URL by the name of its class, which may be any.
    where = broker_url.rpartition("@")[2]
    named = parse_address(f"{SCHEME}://{Identity.DEFAULT}@{where}")
    return replace(named, identity=None, credential=options.credential)
