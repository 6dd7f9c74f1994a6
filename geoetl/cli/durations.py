"""Durations as people type them: ``90s``, ``30m``, ``2h``, ``7d``."""

import re

import typer

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>s|m|min|h|d)")


def seconds(text: str) -> float:
    """Seconds that ``text`` means.

    Raises:
        typer.BadParameter: It is no duration, or none above zero.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or float(found["number"]) <= 0:
        raise typer.BadParameter(f"{text!r} is not a duration; write a number and a unit: 90s, 30m, 2h, 7d.")
    return float(found["number"]) * _UNITS[found["unit"]]
