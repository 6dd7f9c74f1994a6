"""Where a raster lies on the globe."""

import math
from dataclasses import dataclass
from typing import Any

import antimeridian
import shapely.affinity
import shapely.geometry
from rasterio._err import CPLE_BaseError  # what rasterio.warp.transform raises; it has no public name
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points
from shapely.geometry import MultiPolygon, Polygon

from geoetl.errors import BadData
from geoetl.gdal.header import is_map
from geoetl.models.raster import RasterFacts

type Line = tuple[list[float], list[float]]

#: Points per edge: the edge of a raster is a curve in degrees. At 21 the error of a 100 km UTM tile is below 1 m.
_POINTS_PER_EDGE = 21
#: 1e-7 degrees is about 1 cm; more digits are noise of the projection.
_DIGITS = 7
_LEAST_DEGREES = 1e-7
#: Points that stray less from a straight line are left out: about 1 m, less for small rasters.
_TOLERANCE_DEGREES = 1e-5
#: What may be missing of 360 degrees: less than a pixel, since few resolutions divide the globe.
_WIDEST_GAP_DEGREES = 1.0
#: PROJ may go there and back by ways that differ by 200 m, where old datums have several; what leaves a map strays far.
_LEAST_STRAY_M = 1000.0
_WGS84 = CRS.from_epsg(4326)


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
    if not is_map(crs):
        raise BadData(
            f"The footprint of {ref} cannot be computed: its CRS {_name(facts.crs)} is no map: neither geographic nor "
            f"projected.",
            code="no-footprint",
            hint="Set `source_crs`, or georeference the file in a geographic or projected CRS.",
        )
    edges = _edges(Affine(*affine), facts.width, facts.height)
    longitudes, latitudes = _to_wgs84(crs, edges, ref)
    goes_around = crs.is_geographic or _is_cylindrical(crs, edges)
    if not goes_around:
        pixel = max(map(abs, (*affine[:2], *affine[3:5])))
        tolerance = max(pixel, _LEAST_STRAY_M / crs.linear_units_factor[1])
        _require_same_back(crs, edges, (longitudes, latitudes), ref, tolerance=tolerance)
    line = _continuous(longitudes)
    if line is None:
        return _of_outline(_around_pole(longitudes, latitudes, ref))
    span = max(line) - min(line)
    if goes_around and span >= 360 - min(span / facts.width, _WIDEST_GAP_DEGREES):
        return _of_outline(_band_around_the_globe(min(latitudes), max(latitudes)))
    turns = 360 * math.floor((min(line) + 180 + _LEAST_DEGREES) / 360)
    polygon = Polygon(zip([longitude - turns for longitude in line], latitudes, strict=True))
    if not polygon.is_valid:
        raise _crosses_itself(polygon, ref)
    return _of_outline(_split(polygon))


def _edges(affine: Affine, width: int, height: int) -> Line:
    """The outline in the raster's CRS, from its upper left corner; its area lies to the left of it."""
    steps = [step / (_POINTS_PER_EDGE - 1) for step in range(_POINTS_PER_EDGE - 1)]
    pixels = (
        [(0.0, step * height) for step in steps]
        + [(step * width, float(height)) for step in steps]
        + [(float(width), height - step * height) for step in steps]
        + [(width - step * width, 0.0) for step in steps]
    )
    points = [affine @ pixel for pixel in [*pixels, pixels[0]]]
    if affine.determinant > 0:  # south-up, or mirrored
        points.reverse()
    return [x for x, _ in points], [y for _, y in points]


def _to_wgs84(crs: CRS, edges: Line, ref: str) -> Line:
    try:
        longitudes, latitudes = _placed(crs, _WGS84, edges)
    except (CRSError, CPLE_BaseError) as exc:
        raise BadData(
            f"The footprint of {ref} cannot be computed: PROJ has no way to WGS84 from its edge in its CRS "
            f"{_name(crs.to_wkt())}.",
            code="no-footprint",
            hint="Cut the raster to the area of its CRS, or georeference it in a CRS that PROJ can transform.",
        ) from exc
    strays = sum(
        not (math.isfinite(lon) and math.isfinite(lat) and abs(lat) <= 90 + 1e-6)
        for lon, lat in zip(longitudes, latitudes, strict=True)
    )
    if strays:
        raise _outside(strays, edges, ref)
    return longitudes, latitudes


def _require_same_back(crs: CRS, edges: Line, found: Line, ref: str, *, tolerance: float) -> None:
    """Refuse an outline that leaves the map: a point beyond its edge is placed somewhere else on the globe."""
    try:
        back = _placed(_WGS84, crs, found)
    except (CRSError, CPLE_BaseError):
        back = ([math.nan] * len(edges[0]),) * 2
    strays = sum(
        not math.dist(one, other) <= tolerance
        for one, other in zip(zip(*edges, strict=True), zip(*back, strict=True), strict=True)
    )
    if strays:
        raise _outside(strays, edges, ref)


