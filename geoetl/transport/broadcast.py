"""kombu payloads on their way to a topic: merging lists of events, and the message on the wire. No I/O."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from azure.servicebus import ServiceBusMessage

from geoetl.transport.messages import to_service_bus

#: Events merged into one message take at most about so many characters: Service Bus counts messages by 64 KB.
MAX_MERGED_CHARS = 48_000

#: The routing key that Celery's workers give to a list of events ends with it.
_LIST_OF_EVENTS = ".multi"


def to_topic_message(payload: dict[str, Any]) -> ServiceBusMessage:
    """The message for a topic; its subject is the routing key."""
    message = to_service_bus(payload, now=datetime.now(UTC), expires_grace_s=0)
    message.subject = _routing_key(payload) or None
    return message


def merged(payloads: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The payloads in their order, with neighbouring lists of events of one sender in one.

    A worker sends a list of events after every turn of its loop, which for short tasks is one event. Each message has
    its price, in money and in processor time, and receivers of events take lists of any length.
    """
    result: list[dict[str, Any]] = []
    for payload in payloads:
        if result and _can_follow(result[-1], payload):
            result[-1] = {**result[-1], "body": f"{result[-1]['body'][:-1]},{payload['body'][1:]}"}
        else:
            result.append(payload)
    return result


def _can_follow(last: dict[str, Any], payload: dict[str, Any]) -> bool:
    return (
        _is_list(last)
        and _is_list(payload)
        and last["headers"] == payload["headers"]
        and _routing_key(last) == _routing_key(payload)
        and len(last["body"]) + len(payload["body"]) <= MAX_MERGED_CHARS
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
