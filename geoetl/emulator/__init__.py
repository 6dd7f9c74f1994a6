"""A Service Bus emulator in pure Python. Stands alone: imports nothing else of geoetl.

Layers from top to bottom: `command`, `server` · `control`, `admin`, `atom`, `http_connection` · `connection`,
`session` · `nodes`, `management`, `cbs`, `requests`, `links` · `broker`, `tokens`, `namespace` · `topic`,
`subscription`, `queue`, `message_store`, `message` · `performatives`, `frames`, `encode`, `decode`. What happens to
messages knows neither sockets nor event loops.
"""

from geoetl.emulator.server import EmulatorServer, RunningServer
from geoetl.emulator.sqlite_journal import SqliteJournal
from geoetl.emulator.tokens import AccessPolicy

__all__ = ["AccessPolicy", "EmulatorServer", "RunningServer", "SqliteJournal"]
