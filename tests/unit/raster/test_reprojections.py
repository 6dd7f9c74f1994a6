"""Which reprojections are refused before they ruin a raster, and that sound ones are not."""

import datetime as dt

import pytest
from rasterio.crs import CRS

from geoetl.errors import BadData
from geoetl.gdal.reprojection import require_reprojectable
from geoetl.models.raster import BandFacts
from geoetl.preflight.raster_rules import RasterOptions, check_facts


def degrees(west, north, size, width, height):
    return "EPSG:4326", (size, 0, west, 0, -size, north), width, height


POLE = ("EPSG:3413", (2500, 0, -500_000, 0, -2500, 500_000), 400, 400)
UTM = ("EPSG:32633", (100, 0, 300_000, 0, -100, 4_600_000), 400, 300)
RUINED = {
    "the whole globe to Web Mercator": (degrees(-180, 90, 0.25, 1440, 720), "EPSG:3857"),
    "the whole globe to a UTM zone": (degrees(-180, 90, 1, 360, 180), "EPSG:32633"),
    "the whole globe to Europe": (degrees(-180, 90, 1, 360, 180), "EPSG:3035"),
    "the whole globe to an oval": (degrees(-180, 90, 1, 360, 180), "EPSG:8857"),
    "the pole to Web Mercator": (POLE, "EPSG:3857"),
    "the pole to degrees": (POLE, "EPSG:4326"),
    "the other pole": (POLE, "EPSG:3031"),
    "up to the pole": (degrees(10, 90, 0.05, 600, 600), "EPSG:3857"),
    "over the cut of the target": (degrees(-40, 10, 0.05, 400, 200), "EPSG:3832"),
}  # fmt: skip
SOUND = {
    "the globe to 85 degrees": (degrees(-180, 85, 0.25, 1440, 680), "EPSG:3857"),
    "as far as Web Mercator goes": (degrees(-180, 85.06, 0.04, 9000, 4253), "EPSG:3857"),
    "longitudes from 0 to 360": (degrees(0, 85, 0.25, 1440, 680), "EPSG:3857"),
    "the whole globe to EASE-Grid": (degrees(-180, 90, 0.25, 1440, 720), "EPSG:6933"),
    "half a globe to a polar CRS": (degrees(-180, 90, 0.5, 720, 120), "EPSG:3413"),
    "the Arctic to degrees": (("EPSG:3413", (10_000, 0, -3_000_000, 0, -10_000, 3_000_000), 600, 600), "EPSG:4326"),
    "the pole to another polar CRS": (POLE, "EPSG:3995"),
    "Norway": (degrees(5, 83, 0.05, 600, 460), "EPSG:3857"),
    "UTM to degrees": (UTM, "EPSG:4326"),
    "UTM to a far zone": (UTM, "EPSG:32643"),
    "UTM to the same zone": (UTM, "EPSG:32633"),
    "rotated": (("EPSG:32633", (70, 70, 300_000, 70, -70, 4_600_000), 400, 300), "EPSG:3857"),
    "an old datum": (("EPSG:26715", (60, 0, 440_000, 0, -60, 3_750_000), 20, 20), "EPSG:4326"),
    "Great Britain": (("EPSG:27700", (50, 0, 0, 0, -50, 1_300_000), 14_000, 26_000), "EPSG:4326"),
    "Europe": (("EPSG:3035", (1000, 0, 2_500_000, 0, -1000, 5_500_000), 5000, 4000), "EPSG:4326"),
    "one pixel": (degrees(10, 50, 0.1, 1, 1), "EPSG:32633"),
    "one row": (degrees(10, 50, 0.001, 1500, 1), "EPSG:32633"),
}  # fmt: skip


def placed(facts_of, crs, transform, width, height):
    return facts_of(BandFacts(dtype="uint8"), crs=crs, transform=transform, width=width, height=height)


@pytest.mark.parametrize("name", RUINED)
def test_what_has_no_place_in_the_target_is_refused(facts_of, name):
    raster, target = RUINED[name]
    facts = placed(facts_of, *raster)
    with pytest.raises(BadData) as caught:
        require_reprojectable(facts, CRS.from_user_input(target), target, "a.tif")
    assert caught.value.code == "outside-target-crs"
    options = RasterOptions(datetime=dt.datetime(2024, 5, 1, tzinfo=dt.UTC), target_crs=target)
    [finding] = [finding for finding in check_facts(facts, "a.tif", options) if finding.severity == "error"]
    assert (finding.code, finding.message) == ("outside-target-crs", caught.value.message)


@pytest.mark.parametrize("name", SOUND)
def test_what_fits_the_target_is_not_refused(facts_of, name):
    raster, target = SOUND[name]
    require_reprojectable(placed(facts_of, *raster), CRS.from_user_input(target), target, "a.tif")


def test_who_wants_the_globe_in_web_mercator_is_told_how(facts_of):
    facts = placed(facts_of, *RUINED["the whole globe to Web Mercator"][0])
    with pytest.raises(BadData, match="133 x 1,605 pixels would be left of 1,440 x 720") as caught:
        require_reprojectable(facts, CRS.from_epsg(3857), "EPSG:3857", "a.tif")
    assert "gdal_translate -projwin -180 85.06 180 -85.06" in caught.value.hint
