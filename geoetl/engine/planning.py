"""Planning a stage of a run: the definition's function, its chord, frozen and ready to write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoetl.backend.app import OutboxCelery
from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.chains.compile import compile_stage
from geoetl.chains.definition import JobDefinition, JobSpec, Progress
from geoetl.config.settings import Settings
from geoetl.engine.stages import FrozenStage, freeze_stage
from geoetl.errors import SystemFault
from geoetl.models.refs import JobId, RunId

SQL = load_queries("geoetl.engine.sql", "jobs.sql")


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Everything a run's stages are planned from."""

    definition: JobDefinition[Any]
    spec: JobSpec
    job_id: JobId
    run_id: RunId
    facts: Mapping[str, Any]
    settings: Settings
    connections: Callable[[], Connection]

    def progress(self) -> Progress:
        """What a stage function is given."""
        return Progress(
            job_id=self.job_id,
            run_id=self.run_id,
            facts=self.facts,
            settings=self.settings,
            read_results=lambda stage: read_results(self.connections(), self.run_id, stage),
        )

    def freeze(self, app: OutboxCelery, no: int) -> FrozenStage:
        """Plan stage ``no`` (0, 1, …), outside of any transaction."""
        stage = self.definition.stages[no]
        calls = list(stage.plan(self.spec, self.progress()))
        compiled = compile_stage(
            app,
            run_id=self.run_id,
            no=no,
            stage=stage.name,
            calls=calls,
            max_fan_out=self.settings.limits.max_fan_out,
            queues=self.settings.broker.names,
        )
        return freeze_stage(app, compiled, run_id=self.run_id, no=no, name=stage.name, calls=calls)


def read_results(conn: Connection, run_id: RunId, stage: str) -> Sequence[Any]:
    """All results of a finished stage in index order.

    Raises:
        SystemFault: There is no such stage yet, or a result is missing: nothing is planned from half a stage.
    """
    rows = conn.execute(SQL["stage_results"], {"run_id": run_id, "name": stage}).fetchall()
    if not rows:
        raise SystemFault(
            f"Results of stage {stage!r} were asked for, but run {run_id} has not started it.",
            code="stage-not-run",
            hint="A stage may read the results of earlier stages of its job only.",
        )
    size = rows[0][0]
    results = [result for _, idx, state, result in rows if idx is not None and state == "succeeded"]
    if len(results) != size:
        raise SystemFault(
            f"Stage {stage!r} of run {run_id} has {len(results)} results of {size} tasks.", code="results-incomplete"
        )
    return results
