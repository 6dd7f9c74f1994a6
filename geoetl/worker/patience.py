"""Asking a database that may be away for a moment."""

import time
from collections.abc import Callable

from celery.utils.log import get_logger

from geoetl.db.connections import DatabaseUnavailable, database_errors

log = get_logger(__name__)

#: How long a database may be away before whoever waits is told: longer than a restart or a failover, in seconds.
AWAY_S = 90.0
_PAUSE_S = 0.5


def patiently[T](question: Callable[[], T], *, doing: str, hint: str, away_s: float = AWAY_S) -> T:
    """The answer to a question that may be asked again and again.

    Args:
        question: Only reads.
        doing: What is tried, for the message.
        hint: What to do when it is given up.
        away_s: How long to go on asking.

    Raises:
        DatabaseUnavailable: The database has been away for so long.
    """
    since: float | None = None
    while True:
        try:
            with database_errors(doing):
                return question()
        except DatabaseUnavailable as exc:
            now = time.monotonic()
            if since is None:
                since = now
                log.warning("database away, asking again for %.0f s: %s", away_s, exc.message)
            if now - since >= away_s:
                raise DatabaseUnavailable(
                    f"{exc.message} It has been away for {now - since:.0f} s.", code=exc.code, hint=hint
                ) from exc
        time.sleep(_PAUSE_S)  # a person waits here, in a process that does nothing else
