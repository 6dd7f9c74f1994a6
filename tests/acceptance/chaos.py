"""Faults of the services, and what every scenario must come to."""

import contextlib
import json
import os
import signal
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any

from geoetl.chains.noop import Noop
from geoetl.db.connections import DatabaseUnavailable, connect
from geoetl.engine.invariants import violations
from geoetl.local.emulator import Emulator
from geoetl.local.ports import HOST, Ports
from geoetl.local.postgres import PostgresCluster
from geoetl.local.processes import Process
from geoetl.worker.client import Job, submit
from tests.acceptance.conftest import Installation, eventually

_LEADER = """
SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database()
  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('geoetl.relay', 0)
"""


@dataclass
class Faults:
    """What can be done to the stack of an installation."""

    installation: Installation

    def __post_init__(self) -> None:
        home = self.installation.home
        self._postgres_record = home / "run" / "postgres.json"
        self.postgres = PostgresCluster(
            folder=home / "postgres", log=home / "logs" / "postgres.log", record=self._postgres_record
        )
        self._ports = Ports(home / "ports.json")
        self.emulator = Emulator(
            folder=home / "emulator",
            ports=self._ports,
            log=home / "logs" / "emulator.log",
            record=home / "run" / "emulator.json",
        )

    # ------------------------------------------------------------------ PostgreSQL
    def restart_postgres(self) -> None:
        """As ``pg_ctl restart -m immediate`` does: no session is told, recovery follows."""
        self.stop_postgres()
        self.postgres.start()

    def stop_postgres(self) -> None:
        """At once; ``self.postgres.start()`` brings it back."""
        process = Process.read(self._postgres_record)
        assert process is not None
        os.kill(process.pid, signal.SIGQUIT)
        assert process.wait(60)

    def kill_backends(self) -> int:
        """End every session of workers and relays, in both databases; how many. The test's own is left alone."""
        mine = self.installation.services.connections().info.backend_pid
        return self.as_superuser(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            f" WHERE application_name LIKE 'geoetl%' AND backend_type = 'client backend' AND pid <> {mine}"
        )[0][0]

    def as_superuser(self, query: str) -> list[tuple[Any, ...]]:
        with connect(self.postgres.target(), application_name="chaos") as connection:
            cursor = connection.execute(query)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def relay_leader(self) -> int | None:
        """Number of the session that leads the relays."""
        with contextlib.suppress(DatabaseUnavailable):
            for (pid,) in self.installation.sql(_LEADER):
                return pid
        return None

    # ------------------------------------------------------------------ the broker
    def control(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The emulator's control API."""
        url = f"http://{HOST}:{self._ports.of('emulator')}/$control/{command}"
        body = None if command == "counts" else json.dumps(arguments).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=60) as answer:
            return json.load(answer)

    def messages(self, queue: str = "standard") -> int:
        return self.control("counts")["queues"].get(queue, {}).get("active", 0)

    def wipe_broker(self) -> None:
        """Everything it held is gone, its queues too."""
        self.emulator.stop()
        self.emulator.remove()
        self.emulator.start()


def noop(installation: Installation, *, tasks: int = 24, seconds: float = 0.3) -> Job:
    """Submit a job of a name of its own."""
    return submit(Noop(tasks=tasks, seconds=seconds, name=uuid.uuid4().hex), services=installation.services)


def await_progress(job: Job, *, succeeded: int = 0, running: int = 0, within_s: float = 60.0) -> None:
    """Wait until that many tasks of the second stage are that far."""

    def is_there() -> bool:
        states = [task.state for task in job.tasks() if task.stage_no == 1]
        return states.count("succeeded") >= succeeded and states.count("running") >= running

    eventually(is_there, within_s=within_s, what=f"{succeeded} succeeded and {running} running")


def expect_exactly_once(installation: Installation, job: Job, *, timeout_s: float = 110) -> None:
    """The job completes, with exactly one accepted result a task, at rest, and no invariant broken."""
    result = job.wait(timeout_s=timeout_s)
    spec = job.status().spec
    if job.status().summary.job_type == "noop":
        assert result == {"sum_of_squares": sum(n * n for n in range(spec["tasks"]))}
    assert job.submission is not None
    run_id = job.submission.run_id
    wrong = installation.sql(
        "SELECT t.stage_no, t.idx, count(e.id) FROM geoetl.task t"
        " LEFT JOIN geoetl.event e ON e.task_id = t.id AND e.what = 'task succeeded'"
        " WHERE t.run_id = %s GROUP BY t.id HAVING count(e.id) <> 1",
        run_id,
    )
    assert wrong == [], "tasks whose accepted results are not exactly one"
    assert violations(installation.services.connections()) == []
    at_rest = "SELECT count(*) FROM geoetl.task WHERE run_id = %s AND state <> 'succeeded'"
    assert installation.sql(at_rest, run_id) == [(0,)]
    bells = "SELECT count(*) FROM geoetl.outbox o JOIN geoetl.task t ON t.id = o.ref WHERE t.run_id = %s"
    eventually(lambda: installation.sql(bells, run_id) == [(0,)], what="an empty outbox")
