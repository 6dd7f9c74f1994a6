"""One transaction around everything Celery does when a task ends: result, chord part, and the messages that follow."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from geoetl.backend.app import ConnectionFactory
from geoetl.backend.ledger import Connection
from geoetl.backend.messages import Captured, capture
from geoetl.backend.relay import enqueue

#: The transaction that is open in this context, and the factory it came from (two apps may share a thread).
_open: ContextVar[tuple[ConnectionFactory, Connection] | None] = ContextVar("geoetl_unit", default=None)


def open_unit(connections: ConnectionFactory) -> Connection | None:
    """The connection of the unit of work that is open in this context, if any."""
    unit = _open.get()
    return unit[1] if unit is not None and unit[0] is connections else None


@contextmanager
def unit_of_work(connections: ConnectionFactory, captured: Captured | None = None) -> Generator[Connection]:
    """Commit the block's statements together with the messages it sends; inside another unit, be part of that.

    Args:
        connections: Where to work; every statement of the block must use the connection that is given.
        captured: Messages that were captured before and belong to the same commit.
    """
    if (outer := open_unit(connections)) is not None:
        yield outer
        return
    conn = connections()
    token = _open.set((connections, conn))
    try:
        with conn.transaction(), capture(captured) as messages:
            yield conn
            if messages.messages:
                enqueue(conn, messages)
    finally:
        _open.reset(token)
