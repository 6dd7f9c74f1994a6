"""Rows in from top to bottom, rows of tiles out, of a level and of all that are made from it."""

from collections.abc import Callable, Sequence

from geoetl.tasks.raster.cog.layout import CogLayout, LevelSpan, Span, made_of
from geoetl.tasks.raster.cog.overviews import Axis, OverviewRule, reduce
from geoetl.tasks.raster.cog.pixels import Pixels, stack

#: Takes one row of tiles: level, its row in the tile grid, the column of its first tile, its pixels.
type TakeTiles = Callable[[int, int, int, Pixels], None]
#: Takes rows of the level that is handed on.
type TakeRows = Callable[[Pixels], None]


def build_pyramid(
    layout: CogLayout,
    rows: Sequence[LevelSpan],
    columns: Sequence[LevelSpan],
    rule: OverviewRule,
    *,
    first_level: int,
    take_tiles: TakeTiles,
    take_strip: TakeRows | None = None,
) -> "LevelStream":
    """Chain the levels ``first_level`` and up; the first of them takes the rows.

    Args:
        layout: Of the raster.
        rows: Of the levels, ``first_level`` first.
        columns: Of the levels, ``first_level`` first.
        rule: How a level is made of the one below.
        first_level: What is fed.
        take_tiles: Gets the rows of tiles of all levels, a level's from top to bottom.
        take_strip: Gets the last level's rows instead of ``take_tiles``.
    """
    stream: LevelStream | None = None
    for level in range(first_level + len(rows) - 1, first_level - 1, -1):
        at = level - first_level
        is_strip = take_strip is not None and at == len(rows) - 1
        stream = LevelStream(
            layout, level, rows[at], columns[at], rule, above=stream, take_tiles=take_tiles,
            take_rows=take_strip if is_strip else None,
        )  # fmt: skip
    assert stream is not None, "there is at least one level"
    return stream


class LevelStream:
    """One level of a pyramid: holds a row of tiles at most, and the few rows that the level above still needs."""

    def __init__(
        self,
        layout: CogLayout,
        level: int,
        rows: LevelSpan,
        columns: LevelSpan,
        rule: OverviewRule,
        *,
        above: "LevelStream | None",
        take_tiles: TakeTiles,
        take_rows: TakeRows | None,
    ) -> None:
        self._layout = layout
        self._level = level
        self._rows = rows
        self._columns = columns
        self._rule = rule
        self._above = above
        self._take_tiles = take_tiles
        self._take_rows = take_rows
        self._next = rows.own.start
        self._pending: list[Pixels] = []
        self._kept: Pixels | None = None
        self._kept_from = rows.own.start

    @property
    def next_row(self) -> int:
        """The row of this level that comes next."""
        return self._next

    @property
    def needed(self) -> Span:
        """All rows that it is to be given."""
        return Span(self._rows.own.start, self._rows.needed_stop)

    @property
    def needed_columns(self) -> Span:
        """The columns that every row must have."""
        return Span(self._columns.own.start, self._columns.needed_stop)

    def push(self, pixels: Pixels) -> None:
        """Take the following rows, with all needed columns."""
        own = pixels.cut(0, max(0, self._rows.own.stop - self._next), self._columns.own.size)
        self._next += pixels.height
        if own.height and own.width:
            self._collect(own)
        if self._above is not None:
            self._reduce(pixels, self._above)

    def _collect(self, own: Pixels) -> None:
        if self._take_rows is not None:
            self._take_rows(own.copy())
            return
        blocksize = self._layout.blocksize
        is_end = self._next >= self._rows.own.stop
        if self._pending or (own.height < blocksize and not is_end):
            own = stack([*self._pending, own])
            self._pending = []
        first = min(self._next, self._rows.own.stop) - own.height
        for start in range(0, own.height, blocksize):
            part = own.cut(start, start + blocksize)
            if part.height < blocksize and not is_end:
                self._pending = [part.copy()]
            else:
                row, column = (first + start) // blocksize, self._columns.own.start // blocksize
                self._take_tiles(self._level, row, column, part)

    def _reduce(self, pixels: Pixels, above: "LevelStream") -> None:
        heights = self._layout.heights
        height, next_height = heights[self._level], heights[self._level + 1]
        made = Span(above.next_row, min(made_of(self._next, height, next_height), above.needed.stop))
        keep_from = self._kept_from
        if made:
            keep_from = made.stop * height // next_height
            above.push(self._make(pixels, made, above.needed_columns))
        self._keep(pixels, keep_from)

    def _make(self, pixels: Pixels, made: Span, made_columns: Span) -> Pixels:
        """Rows of the next level, of those that were kept and those that came."""
        came_from = self._next - pixels.height
        heights, widths = self._layout.heights, self._layout.widths
        sizes = heights[self._level], heights[self._level + 1]
        columns = Axis(widths[self._level], widths[self._level + 1], self._columns.own.start, made_columns)
        if self._kept is None:
            return reduce(pixels, Axis(*sizes, came_from, made), columns, self._rule)
        # Few rows are made of both: only for those are the two put together, and all that came need not be copied.
        seam = min(made.stop, -(-came_from // 2))
        rows = Axis(*sizes, self._kept_from, Span(made.start, seam))
        both = stack([self._kept, pixels.cut(0, 2 * (seam - 1) + rows.taps - came_from)])
        parts = [reduce(both, rows, columns, self._rule)]
        if seam < made.stop:
            parts.append(reduce(pixels, Axis(*sizes, came_from, Span(seam, made.stop)), columns, self._rule))
        return stack(parts)

    def _keep(self, pixels: Pixels, keep_from: int) -> None:
        """Forget what is above ``keep_from``."""
        came_from = self._next - pixels.height
        left = pixels.cut(max(0, keep_from - came_from), pixels.height)
        if self._kept is not None and keep_from < came_from:
            left = stack([self._kept.cut(keep_from - self._kept_from, self._kept.height), left])
        self._kept = left.copy() if left.height else None
        self._kept_from = keep_from
