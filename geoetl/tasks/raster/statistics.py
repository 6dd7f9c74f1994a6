"""Statistics of bands at full resolution, gathered piece by piece."""

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoetl.models.bigcog import BandMoments
from geoetl.models.raster import BandStatistics

#: Values worked on at once: in float64, what a processor's cache holds.
_CACHE_VALUES = 64 * 1024
#: A sum of squares that says: too large. Values beyond 1e154 have such squares; mostly they mark pixels without data.
_OVERFLOW = sys.float_info.max


@dataclass(slots=True)
class RunningStatistics:
    """Of one band. Pieces are merged as Chan, Golub and LeVeque (1979) do: no cancellation, one pass."""

    pixels: int = 0
    valid: int = 0
    """Pixels that are not masked and not NaN."""
    _counted: int = 0
    """Those of them that are finite: infinity has no mean."""
    _mean: float = 0.0
    _squares: float = 0.0
    _minimum: float = float("inf")
    _maximum: float = float("-inf")

    def add(self, values: npt.NDArray[np.generic], is_valid: npt.NDArray[np.bool_] | None) -> None:
        """Take in one piece.

        Args:
            values: Of any shape and dtype.
            is_valid: Of the same shape; None where every pixel is valid.
        """
        self.pixels += values.size
        lines = np.atleast_2d(values)
        step = max(1, _CACHE_VALUES // max(1, lines.shape[-1]))
        for start in range(0, len(lines), step):
            here = lines[start : start + step]
            flags = None if is_valid is None else np.atleast_2d(is_valid)[start : start + step]
            self._add_lines(here.ravel() if flags is None or flags.all() else here[flags])

    def _add_lines(self, chosen: npt.NDArray[np.generic]) -> None:
        if chosen.dtype.kind in "fc" and not np.isfinite(chosen).all():
            chosen = chosen[~np.isnan(chosen)]
            self.valid += chosen.size
            chosen = chosen[np.isfinite(chosen)]
        else:
            self.valid += chosen.size
        if chosen.size and chosen.dtype.kind != "c":
            self._merge(chosen)

    def _merge(self, chosen: npt.NDArray[Any]) -> None:
        numbers = chosen.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(numbers.mean())
            numbers -= mean
            # Not np.dot: for sums this short BLAS would keep a thread of every CPU spinning.
            squares = float(np.einsum("i,i->", numbers, numbers))
        self._put_together(numbers.size, mean, squares, float(chosen.min()), float(chosen.max()))

    def _put_together(self, count: int, mean: float, squares: float, minimum: float, maximum: float) -> None:
        total = self._counted + count
        delta = mean - self._mean
        self._squares += squares + delta * delta * self._counted * count / total
        self._mean += delta * count / total
        self._counted = total
        self._minimum = min(self._minimum, minimum)
        self._maximum = max(self._maximum, maximum)

    @property
    def _is_bounded(self) -> bool:
        # Infinity minus infinity is NaN, which is less than nothing.
        return math.isfinite(self._mean) and self._squares < _OVERFLOW

    def moments(self) -> BandMoments:
        """What another process needs to go on."""
        if not self._counted:
            return BandMoments(pixels=self.pixels, valid=self.valid, counted=0)
        return BandMoments(
            pixels=self.pixels,
            valid=self.valid,
            counted=self._counted,
            mean=self._mean if self._is_bounded else 0.0,
            # JSON knows no infinity.
            squares=self._squares if self._is_bounded else _OVERFLOW,
            minimum=self._minimum,
            maximum=self._maximum,
        )

    def add_moments(self, moments: BandMoments) -> None:
        """Take in what another process has gathered of other pixels."""
        self.pixels += moments.pixels
        self.valid += moments.valid
        if moments.minimum is not None and moments.maximum is not None:
            self._put_together(moments.counted, moments.mean, moments.squares, moments.minimum, moments.maximum)

    def result(self) -> BandStatistics | None:
        """The statistics; None where no valid value has an order, or a float64 does not hold their squares."""
        if not self._counted or not self._is_bounded:
            return None
        return BandStatistics(
            minimum=self._minimum,
            maximum=self._maximum,
            mean=self._mean,
            stddev=(self._squares / self._counted) ** 0.5,
            valid_percent=100.0 * self.valid / self.pixels,
        )
