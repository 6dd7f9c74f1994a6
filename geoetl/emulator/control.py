"""Faults and a clean table for tests: a small JSON API under `/$control/`, on the port of the administration API.

It asks for no token: whoever reaches the port may use it, and the emulator binds to the loopback address by default.
"""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from geoetl.emulator.broker import Broker
from geoetl.emulator.conditions import ARGUMENT_ERROR, DETACH_FORCED, NOT_FOUND, ServiceBusError
from geoetl.emulator.entities import Entity
from geoetl.emulator.http_connection import HttpRequest, HttpResponse
from geoetl.emulator.queue import Queue
from geoetl.emulator.topic import Topic

PREFIX: Final = "$control/"

type _Command = Callable[[dict[str, Any]], dict[str, Any]]


class ControlApi:
    """Answers control requests.

    Args:
        broker: what they act on.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._commands: dict[tuple[str, str], _Command] = {
            ("GET", "counts"): self._counts,
            ("POST", "drop"): self._drop,
            ("POST", "detach"): self._detach,
            ("POST", "lose-locks"): self._lose_locks,
            ("POST", "clear"): self._clear,
            ("POST", "throttle"): self._throttle,
            ("POST", "slow-settlements"): self._slow_settlements,
        }

    def handle(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request below `/$control/`; refusals are answers too."""
        try:
            status, document = HTTPStatus.OK, self._run(request)
        except ServiceBusError as error:
            status, document = error.status, {"error": error.description}
        self._broker.namespace.journal.commit()
        return HttpResponse(status, json.dumps(document).encode(), "application/json")

    def _run(self, request: HttpRequest) -> dict[str, Any]:
        name = request.path.removeprefix(PREFIX)
        command = self._commands.get((request.method, name))
        if command is None:
            known = ", ".join(f"{method} {path}" for method, path in self._commands)
            raise ServiceBusError(NOT_FOUND, f"No control request is '{request.method} {name}'; there are {known}.")
        try:
            arguments = json.loads(request.body or b"{}")
        except ValueError as error:
            raise ServiceBusError(ARGUMENT_ERROR, f"The body is not JSON: {error}") from error
        if not isinstance(arguments, dict):
            raise ServiceBusError(ARGUMENT_ERROR, "The body must be a JSON object.")
        return command(arguments)

    def _counts(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        entities = self._broker.namespace.entities
        return {
            "connections": len(self._broker.connections),
            "queues": {queue.name: _counts_of(queue) for queue in entities.queues()},
            "topics": {
                topic.name: {"scheduled": topic.scheduled_count, "subscriptions": len(topic.subscriptions)}
                for topic in entities.topics()
            },
            "subscriptions": {each.name: _counts_of(each) for each in entities.subscriptions()},
        }

    def _drop(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        connections = list(self._broker.connections)
        for connection in connections:
            connection.drop()
        return {"dropped": len(connections)}

    def _detach(self, arguments: dict[str, Any]) -> dict[str, Any]:
        condition = str(arguments.get("condition", DETACH_FORCED))
        error = ServiceBusError(condition, "The link was detached by the control API of the emulator.")
        return {"detached": self._broker.detach_links(self._entity(arguments), error)}

    def _lose_locks(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"lost": sum(each.expire_locks() for each in self._queues(arguments))}

    def _clear(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"removed": sum(each.clear() for each in self._queues(arguments))}

    def _throttle(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._broker.faults.throttled_sends = int(_number(arguments, "sends"))
        return {"sends": self._broker.faults.throttled_sends}

    def _slow_settlements(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._broker.faults.settlement_delay_s = _number(arguments, "delay_s")
        return {"delay_s": self._broker.faults.settlement_delay_s}

    def _queues(self, arguments: dict[str, Any]) -> list[Queue]:
        """The queue or subscription that is meant, those of a topic, or all."""
        entities = self._broker.namespace.entities
        match self._entity(arguments):
            case None:
                return [*entities.queues(), *entities.subscriptions()]
            case Topic() as topic:
                return list(topic.subscriptions.values())
            case queue:
                return [queue]

    def _entity(self, arguments: dict[str, Any]) -> Entity | None:
        name = arguments.get("queue")
        return None if name is None else self._broker.namespace.resolve(str(name))


def _counts_of(queue: Queue) -> dict[str, int]:
    counts = queue.counts
    return {
        "active": counts.active,
        "dead_lettered": counts.dead_lettered,
        "transfer_dead_lettered": counts.transfer_dead_lettered,
        "scheduled": counts.scheduled,
        "locked": counts.locked,
        "total": counts.total,
    }


def _number(arguments: dict[str, Any], name: str) -> float:
    value = arguments.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ServiceBusError(ARGUMENT_ERROR, f"'{name}' must be a number from 0 on, got {value!r}.")
    return value
