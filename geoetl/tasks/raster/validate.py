"""Is the written file a COG, and is it the source? Both are shown before anything is uploaded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rasterio.warp import transform as transform_points
from rio_cogeo.cogeo import cog_validate

from geoetl.errors import SystemFault
from geoetl.gdal.env import gdal_env
from geoetl.gdal.open import gdal_errors, open_raster
from geoetl.gdal.windows import PIECE_BYTES, pieces
from geoetl.storage.base import GdalAccess
from geoetl.tasks.context import TaskContext
from geoetl.tasks.raster.cog.pixels import Pixels
from geoetl.tasks.raster.cog.whole import WrittenCog


def validate_cog(
    cog: Path, src: DatasetReader, ref: str, ctx: TaskContext, *, is_lossy: bool, written: WrittenCog | None = None
) -> dict[str, bool]:
    """Check a written COG with a second implementation (rio-cogeo, strict), and compare it with what it was made of.

    Args:
        cog: The written file.
        src: What the COG driver read: the source, or its reprojection.
        ref: What messages call the source.
        ctx: For checkpoints.
        is_lossy: Pixels may differ; every block is still decoded.
        written: By our own encoder, which remembers what it read: the source is not decoded once more.

    Returns:
        Each check by name, all true.

    Raises:
        SystemFault: ``cog-differs``: a check failed. The source passed its own checks, so the writer is at fault.
    """
    access = GdalAccess(str(cog), {})
    checks = {"strict_cog": is_strict_cog(access, width=src.width)}
    with open_raster(access, ref, threads=ctx.threads, cache_bytes=ctx.cache_bytes) as dst:
        checks |= compare_headers(src, dst)
        if checks["size_equal"]:
            with gdal_errors(ref, "Reading back the COG of", code="cog-unreadable", error=SystemFault):
                if written is not None:
                    checks |= _compare_fingerprints(src, dst, written)
                else:
                    checks |= _compare_pixels(src, dst, ctx, is_lossy=is_lossy)
    require_all(checks, ref)
    return checks


def compare_headers(src: DatasetReader, dst: DatasetReader) -> dict[str, bool]:
    """What a COG must have of its source besides pixels, by check name."""
    checks = {f"{name}_equal": fact(src) == fact(dst) for name, fact in _HEADER_FACTS.items()}
    return checks | {"crs_equal": _is_same_crs(src, dst), "tags_equal": _tags_kept(src, dst)}


def require_all(checks: dict[str, bool], ref: str) -> None:
    """Refuse a COG that failed a check.

    Raises:
        SystemFault: ``cog-differs``.
    """
    if failed := sorted(name for name, passed in checks.items() if not passed):
        raise SystemFault(
            f"The COG of {ref} was written but is not as it should be; failed checks: {', '.join(failed)}.",
            code="cog-differs",
            hint="Nothing was published. Report this with the source file.",
        )


def is_strict_cog(access: GdalAccess, *, width: int) -> bool:
    """What rio-cogeo says of a file, or of a blob where it lies."""
    with gdal_env(access.options):
        is_valid, errors, warnings = cog_validate(access.path, strict=True, quiet=True)
    if width == 1:
        # rasterio derives the decimation of an overview from the widths alone: of a raster one pixel wide it is always
        # "1", which the validator takes for a fault. The heights halve as they should.
        return not warnings and all(error.startswith("Invalid Decimation 1 ") for error in errors)
    return is_valid


def _palettes(dataset: DatasetReader) -> list[dict[int, tuple[int, ...]] | None]:
    palettes: list[dict[int, tuple[int, ...]] | None] = []
    for index in dataset.indexes:
        try:
            palettes.append(dict(dataset.colormap(index)))
        except ValueError:  # rasterio's way to say that there is none
            palettes.append(None)
    return palettes


def _points(dataset: DatasetReader) -> list[tuple[float, ...]]:
    return [(point.col, point.row, point.x, point.y, point.z or 0.0) for point in dataset.gcps[0]]


def _is_same_crs(src: DatasetReader, dst: DatasetReader) -> bool:
    """Equal, or spelt differently by the two formats (WKT dialects, names) but placing the corners alike."""
    one, other = src.crs or src.gcps[1], dst.crs or dst.gcps[1]
    if one == other or one is None or other is None:
        return one == other
    xs, ys = zip(*(dst.transform @ corner for corner in ((0, 0), (dst.width, 0), (0, dst.height))), strict=True)
    places = [transform_points(crs, CRS.from_epsg(4326), xs, ys)[:2] for crs in (one, other)]
    # 1e-9 degrees is 0.1 mm.
    return bool(np.allclose(places[0], places[1], rtol=0, atol=1e-9))


def _nodata(dataset: DatasetReader) -> list[str]:
    # As text, because NaN is not equal to itself.
    return [str(value) for value in dataset.nodatavals]


#: What must be equal, by check name.
_HEADER_FACTS: dict[str, Callable[[DatasetReader], object]] = {
    "size": lambda dataset: (dataset.width, dataset.height, dataset.count),
    "dtype": lambda dataset: tuple(dataset.dtypes),
    "transform": lambda dataset: dataset.transform,
    "gcps": _points,
    "nodata": _nodata,
    "palette": _palettes,
    "color_interpretation": lambda dataset: dataset.colorinterp,
    "descriptions": lambda dataset: tuple(text or "" for text in dataset.descriptions),
    "scale_offset": lambda dataset: (dataset.scales, dataset.offsets),
    "units": lambda dataset: tuple(text or "" for text in dataset.units),
    "mask_kind": lambda dataset: [MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums],
}


def _tags_kept(src: DatasetReader, dst: DatasetReader) -> bool:
    """Whether every tag of the source is in the COG. The COG may have more: GDAL writes how it was made."""
    return all(
        (src.tags(index).items() <= dst.tags(index).items()) if index else (src.tags().items() <= dst.tags().items())
        for index in (0, *src.indexes)
    )


def _compare_pixels(src: DatasetReader, dst: DatasetReader, ctx: TaskContext, *, is_lossy: bool) -> dict[str, bool]:
    has_masks = any(MaskFlags.all_valid not in flags for flags in dst.mask_flag_enums)
    pixels_equal = masks_equal = True
    for piece in pieces(dst, piece_bytes=PIECE_BYTES >> ctx.shrink):
        ctx.checkpoint()
        written = dst.read(window=piece)
        if not is_lossy:
            pixels_equal = pixels_equal and _same(src.read(window=piece), written)
        if has_masks and not is_lossy:
            masks_equal = masks_equal and np.array_equal(src.read_masks(window=piece), dst.read_masks(window=piece))
    decoded = {"every_block_decoded": True}
    return decoded if is_lossy else decoded | {"pixels_equal": pixels_equal, "mask_equal": masks_equal}


def _compare_fingerprints(src: DatasetReader, dst: DatasetReader, written: WrittenCog) -> dict[str, bool]:
    """The same checks. Nodata and alpha are values; of masks only an internal one is more."""
    pixels_equal = masks_equal = True
    decoded = 0
    for fingerprint in written.fingerprints:
        piece = fingerprint.window
        found = Pixels(dst.read(window=piece), dst.read_masks(1, window=piece) if written.has_mask else None)
        decoded += found.height * found.width
        if found.digest() != fingerprint.digest:
            # Other bits may be equal values: a codec may write a NaN, or a zero, in another form.
            pixels_equal = pixels_equal and _same(src.read(window=piece), found.values)
            masks_equal = masks_equal and np.array_equal(src.read_masks(window=piece), dst.read_masks(window=piece))
        written.steps.step()
    is_whole = decoded == dst.width * dst.height
    return {"every_block_decoded": is_whole, "pixels_equal": pixels_equal, "mask_equal": masks_equal}


def _same(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
