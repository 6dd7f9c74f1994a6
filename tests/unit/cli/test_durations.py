"""Durations as people type them."""

import pytest
import typer

from geoetl.cli.durations import seconds


@pytest.mark.parametrize(
    ("text", "meant"), [("90s", 90), ("30m", 1800), ("2 min", 120), ("2h", 7200), ("1.5h", 5400), ("7d", 604800)]
)
def test_a_number_and_a_unit_is_a_duration(text, meant):
    assert seconds(text) == meant


@pytest.mark.parametrize("text", ["", "2", "h", "0s", "-1h", "2 weeks", "1h30m"])
def test_anything_else_is_refused(text):
    with pytest.raises(typer.BadParameter, match="write a number and a unit"):
        seconds(text)
