"""Publishes what the outbox holds. One relay leads at a time, the others stand by.

Delete, publish, commit: a crash in between publishes again, which is harmless because every consumer is fenced.
How a batch is sent, and what becomes of what cannot be: `geoetl.backend.dispatch`.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery.utils.log import get_logger
from kombu.messaging import Producer
from psycopg.types.json import Jsonb

from geoetl.backend.app import ConnectionFactory, OutboxCelery
from geoetl.backend.chores import Chore, Chores
from geoetl.backend.dispatch import Dispatch, MessageSource, MessagesRefused, Row
from geoetl.backend.ledger import Connection
from geoetl.backend.messages import Captured, Message
from geoetl.backend.queries import load_queries

log = get_logger(__name__)
SQL = load_queries("geoetl.backend.sql", "outbox.sql")
CHANNEL = "geoetl_outbox"


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


@dataclass(slots=True)
class _Done:
    sent: int = 0
    refused: dict[str, str] = field(default_factory=dict[str, str])


class Relay:
    """Moves due outbox rows to the broker, and does the chores that come with leading."""

    #: Seconds between looks at the outbox when no notification arrives.
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
        self._dispatch = Dispatch(app, sources)
        self._chores = Chores(app, chores)
        self.limit = limit
        self.is_leading = threading.Event()

    # ------------------------------------------------------------------ one batch
    def drain(self) -> int:
        """Publish everything that is due, as far as no other relay is at it; how many messages were sent.

        Raises:
            MessagesRefused: Some queue takes none; its messages are kept, all others are sent.
            OSError, kombu and psycopg errors: The broker or the database is away; nothing is lost.
        """
        with self.app.producer_pool.acquire(block=True) as producer:
            done = self._publish_due(self.app.connections(), producer)
        if done.refused:
            raise MessagesRefused(done.refused)
        return done.sent

    def _publish_due(self, conn: Connection, producer: Producer, stop: threading.Event | None = None) -> _Done:
        done = _Done()
        limit = min(_FIRST_BATCH, self.limit)
        while stop is None or not stop.is_set():
            # Fewer than fit into a batch were all there was: what has been committed since rings for itself.
            if self._publish_batch(conn, producer, limit, done) < limit:
                break
            limit = min(2 * limit, self.limit)
        return done

    def _publish_batch(self, conn: Connection, producer: Producer, limit: int, done: _Done) -> int:
        """How many rows were taken."""
        with conn.transaction():
            taken = conn.execute(SQL["take_due"], {"limit": limit}).fetchall()
            rows = sorted((Row(*row) for row in taken), key=lambda row: row.id)
            if not rows:
                return 0
            kept = self._dispatch.send(conn, producer, rows, self._messages(conn, rows))
            for name, source in self.sources.items():
                refs = [row.ref for row in rows if row.source == name and row.ref and row.id not in kept.ids]
                if refs:
                    source.published(conn, refs)
        done.sent += len(rows) - len(kept.ids)
        done.refused |= kept.refused
        return len(rows)

    def _messages(self, conn: Connection, rows: Sequence[Row]) -> dict[int, Message]:
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

    # ------------------------------------------------------------------ the loop
    def run(self, stop: threading.Event) -> None:
        """Lead or stand by until ``stop`` is set. Survives restarts of the database and of the broker."""
        away = (*self.app.database_errors, *self._dispatch.away)
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
