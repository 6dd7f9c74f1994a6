"""Following the events of a run while they are written."""

import datetime as dt

from geoetl.backend.ledger import Connection
from geoetl.engine import views
from geoetl.engine.rows import Event
from geoetl.models.refs import RunId

#: How long a transaction may take from its event to its commit, and a follower still sees the event.
LATEST_COMMIT = dt.timedelta(seconds=10)


class EventFollower:
    """Where a reader of a run's events is.

    Transactions take their events' ids in one order and commit in another: after an event another may appear with a
    smaller id. So the last moments are read again, without what has been told.
    """

    def __init__(self, run_id: RunId, *, after: int = 0) -> None:
        self._run_id = run_id
        #: Up to here no event is missing any more.
        self._after = after
        self._told: dict[int, dt.datetime] = {}

    def next_page(self, conn: Connection) -> list[Event]:
        """What has not been told yet, by id; as many as one statement gives. None: there are no more now."""
        page = views.events_page(conn, self._run_id, after=self._after, told=list(self._told))
        self._told |= {event.id: event.at for event in page}
        if page:
            self._settle(max(self._told.values()) - LATEST_COMMIT)
        return page

    def _settle(self, before: dt.datetime) -> None:
        self._after = max((event_id for event_id, at in self._told.items() if at < before), default=self._after)
        self._told = {event_id: at for event_id, at in self._told.items() if event_id > self._after}
