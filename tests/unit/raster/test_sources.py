"""CRSs as users write them."""

import pytest

from geoetl.errors import InvalidInput
from geoetl.gdal.sources import parse_crs


@pytest.mark.parametrize(
    "text", ["EPSG:banana", "EPSG:", "EPSG:999999", "banana", "", "GEOGCS[", "+proj=nothing", "32618.5"]
)
def test_what_is_no_crs_is_refused_by_name(text):
    with pytest.raises(InvalidInput, match="Reading target_crs") as caught:
        parse_crs(text, "target_crs")

    assert caught.value.code == "invalid-crs"


@pytest.mark.parametrize("text", ["EPSG:32618", "epsg:4326", "+proj=longlat +datum=WGS84", "ESRI:54009"])
def test_what_proj_knows_is_taken(text):
    assert parse_crs(text, "target_crs").to_wkt()
