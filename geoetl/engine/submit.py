"""Accepting a job: checks first, then one transaction, then the doorbell."""

import getpass
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from celery.utils.log import get_logger
from psycopg.types.json import Jsonb

from geoetl.backend.queries import load_queries
from geoetl.chains.definition import JobDefinition, JobSpec
from geoetl.chains.registry import definition_of
from geoetl.engine.planning import RunPlan
from geoetl.engine.services import Services
from geoetl.engine.stages import FrozenStage, write_stage
from geoetl.errors import InvalidInput
from geoetl.models.refs import JobId, RunId
from geoetl.models.states import JobState
from geoetl.preflight.checks import CheckedFacts, run_checks

log = get_logger(__name__)
SQL = load_queries("geoetl.engine.sql", "jobs.sql")


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a submit."""

    job_id: JobId
    run_id: RunId
    run_no: int
    outcome: Literal["accepted", "already running", "already done", "ended before"]
    """``ended before``: the job failed or was cancelled; nothing was started."""
    state: JobState
    hint: str = ""


def identify(definition: JobDefinition[Any], spec: JobSpec, checked: CheckedFacts) -> JobId:
    """The job's id: a hash of all that makes its products what they are, the sources' versions included."""
    identity = {
        "job_type": definition.job_type,
        "version": definition.version,
        "spec": spec.model_dump(mode="json"),
        "sources": checked.versions,
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return JobId(hashlib.sha256(canonical.encode()).hexdigest()[:32])


def submit(services: Services, spec: JobSpec, *, force: bool = False) -> Submission:
    """Check, record and start a job; an equal job that is known already is returned instead.

    Args:
        services: The process's parts.
        spec: What to do.
        force: Run again although the same job is done; the earlier runs stay in the history.

    Raises:
        PreflightFailed: With every finding; nothing was stored or sent.
        TransientError: Something could not be checked now.
    """
    definition = definition_of(spec.job_type)
    checked = run_checks(definition.checks, spec, services.checks)
    job_id = identify(definition, spec, checked)
    run_id = RunId(str(uuid4()))
    plan = RunPlan(definition, spec, run_id, checked.facts, services.settings, services.connections)
    first = plan.freeze(services.app, 0)
    submission = _record(services, definition, spec, checked, job_id, first, force=force)
    if submission.outcome == "accepted":
        ring(services)
    return submission


def _record(
    services: Services,
    definition: JobDefinition[Any],
    spec: JobSpec,
    checked: CheckedFacts,
    job_id: JobId,
    first: FrozenStage,
    *,
    force: bool,
) -> Submission:
    conn = services.connections()
    by = user()
    with conn.transaction():
        job = {
            "id": job_id,
            "job_type": definition.job_type,
            "version": definition.version,
            "spec": Jsonb(spec.model_dump(mode="json")),
            "facts": Jsonb(dict(checked.facts)),
            "submitted_by": by,
        }
        conn.execute(SQL["add_job"], job)
        row = conn.execute(SQL["lock_job"], {"id": job_id}).fetchone()
        assert row is not None
        current_run, run_no, state = row
        if current_run is not None:
            known = _known(services, definition, job_id, RunId(str(current_run)), run_no, JobState(state), force=force)
            if known is not None:
                return known
        run = {
            "run_id": first.run_id,
            "job_id": job_id,
            "stage_count": len(definition.stages),
            "facts": job["facts"],
            "submitted_by": by,
        }
        made = conn.execute(SQL["add_run"], run).fetchone()
        assert made is not None
        write_stage(conn, first)
    return Submission(job_id, first.run_id, made[0], "accepted", JobState.QUEUED)


def _known(
    services: Services,
    definition: JobDefinition[Any],
    job_id: JobId,
    run_id: RunId,
    run_no: int,
    state: JobState,
    *,
    force: bool,
) -> Submission | None:
    """What to answer for a job that has run before; None: start a new run."""
    if not state.is_final:
        if force:
            raise InvalidInput(
                f"Job {job_id} is {state} (run {run_no}); a new run would race with it.",
                code="job-running",
                hint=f"Wait for it (geoetl job wait {job_id}) or cancel it first (geoetl job cancel {job_id}).",
            )
        return Submission(job_id, run_id, run_no, "already running", state)
    if force:
        return None
    if state is JobState.COMPLETED:
        if definition.is_published and not services.published.is_published(run_id):
            return None
        return Submission(job_id, run_id, run_no, "already done", state, "Submit with force to run it again.")
    return Submission(
        job_id,
        run_id,
        run_no,
        "ended before",
        state,
        f"geoetl job resume {job_id} goes on from the failed stage; submit with force starts anew.",
    )


def ring(services: Services) -> None:
    """Publish what was just committed. A broker that is away does not undo an accepted job: any relay sends later."""
    try:
        services.relay.drain()
    except Exception:
        # Whatever the broker's client raises: the job is committed, and saying otherwise would be wrong.
        log.warning("job accepted, but its messages could not be sent yet; a relay will", exc_info=True)


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no passwd entry, as in many containers
        return ""
