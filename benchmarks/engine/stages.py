"""How long the start of a stage takes, and how soon after its last task a stage's callback runs."""

import time
import uuid
from statistics import median

from benchmarks.engine.jobs import Wide
from benchmarks.engine.site import Site
from benchmarks.transport.figures import Figures, percentile
from benchmarks.transport.process import wait_until
from geoetl.chains.noop import Noop
from geoetl.engine.completion import complete_stage
from geoetl.engine.control import cancel
from geoetl.engine.submit import _record, prepare

STAGE_SIZES = (10, 100, 1000, 10_000)
BARRIER_SIZES = (1000, 10_000)
#: Tasks of a stage that a worker runs; the others have succeeded before, by two statements.
LAST_TASKS = 50


def measure_starts(site: Site, figures: Figures, *, rounds: int) -> None:
    """The callback that starts a stage of N tasks, from its claim to its commit; no worker runs, this is one."""
    for size in STAGE_SIZES:
        figures.add(f"stage_start_{size}_s", median(_start_one(site, size) for _ in range(rounds)))


def _start_one(site: Site, size: int) -> float:
    ledger = site.services.ledger
    run_id = _record_quietly(site, Noop(tasks=size, name=uuid.uuid4().hex))
    counting, callback = site.task_id(run_id, stage_no=0, idx=0), site.task_id(run_id, stage_no=0, idx=-1)
    claim = ledger.claim(counting, "bench")
    assert claim is not None
    assert ledger.finish(claim, {"tasks": size}, [])
    begin = time.perf_counter()
    claim = ledger.claim(callback, "bench")
    assert claim is not None
    result, effect = complete_stage(site.services, claim)
    assert ledger.finish(claim, result, [effect])
    taken = time.perf_counter() - begin
    site.services.connections().execute("DELETE FROM geoetl.outbox")
    # Nobody has heard of its tasks: a minute later they would be rung for, in the middle of what is measured next.
    cancel(site.services, site.sql("SELECT job_id FROM geoetl.run WHERE id = %s", run_id)[0][0])
    return taken


def measure_barrier(site: Site, figures: Figures, *, samples: int) -> None:
    """From the last task's finish to the claim of the callback, by the database's clock, in a live worker."""
    with site.worker(concurrency=2):
        for size in BARRIER_SIZES:
            for _ in range(3):  # warm up
                _barrier_once(site, size=10)
            latencies = [_barrier_once(site, size) for _ in range(samples)]
            figures.add(f"barrier_p50_ms_{size}", percentile(latencies, 50))
            figures.add(f"barrier_p99_ms_{size}", percentile(latencies, 99))


def _barrier_once(site: Site, size: int) -> float:
    """Milliseconds for a stage of which all but the last tasks have succeeded: by two statements, not by a worker.

    The last ones are several, so that what is measured is the end of a stage at work, and not the disk that still has
    to take what the statements wrote.
    """
    last = min(size, LAST_TASKS)
    conn = site.services.connections()
    with conn.transaction():
        run_id = _record_quietly(site, Wide(tasks=size, name=uuid.uuid4().hex))
        others = f"run_id = %s AND stage_no = 0 AND idx >= {last}"
        conn.execute(f"UPDATE geoetl.task SET state = 'running', attempt = 1 WHERE {others}", (run_id,))
        conn.execute(
            "UPDATE geoetl.task SET state = 'succeeded', finished_at = now(), "
            f"result = jsonb_build_object('square', idx) WHERE {others}", (run_id,),
        )  # fmt: skip
        conn.execute("UPDATE geoetl.stage SET remaining = %s WHERE run_id = %s", (last, run_id))
        theirs = f"ref = ANY (ARRAY(SELECT id FROM geoetl.task WHERE {others}))"  # no join: see take_due
        conn.execute(f"DELETE FROM geoetl.outbox WHERE {theirs}", (run_id,))
    query = """
        SELECT extract(epoch FROM b.started_at - max(t.finished_at))::float8 * 1000
        FROM geoetl.task t JOIN geoetl.task b ON b.run_id = t.run_id AND b.stage_no = t.stage_no AND b.idx = -1
        WHERE t.run_id = %s AND t.stage_no = 0 AND t.idx BETWEEN 0 AND %s AND b.state = 'succeeded'
        GROUP BY b.started_at
    """
    asked = (run_id, last - 1)
    wait_until(lambda: site.sql(query, *asked), timeout_s=30, what="the callback", every_s=0.005)
    return site.sql(query, *asked)[0][0]


def _record_quietly(site: Site, spec: Noop | Wide) -> str:
    """Accept a job without sending its messages from here; its run's id."""
    plan, _ = prepare(site.services, spec)
    return _record(site.services, plan, plan.freeze(site.services.app, 0), force=False, deadline_s=None).run_id
