"""The main process of a worker: how it introduces itself, and when it does not start at all."""

import os
from typing import Any

from celery.apps.worker import Worker as CeleryWorker
from celery.utils.log import get_logger

from geoetl.db.budget import ConnectionsExceeded, Demand, require_room
from geoetl.db.connections import DatabaseRefused, DatabaseUnavailable
from geoetl.engine.services import Services

log = get_logger(__name__)

#: Seconds between the heartbeats that tell Flower of a worker. Celery's own 2 s would be 43,200 messages per day and
#: worker, each of them paid for, and again for everybody who listens. A worker counts as offline after two missed ones.
EVENT_HEARTBEAT_S = 30


class GeoEtlWorker(CeleryWorker):
    """A worker that declares its database sessions, and is less talkative than Celery's.

    ``--heartbeat-interval`` wins over ours.
    """

    def prepare_args(self, **kwargs: Any) -> dict[str, Any]:
        kwargs["heartbeat_interval"] = kwargs.get("heartbeat_interval") or EVENT_HEARTBEAT_S
        return super().prepare_args(**kwargs)

    def on_start(self) -> None:
        """Before the pool starts: see that the databases have room for this worker."""
        app: Any = self.app
        services: Services = app.services
        # With an autoscaler the pool may grow.
        children = max(self.concurrency, getattr(self, "max_concurrency", None) or 0)
        demand = Demand.of_worker(children)
        try:
            require_room(services.settings.database, demand)
        except ConnectionsExceeded as exc:
            log.critical("%s", exc)
            raise SystemExit(os.EX_CONFIG) from None
        except (DatabaseUnavailable, DatabaseRefused) as exc:
            # A worker outlives its database, so it may also be there first.
            log.warning("sessions not counted, starting all the same: %s", exc)
        services.pulse.application_name = demand.application_name
        super().on_start()
