"""Between kombu's message dictionaries and Service Bus messages. No I/O.

The body of a task goes as it is; everything kombu puts around it (headers, properties, content encoding) goes as one
JSON application property, so that nothing is encoded twice. Messages of kombu's own azureservicebus transport (all of
it as JSON in the body, the task's body in base64) are understood, and written when the headers outgrow a property.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Final

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from kombu.utils.json import dumps, loads

#: Application property that carries kombu's envelope without the body.
ENVELOPE_PROPERTY: Final = "kombu"

#: Service Bus limits all headers of a message to 64 KB; above this, the envelope goes into the body.
MAX_ENVELOPE_CHARS: Final = 24_000

#: The longest time to live that AMQP can say, milliseconds in 32 bits: 49.7 days.
MAX_TIME_TO_LIVE_S: Final = 0xFFFF_FFFF // 1000

#: Header of a Celery message -> application property, for filters, explorers and tracing on the service.
_VISIBLE_HEADERS: Final = {"task": "task", "id": "id", "root_id": "root_id", "group": "group", "retries": "retries"}


class UnreadableMessageError(ValueError):
    """A message that no kombu producer wrote."""


def to_service_bus(payload: dict[str, Any], *, now: datetime, expires_grace_s: float) -> ServiceBusMessage:
    """The message to send for a kombu payload.

    `eta` becomes the time at which the service shows the message; the header stays, so Celery's own check passes.
    `expires` becomes a time to live, counted from then, plus the grace.
    """
    headers: Mapping[str, Any] = payload.get("headers") or {}
    properties: Mapping[str, Any] = payload["properties"]
    eta = _as_time(headers.get("eta"))
    scheduled = eta if eta is not None and eta > now else None
    body, envelope = _split(payload)
    visible = {name: headers[header] for header, name in _VISIBLE_HEADERS.items() if headers.get(header) is not None}
    return ServiceBusMessage(
        body,
        # Unique per publish: a retry and a resend repeat the task's id, and a queue may detect duplicates by this one.
        message_id=properties["delivery_tag"],
        correlation_id=properties.get("correlation_id") or headers.get("id"),
        subject=headers.get("task"),
        content_type=payload.get("content-type"),
        application_properties={**visible, **envelope},
        scheduled_enqueue_time_utc=scheduled,
        time_to_live=_time_to_live(headers, properties, start=scheduled or now, grace_s=expires_grace_s),
    )


def from_service_bus(
    message: ServiceBusReceivedMessage, *, delivery_tag: str, stored_body: bytes | None = None
) -> dict[str, Any]:
    """The kombu payload of a received message, with what the service knows about its delivery.

    Args:
        message: the message.
        delivery_tag: what kombu settles it by.
        stored_body: the body, when the message came without it.

    Raises:
        UnreadableMessageError: the message is of no form that kombu or this transport writes.
    """
    try:
        body = stored_body if stored_body is not None else b"".join(message.body)
        properties = message.application_properties or {}
        envelope: Any = properties.get(ENVELOPE_PROPERTY.encode()) or properties.get(ENVELOPE_PROPERTY)
        payload: dict[str, Any] = _loads(body if envelope is None else envelope)
        if envelope is not None:
            payload["body"] = body
        payload["properties"]["delivery_tag"] = delivery_tag
        count = message.delivery_count or 0
        payload["properties"].setdefault("delivery_info", {}).update(redelivered=count > 0, delivery_count=count)
        # Celery copies only a few keys of delivery_info to tasks, but all headers: `self.request.delivery_count`.
        payload.setdefault("headers", {}).update(delivery_count=count)
        _decode_body(payload)
        _check_words(payload)
    except Exception as error:  # kombu's decoders of foreign bytes fail in many ways: decimals, depth, base64
        raise UnreadableMessageError(f"not a message of kombu: {type(error).__name__}: {error}") from error
    return payload


def _decode_body(payload: dict[str, Any]) -> None:
    """Undo kombu's encoding of a body, which kombu would do where an error ends the worker."""
    encoding = payload["properties"].get("body_encoding")
    if encoding and encoding.lower() != "utf-8":
        if encoding != "base64":
            raise ValueError(f"the body is encoded in {encoding!r}")
        payload["body"] = b64decode(payload["body"])
        payload["properties"]["body_encoding"] = None


def _check_words(payload: dict[str, Any]) -> None:
    """What kombu and Celery take for text without looking must be that."""
    if not isinstance(payload["body"], str | bytes):
        raise TypeError("the body is not text")
    info = payload["properties"]["delivery_info"]
    for word in (
        payload.get("content-type"), payload.get("content-encoding"), info.get("exchange"), info.get("routing_key"),
    ):  # fmt: skip
        if word is not None and not isinstance(word, str):
            raise TypeError(f"{word!r} stands where a word is expected")


def _loads(text: bytes | str) -> Any:
    """Kombu's `loads`, which calls a function for each object, only where a value of a type of kombu's own may be."""
    mark = b"__type__" if isinstance(text, bytes) else "__type__"
    return loads(text) if mark in text else json.loads(text)  # pyright: ignore[reportOperatorIssue] - both of one type


def _split(payload: dict[str, Any]) -> tuple[bytes | str, dict[str, str]]:
    body = payload["body"]
    envelope = dumps({name: value for name, value in payload.items() if name != "body"})
    if len(envelope) <= MAX_ENVELOPE_CHARS:
        return body, {ENVELOPE_PROPERTY: envelope}
    if isinstance(body, str):
        return dumps(payload), {}
    properties = {**payload["properties"], "body_encoding": "base64"}  # JSON cannot carry bytes
    return dumps({**payload, "body": b64encode(body).decode(), "properties": properties}), {}


def _time_to_live(
    headers: Mapping[str, Any], properties: Mapping[str, Any], *, start: datetime, grace_s: float
) -> timedelta | None:
    """Whole seconds, at least one: the SDK cuts off fractions, and Service Bus refuses a message with 0.

    None for what is too long to be said. A shorter one would end the message too early; the worker looks at `expires`.
    """
    if (expires := _as_time(headers.get("expires"))) is not None:
        left_s = max((expires - start).total_seconds(), 0) + grace_s
    elif expiration := properties.get("expiration"):  # kombu: milliseconds, as text
        left_s = int(expiration) / 1000
    else:
        return None
    return timedelta(seconds=max(ceil(left_s), 1)) if left_s <= MAX_TIME_TO_LIVE_S else None


def _as_time(value: str | datetime | float | None) -> datetime | None:
    """A header's time, or None when there is none that is known everywhere.

    A time without a zone is meant in the `timezone` of the app that runs the task, which only its workers know. They
    wait for it themselves; acting on a guess could be hours wrong.
    """
    if not value:
        return None
    if isinstance(value, int | float):  # remote control writes seconds since 1970, 0 for never
        return datetime.fromtimestamp(value, UTC)
    time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return time.astimezone(UTC) if time.tzinfo is not None else None
