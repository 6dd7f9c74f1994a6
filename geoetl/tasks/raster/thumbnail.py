"""A small picture of a COG, for people who look through a catalogue."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import DatasetReader

from geoetl.gdal.open import gdal_errors, open_raster
from geoetl.storage.base import GdalAccess

#: Pixels of the longer side.
MAX_SIDE = 512
#: Values outside these percentiles are clipped: one hot pixel must not make the picture black.
_PERCENTILES = (2.0, 98.0)
#: Nine colours of matplotlib's viridis (CC0): dark blue is low, yellow is high, and it reads in grey.
_VIRIDIS = (
    (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99),
    (170, 220, 50), (253, 231, 37),
)  # fmt: skip

type Bytes = npt.NDArray[np.uint8]


def thumbnail_png(cog: GdalAccess, ref: str) -> bytes:
    """A PNG of at most 512 x 512 pixels: palette colours, RGB, or the first band in viridis; no data is transparent.

    Args:
        cog: The written COG; its overviews make this cheap, over the network too.
        ref: What messages call it.
    """
    with open_raster(cog, ref) as src, gdal_errors(ref, "Making the thumbnail of"):
        scale = max(1.0, max(src.width, src.height) / MAX_SIDE)
        shape = (max(1, round(src.height / scale)), max(1, round(src.width / scale)))
        alpha = _alpha(src, shape)
        if src.colorinterp[0] is ColorInterp.palette:
            colors, alpha = _palette(src, shape, alpha)
        else:
            colors = _stretched(src, shape, alpha)
    picture = io.BytesIO()
    # optimize=True would save a fifth of 75 kB, for twelve times the CPU time.
    Image.fromarray(np.dstack([colors, alpha]), mode=None).save(picture, "PNG")
    return picture.getvalue()


def _alpha(src: DatasetReader, shape: tuple[int, int]) -> Bytes:
    """255 where the first band is valid."""
    if MaskFlags.all_valid in src.mask_flag_enums[0]:
        return np.full(shape, 255, dtype=np.uint8)
    return src.read_masks(1, out_shape=shape, resampling=Resampling.nearest).astype(np.uint8)


def _palette(src: DatasetReader, shape: tuple[int, int], alpha: Bytes) -> tuple[Bytes, Bytes]:
    table = np.zeros((65536 if src.dtypes[0] == "uint16" else 256, 4), dtype=np.uint8)
    for value, color in src.colormap(1).items():
        table[value] = color
    colors = table[src.read(1, out_shape=shape, resampling=Resampling.nearest)]
    return colors[..., :3], np.minimum(alpha, colors[..., 3])


def _stretched(src: DatasetReader, shape: tuple[int, int], alpha: Bytes) -> Bytes:
    indexes = _picture_bands(src)
    # Nearest would drop what is finer than a picture pixel; complex numbers cancel out when averaged.
    resampling = Resampling.nearest if "complex" in src.dtypes[0] else Resampling.average
    values = src.read(indexes, out_shape=(len(indexes), *shape), resampling=resampling)
    numbers = np.abs(values).astype(np.float64) if values.dtype.kind == "c" else values.astype(np.float64)
    is_shown = (alpha > 0) & np.isfinite(numbers).all(axis=0)
    levels = np.stack([_to_bytes(band, is_shown) for band in numbers])
    alpha[~is_shown] = 0
    if len(indexes) == 3:
        return np.moveaxis(levels, 0, -1)
    return _ramp()[levels[0]]


def _picture_bands(src: DatasetReader) -> list[int]:
    """Red, green and blue where they are named; the first three of many alike; else the first."""
    colors = list(src.colorinterp)
    wanted = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    if all(color in colors for color in wanted):
        return [colors.index(color) + 1 for color in wanted]
    is_image = src.count >= 3 and set(src.dtypes) <= {"uint8", "uint16"}
    return [1, 2, 3] if is_image else [1]


def _to_bytes(band: npt.NDArray[np.float64], is_shown: npt.NDArray[np.bool_]) -> Bytes:
    shown = band[is_shown]
    if not shown.size:
        return np.zeros(band.shape, dtype=np.uint8)
    low, high = np.percentile(shown, _PERCENTILES)
    if high <= low:
        low, high = float(shown.min()), float(shown.max())
    scaled = (np.where(is_shown, band, low) - low) / ((high - low) or 1.0)
    return (np.clip(scaled, 0.0, 1.0) * 255).astype(np.uint8)


def _ramp() -> Bytes:
    at = np.linspace(0, len(_VIRIDIS) - 1, 256)
    channels = np.array(_VIRIDIS, dtype=np.float64).T
    return np.stack([np.interp(at, np.arange(len(_VIRIDIS)), channel) for channel in channels], axis=-1).astype(
        np.uint8
    )
