"""The embedded stack, workers of it, and what the engine's own tables and PostgreSQL tell about a run."""

import os
import sys
import time
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.engine.jobs import Flat
from benchmarks.transport.process import Process, wait_until
from geoetl.config.settings import load_settings
from geoetl.db.connections import connect
from geoetl.engine.services import Services
from geoetl.local.stack import Stack
from geoetl.worker.app import create_app
from geoetl.worker.client import Job, submit

ROOT = Path(__file__).parents[2]

#: The shipped settings, but for four: children are not replaced after 100 tasks (a no-op task is over before a child
#: has started; the peers do not replace theirs at all), four messages are taken for each child, which is Celery's
#: default and so the peers' (one is ours: right for tasks of minutes), no task events (the peers' send none),
#: and leases are short, for the recoveries.
TUNING = {
    "GEOETL_WORKER__MAX_TASKS_PER_CHILD": "1000000",
    "GEOETL_WORKER__PREFETCH_MULTIPLIER": "4",
    "GEOETL_WORKER__TASK_EVENTS": "false",
    "GEOETL_WORKER__LEASE_S": "6",
    "GEOETL_WORKER__HEARTBEAT_S": "1",
    "GEOETL_WORKER__REAP_S": "1",
}


@dataclass
class Site:
    """One stack for the whole run."""

    home: Path
    environ: dict[str, str]
    services: Services
    stack: Stack

    def sql(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        return self.services.connections().execute(query, params).fetchall()

    def admin_sql(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """As the cluster's administrator."""
        target = self.services.settings.database.admin
        assert target is not None, "the embedded stack names its administrator"
        with connect(target, application_name="bench") as conn:
            cursor = conn.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def task_id(self, run_id: str, *, stage_no: int, idx: int) -> str:
        """The id of one task; index -1 is the callback."""
        query = "SELECT id FROM geoetl.task WHERE run_id = %s AND stage_no = %s AND idx = %s"
        return str(self.sql(query, run_id, stage_no, idx)[0][0])

    @contextmanager
    def worker(self, *, concurrency: int = 2, environ: Mapping[str, str] | None = None) -> Generator[Process]:
        """A worker of the standard queue, ready; killed with its children at the end."""
        worker = self.start_worker(concurrency=concurrency, environ=environ)
        try:
            yield worker
        finally:
            worker.kill()

    def start_worker(self, *, concurrency: int = 2, environ: Mapping[str, str] | None = None) -> Process:
        command = [
            sys.executable, "-m", "celery", "-A", "benchmarks.engine.app", "worker", "-Q", "standard", "-c",
            str(concurrency), "-n", f"{uuid.uuid4().hex[:8]}@bench", "-l", "INFO",
            "--without-gossip", "--without-mingle", "--without-heartbeat",
        ]  # fmt: skip
        log = self.home / "logs" / f"bench-worker-{time.monotonic_ns()}.log"
        worker = Process(command, log=log, env={**self.environ, **(environ or {})}, cwd=ROOT)
        worker.wait_for(" ready.")
        return worker

    def submit(self, tasks: int, *, seconds: float = 0.0) -> Job:
        return submit(Flat(tasks=tasks, seconds=seconds, name=uuid.uuid4().hex), services=self.services)

    def seconds_of(self, job: Job, *, since: float, timeout_s: float = 300) -> float:
        """Wait until a job is done; how long after ``since`` (seconds of the epoch) that was."""

        def ended_at() -> Any:
            ((state, at),) = self.sql(
                "SELECT state, extract(epoch FROM finished_at)::float8 FROM geoetl.run WHERE job_id = %s", job.id
            )
            assert state not in {"failed", "cancelled"}, f"the measured job is {state}"
            return at

        wait_until(ended_at, timeout_s=timeout_s, what=f"the end of job {job.id}", every_s=0.1)
        return ended_at() - since

    def postgres_cpu_s(self) -> float:
        """Processor time that the cluster's live processes have used."""
        postmaster = int((self.home / "postgres" / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        ticks = 0
        for pid in [postmaster, *map(int, children)]:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except FileNotFoundError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def wal_bytes(self) -> int:
        return int(self.sql("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")[0][0])

    def table_bytes(self) -> int:
        return int(self.sql("SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.relkind = 'r' "
                            "AND c.relnamespace = 'geoetl'::regnamespace")[0][0])  # fmt: skip


@contextmanager
def running_site(folder: Path) -> Generator[Site]:
    home = folder / "geoetl"
    stack = Stack(home)
    try:
        stack.up()
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GEOETL_")}
        environ |= {"GEOETL_HOME": str(home), **TUNING}
        services = create_app(load_settings(environ, cwd=home)).services
        yield Site(home, environ, services, stack)
        services.close()
    finally:
        stack.down()
