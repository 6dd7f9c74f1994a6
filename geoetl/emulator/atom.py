"""Administration documents: queue descriptions in Atom entries, as Service Bus reads and writes them.

https://learn.microsoft.com/rest/api/servicebus/
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from xml.sax.saxutils import escape

from geoetl.emulator.conditions import ARGUMENT_ERROR, NOT_IMPLEMENTED, ServiceBusError
from geoetl.emulator.queue import Queue

_ATOM: Final = "http://www.w3.org/2005/Atom"
_SERVICE_BUS: Final = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
_COUNTS: Final = "http://schemas.microsoft.com/netservices/2011/06/servicebus"
_INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"

#: Properties come in this order: those before the counts, the rest after them.
_BEFORE_SIZE: Final = "EnableBatchedOperations"


def parse_queue_properties(document: bytes) -> dict[str, str]:
    """The properties in the Atom entry of a queue; those without text are left out.

    Raises:
        ServiceBusError: the document is not such an entry, or describes something else than a queue.
    """
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise ServiceBusError(ARGUMENT_ERROR, "The document declares entities, which no Atom entry needs.")
    try:
        entry = ET.fromstring(document)  # noqa: S314 - entity declarations are refused above
    except ET.ParseError as error:
        raise ServiceBusError(ARGUMENT_ERROR, f"The document is not XML: {error}") from error
    content = entry.find(f"{{{_ATOM}}}content")
    description = None if content is None else next(iter(content), None)
    if description is None:
        raise ServiceBusError(ARGUMENT_ERROR, "The document has no entry with a content.")
    kind = _local_name(description.tag)
    if kind != "QueueDescription":
        raise ServiceBusError(NOT_IMPLEMENTED, f"This emulator supports queues only, not {kind}.")
    return {_local_name(each.tag): each.text for each in description if each.text}


def queue_entry(queue: Queue) -> str:
    """The Atom entry of a queue, with its settings and counts."""
    created, updated, accessed = (_time(at) for at in (queue.created_at, queue.updated_at, queue.touched_at))
    counts = queue.counts
    given = dict(queue.description.properties)
    names = list(given)
    split = names.index(_BEFORE_SIZE) + 1
    before = "".join(_element(name, given[name]) for name in names[:split])
    after = "".join(_element(name, given[name]) for name in names[split:])
    details = "".join(
        f"<d:{name}>{value}</d:{name}>"
        for name, value in (
            ("ActiveMessageCount", counts.active),
            ("DeadLetterMessageCount", counts.dead_lettered),
            ("ScheduledMessageCount", counts.scheduled),
            ("TransferMessageCount", 0),
            ("TransferDeadLetterMessageCount", 0),
        )
    )
    return (
        f'<entry xmlns="{_ATOM}"><id>{escape(queue.name)}</id><title type="text">{escape(queue.name)}</title>'
        f"<published>{created}</published><updated>{updated}</updated>"
        f'<content type="application/xml"><QueueDescription xmlns="{_SERVICE_BUS}" xmlns:i="{_INSTANCE}">'
        f"{before}{_element('SizeInBytes', str(queue.size_bytes))}{_element('MessageCount', str(counts.total))}"
        f"{after}{_element('CreatedAt', created)}{_element('UpdatedAt', updated)}{_element('AccessedAt', accessed)}"
        f'<CountDetails xmlns:d="{_COUNTS}">{details}</CountDetails></QueueDescription></content></entry>'
    )


def feed(title: str, entries: Iterable[str], *, own_link: str, next_link: str | None = None) -> str:
    """A list of entries, with the address of the next page when there is one.

    Clients take the second link for that of the next page, whatever it says.
    """
    links = f'<link rel="self" href="{escape(own_link)}"/>'
    if next_link is not None:
        links += f'<link rel="next" href="{escape(next_link)}"/>'
    return f'<feed xmlns="{_ATOM}"><title type="text">{escape(title)}</title>{links}{"".join(entries)}</feed>'


def namespace_entry(name: str, created_at: float) -> str:
    """The Atom entry of the namespace."""
    created = _time(created_at)
    return (
        f'<entry xmlns="{_ATOM}"><title type="text">{escape(name)}</title><content type="application/xml">'
        f'<NamespaceInfo xmlns="{_SERVICE_BUS}" xmlns:i="{_INSTANCE}">'
        f"{_element('CreatedTime', created)}{_element('MessagingSKU', 'Standard')}{_element('ModifiedTime', created)}"
        f"{_element('Name', name)}{_element('NamespaceType', 'Messaging')}"
        f"</NamespaceInfo></content></entry>"
    )


def error_document(status: HTTPStatus, detail: str) -> str:
    """What an administration client gets instead of an entry."""
    return f"<Error><Code>{int(status)}</Code><Detail>{escape(detail)}</Detail></Error>"


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def _local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
