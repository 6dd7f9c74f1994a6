"""Reprojection: the source into another CRS, on local disk, piece by piece.

Pixels that the target grid has and the source has not are marked as the source marks its own: by its nodata value, by
its alpha band, else by an internal mask. No nodata value is invented and no band is added.
"""

from pathlib import Path
from typing import Any

import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.vrt import WarpedVRT

from geoetl.errors import BadData
from geoetl.gdal.env import gdal_env
from geoetl.gdal.header import bits_of, facts_of
from geoetl.gdal.open import gdal_errors
from geoetl.gdal.reprojection import require_reprojectable, require_usable_nodata
from geoetl.gdal.sources import parse_crs
from geoetl.gdal.windows import pieces
from geoetl.models.raster import BlobFacts, ResamplingName
from geoetl.tasks.context import TaskContext

#: Of the intermediate file: tiles as the COG's, so that its writer decodes each once.
_BLOCKSIZE = 512


def warp_to(
    src: DatasetReader, path: Path, target_crs: str, ref: str, ctx: TaskContext, *, resampling: ResamplingName
) -> None:
    """Write ``src`` in ``target_crs`` to ``path``, with all its metadata that is still true.

    The grid is GDAL's suggestion: north-up, square pixels, about as many as the source has. 64-bit integers pass
    through float64, as everywhere in GDAL's warper: beyond 2**53 they are rounded.

    Raises:
        BadData: ``torn-at-antimeridian``, ``outside-target-crs``, ``nodata-out-of-range``: it would be ruined;
            ``unwarpable``: GDAL has no transformation from the source's CRS, or it fails in the source's area.
        InvalidInput: ``target_crs`` is none.
    """
    crs = parse_crs(target_crs, "target_crs")
    facts = facts_of(src, BlobFacts(size_bytes=0, etag=""))
    require_reprojectable(facts, crs, target_crs, ref)
    require_usable_nodata(facts, ref)
    needs_mask = facts.mask_kind in {"none", "internal"}
    with (
        gdal_env(threads=ctx.threads),
        gdal_errors(ref, f"Reprojecting to {target_crs}", code="unwarpable"),
        WarpedVRT(
            src, crs=crs, resampling=Resampling[resampling], add_alpha=needs_mask, num_threads=ctx.threads
        ) as warped,
    ):
        if warped.width < 1 or warped.height < 1:
            raise BadData(f"Reprojecting {ref} to {target_crs} leaves no pixel.", code="unwarpable")
        with rasterio.open(path, "w", **_layout(src, warped)) as dst:
            _copy_metadata(src, dst)
            _copy_pixels(warped, dst, ctx, has_mask=needs_mask)


def _layout(src: DatasetReader, warped: WarpedVRT) -> dict[str, Any]:
    bits = {bits for index in src.indexes if (bits := bits_of(src, index))}
    has_palette = src.count == 1 and src.colorinterp[0] is ColorInterp.palette
    return {
        "driver": "GTiff", "width": warped.width, "height": warped.height, "count": src.count, "dtype": src.dtypes[0],
        "crs": warped.crs, "transform": warped.transform, "nodata": src.nodata, "tiled": True,
        "blockxsize": _BLOCKSIZE, "blockysize": _BLOCKSIZE, "compress": "ZSTD", "zstd_level": 1, "bigtiff": "IF_SAFER",
        **({"nbits": max(bits)} if bits else {}), **({"photometric": "PALETTE"} if has_palette else {}),
    }  # fmt: skip


def _copy_metadata(src: DatasetReader, dst: DatasetWriter) -> None:
    if src.count == 1 and src.colorinterp[0] is ColorInterp.palette:
        dst.write_colormap(1, src.colormap(1))
    else:
        dst.colorinterp = src.colorinterp
    dst.descriptions = src.descriptions
    dst.scales, dst.offsets = src.scales, src.offsets
    dst.units = [unit or "" for unit in src.units]
    # AREA_OR_POINT is about the grid that was; statistics are about the pixels that were.
    dst.update_tags(**{key: value for key, value in src.tags().items() if key != "AREA_OR_POINT"})
    for index in src.indexes:
        dst.update_tags(
            index, **{key: value for key, value in src.tags(index).items() if not key.startswith("STATISTICS_")}
        )


def _copy_pixels(warped: WarpedVRT, dst: DatasetWriter, ctx: TaskContext, *, has_mask: bool) -> None:
    for piece in pieces(dst):
        ctx.checkpoint()
        values = warped.read(window=piece)
        dst.write(values[: dst.count], window=piece)
        if has_mask:
            dst.write_mask(values[-1] != 0, window=piece)
