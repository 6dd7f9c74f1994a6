"""Which queue a raster goes to."""

import pytest

from geoetl.chains.routing import route_band, route_raster
from geoetl.config.raster import RasterSettings
from geoetl.models.raster import BandFacts, BlobFacts, RasterFacts

LIMITS = RasterSettings(gdal_threshold_bytes=1_000_000)


def raster(width: int, height: int, *dtypes: str) -> RasterFacts:
    return RasterFacts(
        driver="GTiff", width=width, height=height, bands=tuple(BandFacts(dtype=dtype) for dtype in dtypes),
        crs=None, transform=None, bounds=None, block_shape=(256, 256), blob=BlobFacts(size_bytes=1, etag="e"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "queue"),
    [
        (raster(1000, 1000, "uint8"), "standard"),
        (raster(1000, 1001, "uint8"), "gdal"),
        (raster(500, 500, "uint16", "uint16"), "standard"),
        (raster(500, 501, "uint16", "uint16"), "gdal"),
        (raster(400, 400, "float64"), "gdal"),
        (raster(250, 250, "complex128"), "standard"),
    ],
)
def test_the_decoded_size_decides(facts, queue):
    assert route_raster(facts, LIMITS).queue == queue


def test_the_reason_names_shape_size_and_limit():
    route = route_raster(raster(2000, 1000, "uint8", "uint8"), LIMITS)

    assert route.reason == "2000 x 1000 x 2 uint8 = 3.81 MiB decoded, over the limit of 977 KiB"


def test_a_striped_raster_needs_memory_for_its_whole_rows():
    tiled = raster(20_000, 40_000, "uint16", "uint16", "uint16")
    striped = tiled.model_copy(update={"block_shape": (1, 20_000)})
    routes = [route_band(facts, LIMITS, bands=10) for facts in (tiled, striped)]

    assert [round(route.memory_bytes / 2**20) for route in routes] == [400, 573]


def test_the_expected_time_follows_size_and_profile_and_the_limit_follows_it():
    fast, slow = (route_raster(raster(40_000, 40_000, "uint8"), LIMITS, profile=name) for name in ("raw", "deflate"))

    assert (fast.expected_s, slow.expected_s) == (38, 90)
    assert slow.time_limit_s == 600
    assert route_raster(raster(200_000, 40_000, "uint8"), LIMITS, profile="deflate").time_limit_s == 1795


def test_a_larger_raster_may_take_longer_up_to_half_a_day():
    small, large, huge = (route_raster(raster(side, side, "float32"), LIMITS) for side in (10, 100_000, 10_000_000))

    assert small.time_limit_s == 600
    assert small.time_limit_s < large.time_limit_s < huge.time_limit_s == 12 * 3600
