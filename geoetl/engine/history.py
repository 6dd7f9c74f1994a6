"""All that is known of one task: what a person needs to find out why it failed."""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.engine.rows import TaskStatus
from geoetl.errors import NotFound
from geoetl.models.refs import RunId

SQL = load_queries("geoetl.engine.sql", "views.sql")
_NUMBER = re.compile(r"(?P<stage>[1-9][0-9]*)\.(?P<place>[0-9]+)")
_BEGINS = "task started"
#: Events that end an attempt.
_ENDS = {"task succeeded", "task retried", "task failed", "lease expired", "task stopped"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a task, as the audit trail has it."""

    no: int
    worker: str | None
    """Host, worker and process: ``host-boot:pid``."""
    started_at: dt.datetime | None
    """None where it was only made to be failed: its message could not be sent, or came back dead."""
    ended_at: dt.datetime | None = None
    outcome: str = ""
    """The event that ended it; empty where none did: it runs, or a resume took its task away."""
    error: dict[str, Any] | None = None
    delay_s: float | None = None
    """How long the next one had to wait."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something else that befell the task."""

    at: dt.datetime
    what: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """A task with its input and every attempt."""

    number: str
    task: TaskStatus
    stage: str
    input: dict[str, Any]
    memory_bytes: int | None
    time_limit_s: int
    attempts: tuple[Attempt, ...]
    notes: tuple[Note, ...]


def find_task(conn: Connection, run_id: RunId, word: str) -> TaskDetail:
    """A task of a run by its number (``2.1``), the beginning of its id, or its label.

    Raises:
        NotFound: The run has none, or more than one.
    """
    stage_no, idx = _place(conn, run_id, word)
    row = conn.execute(SQL["task"], {"run_id": run_id, "stage_no": stage_no, "idx": idx}).fetchone()
    if row is None:
        raise _missing(word, "no task")
    *of_task, stage, given, memory_bytes, time_limit_s = row
    task = TaskStatus.of(of_task)
    events = conn.execute(SQL["task_events"], {"run_id": run_id, "task_id": task.id}).fetchall()
    return TaskDetail(
        number=task.number,
        task=task,
        stage=stage,
        input=given,
        memory_bytes=memory_bytes,
        time_limit_s=time_limit_s,
        attempts=tuple(_attempts(events)),
        notes=tuple(Note(at, what, data) for at, _, _, what, data in events if what not in {_BEGINS, *_ENDS}),
    )


def _place(conn: Connection, run_id: RunId, word: str) -> tuple[int, int]:
    if number := _NUMBER.fullmatch(word):
        return int(number["stage"]) - 1, int(number["place"]) - 1
    rows = conn.execute(SQL["task_places"], {"run_id": run_id, "word": word}).fetchall() if word else []
    if len(rows) != 1:
        raise _missing(word, "more than one task" if rows else "no task")
    return rows[0]


def _missing(word: str, found: str) -> NotFound:
    return NotFound(
        f"The job's current run has {found} {word!r}.",
        code="task-missing" if found == "no task" else "ambiguous-task",
        hint="`geoetl job tasks` lists them; a task is named by its number, its id or its label.",
    )


def _attempts(events: Iterable[tuple[Any, ...]]) -> Iterator[Attempt]:
    """Events in order, put together by attempt."""
    made: dict[int, Attempt] = {}
    for at, no, worker, what, data in events:
        if what == _BEGINS:
            made[no] = Attempt(no, worker, at)
        elif what in _ENDS:
            begun = made.get(no) or Attempt(no, worker, None)
            error = {key: value for key, value in data.items() if key != "delay_s"} if "code" in data else None
            made[no] = replace(begun, ended_at=at, outcome=what, error=error, delay_s=data.get("delay_s"))
    return iter(made.values())
