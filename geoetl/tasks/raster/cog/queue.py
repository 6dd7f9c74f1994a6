"""Rows of tiles on their way to the blocks: encoded beside the thread that reads and reduces."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType

from geoetl.tasks.raster.cog.blocks import BlockStager
from geoetl.tasks.raster.cog.pixels import Pixels
from geoetl.tasks.raster.cog.tiles import Tile, TileEncoder

#: Rows of tiles encoded at once: each holds its pixels and its tiles, a few ten MiB.
_MAX_THREADS = 4


class TileQueue(AbstractContextManager["TileQueue"]):
    """Encodes rows of tiles, and hands them to the stager in the order in which they came.

    One thread is none: what comes is encoded at once. Left without an error, every tile is with the stager.
    """

    def __init__(self, encoder: TileEncoder, stager: BlockStager, *, threads: int) -> None:
        self._encoder = encoder
        self._stager = stager
        self._threads = min(threads, _MAX_THREADS)
        self._waiting: deque[tuple[int, int, int, Future[list[Tile]]]] = deque()

    def __enter__(self) -> "TileQueue":
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="encode-tiles")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if exc is None:
                self._hand_on(down_to=0)
        finally:
            self._pool.shutdown(cancel_futures=True)

    def add(self, level: int, row: int, column: int, pixels: Pixels) -> None:
        """Take a row of tiles. Its pixels must not change any more."""
        if self._threads == 1:
            self._stager.add(level, row, column, self._encoder.encode(pixels))
            return
        self._hand_on(down_to=self._threads - 1)
        self._waiting.append((level, row, column, self._pool.submit(self._encoder.encode, pixels)))

    def _hand_on(self, *, down_to: int) -> None:
        while len(self._waiting) > down_to:
            level, row, column, tiles = self._waiting.popleft()
            self._stager.add(level, row, column, tiles.result())
