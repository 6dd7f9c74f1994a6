"""Which queue a task goes to, and why: a pure function of facts and limits."""

from dataclasses import dataclass, replace

from geoetl.config.raster import RasterSettings
from geoetl.models.raster import RasterFacts

_MIB = 1024 * 1024
#: GDAL's COG driver with a 128 MB cache peaked at 413 to 495 MB on rasters of 1 GB; most of it does not grow.
_BASE_MEMORY_BYTES = 400 * _MIB
#: Decoded bytes a worker converts in a second, at the slow end (deflate level 6, one thread).
_SLOW_BYTES_PER_S = 10 * _MIB
#: A task that encodes a band holds one row of tiles of one panel, a few times over, whatever the raster's size.
_BAND_MEMORY_BYTES = 450 * _MIB
_MIN_TIME_LIMIT_S = 600
_MAX_TIME_LIMIT_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Route:
    """Where a task runs, why, and what it is expected to need."""

    queue: str
    reason: str
    memory_bytes: int
    time_limit_s: int


def route_raster(facts: RasterFacts, limits: RasterSettings) -> Route:
    """By decoded size: the size of the file says little, a 30 MB palette can hold gigabytes of pixels."""
    decoded = facts.decoded_bytes
    threshold = limits.gdal_threshold_bytes
    is_large = decoded > threshold
    shape = f"{facts.width} x {facts.height} x {len(facts.bands)} {facts.bands[0].dtype}"
    compared = "over" if is_large else "within"
    time_limit_s = min(_MAX_TIME_LIMIT_S, max(_MIN_TIME_LIMIT_S, decoded // _SLOW_BYTES_PER_S))
    return Route(
        queue="gdal" if is_large else "standard",
        reason=f"{shape} = {_size(decoded)} decoded, {compared} the limit of {_size(threshold)}",
        memory_bytes=_BASE_MEMORY_BYTES + limits.gdal_cache_bytes,
        time_limit_s=int(time_limit_s),
    )


def is_very_large(facts: RasterFacts, limits: RasterSettings) -> bool:
    """Whether a raster should be encoded by many tasks, if it can be."""
    return facts.decoded_bytes > limits.bands_threshold_bytes


def route_whole(facts: RasterFacts, limits: RasterSettings, problem: str) -> Route:
    """Of a very large raster that one task must convert, because of ``problem``."""
    route = route_raster(facts, limits)
    return replace(route, queue="gdal", reason=f"{_over_bands_limit(facts, limits)}, but not to be split: {problem}")


def route_band(facts: RasterFacts, limits: RasterSettings, *, bands: int) -> Route:
    """Of a task that encodes one of ``bands`` bands of rows."""
    time_limit_s = min(_MAX_TIME_LIMIT_S, max(_MIN_TIME_LIMIT_S, facts.decoded_bytes // bands // _SLOW_BYTES_PER_S))
    return Route(
        queue="gdal",
        reason=f"{_over_bands_limit(facts, limits)}: {bands:,} band{'' if bands == 1 else 's'} of "
        f"{limits.band_rows:,} rows",
        memory_bytes=_BAND_MEMORY_BYTES + limits.gdal_cache_bytes,
        time_limit_s=int(time_limit_s),
    )


def route_assembly(facts: RasterFacts, limits: RasterSettings) -> Route:
    """Of the task that puts the bands of a raster together; it has time to encode all of them again."""
    route = route_raster(facts, limits)
    return replace(
        route,
        queue="gdal",
        reason=f"{_over_bands_limit(facts, limits)}: one blob of all bands",
        memory_bytes=_BAND_MEMORY_BYTES + limits.gdal_cache_bytes,
    )


def _over_bands_limit(facts: RasterFacts, limits: RasterSettings) -> str:
    shape = f"{facts.width} x {facts.height} x {len(facts.bands)} {facts.bands[0].dtype}"
    return f"{shape} = {_size(facts.decoded_bytes)} decoded, over the limit of {_size(limits.bands_threshold_bytes)}"


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.4g} TiB"
