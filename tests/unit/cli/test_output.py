"""How commands write durations, values and errors."""

import datetime as dt
import json

import pytest

from geoetl.cli import output
from geoetl.errors import BadData, Finding, InvalidInput, PreflightFailed, SystemFault, TransientError
from geoetl.models.states import JobState


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.04, "0.0 s"),
        (7.94, "7.9 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (5430, "1 h 30 min"),
    ],
)
def test_a_duration_is_written_as_people_do(seconds, text):
    assert output.ago(seconds) == text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidInput("x"), 2),
        (PreflightFailed("x"), 2),
        (TransientError("x"), 75),
        (BadData("x"), 1),
        (SystemFault("x"), 1),
    ],
)
def test_the_exit_status_tells_who_must_act(error, status):
    assert output.exit_status(error) == status


def test_an_error_as_a_document_has_every_finding_and_no_secret(capsys):
    finding = Finding(code="x", message="y", hint="z", parameter="sources[0]")

    output.print_error(PreflightFailed("a?sig=secret", findings=(finding,)), as_document=True)

    told = json.loads(capsys.readouterr().out)["error"]
    assert told["findings"] == [finding.model_dump()]
    assert told["message"] == "a?sig=***"


def test_square_brackets_of_a_message_are_not_taken_for_markup(capsys):
    output.print_error(BadData("block [3, 4] of [bold]x[/bold]", code="corrupt-block"), as_document=False)

    assert "Error [corrupt-block]: block [3, 4] of [bold]x[/bold]" in capsys.readouterr().err


def test_square_brackets_of_a_cell_are_not_taken_for_markup(capsys):
    output.table("blob", "state", rows=[("scene[final].tif", output.colored("failed")), ("a[/b].tif", "[red]x")])

    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines()[1:]] == [
        ["scene[final].tif", "failed"],
        ["a[/b].tif", "[red]x"],
    ]


def test_everything_becomes_json():
    value = {
        "at": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        "state": JobState.FAILED,
        "finding": Finding(code="a", message="b"),
    }

    assert json.loads(json.dumps(output.as_json(value))) == {
        "at": "2024-01-01T00:00:00+00:00",
        "state": "failed",
        "finding": {"code": "a", "message": "b", "hint": "", "parameter": "", "severity": "error"},
    }
