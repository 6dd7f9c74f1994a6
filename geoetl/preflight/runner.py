"""Runs a job type's checks over a spec."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pydantic import BaseModel

from geoetl.errors import BadData, Finding, InvalidInput, PreflightFailed, TransientError
from geoetl.preflight.checks import Check, Outcome, PreflightReport, Services, Subject, Unchecked

#: Subjects checked at once. The Azure SDK keeps ten connections per account; more would open one per request.
MAX_CONCURRENCY = 10


@dataclass(slots=True)
class _Chain:
    """The checks of one subject, in order, and what they said."""

    subject: Subject
    checks: list[Check] = field(default_factory=list["Check"])
    findings: list[Finding] = field(default_factory=list["Finding"])
    facts: dict[str, object] = field(default_factory=dict[str, object])
    unchecked: list[Unchecked] = field(default_factory=list["Unchecked"])


def run_checks(
    checks: Sequence[Check], spec: BaseModel, services: Services, *, concurrency: int = MAX_CONCURRENCY
) -> PreflightReport:
    """Run every check on every subject; all findings at once.

    A check whose service turns out to be away is not tried on further subjects: ten thousand timeouts would say
    nothing that one does not.

    Raises:
        SystemFault: A check cannot be made for a reason that we must mend (access denied, misconfigured).
    """
    if crowd := _crowd(spec, services):
        return PreflightReport(findings=(crowd,))
    chains = _chains(checks, spec)
    away = _Away()
    executor = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="preflight")
    try:
        futures = [executor.submit(_run_chain, chain, spec, services, away) for chain in chains]
        for future in futures:
            future.result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    return _report(chains)


def _crowd(spec: BaseModel, services: Services) -> Finding | None:
    """More sources than the installation allows: none of them is looked at."""
    sources = getattr(spec, "sources", ())
    if services.max_sources is None or len(sources) <= services.max_sources:
        return None
    return Finding(
        code="too-many-sources",
        parameter="sources",
        message=f"The job has {len(sources):,} sources; this installation accepts {services.max_sources:,}.",
        hint="Split the job, or raise GEOETL_LIMITS__MAX_SOURCES.",
    )


def _chains(checks: Sequence[Check], spec: BaseModel) -> list[_Chain]:
    by_parameter: dict[str, _Chain] = {}
    for check in checks:
        for subject in check.subjects(spec):
            by_parameter.setdefault(subject.parameter, _Chain(subject)).checks.append(check)
    return list(by_parameter.values())


class _Away:
    """Names of checks whose service did not answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, name: str) -> bool:
        """Whether it is news."""
        with self._lock:
            is_new = name not in self._names
            self._names.add(name)
            return is_new


def _run_chain(chain: _Chain, spec: BaseModel, services: Services, away: _Away) -> None:
    for check in chain.checks:
        if check.name in away:
            return
        try:
            outcome = check(chain.subject, spec, services)
        except TransientError as error:
            if away.add(check.name):
                chain.unchecked.append(Unchecked(check.name, chain.subject.parameter, error))
            return
        except (InvalidInput, BadData) as error:
            outcome = Outcome(findings=_findings(error, chain.subject.parameter))
        chain.findings.extend(outcome.findings)
        if outcome.fact is not None:
            chain.facts[check.name] = outcome.fact
        if outcome.is_refused:
            return


def _findings(error: InvalidInput | BadData, parameter: str) -> tuple[Finding, ...]:
    if isinstance(error, PreflightFailed) and error.findings:
        return error.findings
    return (Finding(code=error.code, message=error.message, hint=error.hint, parameter=parameter),)


def _report(chains: Sequence[_Chain]) -> PreflightReport:
    facts: dict[str, dict[str, object]] = {}
    for chain in chains:
        for name, fact in chain.facts.items():
            facts.setdefault(name, {})[chain.subject.parameter] = fact
    return PreflightReport(
        findings=tuple(finding for chain in chains for finding in chain.findings),
        facts=facts,
        unchecked=tuple(unchecked for chain in chains for unchecked in chain.unchecked),
    )
