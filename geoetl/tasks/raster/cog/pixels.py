"""Some rows and columns of a raster in memory."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Values of all bands, and the internal mask where the raster has one."""

    values: Array
    """``(bands, height, width)``."""
    mask: npt.NDArray[np.uint8] | None = None
    """``(height, width)``, 0 or 255."""

    @property
    def height(self) -> int:
        return self.values.shape[1]

    @property
    def width(self) -> int:
        return self.values.shape[2]

    def cut(self, start: int, stop: int, columns: int | None = None) -> "Pixels":
        """Rows ``start`` to ``stop`` and the first ``columns`` columns, as a view."""
        mask = None if self.mask is None else self.mask[start:stop, :columns]
        return Pixels(self.values[:, start:stop, :columns], mask)

    def copy(self) -> "Pixels":
        """The same, holding nothing else in memory."""
        return Pixels(self.values.copy(), None if self.mask is None else self.mask.copy())

    def digest(self) -> bytes:
        """SHA-256 of values and mask, bit for bit: of a NaN, and of zero, there are several forms."""
        found = hashlib.sha256()
        for plane in [*self.values, *([] if self.mask is None else [self.mask])]:
            found.update(np.ascontiguousarray(plane).data)
        return found.digest()


def stack(parts: Sequence[Pixels]) -> Pixels:
    """Parts of equal width, one below the other."""
    if len(parts) == 1:
        return parts[0]
    masks = [part.mask for part in parts if part.mask is not None]
    return Pixels(np.concatenate([part.values for part in parts], axis=1), np.concatenate(masks) if masks else None)


def beside(parts: Sequence[Pixels]) -> Pixels:
    """Parts of equal height, from left to right."""
    if len(parts) == 1:
        return parts[0]
    masks = [part.mask for part in parts if part.mask is not None]
    return Pixels(
        np.concatenate([part.values for part in parts], axis=2), np.concatenate(masks, axis=1) if masks else None
    )
