"""Overviews as GDAL makes them, from any window of a level: the same pixels wherever the window begins.

GDAL's rules (gcore/overview.cpp) are followed to the order of the additions, in absolute coordinates: pixel *j* of a
level covers ``[j * r, (j + 1) * r)`` of the level below, where *r* is the exact ratio of the sizes (2 or a little
more, because sizes are rounded down), and pixels that it covers in part count in part.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from geoetl.tasks.raster.cog.averages import as_dtype, count_flags, masked_average, plain_average
from geoetl.tasks.raster.cog.axis import Axis
from geoetl.tasks.raster.cog.layout import Span
from geoetl.tasks.raster.cog.nodata import Flags, is_nodata
from geoetl.tasks.raster.cog.pixels import Pixels

type BandResampling = Literal["nearest", "average"]

#: Float64 values worked on at once: what a processor's cache holds.
_CACHE_VALUES = 128 * 1024


@dataclass(frozen=True, slots=True)
class OverviewRule:
    """What a pixel of an overview is made of."""

    resampling: BandResampling
    mask_kind: Literal["none", "nodata", "alpha", "internal"] = "none"
    nodata: float | None = None
    alpha: int | None = None
    """Index of the alpha band, from 0."""


def reduce(pixels: Pixels, rows: Axis, columns: Axis, rule: OverviewRule) -> Pixels:
    """A window of the next level, of at least the rows and columns that it covers."""
    if rule.resampling == "nearest":
        at = np.ix_(rows.nearest(), columns.nearest())
        values = np.stack([band[at] for band in pixels.values])
        return Pixels(values, None if pixels.mask is None else pixels.mask[at])
    values = np.empty((len(pixels.values), rows.made.size, columns.made.size), dtype=pixels.values.dtype)
    mask = None if pixels.mask is None else np.empty(values.shape[1:], dtype=np.uint8)
    step = max(1, _CACHE_VALUES // (2 * columns.made.size or 1))
    for start in range(rows.made.start, rows.made.stop, step):
        part = Axis(rows.size, rows.next_size, rows.first, Span(start, min(start + step, rows.made.stop)))
        made = _average_rows(pixels, part, columns, rule)
        here = slice(start - rows.made.start, part.made.stop - rows.made.start)
        values[:, here] = made.values
        if mask is not None and made.mask is not None:
            mask[here] = made.mask
    return Pixels(values, mask)


def _average_rows(pixels: Pixels, rows: Axis, columns: Axis, rule: OverviewRule) -> Pixels:
    given = slice(rows.start, rows.start + 2 * (rows.made.size - 1) + rows.taps)
    shared = _shared_flags(pixels, rule, given)
    values = np.empty((len(pixels.values), rows.made.size, columns.made.size), dtype=pixels.values.dtype)
    for index, band in enumerate(pixels.values):
        source = band[given]
        if rule.mask_kind == "none":
            made = plain_average(source, rows, columns)
        else:
            flags = ~is_nodata(source, rule.nodata) if shared is None else shared
            made = masked_average(source, flags, rows, columns, rule.nodata)
        values[index] = as_dtype(made, values.dtype)
    if pixels.mask is None or shared is None:
        return Pixels(values)
    # A pixel is valid where any pixel it covers is.
    return Pixels(values, np.where(count_flags(shared, rows, columns) > 0, 255, 0).astype(np.uint8))


def _shared_flags(pixels: Pixels, rule: OverviewRule, given: slice) -> Flags | None:
    """Validity that all bands share."""
    if rule.mask_kind == "alpha":
        return pixels.values[rule.alpha, given] != 0
    if pixels.mask is not None:
        return pixels.mask[given] != 0
    return None
