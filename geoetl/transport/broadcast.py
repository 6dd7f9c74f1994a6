"""kombu payloads on their way to a topic: lists of events of a good length, and the message on the wire. No I/O."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from azure.servicebus import ServiceBusMessage
from kombu.utils.json import dumps, loads

from geoetl.transport.messages import to_service_bus

#: The events of one message take at most about so many characters: Service Bus counts messages by 64 KB.
MAX_LIST_CHARS = 48_000

#: The routing key that Celery's workers give to a list of events ends with it.
_LIST_OF_EVENTS = ".multi"


def to_topic_message(payload: dict[str, Any]) -> ServiceBusMessage:
    """The message for a topic; its subject is the routing key."""
    message = to_service_bus(payload, now=datetime.now(UTC), expires_grace_s=0)
    message.subject = _routing_key(payload) or None
    return message


def merged(payloads: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The payloads in their order, with neighbouring lists of events of one sender in one, and long lists cut.

    A worker sends a list of events after every turn of its loop, which for short tasks is one event. Each message has
    its price, in money and in processor time, and receivers of events take lists of any length.
    """
    result: list[dict[str, Any]] = []
    for payload in payloads:
        if result and _can_follow(result[-1], payload):
            result[-1] = {**result[-1], "body": f"{result[-1]['body'][:-1]},{payload['body'][1:]}"}
        elif _is_list(payload) and len(payload["body"]) > MAX_LIST_CHARS:
            result += _cut(payload)
        else:
            result.append(payload)
    return result


def _cut(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Payloads of as many events as fit, at least one."""
    pieces: list[list[str]] = [[]]
    room = MAX_LIST_CHARS
    for event in map(dumps, loads(payload["body"])):
        if pieces[-1] and len(event) > room:
            pieces.append([])
            room = MAX_LIST_CHARS
        pieces[-1].append(event)
        room -= len(event) + 1
    properties = payload["properties"]
    return [
        # The tag becomes the message's id.
        {**payload, "body": f"[{','.join(piece)}]",
         "properties": {**properties, "delivery_tag": f"{properties['delivery_tag']}-{number}"}}
        for number, piece in enumerate(pieces)
    ]  # fmt: skip


def _can_follow(last: dict[str, Any], payload: dict[str, Any]) -> bool:
    return (
        _is_list(last)
        and _is_list(payload)
        and last["headers"] == payload["headers"]
        and _routing_key(last) == _routing_key(payload)
        and len(last["body"]) + len(payload["body"]) <= MAX_LIST_CHARS
    )


def _is_list(payload: dict[str, Any]) -> bool:
    body = payload["body"]
    return (
        payload.get("content-type") == "application/json"
        and _routing_key(payload).endswith(_LIST_OF_EVENTS)
        and isinstance(body, str)
        and body.startswith("[{")
        and body.endswith("}]")
    )


def _routing_key(payload: dict[str, Any]) -> str:
    return payload["properties"]["delivery_info"].get("routing_key") or ""
