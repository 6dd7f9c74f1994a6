"""Where a raster lies on the globe."""

import math
from dataclasses import dataclass
from typing import Any

import antimeridian
import shapely.geometry
from rasterio._err import CPLE_BaseError  # what rasterio.warp.transform raises; it has no public name
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points

from geoetl.errors import BadData
from geoetl.models.raster import RasterFacts

#: Points per edge: the edge of a raster is a curve in degrees. At 21 the error of a 100 km UTM tile is below 1 m.
_POINTS_PER_EDGE = 21
#: 1e-7 degrees is about 1 cm; more digits are noise of the projection.
_DIGITS = 7
#: Points that stray less from a straight line are left out: about 1 m, less for small rasters.
_TOLERANCE_DEGREES = 1e-5


@dataclass(frozen=True, slots=True)
class Footprint:
    """The outline of a raster in WGS84 (longitude, latitude in degrees)."""

    geometry: dict[str, Any]
    """GeoJSON Polygon; a MultiPolygon, split at 180 degrees, where it crosses the antimeridian (RFC 7946 3.1.9)."""
    bbox: tuple[float, float, float, float]
    """West, south, east, north; west > east where it crosses the antimeridian (RFC 7946 5.2)."""

    @property
    def crosses_antimeridian(self) -> bool:
        return self.bbox[0] > self.bbox[2]


def footprint(facts: RasterFacts, ref: str) -> Footprint:
    """The outline of the raster's pixels, nodata included: exact for rotated rasters, approximate for GCPs.

    Raises:
        BadData: ``no-footprint``: it has no georeference, or lies (partly) where its CRS is not defined.
    """
    affine = facts.transform or facts.approximate_transform
    if facts.crs is None or affine is None:
        raise BadData(
            f"The footprint of {ref} cannot be computed: it has no "
            f"{'CRS' if facts.crs is None else 'geotransform, nor control points that span an area'}.",
            code="no-footprint",
            hint="Georeference the file.",
        )
    crs = CRS.from_wkt(facts.crs)
    if not (crs.is_geographic or crs.is_projected):
        raise BadData(
            f"The footprint of {ref} cannot be computed: its CRS {_name(facts.crs)} is no map: neither geographic nor "
            f"projected.",
            code="no-footprint",
            hint="Set `source_crs`, or georeference the file in a geographic or projected CRS.",
        )
    xs, ys = _edges(Affine(*affine), facts.width, facts.height)
    longitudes, latitudes = _to_wgs84(crs, xs, ys, ref)
    if crs.is_geographic and max(longitudes) - min(longitudes) >= 360 - 1e-6:
        ring = _band_around_the_globe(min(latitudes), max(latitudes))
        return Footprint(_mapping(shapely.geometry.Polygon(ring)), (-180.0, ring[0][1], 180.0, ring[2][1]))
    polygon = shapely.geometry.Polygon(zip(longitudes, latitudes, strict=True))
    try:
        split = antimeridian.fix_polygon(polygon, fix_winding=True)
    except ValueError as exc:
        raise BadData(
            f"The footprint of {ref} cannot be computed: its outline in degrees crosses itself ({polygon.bounds}).",
            code="no-footprint",
            hint="Check the CRS and the geotransform, or cut the raster to the area of its CRS.",
        ) from exc
    west, south, east, north = antimeridian.bbox(split)
    return Footprint(
        _mapping(split), (round(west, _DIGITS), round(south, _DIGITS), round(east, _DIGITS), round(north, _DIGITS))
    )


def _edges(affine: Affine, width: int, height: int) -> tuple[list[float], list[float]]:
    """The outline in the raster's CRS, upper left corner first, counter-clockwise for a north-up raster."""
    steps = [step / (_POINTS_PER_EDGE - 1) for step in range(_POINTS_PER_EDGE - 1)]
    pixels = (
        [(0.0, step * height) for step in steps]
        + [(step * width, float(height)) for step in steps]
        + [(float(width), height - step * height) for step in steps]
        + [(width - step * width, 0.0) for step in steps]
    )
    points = [affine @ pixel for pixel in [*pixels, pixels[0]]]
    return [x for x, _ in points], [y for _, y in points]


def _to_wgs84(crs: CRS, xs: list[float], ys: list[float], ref: str) -> tuple[list[float], list[float]]:
    try:
        longitudes, latitudes, *_ = transform_points(crs, CRS.from_epsg(4326), xs, ys)
    except (CRSError, CPLE_BaseError) as exc:
        raise BadData(
            f"The footprint of {ref} cannot be computed: PROJ has no way from its CRS {_name(crs.to_wkt())} to WGS84.",
            code="no-footprint",
            hint="Set `source_crs`, or georeference the file in a CRS that PROJ can transform.",
        ) from exc
    is_placed = [
        math.isfinite(lon) and math.isfinite(lat) and abs(lat) <= 90 + 1e-6
        for lon, lat in zip(longitudes, latitudes, strict=True)
    ]
    if not all(is_placed):
        raise BadData(
            f"The footprint of {ref} cannot be computed: {is_placed.count(False)} of {len(xs)} points of its edge lie "
            f"outside the area where its CRS is defined; the corner is at {xs[0]:g}, {ys[0]:g}.",
            code="no-footprint",
            hint="Check the CRS and the geotransform (axis order? units?), or cut the raster to the area of its CRS.",
        )
    return longitudes, latitudes


def _band_around_the_globe(south: float, north: float) -> list[tuple[float, float]]:
    south, north = round(max(south, -90.0), _DIGITS), round(min(north, 90.0), _DIGITS)
    return [(-180.0, south), (180.0, south), (180.0, north), (-180.0, north), (-180.0, south)]


def _name(wkt: str) -> str:
    """What a CRS calls itself: the first quoted text of its WKT."""
    return wkt.split('"')[1] if '"' in wkt else "without a name"


def _mapping(geometry: shapely.geometry.base.BaseGeometry) -> dict[str, Any]:
    """GeoJSON without the points that lie on a straight line, rounded to about 1 cm."""
    west, south, east, north = geometry.bounds
    simplified = geometry.simplify(min(_TOLERANCE_DEGREES, (east - west) / 1000, (north - south) / 1000))
    return {"type": simplified.geom_type, "coordinates": _rounded(simplified.__geo_interface__["coordinates"])}


def _rounded(coordinates: Any) -> Any:
    if isinstance(coordinates, float | int):
        return round(float(coordinates), _DIGITS)
    return [_rounded(part) for part in coordinates]
