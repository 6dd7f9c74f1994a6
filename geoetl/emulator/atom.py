"""Atom documents as the administration API of Service Bus reads and writes them.

https://learn.microsoft.com/rest/api/servicebus/
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from xml.sax.saxutils import escape

from geoetl.emulator.conditions import ARGUMENT_ERROR, ServiceBusError

ATOM: Final = "http://www.w3.org/2005/Atom"
SERVICE_BUS: Final = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
INSTANCE: Final = "http://www.w3.org/2001/XMLSchema-instance"


def parse_entry(document: bytes) -> ET.Element:
    """The description in an Atom entry, of whatever kind.

    Raises:
        ServiceBusError: the document is not such an entry.
    """
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise ServiceBusError(ARGUMENT_ERROR, "The document declares entities, which no Atom entry needs.")
    try:
        entry = ET.fromstring(document)  # noqa: S314 - entity declarations are refused above
    except ET.ParseError as error:
        raise ServiceBusError(ARGUMENT_ERROR, f"The document is not XML: {error}") from error
    content = entry.find(f"{{{ATOM}}}content")
    description = None if content is None else next(iter(content), None)
    if description is None:
        raise ServiceBusError(ARGUMENT_ERROR, "The document has no entry with a content.")
    return description


def child(parent: ET.Element, name: str) -> ET.Element | None:
    """The first child of a local name."""
    return next((each for each in parent if local_name(each.tag) == name), None)


def local_name(tag: str) -> str:
    """A tag without its XML namespace."""
    return tag.rpartition("}")[2]


def entry(title: str, content: str, *, created_at: float, updated_at: float) -> str:
    """An Atom entry around a description."""
    return (
        f'<entry xmlns="{ATOM}"><id>{escape(title)}</id><title type="text">{escape(title)}</title>'
        f"<published>{iso_time(created_at)}</published><updated>{iso_time(updated_at)}</updated>"
        f'<content type="application/xml">{content}</content></entry>'
    )


def description(kind: str, elements: str) -> str:
    """A description of a kind, around its elements."""
    return f'<{kind} xmlns="{SERVICE_BUS}" xmlns:i="{INSTANCE}">{elements}</{kind}>'


def feed(title: str, entries: Iterable[str], *, own_link: str, next_link: str | None = None) -> str:
    """A list of entries, with the address of the next page when there is one.

    Clients take the second link for that of the next page, whatever it says.
    """
    links = f'<link rel="self" href="{escape(own_link)}"/>'
    if next_link is not None:
        links += f'<link rel="next" href="{escape(next_link)}"/>'
    return f'<feed xmlns="{ATOM}"><title type="text">{escape(title)}</title>{links}{"".join(entries)}</feed>'


def error_document(status: HTTPStatus, detail: str) -> str:
    """What an administration client gets instead of an entry."""
    return f"<Error><Code>{int(status)}</Code><Detail>{escape(detail)}</Detail></Error>"


def element(name: str, text: str) -> str:
    """An element with a text."""
    return f"<{name}>{escape(text)}</{name}>"


def iso_time(at: float) -> str:
    """A time in seconds since the Unix epoch as ISO 8601, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
