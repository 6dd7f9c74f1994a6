"""What a component check says, and how checks run: all at once, none able to hold up the others."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from typing import Literal

from geoetl.errors import GeoEtlError
from geoetl.telemetry import redact

type State = Literal["healthy", "degraded", "unhealthy"]

#: How long a check may take before the others' answers are given without it, in seconds.
LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One component's answer."""

    component: str
    """For example ``storage bronze``."""
    state: State
    detail: str
    """What was tried and found."""
    cause: str = ""
    """Stable kebab-case name of what is wrong; empty in health."""
    hint: str = ""
    """What to do about it."""
    seconds: float = 0.0


#: Asks one component. May yield several answers; raises ``GeoEtlError`` for "it does not work, and this is why".
type ComponentCheck = Callable[[], Iterator[Diagnosis]]


def diagnose(checks: Mapping[str, ComponentCheck], *, limit_s: float = LIMIT_S) -> tuple[Diagnosis, ...]:
    """Run every check, all at the same time; the answers in the order of the checks.

    Args:
        checks: By component.
        limit_s: After this a check that has not answered counts as unhealthy.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, len(checks)), thread_name_prefix="health")
    futures = {name: pool.submit(_ask, name, check) for name, check in checks.items()}
    until = time.monotonic() + limit_s
    answers: list[Diagnosis] = []
    for name, future in futures.items():
        try:
            answers += future.result(timeout=max(0.0, until - time.monotonic()))
        except FutureTimeout:
            answers.append(
                Diagnosis(
                    name,
                    "unhealthy",
                    f"It did not answer within {limit_s:g} s.",
                    cause="no-answer",
                    hint="Look at the network between this machine and the service.",
                    seconds=limit_s,
                )
            )
    pool.shutdown(wait=False, cancel_futures=True)
    return tuple(answers)


def _ask(name: str, check: ComponentCheck) -> list[Diagnosis]:
    started = time.monotonic()
    answers: list[Diagnosis] = []
    try:
        answers += check()
    except GeoEtlError as error:
        answers.append(Diagnosis(name, "unhealthy", redact(error.message), cause=error.code, hint=redact(error.hint)))
    except Exception as error:  # the border: a defect of one check must not hide the others' answers
        answers.append(
            Diagnosis(
                name,
                "unhealthy",
                redact(f"The check itself failed: {type(error).__name__}: {error}"),
                cause="check-failed",
                hint="This is a defect of geoetl, or an answer of the service that it does not know.",
            )
        )
    took = time.monotonic() - started
    return [replace(answer, seconds=round(took, 3)) for answer in answers]
