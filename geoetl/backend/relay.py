"""Publishes what the outbox holds. One relay leads at a time, the others stand by.

Delete, publish, commit: a crash in between publishes again, which is harmless because every consumer is fenced.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from celery.utils.log import get_logger
from kombu.exceptions import KombuError, OperationalError
from kombu.messaging import Producer
from psycopg.types.json import Jsonb

from geoetl.backend.app import ConnectionFactory, OutboxCelery
from geoetl.backend.chores import Chore, Chores
from geoetl.backend.ledger import Connection
from geoetl.backend.messages import Captured, Message, Outlet
from geoetl.backend.queries import load_queries

log = get_logger(__name__)
SQL = load_queries("geoetl.backend.sql", "outbox.sql")
CHANNEL = "geoetl_outbox"


class MessageSource(Protocol):
    """Builds the messages of outbox rows that only point at something."""

    def messages(self, conn: Connection, refs: Sequence[UUID]) -> Mapping[UUID, Message]:
        """Messages by ref; a ref that needs none any more is left out."""
        ...

    def published(self, conn: Connection, refs: Sequence[UUID]) -> None:
        """Runs in the publishing transaction, after the publish."""
        ...

    def unpublishable(self, conn: Connection, ref: UUID, problem: str) -> None:
        """The message of ``ref`` can never be sent: end what waits for it."""
        ...


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    source: str
    ref: UUID | None
    envelope: dict[str, Any] | None
    body: bytes | None


def enqueue(conn: Connection, captured: Captured, *, not_before: Any = None) -> None:
    """Commit captured messages with the caller's transaction; a relay publishes them soon after."""
    with conn.cursor() as cursor:
        cursor.executemany(
            SQL["add_message"],
            [
                {
                    "envelope": Jsonb(message.envelope()),
                    "body": message.body,
                    "not_before": not_before or message.headers.get("eta"),
                }
                for message in captured.messages
            ],
        )
    notify(conn)


def notify(conn: Connection) -> None:
    """Wake the relay when the caller's transaction commits."""
    conn.execute(SQL["notify"])


def has_rung(conn: Connection, *, within_s: float) -> bool:
    """Wait until somebody has called ``notify`` since the last time, on a connection that listens."""
    # One that came in the same packet as the answer before it is in libpq's buffer: no wait for the socket sees it.
    if conn.pgconn.notifies() is not None:
        return True
    return bool(list(conn.notifies(timeout=within_s, stop_after=1)))


#: Rows of the first of several batches; each is twice as large as the one before. Workers have work while it goes on.
_FIRST_BATCH = 25


