"""What a COG consists of, from the smallest level to full resolution, and the header that describes it."""

from collections.abc import Sequence

import numpy as np

from geoetl.errors import SystemFault
from geoetl.storage.base import StagedBlock
from geoetl.tasks.raster.cog.blocks import TileRun, block_id
from geoetl.tasks.raster.cog.layout import CogLayout
from geoetl.tasks.raster.cog.template import CogTemplate
from geoetl.tasks.raster.cog.tiff import LEADER_BYTES, TILE_SIZES, TRAILER_BYTES, Image, Sizes, write_header

#: Stands for the header in its block's id: beyond every level.
_HEADER_LEVEL = 99


class Contents:
    """Gathers tile sizes and blocks of all bands, in any order."""

    def __init__(self, layout: CogLayout, *, has_mask: bool) -> None:
        self._layout = layout
        levels = range(layout.last_level + 1)
        counts = [layout.tiles_across(level) * layout.tiles_down(level) for level in levels]
        self._sizes: list[Sizes] = [np.zeros(count, dtype=np.uint64) for count in counts]
        self._mask_sizes: list[Sizes] | None = [np.zeros_like(sizes) for sizes in self._sizes] if has_mask else None
        self._blocks: list[StagedBlock] = []

    def add(self, runs: Sequence[TileRun], blocks: Sequence[StagedBlock]) -> None:
        """Take in what one encoder made."""
        for run in runs:
            first = run.row * self._layout.tiles_across(run.level) + run.column
            here = slice(first, first + len(run.sizes))
            self._sizes[run.level][here] = run.sizes
            if self._mask_sizes is not None and run.mask_sizes is not None:
                self._mask_sizes[run.level][here] = run.mask_sizes
        self._blocks.extend(blocks)

    def header(self, template: CogTemplate) -> bytes:
        """The header.

        Raises:
            SystemFault: ``cog-incomplete``: a tile is missing, or the blocks are not those of the tiles.
        """
        self._require_complete()
        images, masks, start = self._images(template)
        has_masks = len(masks) > 0
        # GDAL's order: the image and its mask, then all overviews, then all their masks. The tables go by level.
        ordered = [images[0], *masks[:1], *images[1:], *masks[1:]]
        tables: list[int] = []
        for level in range(len(images)):
            tables.append(level + 1 if has_masks and level else level)
            if has_masks:
                tables.append(level + len(images) if level else 1)
        return write_header(template.ghost_area, ordered, tables, data_bytes=start)

    def block_ids(self, header: bytes) -> list[str]:
        """Ids of all blocks in the order of the file, the header's first."""
        # Ids begin with level, row, column: see block_id.
        by_level = [
            sorted(block.id for block in self._blocks if int(block.id[:2]) == level)
            for level in range(self._layout.last_level, -1, -1)
        ]
        return [block_id(_HEADER_LEVEL, 0, 0, header), *(name for level in by_level for name in level)]

    def _images(self, template: CogTemplate) -> tuple[list[Image], list[Image], int]:
        """Images and masks by level, and the size of all tiles."""
        layout = self._layout
        images: list[Image] = []
        masks: list[Image] = []
        start = 0
        for level in range(layout.last_level, -1, -1):
            sizes = self._sizes[level]
            mask_sizes = self._mask_sizes[level] if self._mask_sizes else np.zeros_like(sizes)
            records = sizes + np.uint64(LEADER_BYTES + TRAILER_BYTES)
            mask_records = np.where(mask_sizes > 0, mask_sizes + np.uint64(LEADER_BYTES + TRAILER_BYTES), 0)
            ends = np.cumsum(records + mask_records, dtype=np.uint64) + np.uint64(start)
            begins = ends - records - mask_records + np.uint64(LEADER_BYTES)
            shape = (layout.widths[level], layout.heights[level])
            image = template.overview if level else template.image
            assert image is not None, "the template has an overview where the raster has"
            images.insert(0, Image(image, *shape, begins, sizes, template.image[TILE_SIZES].kind))
            mask = template.overview_mask if level else template.mask
            if self._mask_sizes is not None and mask is not None and template.mask is not None:
                kind = template.mask[TILE_SIZES].kind
                masks.insert(0, Image(mask, *shape, begins + records, mask_sizes, kind))
            start = int(ends[-1])
        return images, masks, start

    def _require_complete(self) -> None:
        overhead = LEADER_BYTES + TRAILER_BYTES
        for level, sizes in enumerate(self._sizes):
            per_level = [sizes] if self._mask_sizes is None else [sizes, self._mask_sizes[level]]
            tile_bytes = sum(int(one.sum()) + overhead * len(one) for one in per_level)
            block_bytes = sum(block.size_bytes for block in self._blocks if int(block.id[:2]) == level)
            missing = sum(int((one == 0).sum()) for one in per_level)
            if missing or tile_bytes != block_bytes:
                raise SystemFault(
                    f"Level {level} misses {missing:,} of {len(sizes):,} tiles, and has {block_bytes:,} bytes in "
                    f"blocks for {tile_bytes:,} bytes of tiles.",
                    code="cog-incomplete",
                    hint="Nothing was published. Report this with the source file.",
                )
