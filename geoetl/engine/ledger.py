"""The ledger of stage tasks: claim, finish, retry, fail and lost, each one transaction on the app database."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from celery.utils.log import get_task_logger
from psycopg.types.json import Jsonb
from structlog.contextvars import bound_contextvars

from geoetl.backend.ledger import Claim, Connection, FinishEffect
from geoetl.backend.queries import load_queries
from geoetl.engine import failures
from geoetl.engine.revoke import revoke
from geoetl.engine.rows import TaskFacts
from geoetl.models.refs import JobId, RunId
from geoetl.resources.memory_room import MemoryRoom, NoRoom, Share
from geoetl.telemetry import log_attempt, log_no_attempt

log = get_task_logger(__name__)
SQL = load_queries("geoetl.engine.sql", "tasks.sql")
JOBS = load_queries("geoetl.engine.sql", "jobs.sql")

#: The word in a message's ``ledger`` header, and the outbox's ``source``.
LEDGER = "stage"
#: Seconds for which a process waits for memory before it gives the message back. Long enough that a queue of large
#: tasks is not stirred all the time, short beside any time limit, which goes on meanwhile.
WAIT_FOR_MEMORY_S = 20.0
#: Seconds for which a process whose scratch folder is broken keeps a message before it gives the task back: it must not
#: take more of them than the workers that could do the work.
BROKEN_FOLDER_S = 5.0
#: Seconds, from and to, until a task is rung for again that was not begun.
_POSTPONE_S = (5.0, 10.0)


class StageLedger:
    """State of the tasks of stages (docs/explanation/engine.md has the protocol)."""

    def __init__(
        self,
        connections: Callable[[], Connection],
        *,
        lease_s: float,
        room: MemoryRoom | None = None,
        explain_loss: Callable[[BaseException], BaseException] = lambda error: error,
    ) -> None:
        """Keep the tasks that ``connections`` lead to.

        Args:
            connections: To the app database.
            lease_s: How long a claim holds without a heartbeat.
            room: Shares out the memory of this machine or container; None: nothing is held back.
            explain_loss: Names why a process was lost, where its end alone does not say.
        """
        self._connections = connections
        self.lease_s = lease_s
        self._room = room
        self._explain_loss = explain_loss

    def claim(self, task_id: str, owner: str) -> Claim | None:
        """Start the next attempt of a task that is due, when there is memory for it.

        What this thread logs until its next call names the attempt.
        """
        log_no_attempt()
        claim = self._claim_within_memory(task_id, owner)
        if claim is None:
            log.info("nothing to claim: done, owned by another worker, closed or not yet due task=%s", task_id)
            return None
        facts: TaskFacts = claim.facts
        log_attempt(job=facts.job_id, run=facts.run_id, stage=facts.stage_name, task=task_id, attempt=claim.attempt)
        return claim

    def _claim_within_memory(self, task_id: str, owner: str) -> Claim | None:
        if self._room is None:
            return self._claim(task_id, owner, most_bytes=None)
        # Most tasks need no memory to speak of, and are claimed by this one statement.
        if claim := self._claim(task_id, owner, most_bytes=0):
            return claim
        wanted = self._connections().execute(SQL["wanted"], {"id": task_id}).fetchone()
        if wanted is None:
            return None
        try:
            share = self._room.wait(wanted[0], within_s=WAIT_FOR_MEMORY_S)
        except OSError as exc:
            self._leave_to_others(task_id, owner, self._room.folder, exc)
            return None
        if isinstance(share, NoRoom):
            log.warning("no memory for a task, it is rung for later task=%s: %s", task_id, share)
            self._postpone(task_id, owner, "task waits for memory", asdict(share))
            return None
        claim = None
        try:
            claim = self._claim(task_id, owner, most_bytes=None, share=share)
        finally:
            if claim is None:
                share.release()
        return claim

    def _leave_to_others(self, task_id: str, owner: str, folder: Path, error: OSError) -> None:
        log.error(
            "the scratch folder cannot be used, its tasks are left to other workers folder=%s task=%s: %s."
            " Mend it, or set GEOETL_RASTER__SCRATCH_DIR to a folder that can be written",
            folder,
            task_id,
            error,
        )
        time.sleep(BROKEN_FOLDER_S)  # in a child that can do nothing else with it
        why = {"folder": str(folder), "error": str(error)}
        self._postpone(task_id, owner, "task waits for a scratch folder", why)

    def _postpone(self, task_id: str, owner: str, what: str, why: Mapping[str, Any]) -> None:
        delay_s = random.uniform(*_POSTPONE_S)  # noqa: S311 - not a secret
        params = {"id": task_id, "worker": owner, "delay_s": delay_s, "what": what, "why": Jsonb(dict(why))}
        self._connections().execute(SQL["postpone"], params)

    def _claim(self, task_id: str, owner: str, *, most_bytes: int | None, share: Share | None = None) -> Claim | None:
        conn = self._connections()
        params = {"id": task_id, "worker": owner, "lease_s": self.lease_s, "most_bytes": most_bytes}
        row = conn.execute(SQL["claim"], params).fetchone()
        if row is None:
            return None
        attempt, max_attempts, run_id, stage_no, stage_name, idx, name, label, time_limit_s, given, *of_run = row
        job_id, run_sequence, run_state, memory_bytes, last_error, spared = of_run
        if run_state == "queued":
            conn.execute(SQL["mark_running"], {"run_id": run_id})
        facts = TaskFacts(
            max_attempts=max_attempts,
            run_id=RunId(str(run_id)),
            stage_no=stage_no,
            stage_name=stage_name,
            idx=idx,
            name=name,
            label=label,
            time_limit_s=time_limit_s,
            input=given,
            job_id=JobId(job_id),
            run_sequence=run_sequence,
            memory_bytes=memory_bytes,
            last_error=last_error,
            spared=spared,
            share=share,
        )
        return Claim(task_id, attempt, facts)

    def finish(self, claim: Claim, result: Any, effects: list[FinishEffect]) -> bool:
        """Accept the result of the attempt that still owns the task; a callback also passes R1's gate."""
        facts: TaskFacts = claim.facts
        is_accepted = self._finish(claim, result, effects)
        if is_accepted:
            log.info("%s succeeded in %.3f s: %s", facts.name, time.monotonic() - facts.claimed_at, facts.label)
        return is_accepted

    def _finish(self, claim: Claim, result: Any, effects: list[FinishEffect]) -> bool:
        facts: TaskFacts = claim.facts
        conn = self._connections()
        if not effects and not facts.is_callback:
            return self._accept(conn, claim, result)  # one statement is a transaction: two round trips less
        with conn.transaction():
            if facts.is_callback and not self._may_complete(conn, claim):
                return False
            if not self._accept(conn, claim, result):
                return False
            for effect in effects:
                effect(conn)
        return True

    def _accept(self, conn: Connection, claim: Claim, result: Any) -> bool:
        facts: TaskFacts = claim.facts
        row = conn.execute(
            SQL["finish"],
            {
                "id": claim.task_id,
                "attempt": claim.attempt,
                "result": Jsonb(result),
                "job_id": facts.job_id,
                "measured": Jsonb(facts.measured),
            },
        ).fetchone()
        return row is not None and row[0] != 0

    def _may_complete(self, conn: Connection, claim: Claim) -> bool:
        facts: TaskFacts = claim.facts
        row = conn.execute(JOBS["lock_run"], {"run_id": facts.run_id}).fetchone()
        if row is not None and (row[0], row[1]) == (facts.stage_no, "completing"):
            return True
        # Cancelled, failed or resumed meanwhile: the plan is dropped.
        conn.execute(SQL["cancel_attempt"], {"id": claim.task_id, "attempt": claim.attempt})
        return False

    def retry_delay(self, claim: Claim, error: BaseException) -> float | None:
        """Backoff with full jitter while attempts are left and the error may pass."""
        facts: TaskFacts = claim.facts
        spared = failures.spared(error, before=facts.spared)
        if spared > facts.spared:
            return failures.backoff_s(spared)
        if claim.attempt >= facts.max_attempts or not failures.is_retryable(error):
            return None
        return failures.backoff_s(claim.attempt)

    def retry(self, claim: Claim, error: BaseException, delay_s: float) -> bool:
        """Back to ready, with an outbox row that waits until the attempt is due; out of attempts it fails."""
        facts: TaskFacts = claim.facts
        failure = failures.record(error)
        spared = failures.spared(error, before=facts.spared)
        if spared:
            failure["spared"] = spared
        if not self._retry(claim.task_id, claim.attempt, failure, delay_s, more=int(spared > facts.spared)):
            return self.fail(claim, error, None)
        log.warning("failed, is tried again in %.1f s: %s", delay_s, failure["message"])
        return True

    def _retry(self, task_id: str, attempt: int, error: dict[str, Any], delay_s: float, *, more: int = 0) -> bool:
        params = {"id": task_id, "attempt": attempt, "error": Jsonb(error), "delay_s": delay_s, "more": more}
        row = self._connections().execute(SQL["retry"], params).fetchone()
        return row is not None and row[0] > 0

    def fail(self, claim: Claim, error: BaseException, traceback: str | None) -> bool:
        """End the task, its stage and its run."""
        return fail_attempt(
            self._connections(),
            claim.task_id,
            claim.attempt,
            failures.record(error, traceback=traceback),
            expired=False,
        )

    def lost(self, task_id: str, owner: str, error: BaseException) -> None:
        """Give back, or fail, what a dead process was working on: fenced by the process and its attempt."""
        conn = self._connections()
        row = conn.execute(SQL["owned_attempt"], {"id": task_id, "worker": owner}).fetchone()
        if row is None:
            return
        attempt, max_attempts, job_id, run_id, stage = row
        error = self._explain_loss(error)
        failure = failures.record(error)
        with bound_contextvars(job=job_id, run=str(run_id), stage=stage, task=task_id, attempt=attempt):
            if failures.is_retryable(error) and attempt < max_attempts:
                delay_s = failures.backoff_s(attempt)
                self._retry(task_id, attempt, failure, delay_s)
                log.warning("lost with its process, is tried again in %.1f s: %s", delay_s, failure["message"])
            else:
                fail_attempt(conn, task_id, attempt, failure, expired=False)
                log.error("lost with its process: %s", failure["message"])

    def revoked(self, task_id: str, *, age_s: float, owner: str | None) -> bool:
        """Cancel the task's job (see ``geoetl.engine.revoke``); False where it has been resumed since."""
        return revoke(self._connections(), task_id, age_s=age_s, owner=owner)

    def stop(self, claim: Claim) -> None:
        """An attempt that was told to stop gives its task up."""
        self._connections().execute(SQL["cancel_attempt"], {"id": claim.task_id, "attempt": claim.attempt})

    def must_stop(self, claim: Claim) -> bool:
        """Whether the attempt has lost its task, or its stage is closed."""
        row = self._connections().execute(SQL["must_stop"], {"id": claim.task_id, "attempt": claim.attempt}).fetchone()
        return row is None or bool(row[0])


def fail_attempt(conn: Connection, task_id: str | UUID, attempt: int, error: dict[str, Any], *, expired: bool) -> bool:
    """Fail one attempt; ``expired``: only while its lease has run out. Whether it was still the owner."""
    with conn.transaction():
        conn.execute(SQL["lock_run_of_task"], {"id": task_id})
        row = conn.execute(
            SQL["fail"], {"id": task_id, "attempt": attempt, "error": Jsonb(error), "expired": expired}
        ).fetchone()
    return row is not None and row[0] > 0