class Relay:
    """Moves due outbox rows to the broker, and does the chores that come with leading."""

    #: Seconds between looks at the outbox when no notification arrives (a pooler may swallow LISTEN).
    idle_s = 1.0
    #: Seconds after which it looks when the next row is due, where nobody has rung meanwhile.
    burst_s = 0.02
    #: Seconds between attempts of a stand-by to become leader: the longest gap after a leader's death.
    standby_s = 2.0
    #: Seconds of silence after which a stand-by ends the leader's session: it asks its database every ``idle_s``.
    silent_s = 4.0
    #: The same while it publishes: longer than the broker's client may wait for an answer.
    busy_s = 120.0

    def __init__(
        self,
        app: OutboxCelery,
        *,
        sources: Mapping[str, MessageSource],
        chores: Iterable[Chore] = (),
        limit: int = 200,
        standby: ConnectionFactory | None = None,
    ) -> None:
        """A relay that does nothing yet.

        Args:
            app: Whose messages and connections.
            sources: Who builds the messages of rows that only point at something, by the row's ``source``.
            chores: What to do besides, while it leads.
            limit: Rows of one batch, at most.
            standby: A connection for single statements of a stand-by, which others may share; without it every
                stand-by holds one of the app's.
        """
        self.app = app
        self._standby = standby or app.connections
        self.sources = sources
        self._chores = Chores(app, chores)
        self.limit = limit
        self.is_leading = threading.Event()

    # ------------------------------------------------------------------ one batch
    def drain(self) -> int:
        """Publish everything that is due, as far as no other relay is at it; how many messages were sent.

        Raises:
            OSError, kombu and psycopg errors: The broker or the database is away; nothing is lost.
        """
        with self.app.producer_pool.acquire(block=True) as producer:
            return self._publish_due(self.app.connections(), producer)

    def _publish_due(self, conn: Connection, producer: Producer, stop: threading.Event | None = None) -> int:
        sent = 0
        limit = min(_FIRST_BATCH, self.limit)
        while stop is None or not stop.is_set():
            batch = self._publish_batch(conn, producer, limit)
            sent += batch
            # Fewer than fit into a batch were all there was: what has been committed since rings for itself.
            if batch < limit:
                break
            limit = min(2 * limit, self.limit)
        return sent

    def _publish_batch(self, conn: Connection, producer: Producer, limit: int) -> int:
        with conn.transaction():
            taken = conn.execute(SQL["take_due"], {"limit": limit}).fetchall()
            rows = sorted((_Row(*row) for row in taken), key=lambda row: row.id)
            if not rows:
                return 0
            messages = self._messages(conn, rows)
            parked = self._send(conn, producer, rows, messages)
            for name, source in self.sources.items():
                refs = [row.ref for row in rows if row.source == name and row.ref and row.id not in parked]
                if refs:
                    source.published(conn, refs)
        return len(rows)

    def _messages(self, conn: Connection, rows: Sequence[_Row]) -> dict[int, Message]:
        found: dict[int, Message] = {
            row.id: Message.restore(row.envelope or {}, bytes(row.body or b""))
            for row in rows
            if row.source == "message"
        }
        for name, source in self.sources.items():
            wanted = [row for row in rows if row.source == name]
            if wanted:
                by_ref = source.messages(conn, [row.ref for row in wanted if row.ref])
                found |= {row.id: by_ref[row.ref] for row in wanted if row.ref and row.ref in by_ref}
        return found

    def _send(
        self, conn: Connection, producer: Producer, rows: Sequence[_Row], messages: Mapping[int, Message]
    ) -> set[int]:
        """Publish in one batch; after an error one by one, so that only the rows that are at fault are parked."""
        away = self._broker_away()
        producer.channel  # noqa: B018 - connects: what is wrong with the broker, or its URL, is no message's fault
        outlet = Outlet(self.app, producer)
        try:
            with producer.batch():
                for row in rows:
                    if row.id in messages:
                        outlet.publish(messages[row.id])
        except away:
            raise
        except (KombuError, ValueError, TypeError, KeyError) as exc:
            log.warning("batch refused, publishing one by one: %r", exc)
        else:
            return set()
        parked: set[int] = set()
        for row in rows:
            if row.id not in messages:
                continue
            try:
                outlet.publish(messages[row.id])
            except away:
                raise
            except (KombuError, ValueError, TypeError, KeyError) as exc:
                self._park(conn, row, repr(exc))
                parked.add(row.id)
        return parked

    def _park(self, conn: Connection, row: _Row, problem: str) -> None:
        log.error("message cannot be published, parked outbox=%s ref=%s: %s", row.id, row.ref, problem)
        conn.execute(
            SQL["park"],
            {
                "source": row.source,
                "ref": row.ref,
                "envelope": Jsonb(row.envelope) if row.envelope else None,
                "body": row.body,
                "problem": problem,
            },
        )
        if row.ref and row.source in self.sources:
            self.sources[row.source].unpublishable(conn, row.ref, problem)

    def _broker_away(self) -> tuple[type[BaseException], ...]:
        connection = self.app.connection_for_write()
        errors = (*connection.recoverable_connection_errors, *connection.recoverable_channel_errors)
        # kombu wraps what a transport raises while it connects.
        return (*errors, OperationalError, OSError)

    # ------------------------------------------------------------------ the loop
    def run(self, stop: threading.Event) -> None:
        """Lead or stand by until ``stop`` is set. Survives restarts of the database and of the broker."""
        away = (*self.app.database_errors, *self._broker_away())
        while not stop.is_set():
            try:
                if not self._is_vacant():
                    stop.wait(self.standby_s)
                    continue
                conn = self.app.connections()
                try:
                    row = conn.execute(SQL["try_lead"]).fetchone()
                    if row is not None and row[0]:
                        self._lead(conn, stop)
                finally:
                    self.is_leading.clear()
                    # Closing the session gives the lock to a stand-by at once.
                    conn.close()
            except away as exc:
                log.warning("relay interrupted, trying again: %r", exc)
                stop.wait(self.idle_s)
            except Exception:
                # The thread must survive: without it nothing is sent, and no lost task comes back.
                log.exception("relay interrupted by an error it does not know, trying again")
                stop.wait(self.idle_s)

    def _is_vacant(self) -> bool:
        """Whether no relay leads; the session of one that is silent for too long is ended."""
        conn = self._standby()
        row = conn.execute(SQL["is_led"]).fetchone()
        if row is None or not row[0]:
            return True
        if conn.execute(SQL["depose"], {"silent_s": self.silent_s, "busy_s": self.busy_s}).rowcount:
            log.warning("the leading relay was silent for too long, its session was ended")
            return True
        return False

    def _lead(self, conn: Connection, stop: threading.Event) -> None:
        log.info("relay leads")
        self.is_leading.set()
        conn.execute(f"LISTEN {CHANNEL}")
        with self._chores.beside(), self.app.producer_pool.acquire(block=True) as producer:
            while not stop.is_set():
                self._publish_due(conn, producer, stop)
                # Bells come in bursts: whoever has only one thing to send has it sent before the outbox is read again.
                if not has_rung(conn, within_s=self.burst_s):
                    has_rung(conn, within_s=self._patience(conn))

    def _patience(self, conn: Connection) -> float:
        row = conn.execute(SQL["next_due"]).fetchone()
        due_s = self.idle_s if row is None or row[0] is None else row[0]
        return max(0.001, min(self.idle_s, due_s))