def _outside(strays: int, edges: Line, ref: str) -> BadData:
    xs, ys = edges
    return BadData(
        f"The footprint of {ref} cannot be computed: {strays} of {len(xs)} points of its edge lie "
        f"outside the area where its CRS is defined; the corner is at {xs[0]:g}, {ys[0]:g}.",
        code="no-footprint",
        hint="Check the CRS and the geotransform (axis order? units?), or cut the raster to the area of its CRS.",
    )


def _is_cylindrical(crs: CRS, edges: Line) -> bool:
    """Whether longitude depends on x alone and latitude on y alone: such a map goes on beyond 180 degrees."""
    xs, ys = ((min(values), (min(values) + max(values)) / 2, max(values)) for values in edges)
    try:
        lons, lats = _placed(crs, _WGS84, ([x for x in xs for _ in ys], [y for _ in xs for y in ys]))
    except (CRSError, CPLE_BaseError):  # around a rotated raster there may be places without a place
        return False
    return all(
        abs((lons[at] - lons[at // 3 * 3] + 180) % 360 - 180) < 1e-9 and abs(lats[at] - lats[at % 3]) < 1e-9
        for at in range(9)
    )


def _continuous(longitudes: list[float]) -> list[float] | None:
    """Longitudes without jumps at 180 degrees; None where the outline goes around a pole, or touches it."""
    line = longitudes[:1]
    for longitude in longitudes[1:]:
        # By whole turns: a sum of steps would end beside where it began, and the outline would cross itself.
        line.append(longitude + 360 * round((line[-1] - longitude) / 360))
        if abs(line[-1] - line[-2]) > 180 - _LEAST_DEGREES:
            return None
    return line if abs(line[-1] - line[0]) < 180 else None


def _around_pole(longitudes: list[float], latitudes: list[float], ref: str) -> Polygon | MultiPolygon:
    polygon = Polygon(zip(longitudes, latitudes, strict=True))
    try:
        return antimeridian.fix_polygon(polygon, fix_winding=True)
    except ValueError as exc:
        raise _crosses_itself(polygon, ref) from exc


def _split(polygon: Polygon) -> Polygon | MultiPolygon:
    """A polygon that begins west of 180 degrees and may end east of them, split there.

    What is thinner than the last digit of a coordinate is left out: many rasters begin or end at 180 degrees, nearly.
    """
    parts: list[Polygon] = []
    for turn in (0, 360):
        piece = polygon.intersection(shapely.geometry.box(turn - 180, -90, turn + 180, 90))
        found = [part for part in getattr(piece, "geoms", [piece]) if isinstance(part, Polygon) and not part.is_empty]
        parts.extend(shapely.geometry.polygon.orient(shapely.affinity.translate(part, xoff=-turn)) for part in found)
    kept = [part for part in parts if part.bounds[2] - part.bounds[0] >= _LEAST_DEGREES] or parts
    return kept[0] if len(kept) == 1 else MultiPolygon(kept)


def _crosses_itself(polygon: Polygon, ref: str) -> BadData:
    return BadData(
        f"The footprint of {ref} cannot be computed: its outline in degrees crosses itself ({polygon.bounds}).",
        code="no-footprint",
        hint="Check the CRS and the geotransform, or cut the raster to the area of its CRS.",
    )


def _band_around_the_globe(south: float, north: float) -> Polygon:
    south, north = max(south, -90.0), min(north, 90.0)
    return Polygon([(-180.0, south), (180.0, south), (180.0, north), (-180.0, north)])


def _of_outline(outline: Polygon | MultiPolygon) -> Footprint:
    west, south, east, north = antimeridian.bbox(outline)
    return Footprint(
        _mapping(outline), (round(west, _DIGITS), round(south, _DIGITS), round(east, _DIGITS), round(north, _DIGITS))
    )


def _placed(crs: CRS, target: CRS, points: Line) -> Line:
    xs, ys, *_ = transform_points(crs, target, *points)
    return xs, ys


def _name(wkt: str) -> str:
    """What a CRS calls itself: the first quoted text of its WKT."""
    return wkt.split('"')[1] if '"' in wkt else "without a name"


def _mapping(geometry: Polygon | MultiPolygon) -> dict[str, Any]:
    """GeoJSON without the points that lie on a straight line, rounded to about 1 cm."""
    west, south, east, north = geometry.bounds
    simplified = geometry.simplify(min(_TOLERANCE_DEGREES, (east - west) / 1000, (north - south) / 1000))
    return {"type": simplified.geom_type, "coordinates": _rounded(simplified.__geo_interface__["coordinates"])}


def _rounded(coordinates: Any) -> Any:
    if isinstance(coordinates, float | int):
        return round(float(coordinates), _DIGITS)
    return [_rounded(part) for part in coordinates]
