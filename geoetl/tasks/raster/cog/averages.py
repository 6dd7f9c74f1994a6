"""Averages of the two or three by two or three pixels that one of the next level covers, to GDAL's last bit.

Sums are taken across first, then down, in float64, as GDAL's loops do; where sizes are even and every pixel counts, in
the order of its SIMD loops.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from geoetl.tasks.raster.cog.axis import Axis, Floats
from geoetl.tasks.raster.cog.nodata import Flags, beside_nodata
from geoetl.tasks.raster.cog.pixels import Array

#: GDAL averages these in their own type or in float32, all others in float64.
_AVERAGED_AS_FLOAT32 = {"int8", "int16", "float32"}
#: How many floats GDAL's SIMD loops make at once, by the bytes of one; scalar loops, which add in another order, do
#: the rest of a row.
_SIMD_WIDTHS = {4: 4, 8: 2}


def _work_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.name in {"uint8", "uint16"}:
        return dtype
    return np.dtype(np.float32 if dtype.name in _AVERAGED_AS_FLOAT32 else np.float64)


def plain_average(source: Array, rows: Axis, columns: Axis) -> Array:
    """Of pixels that all count; in the type GDAL works in, float64 for the integers not rounded yet."""
    work = _work_dtype(source.dtype)
    if rows.taps == columns.taps == 2:
        return _average_of_four(source, columns, work)
    is_float = work.kind == "f"
    factor = float(rows.taps * columns.taps) if is_float else 1.0
    total = _weighted(_lines(source, columns, 1.0 / factor), rows)
    weight = rows.total_weights()[:, None] * columns.total_weights()
    mean = total / weight
    return (mean * factor).astype(work) if is_float else (mean + 0.5).astype(work)


def _average_of_four(source: Array, columns: Axis, work: np.dtype[Any]) -> Array:
    """The common case, in the order of GDAL's SIMD loops: down, then across."""
    if work.kind == "u":
        wide = np.uint16 if work.itemsize == 1 else np.uint32
        down = np.add(source[0::2], source[1::2], dtype=wide)
        across = _tap(down, columns, 0) + _tap(down, columns, 1)
        return ((across + 2) >> 2).astype(work)
    numbers = source.astype(work, copy=False)
    quarter = work.type(0.25)
    down = numbers[0::2] * quarter + numbers[1::2] * quarter
    made = _tap(down, columns, 0) + _tap(down, columns, 1)
    # The scalar loop that ends a row adds in reading order.
    width = _SIMD_WIDTHS[work.itemsize]
    tail = columns.next_size // width * width - columns.made.start
    if tail < columns.made.size:
        tail = max(0, tail)
        a, b, c, d = (_tap(numbers[row::2], columns, tap)[:, tail:] * quarter for row in (0, 1) for tap in (0, 1))
        made[:, tail:] = a + b + c + d
    return made


def masked_average(source: Array, flags: Flags, rows: Axis, columns: Axis, nodata: float | None) -> Array:
    """Of the pixels whose flag is set; the nodata value (else 0) where there is none."""
    work = _work_dtype(source.dtype)
    are_all_set = bool(flags.all())
    counted = source if are_all_set else np.where(flags, source, source.dtype.type(0))
    total = _weighted(_lines(counted, columns, 1.0), rows)
    weight = _full_weight(rows, columns) if are_all_set else _weighted(_lines(flags, columns, 1.0), rows)
    is_empty = weight == 0
    weight[is_empty] = 1.0
    mean = total / weight
    if work.kind == "u":
        mean += 0.5
    made = mean.astype(work)
    empty = work.type(0)
    if nodata is not None:
        with np.errstate(over="ignore"):
            empty = np.array(nodata).astype(work)[()]
        # An average that happens to be the nodata value would read as no data.
        made[made == empty] = beside_nodata(source.dtype, nodata)
    made[is_empty] = empty
    return made


def _full_weight(rows: Axis, columns: Axis) -> Floats:
    """What flags sum up to that are all set: one line of them is every line."""
    line = _lines(np.ones((1, columns.start + 2 * columns.made.size + 1), dtype=np.bool_), columns, 1.0)
    return _weighted(np.broadcast_to(line, (2 * rows.made.size + 1, line.shape[1])), rows)


def _lines(source: Array, columns: Axis, factor: float) -> Floats:
    """Each row summed across: its covered pixels, weighted."""
    start, count, taps = columns.start, columns.made.size, columns.taps
    # The first pixel covered by one is the last covered by its neighbour: they are converted once.
    even = source[:, start : start + 2 * (count - 1) + taps : 2].astype(np.float64)
    odd = source[:, start + 1 : start + 2 * count : 2].astype(np.float64)
    if factor != 1.0:
        even *= factor
        odd *= factor
    if taps < 3:
        return even if taps == 1 else np.add(even, odd, out=even)
    left, _, right = columns.weights()
    total = even[:, :-1] * left
    total += odd
    total += even[:, 1:] * right
    return total


def _weighted(lines: Floats, rows: Axis) -> Floats:
    """Lines summed down."""
    count = rows.made.size
    above, middle, below = (lines[tap : tap + 2 * count - 1 : 2] for tap in range(3))
    if rows.taps < 3:
        return above if rows.taps == 1 else above + middle
    top, _, bottom = rows.weights()
    total = above * top[:, None]
    total += middle
    total += below * bottom[:, None]
    return total


def _tap(source: Array, columns: Axis, tap: int) -> Array:
    """The ``tap``-th pixel that each made pixel covers in its row."""
    start = columns.start + tap
    return source[:, start : start + 2 * columns.made.size - 1 : 2]


def count_flags(flags: Flags, rows: Axis, columns: Axis) -> npt.NDArray[np.int64]:
    """How many flags are set of those that each made pixel covers."""
    across = sum(_tap(flags, columns, tap).astype(np.int64) for tap in range(columns.taps))
    count = rows.made.size
    return np.asarray(sum(np.asarray(across)[tap : tap + 2 * count - 1 : 2] for tap in range(rows.taps)))


def as_dtype(made: Array, dtype: np.dtype[Any]) -> Array:
    """As GDAL stores a float in an integer band: rounded half away from zero, clamped."""
    if made.dtype == dtype:
        return made
    if dtype.kind not in "iu":
        return made.astype(dtype)
    info = np.iinfo(dtype.name)
    half = np.where(made > 0, made.dtype.type(0.5), made.dtype.type(-0.5))
    rounded = np.trunc(made + half)
    inside = np.clip(rounded, float(info.min), float(info.max))
    is_top = inside >= float(info.max)
    made_int = np.where(is_top, 0, inside).astype(dtype)
    made_int[is_top] = info.max
    return made_int
