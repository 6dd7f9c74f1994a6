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
        given = pixels if self._kept is None else stack([self._kept, pixels])
        start = self._kept_from
        heights, widths = self._layout.heights, self._layout.widths
        height, next_height = heights[self._level], heights[self._level + 1]
        stop = min(made_of(self._next, height, next_height), above.needed.stop)
        if stop > above.next_row:
            rows = Axis(height, next_height, start, Span(above.next_row, stop))
            columns = Axis(widths[self._level], widths[self._level + 1], self._columns.own.start, above.needed_columns)
            made = reduce(given, rows, columns, self._rule)
            keep_from = stop * height // next_height
            given, start = given.cut(keep_from - start, given.height), keep_from
            above.push(made)
        self._kept = given.copy() if given.height else None
        self._kept_from = start
