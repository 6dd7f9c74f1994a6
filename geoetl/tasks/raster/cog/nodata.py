"""The nodata value, as GDAL compares with it."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from geoetl.tasks.raster.cog.pixels import Array

type Flags = npt.NDArray[np.bool_]


def is_nodata(values: Array, nodata: float | None) -> Flags:
    """Where values are the nodata value: for floats, as GDAL does, those next to it too."""
    if nodata is None:
        return np.zeros(values.shape, dtype=np.bool_)
    if values.dtype.kind != "f":
        info = np.iinfo(values.dtype.name)
        if not (float(nodata).is_integer() and info.min <= nodata <= info.max):
            return np.zeros(values.shape, dtype=np.bool_)
        return values == values.dtype.type(int(nodata))
    if np.isnan(nodata):
        return np.isnan(values)
    low, high = _almost(values.dtype, nodata)
    return values == low if low == high else (values >= low) & (values <= high)


@functools.cache
def _almost(dtype: np.dtype[Any], nodata: float) -> tuple[float, float]:
    """The least and greatest float that GDAL (ARE_REAL_EQUAL, 2 ulp) takes for ``nodata``."""
    kind = dtype.type
    epsilon = float(np.finfo(dtype).eps)
    bounds: list[float] = []
    # Old software writes the largest float with too many digits, and what follows it is infinity.
    with np.errstate(over="ignore"):
        center = kind(nodata)
        for direction in (-np.inf, np.inf):
            bound = center
            while np.isfinite(following := np.nextafter(bound, kind(direction))) and (
                abs(float(following) - float(center)) < epsilon * abs(float(following) + float(center)) * 2
            ):
                bound = following
            bounds.append(float(bound))
    return bounds[0], bounds[1]


def beside_nodata(dtype: np.dtype[Any], nodata: float) -> float:
    """The value that GDAL writes where an average is the nodata value by chance."""
    if dtype.kind in "iu":
        return nodata - 1 if nodata == np.iinfo(dtype.name).max else nodata + 1
    top = np.finfo(dtype).max
    kind = dtype.type
    return float(np.nextafter(kind(nodata), kind(0) if nodata == top else top))
