"""What an error means for a task."""

import pickle

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError

from geoetl.engine import failures
from geoetl.errors import (
    BadData,
    Finding,
    GeoEtlError,
    InvalidInput,
    PreflightFailed,
    SystemFault,
    TransientError,
    UnknownVersion,
)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (TransientError("away"), True),
        (BadData("broken"), False),
        (InvalidInput("wrong"), False),
        (SystemFault("defect"), False),
        (UnknownVersion("of another release"), True),
        (KeyError("nobody raised this on purpose"), True),
        (WorkerLostError("killed"), True),
        (TimeLimitExceeded(10), False),
    ],
)
def test_the_class_decides_whether_another_attempt_is_made(error, retryable):
    assert failures.is_retryable(error) is retryable


def test_the_wait_grows_with_the_attempt_and_is_bounded():
    longest = [max(failures.backoff_s(attempt) for _ in range(300)) for attempt in (1, 3, 20)]

    assert longest[0] <= 2.0 < longest[1] <= 8.0 < longest[2] <= failures.MAX_DELAY_S


def test_an_outage_is_waited_for_longer_than_a_failover_takes():
    waits_s = [sum(failures.backoff_s(n) for n in range(1, failures.SPARED_ATTEMPTS + 1)) for _ in range(300)]

    assert 120 < min(waits_s) <= max(waits_s) < 20 * 60


def test_only_what_passes_by_itself_takes_no_attempt():
    away, defect, most = TransientError("away"), KeyError("x"), failures.SPARED_ATTEMPTS

    assert [failures.spared(away, before=n) for n in (0, 4, most)] == [1, 5, most]
    assert failures.spared(defect, before=0) == 0


def test_a_record_has_code_message_and_hint_and_no_secret():
    error = BadData("Reading https://a/b?sv=1&sig=abc%3D failed", code="corrupt-block", hint="Upload it again.")

    assert failures.record(error) == {
        "code": "corrupt-block",
        "message": "Reading https://a/b?sv=1&sig=*** failed",
        "hint": "Upload it again.",
        "blame": "data owner",
        "type": "BadData",
    }


def test_an_unexpected_error_keeps_its_traceback():
    try:
        {}["x"]
    except KeyError as exc:
        record = failures.record(exc)

    assert record["code"] == "unexpected-error"
    assert "test_failures.py" in record["traceback"]


def test_a_killed_process_and_a_time_limit_are_told_apart():
    assert failures.record(WorkerLostError("signal 9"))["code"] == "worker-lost"
    assert failures.record(TimeLimitExceeded(10))["code"] == "time-limit"


@pytest.mark.parametrize(
    "error",
    [
        BadData("a", code="b", hint="c"),
        PreflightFailed("a", findings=(Finding(code="x", message="y"),)),
        TransientError("z"),
    ],
)
def test_errors_cross_processes_whole(error: GeoEtlError):
    again = pickle.loads(pickle.dumps(error))

    assert (type(again), again.args, again.code, again.hint) == (type(error), error.args, error.code, error.hint)
    assert getattr(again, "findings", ()) == getattr(error, "findings", ())
