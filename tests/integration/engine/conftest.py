"""An engine on a fresh app database: real SQL, a broker in memory that nobody listens to, no worker."""

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from kombu.entity import Exchange, Queue

from geoetl.backend.app import OutboxCelery
from geoetl.backend.ledger import Claim
from geoetl.backend.relay import Relay
from geoetl.chains.definition import JobSpec
from geoetl.chains.noop import Noop
from geoetl.cli.main import main
from geoetl.config import DatabaseTarget, Settings
from geoetl.db.connections import DATABASE_ERRORS, ConnectionSource, SharedConnection
from geoetl.engine.completion import complete_stage
from geoetl.engine.ledger import LEDGER, StageLedger
from geoetl.engine.messages import TaskMessages
from geoetl.engine.progress import ProgressBoard
from geoetl.engine.reaper import Reaper
from geoetl.engine.rows import TaskFacts
from geoetl.engine.services import Services
from geoetl.engine.submit import Submission, submit
from geoetl.models.noop import CountInput, WorkInput
from geoetl.preflight.checks import Services as CheckServices

#: Nobody answers there: what is to be sent waits in the outbox, as the tests want it.
_BROKER = "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=k;SharedAccessKey=a2V5;UseDevelopmentEmulator=true;"
_ACCOUNT = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/a"


class NothingPublished:
    """The ledger of artefacts of jobs that publish nothing."""

    def is_published(self, run_id: str) -> bool:
        return False


