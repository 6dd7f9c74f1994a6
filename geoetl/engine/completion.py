"""The chord callback: the last task has turned out the lights, now the next stage starts or the job is complete."""

from typing import Any

from psycopg.types.json import Jsonb

from geoetl.backend.ledger import Claim, Connection, FinishEffect
from geoetl.backend.queries import load_queries
from geoetl.chains.registry import DEFINITIONS
from geoetl.engine.planning import RunPlan
from geoetl.engine.rows import TaskFacts
from geoetl.engine.services import Services
from geoetl.engine.stages import write_stage
from geoetl.errors import UnknownVersion

SQL = load_queries("geoetl.engine.sql", "jobs.sql")


def complete_stage(services: Services, claim: Claim) -> tuple[dict[str, Any], FinishEffect]:
    """Plan what follows a stage.

    Returns:
        The callback's own result, and what its finishing transaction must do besides accepting it.

    Raises:
        UnknownVersion: This worker's release does not know the job's; another worker may.
    """
    facts: TaskFacts = claim.facts
    plan = _plan_of(services, facts)
    closing = {"run_id": facts.run_id, "no": facts.stage_no}
    if facts.stage_no + 1 < len(plan.definition.stages):
        following = plan.freeze(services.app, facts.stage_no + 1)

        def start_next(conn: Connection) -> None:
            conn.execute(SQL["complete_stage"], closing)
            write_stage(conn, following)

        return {"next": following.name, "tasks": following.size}, start_next

    result = plan.definition.summarise(plan.spec, plan.progress())

    def complete_run(conn: Connection) -> None:
        conn.execute(SQL["complete_stage"], closing)
        conn.execute(SQL["complete_run"], {**closing, "result": Jsonb(result)})

    return {"next": None}, complete_run


def _plan_of(services: Services, facts: TaskFacts) -> RunPlan:
    row = services.connections().execute(SQL["run_to_plan"], {"run_id": facts.run_id}).fetchone()
    assert row is not None, "a run with tasks exists"
    _, job_type, version, spec, preflight_facts, _ = row
    definition = DEFINITIONS.get(job_type)
    if definition is None or definition.version != version:
        knows = f"plans version {definition.version}" if definition else "does not know that type"
        raise UnknownVersion(
            f"A job of type {job_type!r} was submitted in version {version}; this worker {knows}.",
            hint=f"Start a worker that knows version {version}, then `geoetl job retry`; or submit with --force.",
        )
    return RunPlan(
        definition=definition,
        spec=definition.spec.model_validate(spec),
        job_id=facts.job_id,
        run_id=facts.run_id,
        facts=preflight_facts,
        settings=services.settings,
        connections=services.connections,
    )
