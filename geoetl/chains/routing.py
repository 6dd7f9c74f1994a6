"""Which queue a task goes to, and why: a pure function of facts and limits."""

from dataclasses import dataclass

from geoetl.config.raster import RasterSettings
from geoetl.models.raster import RasterFacts

_MIB = 1024 * 1024
#: GDAL's COG driver with a 128 MB cache peaked at 413 to 495 MB on rasters of 1 GB; most of it does not grow.
_BASE_MEMORY_BYTES = 400 * _MIB
#: Decoded bytes a worker converts in a second, at the slow end (deflate level 6, one thread).
_SLOW_BYTES_PER_S = 10 * _MIB
_MIN_TIME_LIMIT_S = 600
_MAX_TIME_LIMIT_S = 12 * 3600
#: Formats that only the GDAL image's build can open are not accepted yet: the wheel's list is the list.


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


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.4g} TiB"
