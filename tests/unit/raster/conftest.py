"""Facts and products made by hand: no file is read here."""

import datetime as dt

import pytest
from rasterio.crs import CRS

from geoetl.models.raster import (
    BandFacts,
    BandStatistics,
    BlobFacts,
    CogProduct,
    InspectOutput,
    ItemInput,
    RasterFacts,
)
from geoetl.models.refs import BlobRef

BLOB = BlobFacts(size_bytes=1000, etag="0x8DC")


def make_facts(*bands: BandFacts, crs: str | None = "EPSG:32618", **changes) -> RasterFacts:
    known = CRS.from_user_input(crs) if crs else None
    values = {
        "driver": "GTiff",
        "width": 791,
        "height": 718,
        "bands": bands or (BandFacts(dtype="uint8"),),
        "crs": known.to_wkt(version="WKT2_2019") if known else None,
        "epsg": known.to_epsg() if known else None,
        "transform": (300.0, 0.0, 101_985.0, 0.0, -300.0, 2_826_915.0),
        "bounds": (101_985.0, 2_611_515.0, 339_285.0, 2_826_915.0),
        "block_shape": (512, 512),
        "blob": BLOB,
    }
    return RasterFacts(**{**values, **changes})


@pytest.fixture
def facts_of():
    """Build facts of a raster in UTM 18N, with changes."""
    return make_facts


@pytest.fixture
def item_input() -> ItemInput:
    """A product of two bands, as convert returns it."""
    facts = make_facts(
        BandFacts(
            dtype="int16", nodata=-9999, color_interpretation="gray", description="near infrared", unit="W m-2",
            scale=0.0001, offset=-0.1,
        ),
        BandFacts(dtype="int16", nodata=-9999, color_interpretation="undefined"),
        tags={"AREA_OR_POINT": "Area"},
    )  # fmt: skip
    statistics = BandStatistics(minimum=1, maximum=255, mean=44.5, stddev=58.25, valid_percent=67.5)
    inspected = InspectOutput(
        facts=facts, statistics=(statistics, None), datetime=dt.datetime(2024, 5, 1, 10, 30, tzinfo=dt.UTC)
    )
    product = CogProduct(
        source=BlobRef("bronze://raw/bahamas.tif"),
        cog=BlobRef("silver://cogs/demo/5f0c3d9e/bahamas.tif"),
        thumbnail=BlobRef("silver://cogs/demo/5f0c3d9e/bahamas.thumbnail.png"),
        etag="0x8DD",
        size_bytes=971_661,
        sha256="9f" * 32,
        facts=facts,
        footprint={"type": "Polygon", "coordinates": [[[-79, 25], [-79, 23], [-76, 23], [-76, 25], [-79, 25]]]},
        bbox=(-79.0, 23.0, -76.0, 25.0),
        profile="zstd",
        overview_resampling="average",
        software={"GDAL": "3.12.2", "rasterio": "1.5.2"},
        checks={"strict_cog": True},
    )
    return ItemInput(item_id="bahamas", product=product, inspected=inspected)
