"""The one Celery wrapper around all cores: input from the claimed row, output checked, errors given a class."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from celery import Celery

from geoetl.backend.app import OutboxCelery
from geoetl.backend.ledger import Claim
from geoetl.backend.task import FencedTask, StopAttempt
from geoetl.engine.completion import complete_stage
from geoetl.engine.failures import out_of_memory
from geoetl.engine.rows import TaskFacts
from geoetl.engine.services import Services
from geoetl.errors import LeaseLost, OutOfMemory, SystemFault
from geoetl.models.base import Model
from geoetl.models.tasks import COMPLETE_STAGE, TaskName, contract_of
from geoetl.resources.allocation_limit import allocation_limit
from geoetl.resources.process_memory import reset_peak, return_free_memory
from geoetl.tasks.attempt import Attempt, Effects
from geoetl.tasks.context import TaskContext

#: An attempt that has held more leaves none of it to the next one of its process.
_LARGE_BYTES = 256 * 2**20

type Core[I: Model, O: Model] = Callable[[I, TaskContext], O]


def register_core[I: Model, O: Model](
    app: OutboxCelery, services: Services, effects: Effects, name: TaskName, core: Core[I, O]
) -> None:
    """Make ``core`` the Celery task ``name``.

    Raises:
        TypeError: The core's annotations are not those of the task table's contract.
    """
    contract = contract_of(name)
    annotations = list(core.__annotations__.values())
    if annotations[0] is not contract.input or annotations[-1] is not contract.output:
        raise TypeError(
            f"core {core.__module__}.{core.__name__} takes {annotations[0]} and returns {annotations[-1]}; "
            f"geoetl/models/tasks.py says {contract.input.__name__} and {contract.output.__name__}"
        )

    def run(self: FencedTask, *_: Any) -> dict[str, Any]:
        claim = self.claim
        facts: TaskFacts = claim.facts
        made = _attempt(services, effects, claim, lambda ctx: core(contract.input.model_validate(facts.input), ctx))  # pyright: ignore[reportArgumentType] - checked above
        if not isinstance(made, contract.output):
            raise SystemFault(f"{name} returned a {type(made).__name__}, not a {contract.output.__name__}.")
        return made.model_dump(mode="json")

    _add_task(app, str(name), run, time_limit_s=contract.time_limit_s)


def register_completion(app: OutboxCelery, services: Services) -> None:
    """Make the chord callback of every stage."""

    def run(self: FencedTask, *_: Any) -> dict[str, Any]:
        result, effect = complete_stage(services, self.claim)
        self.on_finish(effect)
        return result

    _add_task(app, COMPLETE_STAGE, run, time_limit_s=600)


def _add_task(app: Celery, name: str, run: Callable[..., Any], *, time_limit_s: int) -> None:
    # Not shared: a second app of this process must get cores with its own services, not these.
    app.task(run, name=name, bind=True, shared=False, time_limit=time_limit_s, ignore_result=False)


def _attempt(services: Services, effects: Effects, claim: Claim, work: Callable[[TaskContext], Model]) -> Model:
    facts: TaskFacts = claim.facts
    share = facts.share
    reset_peak()
    try:
        with ExitStack() as held, allocation_limit(share.allowed_bytes if share else None):
            attempt = Attempt(services, effects, claim, held)
            try:
                return work(attempt)
            finally:
                facts.measured.update(attempt.measure())
    except LeaseLost as exc:
        services.ledger.stop(claim)
        raise StopAttempt(str(exc)) from exc
    except (MemoryError, OutOfMemory) as exc:
        raise out_of_memory(facts, attempt=claim.attempt, found=str(exc) or "an allocation failed") from exc
    finally:
        if facts.measured.get("peak_rss_bytes", 0) > _LARGE_BYTES:
            return_free_memory()
        if share is not None:
            share.release()
