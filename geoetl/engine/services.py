"""What the engine works with, put together once per process by the worker room."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from geoetl.backend.app import OutboxCelery
from geoetl.backend.ledger import Connection
from geoetl.backend.relay import Relay
from geoetl.config.settings import Settings
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import SharedConnection
from geoetl.engine.ledger import StageLedger
from geoetl.engine.progress import ProgressBoard
from geoetl.models.refs import RunId
from geoetl.preflight.checks import Services as CheckServices
from geoetl.storage.base import BlobStore


class PublishedRuns(Protocol):
    """What the ledger of artefacts knows of runs."""

    def is_published(self, run_id: RunId) -> bool:
        """Whether everything the run published is still what is visible."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a process, made lazily where they hold connections."""

    settings: Settings
    app: OutboxCelery
    connections: Callable[[], Connection]
    """To the app database."""
    pulse: SharedConnection
    """To the app database, for single statements of a worker's main process."""
    ledger: StageLedger
    progress: ProgressBoard
    """Of a worker's children."""
    relay: Relay
    checks: CheckServices
    published: PublishedRuns
    store: BlobStore
    catalogue: Catalogue
    close: Callable[[], None]
    """Close this process's connections; a later use opens them anew."""
