"""Packing tiles into blocks of the blob, and staging them while the next ones are encoded."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from geoetl.models.refs import BlobRef
from geoetl.storage.base import StagedBlock
from geoetl.tasks.raster.cog.layout import CogLayout
from geoetl.tasks.raster.cog.tiff import record
from geoetl.tasks.raster.cog.tiles import Tile

#: A block is cut at the first tile at or beyond this size. 50,000 of them, the most a blob may have, hold 390 GiB.
BLOCK_BYTES = 8 * 1024 * 1024
#: Blocks of one blob that are left to tiles; panels and the header take the others.
_MAX_TILE_BLOCKS = 26_000
#: Blocks in flight while the next one is encoded.
_UPLOADS = 2
#: Hex digits of a block's SHA-256 in its id: within one place of one blob, 2**64 contents.
_DIGEST_DIGITS = 16


class BlockTarget(Protocol):
    """Where blocks go: a ``BlockStore``, or a file."""

    def stage_block(self, ref: BlobRef, block_id: str, data: bytes) -> None:
        """As of ``BlockStore``."""
        ...


@dataclass(frozen=True, slots=True)
class TileRun:
    """Neighbouring tiles of one row of the tile grid, and their sizes as they lie in the file."""

    level: int
    row: int
    column: int
    """Of the first tile."""
    sizes: tuple[int, ...]
    mask_sizes: tuple[int, ...] | None


def block_id(level: int, row: int, column: int, data: bytes) -> str:
    """Where the first tile of a block belongs, and what the block holds.

    All ids of a blob have one length, as Azure demands. They are named by content: a repeated attempt finds its own
    blocks, and one that would write other bytes (another GDAL, say) cannot slip them under an earlier one's receipt.
    """
    return f"{level:02d}{row:06d}{column:06d}{hashlib.sha256(data).hexdigest()[:_DIGEST_DIGITS]}"


def block_bytes(layout: CogLayout) -> int:
    """The size at which blocks are cut: larger where a raster would need too many."""
    most = layout.width * layout.height * layout.bytes_per_pixel * 4 // 3
    return max(BLOCK_BYTES, -(-most // _MAX_TILE_BLOCKS))


@dataclass
class BlockStager(AbstractContextManager["BlockStager"]):
    """Takes tiles, stages blocks. Left without an error, everything is staged."""

    store: BlockTarget
    target: BlobRef
    target_bytes: int
    is_one_panel: bool
    """Whether what follows a row of tiles is the next row, so that a block may hold several."""
    runs: list[TileRun] = field(default_factory=list[TileRun])
    blocks: list[StagedBlock] = field(default_factory=list[StagedBlock])
    _buffers: dict[int, bytearray] = field(default_factory=dict[int, bytearray])
    _begins: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    _uploads: list[Future[None]] = field(default_factory=list[Future[None]])

    def __enter__(self) -> "BlockStager":
        self._pool = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="stage-block")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if exc is None:
                for level in list(self._buffers):
                    self._cut(level)
                self._wait(down_to=0)
        finally:
            self._pool.shutdown(cancel_futures=True)

    def add(self, level: int, row: int, column: int, tiles: Sequence[Tile]) -> None:
        """Take neighbouring tiles of one row; those of a level come in the order of the file."""
        masks = tuple(len(tile.mask) for tile in tiles if tile.mask is not None)
        self.runs.append(TileRun(level, row, column, tuple(len(tile.image) for tile in tiles), masks or None))
        for at, tile in enumerate(tiles):
            buffer = self._buffers.setdefault(level, bytearray())
            if not buffer:
                self._begins[level] = (row, column + at)
            buffer += record(tile.image)
            if tile.mask is not None:
                buffer += record(tile.mask)
            if len(buffer) >= self.target_bytes:
                self._cut(level)
        if not self.is_one_panel:
            self._cut(level)

    def _cut(self, level: int) -> None:
        data = bytes(self._buffers.pop(level, b""))
        if not data:
            return
        block = StagedBlock(block_id(level, *self._begins[level], data), len(data))
        self.blocks.append(block)
        self._wait(down_to=_UPLOADS)
        self._uploads.append(self._pool.submit(self.store.stage_block, self.target, block.id, data))

    def _wait(self, *, down_to: int) -> None:
        while len(self._uploads) > down_to:
            self._uploads.pop(0).result()
