"""A statement about one task costs the same whatever else is there, and whatever PostgreSQL believes of its tables."""

import re

import pytest
from psycopg.types.json import Jsonb

from geoetl.backend.queries import load_queries
from geoetl.engine.metrics import exposition

TASKS = load_queries("geoetl.engine.sql", "tasks.sql")
OUTBOX = load_queries("geoetl.backend.sql", "outbox.sql")
VIEWS = load_queries("geoetl.engine.sql", "views.sql")
METRICS = load_queries("geoetl.engine.sql", "metrics.sql")

#: Rows that a statement may look at; there are a thousand that it is not about.
FEW = 100
CROWD = 2000

LATER = "SELECT id FROM geoetl.task WHERE stage_no = 1 AND idx >= 0 AND state = 'ready' LIMIT %s"
START = """
    UPDATE geoetl.task SET state = 'running', attempt = 1, worker = 'a', lease_until = now()
    WHERE state = 'ready' AND idx >= 0
"""


def rows_seen(engine, statement: bytes, **params) -> int:
    """The most rows that a step of executing a statement looks at, whether it keeps them or not."""
    conn = engine.services.connections()
    with conn.transaction(force_rollback=True):
        plan = "\n".join(row[0] for row in conn.execute(b"EXPLAIN (ANALYZE) " + statement, params))
    kept = [int(rows) * int(loops) for rows, loops in re.findall(r"actual time=\S+ rows=(\d+) loops=(\d+)", plan)]
    removed = [int(rows) for rows in re.findall(r"Rows Removed by [\w ]+: (\d+)", plan)]
    return max(kept + removed)


@pytest.fixture
def crowd(engine):
    """A stage of many tasks that came after the statistics: those know of none that is ready, running or rung for."""
    engine.start_work_stage(tasks=CROWD)
    engine.sql(START)
    engine.sql("UPDATE geoetl.task SET state = 'succeeded', lease_until = NULL WHERE state = 'running'")
    engine.sql("UPDATE geoetl.task SET state = 'skipped' WHERE state = 'ready'")
    engine.sql("DELETE FROM geoetl.outbox")
    for table in ("task", "stage", "run", "outbox"):
        engine.sql(f"ANALYZE geoetl.{table}")
    engine.start_work_stage(tasks=CROWD, name="later")
    return engine


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("claim", {"worker": "b", "lease_s": 30, "most_bytes": 0}),
        ("postpone", {"worker": "b", "delay_s": 1.0, "what": "c", "why": Jsonb({})}),
        ("seize", {}),
    ],
)
def test_of_a_ready_task_among_many(crowd, name, more):
    ((task_id,),) = crowd.sql(LATER, 1)

    assert rows_seen(crowd, TASKS[name], id=task_id, **more) < FEW


@pytest.mark.parametrize("name", ["templates", "published"])
def test_of_the_tasks_of_a_batch(crowd, name):
    ids = [task_id for (task_id,) in crowd.sql(LATER, 10)]

    assert rows_seen(crowd, TASKS[name], ids=ids) < FEW


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("finish", {"result": Jsonb({}), "job_id": "a", "measured": Jsonb({})}),
        ("retry", {"error": Jsonb({}), "delay_s": 1.0, "more": 1}),
        ("cancel_attempt", {}),
        ("must_stop", {}),
        ("owned_attempt", {"worker": "a"}),
    ],
)
def test_of_a_running_task_among_many(crowd, name, more):
    ((task_id,),) = crowd.sql(LATER, 1)
    crowd.sql(START)

    assert rows_seen(crowd, TASKS[name], id=task_id, attempt=1, **more) < FEW


def test_of_the_first_messages_of_an_outbox_that_was_empty(crowd):
    crowd.sql("INSERT INTO geoetl.outbox (source, ref) SELECT 'task', gen_random_uuid() FROM generate_series(1, 10000)")

    assert rows_seen(crowd, OUTBOX["take_due"], limit=10) < FEW


@pytest.fixture
def history(engine):
    """Many jobs that ended yesterday, each after two runs of one stage."""
    engine.sql(
        """
        INSERT INTO geoetl.job (id, job_type, definition_version, spec, facts, created_at)
        SELECT encode(sha256(n::text::bytea), 'hex'), 'noop', 1, '{}', '{}', now() - make_interval(days => 1, secs => n)
        FROM generate_series(1, %s) n
        """,
        CROWD,
    )
    for no in (1, 2):
        engine.sql(
            """
            WITH runs AS (
                INSERT INTO geoetl.run (id, job_id, no, state, stage_count, created_at, finished_at)
                SELECT gen_random_uuid(), id, %s, 'completed', 1, created_at, created_at FROM geoetl.job
                RETURNING id, created_at
            )
            INSERT INTO geoetl.stage (run_id, no, name, state, size, remaining, callback_id, created_at, finished_at)
            SELECT id, 0, 'count', 'completed', 1, 0, gen_random_uuid(), created_at, created_at FROM runs
            """,
            no,
        )
    engine.sql("UPDATE geoetl.job j SET current_run = r.id FROM geoetl.run r WHERE r.job_id = j.id AND r.no = 2")
    for table in ("job", "run", "stage"):
        engine.sql(f"ANALYZE geoetl.{table}")
    return engine


@pytest.mark.parametrize("job_type", [None, "noop"])
@pytest.mark.parametrize("state", [None, "completed"])
def test_of_the_newest_jobs_among_many(history, state, job_type):
    assert rows_seen(history, VIEWS["list_jobs"], state=state, job_type=job_type, limit=20) < FEW


def test_of_the_one_job_whose_id_begins_with_a_word(history):
    ((prefix,),) = history.sql("SELECT left(id, 12) FROM geoetl.job LIMIT 1")

    assert rows_seen(history, VIEWS["find_jobs"], prefix=prefix) < FEW


def test_of_the_events_since_the_last_scrape(history):
    history.sql(
        "INSERT INTO geoetl.event (at, run_id, what) SELECT now() - interval '1 day', gen_random_uuid(), 'task started'"
        " FROM generate_series(1, %s)",
        CROWD,
    )
    history.sql("ANALYZE geoetl.event")
    first = exposition(history.services.connections)
    ((horizon,),) = history.sql("SELECT event_id FROM geoetl.event_horizon")

    assert rows_seen(history, METRICS["move_horizon"], horizon=horizon) < FEW
    assert rows_seen(history, METRICS["events"]) < FEW
    assert f'geoetl_events_total{{what="task started"}} {CROWD:.1f}' in first.splitlines()
    assert exposition(history.services.connections) == first


def test_of_the_stages_that_ended_lately(history):
    assert rows_seen(history, METRICS["stage_seconds"]) < FEW


def test_only_statements_about_its_first_column_can_use_a_partial_index(engine):
    """PostgreSQL may read all of an index whose predicate a statement implies, however large it has become."""
    partial = engine.sql(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid, 1, true), pg_get_expr(indpred, indrelid) "
        "FROM pg_index WHERE indpred IS NOT NULL AND indrelid = ANY (%s::regclass[])",
        ["geoetl.task", "geoetl.run"],
    )

    assert len(partial) == 5
    assert [
        name for name, column, predicate in partial if column != "id" and f"{column} IS NOT NULL" not in predicate
    ] == []
