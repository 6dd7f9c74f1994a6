"""Accepting a job: checks first, then one transaction, then the doorbell."""

import getpass
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast
from uuid import uuid4

from celery.utils.log import get_logger
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from geoetl.backend.dispatch import MessagesRefused
from geoetl.backend.queries import load_queries
from geoetl.chains.definition import JobDefinition, JobSpec
from geoetl.chains.registry import definition_of
from geoetl.engine.planning import RunPlan
from geoetl.engine.services import Services
from geoetl.engine.stages import FrozenStage, write_stage
from geoetl.errors import Finding, InvalidInput
from geoetl.models.refs import JobId, RunId
from geoetl.models.states import JobState
from geoetl.preflight.runner import run_checks

log = get_logger(__name__)
SQL = load_queries("geoetl.engine.sql", "jobs.sql")


#: Ten years: a slip of the keyboard is refused before the calendar ends.
MAX_DEADLINE_S = 10 * 366 * 86400.0
_BROKER_AWAY = "The broker cannot be reached now; the job starts when a worker or `geoetl relay` reaches it again."
_QUEUE_REFUSES = (
    "They are kept, and are sent within half a minute after the queue takes messages again, while a worker or"
    " `geoetl relay` runs; `geoetl doctor` looks at the queues."
)


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


#: Facts of a spec's parameters as JSON: by check name, then by parameter.
type Facts = Mapping[str, Mapping[str, Any]]


def as_json(facts: Mapping[str, Mapping[str, object]]) -> Facts:
    """What the checks learned, as it is stored with the job."""
    return {
        check: {
            parameter: fact.model_dump(mode="json") if isinstance(fact, BaseModel) else fact
            for parameter, fact in by_parameter.items()
        }
        for check, by_parameter in facts.items()
    }


def versions(facts: Facts) -> dict[str, str]:
    """ETags of the blobs that a spec names, by parameter: a source that was replaced makes another job."""
    return {
        parameter: etag
        for by_parameter in facts.values()
        for parameter, fact in by_parameter.items()
        if isinstance(fact, Mapping) and (etag := _etag(cast("Mapping[str, Any]", fact)))
    }


def _etag(fact: Mapping[str, Any]) -> str | None:
    return fact.get("etag") or (fact.get("blob") or {}).get("etag")


