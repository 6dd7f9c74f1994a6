"""The transport's options: what an app may put in `broker_transport_options`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.util import find_spec
from typing import Any, Literal
from urllib.parse import urlsplit

from geoetl.transport.bodies import BodyStore
from geoetl.transport.errors import InvalidOptionError
from geoetl.transport.specs import MAX_LOCK_DURATION_S, QueueSpec

logger = logging.getLogger(__name__)

#: Options of kombu itself, or of kombu's own transports, that need no warning.
_KOMBU_OPTIONS = frozenset({
    "callback", "client_properties", "confirm_publish", "connect_retries_timeout", "deadletter_queue", "errback",
    "interval_max", "interval_start", "interval_step", "max_retries", "polling_interval", "retry_errors", "on_revive",
})  # fmt: skip

#: Options of kombu's azureservicebus transport and what takes their place here.
_REPLACED = {
    "peek_lock_seconds": "use `lock_duration_s`",
    "use_lock_renewal": "locks are always renewed",
    "max_lock_renewal_duration": "locks are renewed for as long as the message is held",
    "wait_time_seconds": "there is no polling",
    "queue_create_timeout_seconds": "use `create_queues` and the admin client's own retries",
    "uamqp_keep_alive_interval": "not needed",
    "retry_total": "use `send_attempts`",
    "retry_backoff_factor": "use `send_attempts`",
    "retry_backoff_max": "use `send_attempts`",
}

#: Names that were warned of: kombu makes many connections with the same options.
_warned: set[str] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that can be tuned; the defaults are meant for tasks of seconds to hours."""

    connection_string: str | None = field(default=None, repr=False)
    """A full connection string; wins over the URL. Keeps the key out of `broker_url`."""

    credential: Any = field(default=None, repr=False)
    """A credential object of azure-identity or azure-core; wins over the one named in the URL."""

    admin_endpoint: str | None = None
    """`host:port` of the administration API when it is not where messages go. Emulators only."""

    transport_type: Literal["amqp", "websocket"] = "amqp"
    """`amqp`: TCP port 5671. `websocket`: port 443, where a firewall lets nothing else through; needs the package
    websocket-client."""

    http_proxy: str | None = field(default=None, repr=False)
    """`http://[user:password@]host:port`: reach the namespace through this proxy, by WebSocket."""

    endpoint_address: str | None = None
    """`sb://host[:port]`: connect there instead of to the namespace's own address (private endpoint, gateway)."""

    create_queues: bool = True
    """Create missing queues (needs the Manage right, checked once per process and queue). False: never call the
    administration API; Sender and Receiver rights are enough and queues must exist."""

    queue_name_prefix: str = ""
    """Put before every queue name on the service."""

    lock_duration_s: float = MAX_LOCK_DURATION_S
    """How long the service locks a message without hearing from us; given to queues when they are created. A third of
    it is the interval of renewal, so the service may be unreachable for two thirds before a running task can be run
    twice. The price of a long lock: what a killed machine held comes back after up to this long."""

    max_delivery_count: int = 100
    """Failed deliveries (abandoned, or lock lost) before the service dead-letters a message. Its own default, 10, is
    soon used up by scale-in. Given to queues when they are created."""

    dead_letter_on_expiry: bool = True
    """Expired messages go to the dead-letter queue instead of vanishing. Given to queues when they are created."""

    queues: tuple[QueueSpec, ...] = ()
    """Queues that are created with settings of their own: `{name: {"lock_duration_s": 60, ...}}`, with the fields of
    `QueueSpec`; what is left out comes from the options above."""

    expires_grace_s: float = 3600
    """Added to a task's `expires` as time to live, so that a worker still sees, revokes and reports an expired task."""

    requeue_delay_s: float = 0.2
    """A task rejected with requeue is given back after this long, doubled with each delivery, so that it cannot spin.
    """

    requeue_delay_max_s: float = 30
    """Bound of the doubled delay."""

    body_store: BodyStore | None = field(default=None, repr=False)
    """Where bodies too large for a message go; see `bodies.BodyStore` and `blob_bodies.BlobBodyStore`. None: they are
    refused."""

    body_store_connection_string: str | None = field(default=None, repr=False)
    """Of a storage account, instead of `body_store`: a `BlobBodyStore` in `body_store_container`."""

    body_store_container: str = "celery-bodies"
    """Container of the bodies; made when missing."""

    body_store_from_bytes: int = 190_000
    """Bodies of this size and more go to the store. The limit of Standard namespaces is 256 KB with up to 64 KB of
    headers; Premium ones may take much more."""

    send_attempts: int = 4
    """Attempts of one publish on transient errors, the second at once (the idle connection may have been closed), then
    after about 0.3, 0.9, 2.7 s. kombu's `task_publish_retry` comes on top."""

    send_timeout_s: float = 30
    """Longest wait for the service to accept one message or batch."""

    def __post_init__(self) -> None:
        _check(0 < self.lock_duration_s <= MAX_LOCK_DURATION_S, "lock_duration_s", self.lock_duration_s, "0 < x <= 300")
        _check(1 <= self.max_delivery_count <= 2000, "max_delivery_count", self.max_delivery_count, "1 to 2000")
        _check(self.send_attempts >= 1, "send_attempts", self.send_attempts, "at least 1")
        _check(self.transport_type in {"amqp", "websocket"}, "transport_type", self.transport_type, "amqp, websocket")
        _check(_names_host_and_port(self.http_proxy), "http_proxy", "(not shown)", "http://[user:password@]host:port")
        if self.is_websocket and find_spec("websocket") is None:
            raise InvalidOptionError("AMQP over WebSocket needs a package: pip install websocket-client.")

    @property
    def is_websocket(self) -> bool:
        """Whether AMQP goes over a WebSocket; a proxy takes nothing else."""
        return self.transport_type == "websocket" or self.http_proxy is not None

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Options":
        """Options out of `broker_transport_options`; warns of what it does not know, once per process.

        Raises:
            InvalidOptionError: a value cannot be honoured.
        """
        known = {option.name for option in fields(cls)}
        for name in sorted(set(given) - known - _KOMBU_OPTIONS - _warned):
            _warned.add(name)
            hint = _REPLACED.get(name, f"known are {', '.join(sorted(known))}")
            logger.warning("transport option %r has no effect: %s", name, hint)
        options = cls(**{name: value for name, value in given.items() if name in known and name != "queues"})
        return replace(options, queues=_specs(given.get("queues") or {}, options))

    def spec_of(self, entity: str) -> QueueSpec:
        """What a queue is created with."""
        return next((spec for spec in self.queues if spec.name == entity), self._common_spec(entity))

    def _common_spec(self, entity: str) -> QueueSpec:
        return QueueSpec(
            name=entity,
            lock_duration_s=self.lock_duration_s,
            max_delivery_count=self.max_delivery_count,
            dead_letter_on_expiry=self.dead_letter_on_expiry,
        )


