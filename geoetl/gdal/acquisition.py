"""When the data of a raster was acquired: what the job says, else what the file says, never a guess."""

import datetime as dt
from dataclasses import dataclass

from geoetl.errors import BadData

#: TIFF 6.0, tag 306: ``YYYY:MM:DD HH:MM:SS``. Writers also use ISO 8601; both are unambiguous.
_TIFF_FORMAT = "%Y:%m:%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What a STAC item needs: an instant, or a start and an end. All in UTC."""

    instant: dt.datetime | None = None
    start: dt.datetime | None = None
    end: dt.datetime | None = None


def resolve_datetime(
    datetime_tag: str,
    ref: str,
    *,
    instant: dt.datetime | None = None,
    start: dt.datetime | None = None,
    end: dt.datetime | None = None,
) -> Acquisition:
    """The acquisition time of one source.

    Args:
        datetime_tag: ``RasterFacts.datetime_tag``: used where the job gives nothing. It has no zone; UTC is assumed,
            as the STAC specification asks for UTC and TIFF has no word for another.
        ref: What messages call the source.
        instant: The job's ``datetime``.
        start: The job's ``start_datetime``; needs ``end``.
        end: The job's ``end_datetime``; needs ``start``.

    Raises:
        BadData: ``no-datetime`` where neither the job nor the file says, ``invalid-datetime`` where the job
            contradicts itself.
    """
    if start or end:
        if not (start and end) or instant or _utc(start) > _utc(end):
            raise BadData(
                f"The time of {ref} cannot be set from datetime={instant}, start_datetime={start}, end_datetime={end}.",
                code="invalid-datetime",
                hint="Give either `datetime`, or `start_datetime` and a later `end_datetime`.",
            )
        return Acquisition(start=_utc(start), end=_utc(end))
    if instant:
        return Acquisition(instant=_utc(instant))
    if tagged := parse_tiff_datetime(datetime_tag):
        return Acquisition(instant=tagged)
    found = f"its TIFF tag DateTime is {datetime_tag!r}" if datetime_tag else "the file has no TIFF tag DateTime"
    raise BadData(
        f"The acquisition time of {ref} is unknown: the job gives none, and {found}.",
        code="no-datetime",
        hint="Set `datetime`, or `start_datetime` and `end_datetime`, in the job. It is never guessed.",
    )


def parse_tiff_datetime(text: str) -> dt.datetime | None:
    """The instant in a TIFF DateTime tag, in UTC; None where it is absent, blank or not a time."""
    text = text.strip().rstrip("\0")
    try:
        return dt.datetime.strptime(text, _TIFF_FORMAT).replace(tzinfo=dt.UTC)
    except ValueError:
        pass
    try:
        return _utc(dt.datetime.fromisoformat(text)) if text[:4].isdigit() else None
    except ValueError:
        return None


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
