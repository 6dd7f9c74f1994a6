"""A Unix socket before PostgreSQL's own that a test can cut."""

import contextlib
import socket
import tempfile
import threading
from pathlib import Path
from types import TracebackType

from geoetl.config import DatabaseTarget


class SocketProxy:
    """Listens in ``folder`` as a PostgreSQL server would, and passes bytes on until it is cut."""

    def __init__(self, target: DatabaseTarget) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="geoetl-proxy-")
        self.folder = Path(self._temporary.name)
        self._to = f"{target.host}/.s.PGSQL.{target.port}"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.folder / f".s.PGSQL.{target.port}"))
        self._server.listen(64)
        self._pairs: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> "SocketProxy":
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.cut()
        for thread in self._threads:
            thread.join(60)
        self._temporary.cleanup()

    def cut(self) -> None:
        """End every session and refuse new ones."""
        for each in [self._server, *self._pairs]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._to)
            self._pairs += [client, server]
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink))
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