def identify(definition: JobDefinition[Any], spec: JobSpec, facts: Facts) -> JobId:
    """The job's id: a hash of all that makes its products what they are, the sources' versions included."""
    identity = {
        "job_type": definition.job_type,
        "version": definition.version,
        "spec": spec.model_dump(mode="json"),
        "sources": versions(facts),
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return JobId(hashlib.sha256(canonical.encode()).hexdigest()[:32])


def submit(services: Services, spec: JobSpec, *, force: bool = False, deadline_s: float | None = None) -> Submission:
    """Check, record and start a job; an equal job that is known already is returned instead.

    Args:
        services: The process's parts.
        spec: What to do.
        force: Run again although the same job is done; the earlier runs stay in the history.
        deadline_s: Cancel the job if it has not ended after so many seconds. Not part of what makes a job the same: one
            that runs already keeps its own.

    Raises:
        InvalidInput: The deadline is not in the future.
        PreflightFailed: With every finding; nothing was stored or sent.
        TransientError: Something could not be checked now.
    """
    if deadline_s is not None and not 0 < deadline_s <= MAX_DEADLINE_S:
        raise InvalidInput(
            f"A deadline {deadline_s:g} s after the submit cannot be kept.",
            code="bad-deadline",
            hint="Give the time that the job may take, for example 2h; ten years are the most.",
        )
    plan, _ = prepare(services, spec)
    submission = _record(services, plan, plan.freeze(services.app, 0), force=force, deadline_s=deadline_s)
    if submission.outcome == "accepted" and (hint := ring(services)):
        return replace(submission, hint=hint)
    if submission.outcome == "already running" and deadline_s is not None:
        return replace(submission, hint="It runs already, and keeps the deadline that it has.")
    return submission


def prepare(services: Services, spec: JobSpec) -> tuple[RunPlan, tuple[Finding, ...]]:
    """Run the checks of a job, and everything else that comes before it is written.

    Returns:
        A plan for a new run, and the findings that are only warnings.

    Raises:
        PreflightFailed, TransientError: See ``submit``.
    """
    definition = definition_of(spec.job_type)
    report = run_checks(definition.checks, spec, services.checks)
    report.require_accepted()
    facts = as_json(report.facts)
    plan = RunPlan(
        definition=definition,
        spec=spec,
        job_id=identify(definition, spec, facts),
        run_id=RunId(str(uuid4())),
        facts=facts,
        settings=services.settings,
        connections=services.connections,
    )
    return plan, report.findings


def _record(
    services: Services, draft: RunPlan, first: FrozenStage, *, force: bool, deadline_s: float | None
) -> Submission:
    """Find the job, or write it with its run and first stage: one transaction."""
    conn = services.connections()
    facts = Jsonb(dict(draft.facts))
    with conn.transaction():
        job = {
            "id": draft.job_id,
            "job_type": draft.definition.job_type,
            "version": draft.definition.version,
            "spec": Jsonb(draft.spec.model_dump(mode="json")),
            "facts": facts,
            "submitted_by": user(),
        }
        conn.execute(SQL["add_job"], job)
        while conn.execute(SQL["lock_job"], {"job_id": draft.job_id}).fetchone() is None:
            # It was there, and while this waited for its lock it was pruned.
            conn.execute(SQL["add_job"], job)
        row = conn.execute(SQL["current_run"], {"job_id": draft.job_id}).fetchone()
        if row is not None:
            known = Submission(draft.job_id, RunId(str(row[0])), row[1], "already running", JobState(row[2]))
            answer = _answer(services, draft, known, force=force)
            if answer is not None:
                return answer
        run = {
            "run_id": first.run_id,
            "job_id": draft.job_id,
            "stage_count": len(draft.definition.stages),
            "facts": facts,
            "submitted_by": job["submitted_by"],
            "deadline_s": deadline_s,
        }
        made = conn.execute(SQL["add_run"], run).fetchone()
        assert made is not None
        write_stage(conn, first)
    return Submission(draft.job_id, first.run_id, made[0], "accepted", JobState.QUEUED)


def _answer(services: Services, draft: RunPlan, known: Submission, *, force: bool) -> Submission | None:
    """What to answer for a job that has run before; None: start a new run."""
    if not known.state.is_final:
        if force:
            raise InvalidInput(
                f"Job {known.job_id} is {known.state} (run {known.run_no}); a new run would race with it.",
                code="job-running",
                hint=f"Wait for it (`geoetl job wait {known.job_id}`), or cancel it first.",
            )
        return known
    if force:
        return None
    if known.state is JobState.COMPLETED:
        if draft.definition.is_published and not services.published.is_published(known.run_id):
            return None
        return replace(known, outcome="already done", hint="Submit with force to run it again.")
    hint = f"`geoetl job resume {known.job_id}` goes on from the failed stage; submit with force starts anew."
    return replace(known, outcome="ended before", hint=hint)


def ring(services: Services) -> str:
    """Publish what was just committed.

    Returns:
        What keeps it back, if anything does: the job is accepted, and any relay sends later.
    """
    try:
        services.relay.drain()
    except MessagesRefused as exc:
        return f"{exc} {_QUEUE_REFUSES}"
    except Exception as exc:
        # Whatever the broker's client raises: the job is committed, and saying otherwise would be wrong.
        log.info("job accepted, but its messages could not be sent yet; a relay will: %r", exc)
        return _BROKER_AWAY
    return ""


def user() -> str:
    """Who asks, for the audit trail; empty where the system does not say."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no passwd entry, as in many containers
        return ""
