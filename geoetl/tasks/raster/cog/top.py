"""The levels that no band can make alone."""

from geoetl.tasks.raster.cog.layout import LevelSpan, Span
from geoetl.tasks.raster.cog.pixels import Pixels
from geoetl.tasks.raster.cog.pyramid import build_pyramid
from geoetl.tasks.raster.cog.queue import TileQueue
from geoetl.tasks.raster.cog.recipe import Recipe


class TopLevels:
    """Made of the bands' strips, which come from top to bottom."""

    def __init__(self, recipe: Recipe, queue: TileQueue) -> None:
        layout = recipe.layout
        self._stream = None
        if (first := layout.strip_level) is not None:
            whole_rows = [LevelSpan(Span(0, height), height) for height in layout.heights[first:]]
            whole_columns = [LevelSpan(Span(0, width), width) for width in layout.widths[first:]]
            self._stream = build_pyramid(
                layout, whole_rows, whole_columns, recipe.rule, first_level=first, take_tiles=queue.add
            )

    def push(self, strip: Pixels) -> None:
        """Take the strip of the next band."""
        assert self._stream is not None, "strips are made where there are levels above"
        self._stream.push(strip)
