"""ISO 8601 durations, in which time spans travel between administrators and the namespace."""

import re
from typing import Final

from geoetl.emulator.conditions import ARGUMENT_ERROR, ServiceBusError

#: "Never": the largest .NET time span, which Service Bus gives for a time to live nobody set.
FOREVER: Final = "P10675199DT2H48M5.4775807S"
_FOREVER_S: Final = 10_675_199 * 86_400

_DURATION: Final = re.compile(
    r"P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_UNITS_S: Final = {
    "years": 365 * 86_400,
    "months": 30 * 86_400,
    "weeks": 7 * 86_400,
    "days": 86_400,
    "hours": 3600,
    "minutes": 60,
    "seconds": 1,
}


def parse_duration(text: str) -> float:
    """Seconds in an ISO 8601 duration, a year counted as 365 days and a month as 30, as Service Bus does.

    Raises:
        ServiceBusError: the text is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ServiceBusError(ARGUMENT_ERROR, f"'{text}' is not an ISO 8601 duration such as PT30S.")
    return sum(float(amount) * _UNITS_S[unit] for unit, amount in match.groupdict().items() if amount)


def parse_optional_duration(text: str) -> float | None:
    """Seconds in a duration; None for :data:`FOREVER` and what is longer.

    Raises:
        ServiceBusError: the text is not a duration.
    """
    seconds = parse_duration(text)
    return seconds if seconds < _FOREVER_S else None
