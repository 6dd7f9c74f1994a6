"""Asking a database that is away for a moment."""

import pytest

from geoetl.db.connections import DatabaseUnavailable
from geoetl.worker import patience
from geoetl.worker.patience import patiently


class Away:
    """A database that answers from the third question on, or never."""

    def __init__(self, *, comes_back: bool = True) -> None:
        self.asked = 0
        self.comes_back = comes_back

    def __call__(self) -> str:
        self.asked += 1
        if self.comes_back and self.asked > 2:
            return "here"
        raise DatabaseUnavailable("Could not look at job 1: connection refused.")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(patience, "_PAUSE_S", 0.001)


def test_a_question_is_asked_until_it_is_answered(caplog):
    database = Away()

    assert patiently(database, doing="look at job 1", hint="") == "here"

    assert database.asked == 3
    assert len([line for line in caplog.messages if "database away" in line]) == 1


def test_a_database_that_stays_away_is_told_with_what_to_do():
    with pytest.raises(DatabaseUnavailable, match=r"connection refused\. It has been away for 0 s") as caught:
        patiently(Away(comes_back=False), doing="look at job 1", hint="Look again.", away_s=0.02)

    assert caught.value.hint == "Look again."
    assert caught.value.retryable


def test_another_error_is_not_asked_away():
    def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        patiently(broken, doing="look at job 1", hint="")
