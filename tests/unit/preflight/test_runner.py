"""The runner, with checks made for the test."""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from pydantic import BaseModel

from geoetl.errors import BadData, Finding, InvalidInput, PreflightFailed, SystemFault, TransientError
from geoetl.preflight.checks import CannotCheckNow, Outcome, PreflightReport, Services
from geoetl.preflight.each import CheckEach
from geoetl.preflight.runner import run_checks

NO_SERVICES = Services(store=cast("Any", None), collections=cast("Any", None))


class Spec(BaseModel):
    sources: tuple[str, ...] = ()
    collection: str | None = None


def check(name: str, parameter: str, verdict: Callable[[str], Outcome]) -> CheckEach:
    """A check whose verdict is a function of the subject's value alone."""
    return CheckEach(name, parameter, lambda subject, _spec, _services: verdict(str(subject.value)))


def found(code: str, *, severity: str = "error") -> Outcome:
    return Outcome(findings=(Finding.model_validate({"code": code, "message": code, "severity": severity}),))


def run(*checks: CheckEach, spec: Spec, concurrency: int = 4) -> PreflightReport:
    return run_checks(checks, spec, NO_SERVICES, concurrency=concurrency)


def codes(report: PreflightReport) -> list[str]:
    return [finding.code for finding in report.findings]


def test_of_more_sources_than_the_installation_accepts_none_is_looked_at():
    looked: list[str] = []
    spy = check("spy", "sources", lambda value: looked.append(value) or Outcome())
    services = dataclasses.replace(NO_SERVICES, max_sources=2)

    report = run_checks([spy], Spec(sources=("a", "b", "c")), services)
    assert [(each.code, each.parameter) for each in report.errors] == [("too-many-sources", "sources")]
    assert looked == []

    assert run_checks([spy], Spec(sources=("a", "b")), services).errors == ()
    assert sorted(looked) == ["a", "b"]


def test_all_findings_are_collected_in_the_order_of_the_spec():
    def refuse(value: str) -> Outcome:
        return found(f"no-{value}")

    report = run(
        check("a", "sources", refuse), check("b", "collection", refuse),
        spec=Spec(sources=("x", "y", "z"), collection="c"),
    )  # fmt: skip
    assert codes(report) == ["no-x", "no-y", "no-z", "no-c"]
    with pytest.raises(PreflightFailed, match=r"4 problems were found.*no-x") as caught:
        report.require_accepted()
    assert caught.value.findings == report.findings


def test_subject_that_is_refused_is_not_checked_further():
    def refuse_y(value: str) -> Outcome:
        return found("missing") if value == "y" else Outcome()

    report = run(
        check("exists", "sources", refuse_y), check("header", "sources", lambda value: found(f"bad-{value}")),
        spec=Spec(sources=("x", "y")),
    )  # fmt: skip
    assert codes(report) == ["bad-x", "missing"]


def test_warning_neither_stops_nor_refuses():
    report = run(
        check("a", "sources", lambda _: found("odd", severity="warning")),
        check("b", "sources", lambda value: Outcome(fact=len(value))),
        spec=Spec(sources=("xx",)),
    )
    report.require_accepted()
    assert codes(report) == ["odd"]
    assert report.facts == {"b": {"sources[0]": 2}}


def test_facts_are_kept_by_check_and_parameter_even_beside_errors():
    report = run(
        check("size", "sources", lambda value: Outcome(fact=len(value))),
        check("c", "collection", lambda _: found("no")),
        spec=Spec(sources=("a", "bbb"), collection="c"),
    )
    assert report.facts == {"size": {"sources[0]": 1, "sources[1]": 3}}


@pytest.mark.parametrize("error", [InvalidInput, BadData])
def test_error_of_user_or_data_becomes_a_finding_with_its_parameter(error: type[InvalidInput]):
    def refuse(value: str) -> Outcome:
        raise error(f"{value} is wrong.", code="wrong", hint="Mend it.")

    report = run(check("a", "sources", refuse), spec=Spec(sources=("x",)))
    assert report.findings == (Finding(code="wrong", message="x is wrong.", hint="Mend it.", parameter="sources[0]"),)


def away(_: str) -> Outcome:
    raise TransientError("The store did not answer.", hint="Wait.")


def test_service_that_is_away_means_cannot_check_now():
    with pytest.raises(
        CannotCheckNow, match=r"exists cannot be checked now: The store did not answer. Wait."
    ) as caught:
        run(check("exists", "sources", away), spec=Spec(sources=("x",))).require_accepted()
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, TransientError)


def test_service_that_is_away_is_not_asked_ten_thousand_times():
    asked: list[str] = []

    def ask(value: str) -> Outcome:
        asked.append(value)
        return away(value)

    report = run(check("exists", "sources", ask), spec=Spec(sources=("x",) * 10_000), concurrency=2)
    assert 1 <= len(asked) <= 2
    assert len(report.unchecked) == 1


def test_errors_found_are_told_even_where_something_could_not_be_checked():
    report = run(
        check("exists", "sources", away), check("c", "collection", lambda _: found("collection-missing")),
        spec=Spec(sources=("x",), collection="c"),
    )  # fmt: skip
    with pytest.raises(PreflightFailed, match="1 problem was found") as caught:
        report.require_accepted()
    assert [(finding.code, finding.severity) for finding in caught.value.findings] == [
        ("collection-missing", "error"),
        ("cannot-check-now", "warning"),
    ]


def test_fault_of_ours_is_raised_not_found():
    def denied(_: str) -> Outcome:
        raise SystemFault("Access denied.", code="storage-denied")

    with pytest.raises(SystemFault, match="denied"):
        run(check("exists", "sources", denied), spec=Spec(sources=("x",) * 100))


def test_subjects_are_checked_concurrently_up_to_the_bound():
    together = threading.Barrier(3, timeout=10)

    def meet(_: str) -> Outcome:
        together.wait()
        return Outcome()

    assert run(check("a", "sources", meet), spec=Spec(sources=("x",) * 6), concurrency=3).findings == ()


def test_nothing_to_check_is_accepted():
    run(check("a", "sources", away), check("b", "collection", away), spec=Spec()).require_accepted()


def test_check_of_a_parameter_that_does_not_exist_is_a_defect():
    with pytest.raises(AttributeError, match="Spec has no parameter 'sorces'"):
        run(check("a", "sorces", away), spec=Spec())