@dataclass
class Engine:
    """The engine's parts, and what a worker would do with them, step by step."""

    services: Services
    reaper: Reaper
    claims: dict[str, Claim] = field(default_factory=dict)

    def submit(self, spec: JobSpec | None = None, **options: Any) -> Submission:
        return submit(self.services, spec or Noop(tasks=3), **options)

    def sql(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        cursor = self.services.connections().execute(query, params)
        return cursor.fetchall() if cursor.description else []

    def bells(self) -> list[str]:
        """Take the tasks that the outbox calls for now."""
        rows = self.sql("DELETE FROM geoetl.outbox WHERE not_before <= now() RETURNING id, ref")
        return [str(ref) for _, ref in sorted(rows)]

    def task_ids(self, stage_no: int = 0) -> list[str]:
        rows = self.sql(
            "SELECT id FROM geoetl.task WHERE stage_no = %s AND idx >= 0 ORDER BY created_at, idx", stage_no
        )
        return [str(row[0]) for row in rows]

    def callback_id(self, stage_no: int = 0) -> str:
        return str(self.sql("SELECT id FROM geoetl.task WHERE stage_no = %s AND idx = -1", stage_no)[0][0])

    def claim(self, task_id: str, owner: str = "w1:1") -> Claim | None:
        return self.services.ledger.claim(task_id, owner)

    def run(self, claim: Claim) -> bool:
        """What the shell does with a claim of a noop job."""
        facts: TaskFacts = claim.facts
        if facts.is_callback:
            result, effect = complete_stage(self.services, claim)
            return self.services.ledger.finish(claim, result, [effect])
        if facts.name == "noop.count":
            return self.services.ledger.finish(claim, {"tasks": CountInput(**facts.input).tasks}, [])
        return self.services.ledger.finish(claim, {"square": WorkInput(**facts.input).index ** 2}, [])

    def work_off(self) -> None:
        """Be the only worker until the outbox is silent."""
        while ids := self.bells():
            for task_id in ids:
                if claim := self.claim(task_id):
                    assert self.run(claim)

    def states(self) -> dict[str, Any]:
        """Run, stages and tasks in their states, of the newest run."""
        run_id, run_state = self.sql("SELECT id, state FROM geoetl.run ORDER BY sequence DESC LIMIT 1")[0]
        stages = self.sql("SELECT state, remaining FROM geoetl.stage WHERE run_id = %s ORDER BY no", run_id)
        tasks = self.sql("SELECT state FROM geoetl.task WHERE run_id = %s ORDER BY stage_no, idx", run_id)
        return {"run": run_state, "stages": stages, "tasks": [row[0] for row in tasks]}

    def start_work_stage(self, **options: Any) -> Submission:
        """A noop job whose fan-out has just started."""
        submission = self.submit(Noop(**{"tasks": 3, **options}))
        for stage in ("count", "complete"):
            (task_id,) = self.bells()
            claim = self.claim(task_id)
            assert claim, stage
            assert self.run(claim)
        return submission


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    status: int
    text: str
    """Of both streams, in the order of a terminal."""


@pytest.fixture
def geoetl(app_db: DatabaseTarget, tmp_path: Path) -> Callable[..., Said]:
    """Run the command on the database of the test."""
    environ = {
        "LOGNAME": "ada",
        "GEOETL_HOME": str(tmp_path),
        "GEOETL_BROKER__CONNECTION_STRING": _BROKER,
        "GEOETL_STORAGE__BRONZE__CONNECTION_STRING": _ACCOUNT,
        "GEOETL_STORAGE__SILVER__CONNECTION_STRING": _ACCOUNT,
    }
    for database, dbname in (("APP", app_db.dbname), ("BUSINESS", "other")):
        target = {"HOST": app_db.host, "PORT": str(app_db.port), "USER": app_db.user, "DBNAME": dbname}
        environ |= {f"GEOETL_DATABASE__{database}__{name}": value for name, value in target.items()}

    def run(*words: str) -> Said:
        shown, status = io.StringIO(), 0
        with (
            mock.patch.dict(os.environ, environ, clear=True),
            mock.patch.object(sys, "argv", ["geoetl", *words]),
            contextlib.redirect_stdout(shown),
            contextlib.redirect_stderr(shown),
        ):
            try:
                main()
            except SystemExit as end:
                status = int(end.code or 0)
        return Said(status, shown.getvalue())

    return run


@pytest.fixture
def make_engine(app_db: DatabaseTarget) -> Generator[Callable[..., Engine]]:
    sources: list[ConnectionSource] = []

    def make(lease_s: float = 30.0, **queues: str) -> Engine:
        connections = ConnectionSource(app_db, application_name="engine-test")
        sources.append(connections)
        settings = Settings(
            database={"app": app_db, "business": app_db.model_copy(update={"dbname": "other"})},
            storage={"bronze": {"connection_string": _ACCOUNT}, "silver": {"connection_string": _ACCOUNT}},
            broker={
                "connection_string": "Endpoint=sb://127.0.0.1:1;UseDevelopmentEmulator=true;",
                **{kind: {"name": name} for kind, name in queues.items()},
            },
        )
        app = OutboxCelery(
            "engine-test",
            broker="memory://",
            connections=connections,
            database_errors=DATABASE_ERRORS,
            set_as_current=False,
        )
        exchange = Exchange("geoetl", type="direct")
        app.conf.task_queues = [Queue(name, exchange, routing_key=name) for name in settings.broker.names.values()]
        ledger = StageLedger(connections, lease_s=lease_s)
        app.ledgers[LEDGER] = ledger
        services = Services(
            settings=settings,
            app=app,
            connections=connections,
            pulse=SharedConnection(app_db, application_name="engine-test"),
            progress=ProgressBoard(),
            ledger=ledger,
            relay=Relay(app, sources={"task": TaskMessages()}),
            checks=CheckServices(store=None, collections=None),  # type: ignore[arg-type]
            published=NothingPublished(),
            store=None,  # type: ignore[arg-type]
            catalogue=None,  # type: ignore[arg-type]
            close=connections.close,
        )
        # The tests read the outbox themselves.
        services.relay.drain = lambda: 0  # type: ignore[method-assign]
        return Engine(services, Reaper(every_s=1.0))

    yield make
    for source in sources:
        source.close()


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


@pytest.fixture
def expire_leases(engine: Engine) -> Callable[[], None]:
    def expire() -> None:
        engine.sql("UPDATE geoetl.task SET lease_until = now() - interval '1 second' WHERE state = 'running'")

    return expire


def eventually(condition: Callable[[], Any], *, within_s: float = 60.0) -> Any:
    """The first truthy answer."""
    until = time.monotonic() + within_s
    while not (answer := condition()):
        assert time.monotonic() < until, f"not within {within_s} s"
        time.sleep(0.02)
    return answer


def claim_work(engine, index=0, owner="w1:1") -> Claim:
    claim = engine.claim(engine.task_ids(1)[index], owner)
    assert claim is not None
    return claim
