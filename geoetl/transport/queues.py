"""Queues as they are declared, beside queues as they are on the service. Needs the Manage right.

The transport itself creates what is missing when it comes to it; this is for operators who create queues beforehand, or
want to know why a queue does not behave as its settings say: the service keeps the settings a queue was created with.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.servicebus.management import QueueProperties

from geoetl.transport.clients import Clients
from geoetl.transport.specs import QueueSpec

#: The service's word for "never": the longest duration it knows. Anything close to it means the same.
NEVER = timedelta(days=3650)

#: What is said of a queue that does not exist.
MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One setting of one queue that is not as declared."""

    queue: str
    setting: str
    """Name of a field of `QueueSpec`, or `queue` when the whole queue is missing."""
    declared: str
    live: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """A queue of the namespace and what is in it."""

    name: str
    active: int
    """Waiting or locked."""
    scheduled: int
    dead_lettered: int
    size_bytes: int
    status: str


class Queues:
    """The queues of one namespace over its administration API; every call is an HTTP request or several."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def provision(self, *specs: QueueSpec) -> list[str]:
        """Create the queues that are missing; their names. Existing ones are left as they are."""
        created: list[str] = []
        with self._clients.admin() as admin:
            for spec in specs:
                try:
                    admin.create_queue(spec.name, **spec.as_properties())
                except ResourceExistsError:
                    continue
                created.append(spec.name)
        return created

    def differences(self, *specs: QueueSpec) -> list[Difference]:
        """What is not as declared, in the order of the declarations."""
        found: list[Difference] = []
        with self._clients.admin() as admin:
            for spec in specs:
                try:
                    live = _as_spec(spec.name, admin.get_queue(spec.name))
                except ResourceNotFoundError:
                    found.append(Difference(queue=spec.name, setting="queue", declared="exists", live=MISSING))
                else:
                    found += _compare(spec, live)
        return found

    def update(self, *specs: QueueSpec) -> None:
        """Give existing queues their declared settings. Messages keep the lock and the time to live they have."""
        with self._clients.admin() as admin:
            for spec in specs:
                live = admin.get_queue(spec.name)
                for name, value in spec.as_properties().items():
                    setattr(live, name, value if value is not None else timedelta.max)
                admin.update_queue(live)

    def states(self) -> list[QueueState]:
        """Every queue of the namespace, by name."""
        with self._clients.admin() as admin:
            status = {queue.name: str(queue.status or "") for queue in admin.list_queues()}
            states = [
                QueueState(
                    name=each.name or "",
                    active=each.active_message_count or 0,
                    scheduled=each.scheduled_message_count or 0,
                    dead_lettered=each.dead_letter_message_count or 0,
                    size_bytes=each.size_in_bytes or 0,
                    status=status.get(each.name or "", "").rpartition(".")[2].lower(),
                )
                for each in admin.list_queues_runtime_properties()
            ]
        return sorted(states, key=lambda state: state.name)


def _as_spec(name: str, live: QueueProperties) -> QueueSpec:
    time_to_live = _duration(live.default_message_time_to_live)
    return QueueSpec(
        name=name,
        lock_duration_s=_duration(live.lock_duration).total_seconds(),
        max_delivery_count=live.max_delivery_count or 0,
        dead_letter_on_expiry=bool(live.dead_lettering_on_message_expiration),
        time_to_live_s=None if time_to_live >= NEVER else time_to_live.total_seconds(),
    )


def _duration(value: Any) -> timedelta:
    return value if isinstance(value, timedelta) else timedelta.max


def _compare(declared: QueueSpec, live: QueueSpec) -> list[Difference]:
    return [
        Difference(queue=declared.name, setting=name, declared=_text(wanted), live=_text(found))
        for name, wanted, found in (
            ("lock_duration_s", declared.lock_duration_s, live.lock_duration_s),
            ("max_delivery_count", declared.max_delivery_count, live.max_delivery_count),
            ("dead_letter_on_expiry", declared.dead_letter_on_expiry, live.dead_letter_on_expiry),
            ("time_to_live_s", declared.time_to_live_s, live.time_to_live_s),
        )
        if wanted != found
    ]


def _text(value: float | bool | None) -> str:
    if value is None:
        return "never"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
