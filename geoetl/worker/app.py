"""Puts a process together: settings, the Celery app, the engine's parts and all tasks."""

import os
from functools import cached_property, partial
from typing import Any

from kombu.entity import Exchange, Queue

import geoetl.transport  # noqa: F401  # pyright: ignore[reportUnusedImport] - registers `servicebus` with kombu
from geoetl.backend.app import OutboxCelery
from geoetl.backend.bootsteps import EXPIRE_EVERY_S
from geoetl.backend.chores import Chore
from geoetl.backend.ledger import Connection
from geoetl.backend.relay import Relay
from geoetl.config.settings import Settings, load_settings
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import DATABASE_ERRORS, ConnectionSource, SharedConnection
from geoetl.db.tables import PublishedTables
from geoetl.engine.dead_letters import Undertaker
from geoetl.engine.ledger import LEDGER, StageLedger
from geoetl.engine.messages import TaskMessages
from geoetl.engine.progress import ProgressBoard
from geoetl.engine.reaper import Reaper
from geoetl.engine.services import Services
from geoetl.preflight.checks import Services as CheckServices
from geoetl.publication.ledger import Ledger
from geoetl.publication.publish import PostgresPublisher
from geoetl.resources.memory_room import room_of
from geoetl.resources.memory_watch import MemoryWatch
from geoetl.storage.open import open_store
from geoetl.tasks.attempt import Effects
from geoetl.tasks.registry import register_all
from geoetl.worker.backlog import BrokerBacklog
from geoetl.worker.bootsteps import install_bootsteps
from geoetl.worker.broker import broker_url, transport_options
from geoetl.worker.dead_letters import BrokerDeadLetters
from geoetl.worker.main_process import GeoEtlWorker
from geoetl.worker.memory import explain_loss, watch_memory


class GeoEtl(OutboxCelery):
    """The Celery app of geoetl, with the parts it was made of."""

    services: Services
    memory_watch: MemoryWatch

    @cached_property
    def Worker(self) -> type[GeoEtlWorker]:  # noqa: N802 # pyright: ignore[reportIncompatibleVariableOverride] - Celery's name for the class its command line starts; the stub does not say that it is one
        """The class of workers."""
        return self.subclass_with_self(GeoEtlWorker)


def create_app(settings: Settings | None = None) -> GeoEtl:
    """The app that workers, submitters and operators share. Opens no connection before it is needed.

    Raises:
        SettingsInvalid: The settings are missing or wrong.
    """
    settings = settings or load_settings()
    connections = ConnectionSource(settings.database.app, application_name="geoetl")
    business = ConnectionSource(settings.database.business, application_name="geoetl")
    pulse = SharedConnection(settings.database.app, application_name="geoetl")
    app = GeoEtl(
        "geoetl",
        broker=broker_url(settings.broker),
        connections=connections,
        database_errors=DATABASE_ERRORS,
        events="geoetl.transport.events:Events",
        set_as_current=False,
    )
    app.conf.update(_configuration(settings))
    app.memory_watch = watch_memory(settings.worker)
    ledger = StageLedger(
        connections,
        lease_s=settings.worker.lease_s,
        room=room_of(
            settings.raster.scratch_dir,
            limit_bytes=settings.worker.memory_limit_bytes,
            reserve_bytes=settings.worker.memory_reserve_bytes,
            group=app.memory_watch.group,
        ),
        explain_loss=partial(explain_loss, app.memory_watch),
    )
    app.ledgers[LEDGER] = ledger
    catalogue = Catalogue(business)
    store = open_store(settings.storage)

    def close() -> None:
        connections.close()
        business.close()
        pulse.close()
        # Not the broker's pool: kombu shares it among all apps of a process that have the same broker.
        store.close()

    reaper = Reaper(every_s=settings.worker.reap_s, backlog=BrokerBacklog(app), resend_s=settings.worker.resend_s)
    undertaker = Undertaker(
        every_s=settings.worker.dead_letters_s,
        queues=tuple(queue.name for queue in settings.broker.queues),
        dead_letters=BrokerDeadLetters(settings.broker),
    )

    def expire_results(_: Connection) -> int:
        return app.backend.expire()

    app.services = Services(
        settings=settings,
        app=app,
        connections=connections,
        pulse=pulse,
        ledger=ledger,
        progress=ProgressBoard(),
        relay=Relay(
            app,
            sources={LEDGER_SOURCE: TaskMessages()},
            chores=(*reaper.chores(), *undertaker.chores(), Chore("expire results", EXPIRE_EVERY_S, expire_results)),
            standby=pulse,
        ),
        checks=CheckServices(
            store=store,
            collections=catalogue,
            tables=PublishedTables(business),
            max_sources=settings.limits.max_sources,
            min_source_bytes=settings.limits.min_source_bytes,
            max_source_bytes=settings.limits.max_source_bytes,
        ),
        published=Ledger(business),
        store=store,
        catalogue=catalogue,
        close=close,
    )
    effects = Effects(
        store=store,
        publisher=PostgresPublisher(business),
        threads=max(1, available_cpus() // settings.worker.concurrency),
    )
    register_all(app, app.services, effects)
    install_bootsteps(app)
    return app


#: The word in the outbox's ``source`` column.
LEDGER_SOURCE = "task"


def available_cpus() -> int:
    """CPUs this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def _configuration(settings: Settings) -> dict[str, Any]:
    exchange = Exchange("geoetl", type="direct")
    return {
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_acks_late": True,
        "task_queues": [Queue(queue.name, exchange, routing_key=queue.name) for queue in settings.broker.queues],
        "task_default_queue": settings.broker.standard.name,
        "task_default_exchange": exchange.name,
        "task_default_routing_key": settings.broker.standard.name,
        "task_time_limit": settings.worker.task_time_limit_s,
        "worker_concurrency": settings.worker.concurrency,
        "worker_prefetch_multiplier": settings.worker.prefetch_multiplier,
        "worker_max_tasks_per_child": settings.worker.max_tasks_per_child,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # `celery status`, `inspect`, `control` and Flower; the cost is in docs/transport.md, "The control plane".
        "worker_enable_remote_control": True,
        "worker_send_task_events": settings.worker.task_events,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": transport_options(settings.broker),
        "worker_hijack_root_logger": False,
    }
