"""Which rasters can be reprojected to which CRS: those that keep their place, all their parts and their resolution.

GDAL reprojects whatever it is given. Of a raster that reaches beyond where the target CRS can be used it drops what has
no place there, and the grid around the rest may have pixels a hundred times as wide as the raster's.
"""

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio._err import CPLE_BaseError  # what rasterio.warp.transform raises; it has no public name
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points

from geoetl.errors import BadData
from geoetl.gdal.antimeridian import tears_at_antimeridian
from geoetl.gdal.env import gdal_env
from geoetl.gdal.footprint import footprint
from geoetl.gdal.header import crs_wkt, unusable_nodata
from geoetl.gdal.open import gdal_errors
from geoetl.models.raster import RasterFacts

type Floats = npt.NDArray[np.float64]

#: Pixels that are looked at, across and down, the outermost too.
_SAMPLES = 9
#: About 6 km on the globe: more than two ways between datums differ, less than what is misplaced is off.
_TOLERANCE_RADIANS = 1e-3
#: What a grid may end before a place that it should hold, of its size: GDAL looks at 21 points of each edge.
_MARGIN = 0.01
#: How many times as wide as the raster's a pixel of the new grid may be: at this 15 of 16 pixels are lost.
_COARSEST = 4.0
_WGS84 = CRS.from_epsg(4326)


def require_reprojectable(facts: RasterFacts, target: CRS, target_name: str, ref: str) -> None:
    """Refuse a reprojection that would ruin a raster. No I/O.

    Args:
        facts: Of the raster, with its CRS.
        target: The CRS.
        target_name: What messages call it.
        ref: What messages call the raster.

    Raises:
        BadData: ``torn-at-antimeridian``; ``outside-target-crs``; ``no-footprint``, of the raster as it is;
            ``unwarpable``: GDAL has no transformation.
    """
    if tears_at_antimeridian(facts, target, ref):
        raise BadData(
            f"Reprojecting {ref} to {target_name} would tear it apart at 180 degrees, which it crosses.",
            code="torn-at-antimeridian",
            hint="Keep the source's CRS, or choose one that continues across 180 degrees.",
        )
    affine = facts.transform or facts.approximate_transform
    if facts.crs is None or affine is None or CRS.from_wkt(facts.crs) == target:
        return
    own = _Placed(facts, CRS.from_wkt(facts.crs), Affine(*affine))
    with gdal_errors(ref, f"Reprojecting to {target_name}", code="unwarpable"):
        problem = _problem(own, target, ref)
    if problem:
        hint = "Choose a CRS that is made for where the raster lies, or cut the raster to the area of that CRS."
        if target.to_epsg() == 3857:
            hint = (
                "EPSG:3857 ends at 85.06 degrees north and south: cut the raster there "
                "(gdal_translate -projwin -180 85.06 180 -85.06), or choose another CRS."
            )
        raise BadData(
            f"Reprojecting {ref} to {target_name} is not possible: {problem}.", code="outside-target-crs", hint=hint
        )


def require_usable_nodata(facts: RasterFacts, ref: str) -> None:
    """Refuse a raster whose nodata value cannot mark the pixels that a reprojection adds.

    Raises:
        BadData: ``nodata-out-of-range``.
    """
    if names := unusable_nodata(facts):
        raise BadData(
            f"Reprojecting {ref} would make another value of its nodata value: it has {names}.",
            code="nodata-out-of-range",
            hint="Write the source anew with a nodata value that its bands hold.",
        )


@dataclass(frozen=True, slots=True)
class _Placed:
    """A raster and its place."""

    facts: RasterFacts
    crs: CRS
    affine: Affine


def _problem(own: _Placed, target: CRS, ref: str) -> str | None:
    facts = own.facts
    sides = (np.linspace(0.5, size - 0.5, _SAMPLES) for size in (facts.width, facts.height))
    columns, rows = (part.ravel() for part in np.meshgrid(*sides))
    # The samples, then what lies a quarter of a pixel to either side of each, and above and below.
    steps = ((0, 0), (-0.25, 0), (0.25, 0), (0, -0.25), (0, 0.25))
    here = np.concatenate([_at(own.affine, columns + across, rows + down) for across, down in steps], axis=1)
    there = _placed(own.crs, target, here)
    samples, left, right, above, below = np.split(there, len(steps), axis=1)
    misplaced = ~(_angles(own.crs, here[:, : columns.size], target, samples) < _TOLERANCE_RADIANS)
    if misplaced.any():
        return f"{misplaced.sum()} of {columns.size} pixels that were looked at have no place there"
    grid, width, height = _suggested_grid(own, target)
    size = f"{width:,} x {height:,} pixels"
    x, y = 2 * (right - left), 2 * (below - above)
    own_area = float(np.nanmedian(np.abs(x[0] * y[1] - x[1] * y[0])))
    coarser = math.sqrt(abs(grid.determinant) / own_area) if own_area else math.inf
    if not coarser <= _COARSEST:
        return (
            f"{size} would be left of {facts.width:,} x {facts.height:,}, each {coarser:.3g} times as wide as the "
            f"raster's: that CRS ends before the raster does, cuts it in two, or distorts it beyond use"
        )
    found = _at(~grid, *samples)
    sizes = np.array([[width], [height]])
    margins = 2 + sizes * _MARGIN
    outside = ((found < -margins) | (found > sizes + margins)).any(axis=0)
    if outside.any():
        return f"{outside.sum()} of {columns.size} pixels that were looked at lie beyond the grid that it would have"
    moved = {"crs": crs_wkt(target), "transform": tuple(grid)[:6], "width": width, "height": height}
    try:
        footprint(facts.model_copy(update=moved), ref)
    except BadData:
        return f"the corners of its grid of {size} would lie beyond the edge of the map"
    return None


def _suggested_grid(own: _Placed, target: CRS) -> tuple[Affine, int, int]:
    """The grid that GDAL chooses for a raster of this size and place."""
    described = (
        f'<VRTDataset rasterXSize="{own.facts.width}" rasterYSize="{own.facts.height}">'
        f"<SRS>{escape(own.crs.to_wkt())}</SRS>"
        f"<GeoTransform>{', '.join(map(repr, own.affine.to_gdal()))}</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"/></VRTDataset>'
    )
    with gdal_env(), rasterio.open(described, driver="VRT") as src, WarpedVRT(src, crs=target) as warped:
        return warped.transform, warped.width, warped.height


def _at(affine: Affine, columns: Floats, rows: Floats) -> Floats:
    return np.stack([affine.a * columns + affine.b * rows + affine.c, affine.d * columns + affine.e * rows + affine.f])


def _placed(own: CRS, target: CRS, points: Floats) -> Floats:
    """Points ``(2, n)`` in another CRS; NaN where PROJ has none."""
    try:
        xs, ys, *_ = transform_points(own, target, *points.tolist())
    except (CRSError, CPLE_BaseError):
        if points.shape[1] == 1:
            return np.full((2, 1), np.nan)
        # One that fails may fail all.
        return np.concatenate([_placed(own, target, half) for half in np.array_split(points, 2, axis=1)], axis=1)
    found = np.array([xs, ys])
    return np.where(np.isfinite(found), found, np.nan)


def _angles(one: CRS, points: Floats, other: CRS, same: Floats) -> Floats:
    """How far apart on the globe, in radians, places are that should be the same; NaN where one is none."""
    return np.linalg.norm(_on_sphere(_placed(one, _WGS84, points)) - _on_sphere(_placed(other, _WGS84, same)), axis=0)


def _on_sphere(places: Floats) -> Floats:
    lon, lat = np.radians(places)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
