"""Reprojections that would tear a raster apart at 180 degrees."""

import math

from rasterio.crs import CRS
from rasterio.warp import transform as transform_points

from geoetl.gdal.footprint import footprint
from geoetl.models.raster import RasterFacts

#: About 10 m at the equator.
_STEP_DEGREES = 1e-4
#: The step across 180 degrees is twice the step beside it where a CRS continues, a million times where it is cut.
_TORN_RATIO = 1000.0


def tears_at_antimeridian(facts: RasterFacts, target: CRS, ref: str) -> bool:
    """Whether a raster that crosses 180 degrees would become a band around the globe in ``target``.

    A CRS that continues across 180 degrees (the UTM zones beside it, EPSG:3832, polar ones) is fine; EPSG:4326 and 3857
    are not: the grid would be worldwide, nearly empty, and far coarser than the source.

    Raises:
        BadData: ``no-footprint``.
    """
    outline = footprint(facts, ref)
    if not outline.crosses_antimeridian or facts.crs is None or CRS.from_wkt(facts.crs) == target:
        return False
    latitude = (outline.bbox[1] + outline.bbox[3]) / 2
    longitudes = [180 - 2 * _STEP_DEGREES, 180 - _STEP_DEGREES, -180 + _STEP_DEGREES]
    xs, ys, *_ = transform_points(CRS.from_epsg(4326), target, longitudes, [latitude] * 3)
    beside = math.dist((xs[0], ys[0]), (xs[1], ys[1]))
    across = math.dist((xs[1], ys[1]), (xs[2], ys[2]))
    return across > _TORN_RATIO * beside
