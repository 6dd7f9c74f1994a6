"""Starting a stage: a chord becomes one stage row, one row a task, one message shape a kind, and outbox rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from celery import chord
from psycopg.types.json import Jsonb

from geoetl.backend.app import OutboxCelery
from geoetl.backend.ledger import Connection
from geoetl.backend.messages import Message, capture
from geoetl.backend.queries import load_queries
from geoetl.backend.relay import notify
from geoetl.backend.task import LEDGER_HEADER
from geoetl.chains.definition import TaskCall
from geoetl.engine.ledger import LEDGER
from geoetl.engine.rows import CALLBACK_IDX
from geoetl.models.refs import RunId
from geoetl.models.tasks import TASKS

SQL = load_queries("geoetl.engine.sql", "jobs.sql")

_COLUMNS = ("uuid", "uuid", "int4", "int4", "text", "text", "text", "text", "int8", "int4", "int8", "jsonb", "int4")
#: Completing a stage reads and plans; it is tried more often than the work of a task.
_CALLBACK_ATTEMPTS = 10
_CALLBACK_TIME_LIMIT_S = 600


@dataclass(frozen=True, slots=True)
class _TaskRow:
    id: UUID
    idx: int
    name: str
    label: str
    queue: str
    reason: str
    memory_bytes: int | None
    time_limit_s: int
    template: int
    input: Any
    max_attempts: int


@dataclass(frozen=True, slots=True)
class FrozenStage:
    """A stage that only has to be written: ids are given, messages are built. Made outside of any transaction."""

    run_id: RunId
    no: int
    name: str
    size: int
    callback_id: UUID
    templates: tuple[Message, ...]
    rows: tuple[_TaskRow, ...]


def freeze_stage(
    app: OutboxCelery, compiled: chord, *, run_id: RunId, no: int, name: str, calls: Sequence[TaskCall]
) -> FrozenStage:
    """Have Celery build the messages of a chord, one for each kind of task, and lay out its rows."""
    kinds: dict[tuple[str, str, int], int] = {}
    templates: list[Message] = []
    rows: list[_TaskRow] = []
    tasks: Any = compiled.tasks
    signatures: list[Any] = list(tasks)
    for idx, (signature, call) in enumerate(zip(signatures, calls, strict=True)):
        queue, time_limit_s = signature.options["queue"], signature.options["time_limit"]
        kind = (signature.task, queue, time_limit_s)
        if kind not in kinds:
            kinds[kind] = len(templates)
            templates.append(_template(app, signature.task, queue=queue, time_limit_s=time_limit_s))
        rows.append(
            _TaskRow(
                id=uuid4(),
                idx=idx,
                name=signature.task,
                label=call.label,
                queue=queue,
                reason=call.route.reason if call.route else "",
                memory_bytes=call.route.memory_bytes if call.route else None,
                time_limit_s=time_limit_s,
                template=kinds[kind],
                input=signature.args[0],
                max_attempts=TASKS[call.task].max_attempts,
            )
        )
    body: Any = compiled.body
    callback = _TaskRow(
        id=uuid4(),
        idx=CALLBACK_IDX,
        name=body.task,
        label=f"complete {name}",
        queue=body.options["queue"],
        reason="",
        memory_bytes=None,
        time_limit_s=_CALLBACK_TIME_LIMIT_S,
        template=len(templates),
        input={},
        max_attempts=_CALLBACK_ATTEMPTS,
    )
    templates.append(_template(app, body.task, queue=callback.queue, time_limit_s=_CALLBACK_TIME_LIMIT_S))
    return FrozenStage(run_id, no, name, len(rows), callback.id, tuple(templates), (*rows, callback))


def _template(app: OutboxCelery, task: str, *, queue: str, time_limit_s: int) -> Message:
    """The message as Celery builds it, without arguments: a worker reads those from the task's row."""
    with capture() as captured:
        app.signature(task, app=app).apply_async(
            queue=queue, time_limit=time_limit_s, headers={LEDGER_HEADER: LEDGER}, add_to_parent=False
        )
    (message,) = captured.messages
    return message


def write_stage(conn: Connection, stage: FrozenStage) -> None:
    """Write a frozen stage inside the caller's transaction; its messages go out after the commit."""
    params = {"run_id": stage.run_id, "no": stage.no, "name": stage.name, "size": stage.size}
    conn.execute(SQL["add_stage"], {**params, "callback_id": stage.callback_id})
    conn.execute(SQL["enter_stage"], params)
    run_id = UUID(stage.run_id)
    template_ids = [_add_template(conn, stage.run_id, template) for template in stage.templates]
    with conn.cursor() as cursor, cursor.copy(SQL["copy_tasks"]) as copy:
        copy.set_types(_COLUMNS)
        for row in stage.rows:
            copy.write_row(
                (
                    row.id,
                    run_id,
                    stage.no,
                    row.idx,
                    row.name,
                    row.label,
                    row.queue,
                    row.reason,
                    row.memory_bytes,
                    row.time_limit_s,
                    template_ids[row.template],
                    Jsonb(row.input),
                    row.max_attempts,
                )
            )
    conn.execute(SQL["ring_stage"], params)
    notify(conn)


def _add_template(conn: Connection, run_id: RunId, template: Message) -> int:
    row = conn.execute(
        SQL["add_template"], {"run_id": run_id, "envelope": Jsonb(template.envelope()), "body": template.body}
    ).fetchone()
    assert row is not None
    return row[0]
