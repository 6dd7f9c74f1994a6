"""Native chords: the transaction that records the last header result sends the body.

Celery's own chord on a database polls for the header; here a counter is lowered by each part, in the transaction that
stores its result, and whoever lowers it to zero sends the body in that same transaction.
"""

from collections.abc import Callable
from typing import Any, cast, override

from celery import states
from celery.app.task import Context
from celery.backends.base import Backend
from celery.canvas import Signature, maybe_signature
from celery.exceptions import ChordError, ImproperlyConfigured
from celery.result import GroupResult
from celery.utils.functional import _regen  # pyright: ignore[reportPrivateUsage] - how Celery's own backends tell
from celery.utils.log import get_logger
from psycopg import Error as DatabaseError

from geoetl.backend.ledger import Connection
from geoetl.backend.messages import captured
from geoetl.backend.queries import load_queries
from geoetl.backend.unit import unit_of_work

log = get_logger(__name__)
SQL = load_queries("geoetl.backend.sql", "chords.sql")


class NativeChords(Backend):
    """The chord half of the backend."""

    connections: Any
    # Of the other half, in `results`.
    _save_group: Callable[[str, Any], Any]
    _restore_group: Callable[[str], Any]

    # ------------------------------------------------------------------ opening one
    @override
    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Open the barrier, before the first header task is sent. A nested header's shape is kept for its results."""
        group_id, results = header_result_args
        with unit_of_work(self.connections) as conn:
            row = conn.execute(SQL["open"], {"group_id": group_id}).fetchone()
            if row is not None and row[0]:
                conn.execute(SQL["run_again"], {"group_id": group_id, "body_id": body.options.get("task_id")})
            # A header that is still a generator is flat: looking into it here would publish none of it before its end.
            if not isinstance(results, _regen) and any(isinstance(result, GroupResult) for result in results):
                self._save_group(group_id, self.app.GroupResult(group_id, results))

    @override
    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Say how many parts there are; Celery knows it just before it sends the last one."""
        with unit_of_work(self.connections) as conn:
            conn.execute(SQL["set_size"], {"group_id": group_id, "size": chord_size})

    @override
    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Make room for one more header task.

        Raises:
            ImproperlyConfigured: The body has been sent.
        """
        with unit_of_work(self.connections) as conn:
            if conn.execute(SQL["add"], {"group_id": chord_id}).fetchone() is None:
                raise ImproperlyConfigured(
                    f"Task {result.id} cannot join chord {chord_id}: its body has been sent."
                    " Only a header task that still runs can add to its chord."
                )

    # ------------------------------------------------------------------ completing it
    @override
    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a header task, once however often it is reported; the last one sends the body."""
        if not request.id or not request.group:
            return
        encoded = self.encode(self.encode_result(result, state))
        part = {
            "group_id": request.group,
            "task_id": request.id,
            "idx": -1 if request.group_index is None else request.group_index,
            "state": state,
            "result": encoded.encode() if isinstance(encoded, str) else encoded,
        }
        with unit_of_work(self.connections) as conn:
            row = conn.execute(SQL["count_part"], part).fetchone()
            if row is not None and row[0]:
                self._send_body(conn, request.group, request.chord)

    def _send_body(self, conn: Connection, group_id: str, chord: Any) -> None:
        body = cast("Signature", maybe_signature(chord, app=self.app))
        try:
            results = self._header_results(conn, group_id)
        except ChordError as exc:
            log.warning("chord fails group=%s: %r", group_id, exc)
            self._fail_body(body, exc)
            return
        sent = captured()
        before = len(sent.messages) if sent else 0
        try:
            with conn.transaction():  # a savepoint: a body that cannot be sent leaves no half of itself
                body.delay(results)
        except DatabaseError:
            raise
        except Exception as exc:
            # Whatever a serializer, a router or a signal handler of the application raises is the chord's failure.
            log.exception("body of chord cannot be sent group=%s", group_id)
            if sent:
                del sent.messages[before:]
            self._fail_body(body, ChordError(f"Callback error: {exc!r}"))

    def _header_results(self, conn: Connection, group_id: str) -> list[Any]:
        """Values in the order and shape of the header.

        Raises:
            ChordError: A header task failed or was revoked; the first of them in the header's order is named.
        """
        values: dict[str, Any] = {}
        in_order: list[Any] = []
        for task_id, state, encoded in conn.execute(SQL["parts"], {"group_id": group_id}):
            value: Any = self.decode(bytes(encoded))
            if state in states.EXCEPTION_STATES:
                value = self.exception_to_python(value)
            if state in states.PROPAGATE_STATES:
                error = ChordError(f"Dependency {task_id} raised {value!r}")
                error.__cause__ = value
                raise error
            values[task_id] = value
            in_order.append(value)
        shape = self._restore_group(group_id)
        return in_order if shape is None else [_shaped(result, values) for result in shape["result"].results]

    def _fail_body(self, body: Any, error: ChordError) -> None:
        """Fail the body, which was never sent, call its errbacks; if it is itself part of a chord, that one hears."""
        self.chord_error_from_stack(body, error)
        options = body.options
        if options.get("chord") and options.get("task_id"):
            part = Context(
                id=options["task_id"],
                group=options.get("group_id"),
                group_index=options.get("group_index"),
                chord=options["chord"],
            )
            self.on_chord_part_return(part, states.FAILURE, error)


def _shaped(result: Any, values: dict[str, Any]) -> Any:
    if isinstance(result, GroupResult):
        return [_shaped(child, values) for child in result.results or []]
    return values.get(result.id)