def _names_host_and_port(url: str | None) -> bool:
    if url is None:
        return True
    try:
        parts = urlsplit(url)
        return bool(parts.hostname and parts.port)
    except ValueError:  # its message may show a part of the password
        return False


def open_body_store(options: Options) -> BodyStore | None:
    """The store that the options ask for."""
    if options.body_store is not None or options.body_store_connection_string is None:
        return options.body_store
    # Only for those who use it: the storage SDK takes its time to load.
    from geoetl.transport.blob_bodies import BlobBodyStore  # noqa: PLC0415

    return BlobBodyStore.from_connection_string(options.body_store_connection_string, options.body_store_container)


def _specs(given: Mapping[str, Mapping[str, Any]], options: Options) -> tuple[QueueSpec, ...]:
    accepted = {setting.name for setting in fields(QueueSpec)} - {"name"}
    for queue, settings in given.items():
        for name in sorted(set(settings) - accepted):
            _check(False, f"queues[{queue!r}]", name, f"settings named {', '.join(sorted(accepted))}")
    return tuple(replace(options.spec_of(queue), **settings) for queue, settings in given.items())


def _check(fact: bool, name: str, value: object, accepted: str) -> None:
    if not fact:
        raise InvalidOptionError(f"Transport option `{name}` is {value!r}; accepted: {accepted}.")
