"""Which queue a task goes to, why, and what it is expected to need: a pure function of facts and limits.

The figures are those of ``python -m benchmarks.routing``.
"""

from dataclasses import dataclass, replace

from geoetl.config.raster import RasterSettings
from geoetl.gdal.bands import is_striped
from geoetl.models.raster import ProfileName, RasterFacts

_MIB = 1024 * 1024
#: A whole conversion beside its cache. It peaked at 257 to 389 MiB, cache of 128 MiB included, on rasters of 96 to 512
#: MiB, and at 413 to 495 MB on those of 1 GB; beyond that it does not grow.
_BASE_MEMORY_BYTES = 400 * _MIB
#: A task that encodes a band peaked at 247 to 315 MiB: one row of tiles of one panel, a few times over, whatever the
#: raster's size.
_BAND_MEMORY_BYTES = 400 * _MIB
#: That row is 24 MiB. A striped raster is read in whole rows; what they have more was held 4.0 to 4.6 times.
_PANEL_BYTES, _COPIES = 24 * _MIB, 5
_TILE_ROWS = 512
#: Decoded bytes a second of one thread, by profile: decode, encode, read back and compare; without transfers.
_BYTES_PER_S: dict[ProfileName, int] = {
    "auto": 30 * _MIB, "zstd": 30 * _MIB, "deflate": 17 * _MIB, "lzw": 23 * _MIB, "lerc": 30 * _MIB, "raw": 40 * _MIB,
    "jpeg": 45 * _MIB, "webp": 12 * _MIB,
}  # fmt: skip
#: The limit is for machines that are slower, or busy.
_LIMIT_PER_EXPECTED = 4
_MIN_TIME_LIMIT_S = 600
_MAX_TIME_LIMIT_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Route:
    """Where a task runs, why, and what it is expected to need."""

    queue: str
    reason: str
    memory_bytes: int
    time_limit_s: int
    expected_s: int = 0
    """Of one thread, transfers aside; 0 where nothing is expected."""


def route_raster(facts: RasterFacts, limits: RasterSettings, *, profile: ProfileName = "auto") -> Route:
    """By decoded size: the size of the file says little, a 30 MB palette can hold gigabytes of pixels."""
    decoded = facts.decoded_bytes
    threshold = limits.gdal_threshold_bytes
    is_large = decoded > threshold
    shape = f"{facts.width} x {facts.height} x {len(facts.bands)} {facts.bands[0].dtype}"
    compared = "over" if is_large else "within"
    expected_s = decoded / _BYTES_PER_S[profile]
    return Route(
        queue="gdal" if is_large else "standard",
        reason=f"{shape} = {_size(decoded)} decoded, {compared} the limit of {_size(threshold)}",
        memory_bytes=conversion_bytes(limits),
        time_limit_s=_time_limit_s(expected_s),
        expected_s=round(expected_s),
    )


def conversion_bytes(limits: RasterSettings) -> int:
    """Memory that a conversion by one task needs."""
    return _BASE_MEMORY_BYTES + limits.gdal_cache_bytes


def _time_limit_s(expected_s: float) -> int:
    return int(min(_MAX_TIME_LIMIT_S, max(_MIN_TIME_LIMIT_S, expected_s * _LIMIT_PER_EXPECTED)))


def is_very_large(facts: RasterFacts, limits: RasterSettings) -> bool:
    """Whether a raster should be encoded by many tasks, if it can be."""
    return facts.decoded_bytes > limits.bands_threshold_bytes


def route_whole(facts: RasterFacts, limits: RasterSettings, problem: str, *, profile: ProfileName = "auto") -> Route:
    """Of a very large raster that one task must convert, because of ``problem``."""
    route = route_raster(facts, limits, profile=profile)
    return replace(route, queue="gdal", reason=f"{_over_bands_limit(facts, limits)}, but not to be split: {problem}")


def route_band(facts: RasterFacts, limits: RasterSettings, *, bands: int, profile: ProfileName = "auto") -> Route:
    """Of a task that encodes one of ``bands`` bands of rows."""
    expected_s = facts.decoded_bytes / bands / _BYTES_PER_S[profile]
    return Route(
        queue="gdal",
        reason=f"{_over_bands_limit(facts, limits)}: {bands:,} band{'' if bands == 1 else 's'} of "
        f"{limits.band_rows:,} rows",
        memory_bytes=_band_memory_bytes(facts),
        time_limit_s=_time_limit_s(expected_s),
        expected_s=round(expected_s),
    )


def _band_memory_bytes(facts: RasterFacts) -> int:
    row_bytes = facts.decoded_bytes // facts.height * _TILE_ROWS if is_striped(facts) else 0
    return _BAND_MEMORY_BYTES + _COPIES * max(0, row_bytes - _PANEL_BYTES)


def route_assembly(facts: RasterFacts, limits: RasterSettings, *, profile: ProfileName = "auto") -> Route:
    """Of the task that puts the bands of a raster together; it has time to encode all of them again."""
    route = route_raster(facts, limits, profile=profile)
    return replace(
        route,
        queue="gdal",
        reason=f"{_over_bands_limit(facts, limits)}: one blob of all bands",
        memory_bytes=_band_memory_bytes(facts),
        # Of the levels that bands cannot make, which begin at 4**(k + 1) times fewer pixels.
        expected_s=route.expected_s // 4 ** (limits.band_rows // _TILE_ROWS).bit_length(),
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
