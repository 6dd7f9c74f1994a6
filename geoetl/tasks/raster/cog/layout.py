"""Which rows, columns and tiles belong to which level, band and panel: whole numbers, no pixels.

The levels are those of GDAL's COG driver: sizes halve, rounded down, until an image fits one tile. A *band* is
``blocksize * 2**k`` rows of the raster over its full width: what one task encodes. It owns the tiles of levels 0 to
*k* that lie in its rows, and the rows of level *k + 1*, its *strip*. A *panel* is the same across columns: it bounds
the memory, and a band is worked off panel by panel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

#: Panels end blocks, and a blob has at most 50,000 of them: this many at most are left to panels.
_MAX_PANEL_BLOCKS = 20_000


@dataclass(frozen=True, slots=True)
class Span:
    """Indices ``start`` to ``stop`` (exclusive)."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    def __bool__(self) -> bool:
        return self.stop > self.start


@dataclass(frozen=True, slots=True)
class LevelSpan:
    """What a band (or panel) has of one level along one axis."""

    own: Span
    """Belongs to it: every index of the level has one owner."""
    needed_stop: int
    """How far its own part of the next level reaches down (or right): beyond ``own.stop`` where sizes are odd."""


@dataclass(frozen=True)
class CogLayout:
    """The tile grid of one raster and its overviews, and how it is cut into bands and panels."""

    width: int
    height: int
    bytes_per_pixel: int
    """Of all bands together, with an internal mask."""
    band_rows: int
    """``blocksize * 2**k``."""
    is_striped: bool = False
    """Whether the source's blocks reach over its whole width: reading a panel of it would decode all panels."""
    blocksize: int = 512
    chunk_bytes: int = 24 * 1024 * 1024
    """Decoded size of one row of tiles of a panel."""

    def __post_init__(self) -> None:
        if self.band_rows != self.blocksize << self.last_band_level or self.blocksize % 2:
            raise ValueError(f"a band of {self.band_rows} rows is not {self.blocksize} times a power of two")

    @cached_property
    def last_band_level(self) -> int:
        """*k*: levels 0 to *k* are encoded by bands, those beyond by the assembler."""
        return max(0, (self.band_rows // self.blocksize).bit_length() - 1)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Of all levels, full resolution first."""
        return tuple(width for width, _ in self._sizes)

    @cached_property
    def heights(self) -> tuple[int, ...]:
        """Of all levels, full resolution first."""
        return tuple(height for _, height in self._sizes)

    @cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        sizes = [(self.width, self.height)]
        while max(sizes[-1]) > self.blocksize:
            width, height = sizes[-1]
            sizes.append((max(1, width // 2), max(1, height // 2)))
        return sizes

    @property
    def last_level(self) -> int:
        return len(self._sizes) - 1

    @property
    def strip_level(self) -> int | None:
        """The level whose rows bands hand to the assembler; None where bands make all levels."""
        return self.last_band_level + 1 if self.last_band_level < self.last_level else None

    @property
    def band_count(self) -> int:
        return -(-self.height // self.band_rows)

    def tiles_across(self, level: int) -> int:
        return -(-self.widths[level] // self.blocksize)

    def tiles_down(self, level: int) -> int:
        return -(-self.heights[level] // self.blocksize)

    def band(self, index: int) -> list[LevelSpan]:
        """Rows of a band by level, 0 to the strip's."""
        start = index * self.band_rows
        return self._spans(self.heights, start, min(start + self.band_rows, self.height))

    def steps(self, index: int) -> int:
        """How many times rows of a band are read: in rows of tiles, panel by panel."""
        rows = self.band(index)[0]
        return -(-(rows.needed_stop - rows.own.start) // self.blocksize) * self.panel_count

    @cached_property
    def panel_columns(self) -> int:
        """Width of a panel at full resolution; the raster's own where there is one panel only."""
        if self.is_striped:
            return self.width
        chunk_columns = self.chunk_bytes // (self.blocksize * self.bytes_per_pixel)
        # A run of tiles of each level ends at a panel's edge; all levels together have twice the runs of the first.
        fewest = -(-2 * self.tiles_down(0) * self.width // _MAX_PANEL_BLOCKS)
        steps = max(1, chunk_columns // self.band_rows, -(-fewest // self.band_rows))
        return min(self.width, steps * self.band_rows)

    @property
    def is_one_panel(self) -> bool:
        return self.panel_columns >= self.width

    @property
    def panel_count(self) -> int:
        return -(-self.width // self.panel_columns)

    def panels(self) -> Iterator[list[LevelSpan]]:
        """Columns of each panel by level, 0 to the strip's, from left to right."""
        for start in range(0, self.width, self.panel_columns):
            yield self._spans(self.widths, start, min(start + self.panel_columns, self.width))

    def _spans(self, sizes: Sequence[int], start: int, stop: int) -> list[LevelSpan]:
        last = min(self.last_band_level + 1, self.last_level)
        is_last = stop == sizes[0]
        # Sizes are rounded down at every level: what the last one has more than halves belongs to nobody else.
        owned = [Span(start >> level, sizes[level] if is_last else stop >> level) for level in range(last + 1)]
        needed = owned[last].stop
        spans = [LevelSpan(owned[last], needed)]
        for level in range(last - 1, -1, -1):
            needed = max(owned[level].stop, needed_below(needed, sizes[level], sizes[level + 1]))
            spans.append(LevelSpan(owned[level], needed))
        return spans[::-1]


def needed_below(count: int, size: int, next_size: int) -> int:
    """How many of ``size`` pixels the first ``count`` of ``next_size`` are made of."""
    return -(-count * size // next_size)


def made_of(count: int, size: int, next_size: int) -> int:
    """How many of ``next_size`` pixels can be made of the first ``count`` of ``size``."""
    return count * next_size // size
