"""One direction of a reduction: which pixels of a level are covered by those of the next, and how much of each."""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoetl.tasks.raster.cog.layout import Span

type Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a reduction."""

    size: int
    """Of the level below, whole."""
    next_size: int
    """Of the level that is made, whole."""
    first: int
    """Index of the first pixel given, in the level below."""
    made: Span
    """What is to be made of it."""

    @property
    def ratio(self) -> float:
        return self.size / self.next_size

    @property
    def taps(self) -> int:
        """How many pixels one covers, the first of them at ``2 * j``: 2, 3 where the size is odd, 1 of one."""
        return min(self.size, 2 + self.size % 2)

    @property
    def start(self) -> int:
        """Where the first pixel covered lies in what was given."""
        return 2 * self.made.start - self.first

    def weights(self) -> tuple[Floats, ...]:
        """How much of each covered pixel counts, per pixel made; not to be changed."""
        return _weights(self)

    def total_weights(self) -> Floats:
        """Sums of ``weights``; not to be changed."""
        return _total_weights(self)

    def nearest(self) -> npt.NDArray[np.intp]:
        """Which pixel given stands for each made (GDAL's rule for overviews, not that of its reads)."""
        j = np.arange(self.made.start, self.made.stop)
        return np.minimum((0.5 + j * self.ratio).astype(np.intp), self.size - 1) - self.first


# A raster is reduced piece by piece, with few axes: those of the columns of its panels.
@functools.lru_cache(maxsize=16)
def _weights(axis: Axis) -> tuple[Floats, ...]:
    j = np.arange(axis.made.start, axis.made.stop, dtype=np.float64)
    one = np.ones_like(j)
    if axis.taps < 3:
        return (one,) * axis.taps
    left = 1.0 - (j * axis.ratio - 2 * j)
    right = 1.0 - ((2 * j + 3) - (j + 1) * axis.ratio)
    return left, one, right


@functools.lru_cache(maxsize=16)
def _total_weights(axis: Axis) -> Floats:
    weights = _weights(axis)
    return weights[0] + 1.0 + weights[2] if axis.taps == 3 else weights[0] * axis.taps
