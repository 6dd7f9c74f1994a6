"""Sends the messages of one batch of outbox rows, queue by queue. What cannot be sent now stays in the outbox.

A broker that is away is an error of its own: nothing is put back, the whole batch waits for it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from uuid import UUID

from celery.utils.log import get_logger
from kombu.exceptions import KombuError, OperationalError
from kombu.messaging import Producer
from psycopg.types.json import Jsonb

from geoetl.backend.app import OutboxCelery
from geoetl.backend.ledger import Connection
from geoetl.backend.messages import Message, Outlet
from geoetl.backend.queries import load_queries

log = get_logger(__name__)
SQL = load_queries("geoetl.backend.sql", "outbox.sql")

#: Seconds until a queue that refused is tried again. Whoever mends it takes minutes: a shorter time would only fill the
#: log and rewrite the rows more often, a longer one would keep the jobs waiting after it is mended.
RETRY_S = 30.0
#: So many refusals in a row are the queue's, and no single message's: the rest of the batch is not tried.
_REFUSALS = 3
#: No later attempt can send these, whatever the queue is like.
_HOPELESS = (KombuError, ValueError, TypeError, KeyError)


class MessagesRefused(Exception):
    """Queues that took nothing. Their messages are kept and tried again; everything else is sent."""

    def __init__(self, refused: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"Queue {queue!r} refuses messages: {why}." for queue, why in refused.items()))
        self.refused = refused
        """What was found, by queue."""


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
class Row:
    """One row of the outbox, as `take_due` returns it."""

    id: int
    source: str
    ref: UUID | None
    envelope: dict[str, Any] | None
    body: bytes | None
    dedupe: str | None

    def stored(self) -> dict[str, Any]:
        """Its columns, to be written once more."""
        return {
            "source": self.source,
            "ref": self.ref,
            "envelope": Jsonb(self.envelope) if self.envelope else None,
            "body": self.body,
            "dedupe": self.dedupe,
        }


@dataclass(slots=True)
class Kept:
    """What of a batch was not sent."""

    ids: set[int] = field(default_factory=set[int])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """What was found, by queue, where one refused."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    until: float
    problem: str


class Dispatch:
    """The way of messages to the broker. Remembers which queues refuse, so that each is tried only so often."""

    def __init__(self, app: OutboxCelery, sources: Mapping[str, MessageSource]) -> None:
        self._app = app
        self._sources = sources
        self._refusals: dict[str, _Refusal] = {}

    @cached_property
    def away(self) -> tuple[type[BaseException], ...]:
        """What says that the broker cannot be reached."""
        connection = self._app.connection_for_write()
        errors = (*connection.recoverable_connection_errors, *connection.recoverable_channel_errors)
        # kombu wraps what a transport raises while it connects.
        return (*errors, OperationalError, OSError)

    @cached_property
    def _refusing(self) -> tuple[type[BaseException], ...]:
        # The connection is sound: a queue is missing, disabled or full, or a right is. Somebody mends that.
        return tuple(self._app.connection_for_write().channel_errors)

    def send(self, conn: Connection, producer: Producer, rows: Sequence[Row], messages: Mapping[int, Message]) -> Kept:
        """Publish what has a message; park, or put back, what cannot be published, in the caller's transaction."""
        producer.channel  # noqa: B018 - connects: what is wrong with the broker, or its URL, is no message's fault
        outlet = Outlet(self._app, producer)
        by_queue: dict[str, list[tuple[Row, Message]]] = {}
        for row in rows:
            if (message := messages.get(row.id)) is not None:
                by_queue.setdefault(message.queue or message.routing_key or message.exchange, []).append((row, message))
        kept = Kept()
        # A batch for each queue: after an error it is not known what else of a batch was sent.
        for queue, letters in by_queue.items():
            refusal = self._refusals.get(queue)
            if refusal is not None and (left_s := refusal.until - time.monotonic()) > 0:
                kept.refused[queue] = refusal.problem
                self._put_back(conn, kept, [row for row, _ in letters], refusal.problem, delay_s=left_s)
            elif not self._send_at_once(producer, outlet, letters):
                self._send_one_by_one(conn, outlet, kept, queue, letters)
        return kept

    def _send_at_once(self, producer: Producer, outlet: Outlet, letters: Sequence[tuple[Row, Message]]) -> bool:
        try:
            with producer.batch():
                for _, message in letters:
                    outlet.publish(message)
        except self.away:
            raise
        except (*_HOPELESS, *self._refusing) as exc:
            log.debug("batch refused, publishing one by one: %r", exc)
            return False
        return True

    def _send_one_by_one(
        self, conn: Connection, outlet: Outlet, kept: Kept, queue: str, letters: Sequence[tuple[Row, Message]]
    ) -> None:
        """So that only the rows that are at fault are parked or put back."""
        back: list[Row] = []
        taken = in_a_row = 0
        problem = ""
        for number, (row, message) in enumerate(letters, start=1):
            try:
                outlet.publish(message)
            except self.away:
                raise
            except _HOPELESS as exc:
                self._park(conn, row, repr(exc))
                kept.ids.add(row.id)
            except self._refusing as exc:
                problem = str(exc).rstrip(".") or repr(exc)
                back.append(row)
                in_a_row += 1
                if in_a_row == _REFUSALS:
                    back += [left for left, _ in letters[number:]]
                    break
            else:
                taken += 1
                in_a_row = 0
        if not back:
            return
        if in_a_row == _REFUSALS or not taken:
            self._refusals[queue] = _Refusal(time.monotonic() + RETRY_S, problem)
        log.warning(
            "queue refuses messages, they are kept and tried again in %.0f s queue=%s: %s."
            " Create or enable the queue, make room in it, or grant the right to send; nothing else is to be done",
            RETRY_S,
            queue,
            problem,
        )
        kept.refused[queue] = problem
        self._put_back(conn, kept, back, problem, delay_s=RETRY_S)

    def _put_back(self, conn: Connection, kept: Kept, rows: Sequence[Row], problem: str, *, delay_s: float) -> None:
        kept.ids.update(row.id for row in rows)
        with conn.cursor() as cursor:
            cursor.executemany(
                SQL["put_back"], [{**row.stored(), "problem": problem, "delay_s": delay_s} for row in rows]
            )

    def _park(self, conn: Connection, row: Row, problem: str) -> None:
        log.error("message cannot be published, parked outbox=%s ref=%s: %s", row.id, row.ref, problem)
        conn.execute(SQL["park"], {**row.stored(), "problem": problem})
        if row.ref and row.source in self._sources:
            self._sources[row.source].unpublishable(conn, row.ref, problem)
