"""Leases and fences of plain Celery tasks: those whose messages name no ledger. Their rows are the result table's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from geoetl.backend.ledger import Connection
from geoetl.backend.messages import SEND_HEADER, Message
from geoetl.backend.queries import load_queries

SQL = load_queries("geoetl.backend.sql", "claims.sql")

#: A replacement (``Task.replace``) outranks any number of retries of what it replaced.
_RETRIES_PER_REPLACEMENT = 10_000


@dataclass(frozen=True, slots=True)
class PlainClaim:
    """The right to work on one version of a plain task; ``attempt`` is the fencing token."""

    task_id: str
    version: int
    attempt: int


def send_of(request: Any) -> str | None:
    """Which send this message comes from; None where its sender was no ``OutboxCelery``."""
    return request.get(SEND_HEADER) if request is not None else None


def version_of(request: Any) -> int:
    """Order of the messages that share a task id: retries and replacements come later, and only they do."""
    if request is None:
        return 0
    return (request.get("replaced_task_nesting") or 0) * _RETRIES_PER_REPLACEMENT + (request.get("retries") or 0)


class PlainClaims:
    """Claims of plain tasks; each method is one statement on the connection the backend would use."""

    def __init__(self, connection: Callable[[], Connection], *, lease_s: float) -> None:
        self._connection = connection
        #: Seconds for which a claim holds unless it is renewed.
        self.lease_s = lease_s

    def claim(
        self, task_id: str, version: int, *, owner: str, meta: bytes | None, send: str | None = None
    ) -> PlainClaim | None:
        """Become the owner; None where there is nothing to do now (`is_running` tells whether there may be later).

        ``meta`` is what ``AsyncResult`` shows while the task runs; None for a task whose result is ignored.
        """
        params = {"version": version, "owner": owner, "meta": meta, "lease_s": self.lease_s, "send": send or ""}
        row = self._execute("claim", task_id=task_id, **params).fetchone()
        return None if row is None else PlainClaim(task_id, version, row[0])

    def is_running(self, task_id: str, version: int) -> bool:
        """Whether a refused claim may succeed later: its owner may be dead."""
        row = self._execute("is_running", task_id=task_id, version=version).fetchone()
        return row is not None and row[0]

    def put_aside(self, message: Message, task_id: str, version: int) -> None:
        """Publish the message again when the lease that refused it ends, unless its owner ends the task before."""
        envelope = Jsonb(message.envelope())
        self._execute("put_aside", envelope=envelope, body=message.body, task_id=task_id, version=version)

    def end(self, claim: PlainClaim, phase: str) -> bool:
        """Give the claim up; False where it was lost."""
        row = self._execute(
            "end", task_id=claim.task_id, version=claim.version, attempt=claim.attempt, phase=phase
        ).fetchone()
        if row is None:
            return False
        if row[0]:
            self._execute("remove_copy", task_id=claim.task_id, version=claim.version)
        return True

    def end_unclaimed(
        self, task_id: str, version: int, phase: str, *, owner: str | None, send: str | None = None
    ) -> bool:
        """End a task nobody works on, or whose ``owner`` is known to be dead; False where it has ended before."""
        row = self._execute(
            "end_unclaimed", task_id=task_id, version=version, phase=phase, owner=owner, send=send
        ).fetchone()
        return row is not None

    def release(self, task_id: str, *, owner: str) -> None:
        """Let the next delivery of the message claim at once."""
        self._execute("release", task_id=task_id, owner=owner)

    def renew(self, live: Mapping[str, str]) -> None:
        """Extend the leases of live work: task id to owner."""
        self._execute("renew", task_ids=list(live), owners=list(live.values()), lease_s=self.lease_s)

    def _execute(self, query: str, **params: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        return self._connection().execute(SQL[query], params)
