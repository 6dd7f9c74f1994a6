"""Footprints and boxes in WGS84, for the places where they are hard."""

import math
import random

import numpy as np
import pytest
import shapely.geometry

from geoetl.errors import BadData
from geoetl.gdal.footprint import footprint
from geoetl.models.bigcog import BandMoments
from geoetl.tasks.raster.statistics import RunningStatistics


def placed(facts_of, crs, transform, width=100, height=100):
    return footprint(facts_of(crs=crs, transform=transform, width=width, height=height), "bronze://raw/a.tif")


def test_a_geographic_box_is_its_four_corners(facts_of):
    found = placed(facts_of, "EPSG:4326", (0.1, 0, 10, 0, -0.1, 50))
    assert found.bbox == (10, 40, 20, 50)
    assert found.geometry["type"] == "Polygon"
    assert len(found.geometry["coordinates"][0]) == 5


def test_the_edges_of_a_projected_raster_bend(facts_of):
    found = placed(facts_of, "EPSG:3035", (20_000, 0, 4_000_000, 0, -20_000, 4_000_000))
    assert len(found.geometry["coordinates"][0]) > 20
    ring = found.geometry["coordinates"][0]
    assert found.bbox[3] == max(y for _, y in ring)


def test_a_rotated_raster_has_a_rotated_outline(facts_of):
    angle = math.radians(30)
    transform = (0.1 * math.cos(angle), 0.1 * math.sin(angle), 10, 0.1 * math.sin(angle), -0.1 * math.cos(angle), 50)
    found = placed(facts_of, "EPSG:4326", transform)
    assert shapely.geometry.shape(found.geometry).area == pytest.approx(100, rel=1e-6)
    box = shapely.geometry.box(*found.bbox)
    assert box.area > 150


def test_crossing_the_antimeridian_splits_the_outline(facts_of):
    found = placed(facts_of, "EPSG:32660", (1000, 0, 690_000, 0, -1000, 5_800_000))
    assert found.crosses_antimeridian
    assert found.geometry["type"] == "MultiPolygon"
    assert found.bbox[0] > 170
    assert found.bbox[2] < -170
    longitudes = [x for polygon in found.geometry["coordinates"] for ring in polygon for x, _ in ring]
    assert max(map(abs, longitudes)) == 180


def test_longitudes_beyond_180_are_the_same_place(facts_of):
    found = placed(facts_of, "EPSG:4326", (0.2, 0, 170, 0, -0.2, 10))
    assert found.bbox == (170, -10, -170, 10)
    assert found.geometry["type"] == "MultiPolygon"


@pytest.mark.parametrize("west", [-180, 0])
def test_the_whole_globe_is_one_box(facts_of, west):
    found = placed(facts_of, "EPSG:4326", (3.6, 0, west, 0, -1.8, 90))
    assert found.bbox == (-180, -90, 180, 90)
    assert found.geometry["type"] == "Polygon"


def test_a_pole_inside_is_covered(facts_of):
    found = placed(facts_of, "EPSG:3413", (10_000, 0, -500_000, 0, -10_000, 500_000))
    assert found.bbox[0] == -180
    assert found.bbox[2] == 180
    assert found.bbox[3] == 90
    assert shapely.geometry.shape(found.geometry).contains(shapely.geometry.Point(45, 89))


def test_outside_the_crs_there_is_no_footprint(facts_of):
    with pytest.raises(BadData, match="outside the area where its CRS is defined") as caught:
        placed(facts_of, "EPSG:4326", (10, 0, 500_000, 0, -10, 4_600_000))
    assert caught.value.code == "no-footprint"


def test_statistics_merge_as_if_seen_at_once():
    values = np.random.default_rng(1).normal(1e9, 1.0, 10_000)
    running = RunningStatistics()
    for piece in np.array_split(values, 7):
        running.add(piece, None)
    found = running.result()
    assert found is not None
    assert found.mean == pytest.approx(values.mean(), rel=1e-15)
    assert found.stddev == pytest.approx(values.std(), rel=1e-9)


def test_statistics_of_more_than_is_worked_on_at_once_heed_the_mask():
    values = np.arange(300 * 1000, dtype="uint16").reshape(300, 1000)
    is_valid = values % 7 != 0
    is_valid[:100] = True
    running = RunningStatistics()
    # A view of some columns: rows do not lie one after the other.
    running.add(values[:, :900], is_valid[:, :900])
    found, chosen = running.result(), values[:, :900][is_valid[:, :900]].astype(float)
    assert found is not None
    assert (found.minimum, found.maximum) == (chosen.min(), chosen.max())
    assert found.mean == pytest.approx(chosen.mean(), rel=1e-12)
    assert found.stddev == pytest.approx(chosen.std(), rel=1e-12)
    assert running.valid == chosen.size


def test_infinity_is_valid_but_counts_in_no_mean():
    running = RunningStatistics()
    running.add(np.array([1.0, np.inf, np.nan, 3.0]), None)
    found = running.result()
    assert found is not None
    assert (found.minimum, found.maximum, found.mean, found.valid_percent) == (1, 3, 2, 75)


@pytest.mark.parametrize("top", [1e160, -1.7976931348623157e308])
def test_statistics_that_no_float_holds_are_left_out(top):
    rows = np.ones((2, 100))
    rows[0, :50] = top
    running, rest = RunningStatistics(), RunningStatistics()
    running.add(rows[:1], None)
    rest.add(rows[1:], None)

    moments = running.moments()
    assert BandMoments.model_validate_json(moments.model_dump_json()) == moments
    rest.add_moments(moments)

    assert (running.valid, running.result(), rest.valid, rest.result()) == (100, None, 200, None)


@pytest.mark.parametrize("crs", ["EPSG:4978", 'LOCAL_CS["site grid",UNIT["metre",1]]'])
def test_a_crs_that_is_no_map_has_no_footprint(facts_of, crs):
    with pytest.raises(BadData, match="neither geographic nor projected"):
        footprint(facts_of(crs=crs, epsg=None), "bronze://raw/a.tif")


@pytest.mark.parametrize("mirrored", [(1, 1), (-1, -1), (-1, 1)])
@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 1), ("EPSG:3031", -1)])
def test_south_up_and_mirrored_rasters_are_over_the_same_pole(facts_of, crs, pole, mirrored):
    north_up = placed(facts_of, crs, (60_000, 0, -3_000_000, 0, -60_000, 3_000_000))
    across, up = mirrored
    found = placed(facts_of, crs, (60_000 * across, 0, -3_000_000 * across, 0, 60_000 * up, -3_000_000 * up))
    assert found.bbox == north_up.bbox
    assert found.bbox[3 if pole > 0 else 1] == 90 * pole
    assert shapely.geometry.shape(found.geometry).area == pytest.approx(
        shapely.geometry.shape(north_up.geometry).area, rel=1e-6
    )


WORLDS = {
    "Web Mercator": ("EPSG:3857", 156543.03392804097, -20037508.342789244, 256),
    "a little wider": ("EPSG:3857", 156543.1, -20037515, 256),
    "whole kilometres": ("EPSG:3857", 30_000, -20_040_000, 1336),
    "a part of a pixel less": ("EPSG:3857", 30_000, -20037508.342789244, 1335),
    "EASE-Grid 2.0": ("EPSG:6933", 9008.055210146, -17367530.4453125, 3856),
    "degrees that do not divide 360": ("EPSG:4326", 0.7, -180, 514),
    "a degree for each row but one": ("EPSG:4326", 1, 0, 359),
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_whole_globe_in_a_cylindrical_crs_is_one_box(facts_of, name):
    crs, size, west, width = WORLDS[name]
    found = placed(facts_of, crs, (size, 0, west, 0, -size, size * 50), width=width)
    assert (found.bbox[0], found.bbox[2]) == (-180, 180)
    outline = shapely.geometry.shape(found.geometry)
    assert outline.geom_type == "Polygon"
    assert outline.is_valid
    assert found.bbox == outline.bounds


def test_nearly_the_whole_globe_is_not_the_whole(facts_of):
    found = placed(facts_of, "EPSG:4326", (1, 0, -10, 0, -1, 10), width=355, height=10)
    assert found.bbox == (-10, 0, -15, 10)


@pytest.mark.parametrize(("west", "box"), [(-190, (170, 180)), (180, (-180, -170)), (170, (170, 180)), (350, (-10, 0))])
def test_an_edge_at_180_degrees_crosses_nothing(facts_of, west, box):
    found = placed(facts_of, "EPSG:4326", (0.1, 0, west, 0, -0.1, 10))
    assert found.bbox == (box[0], 0, box[1], 10)
    assert not found.crosses_antimeridian
    assert found.geometry["type"] == "Polygon"
    assert len(found.geometry["coordinates"][0]) == 5


def test_a_crs_that_goes_on_beyond_180_degrees_is_split_there(facts_of):
    found = placed(facts_of, "EPSG:3857", (10_000, 0, 19_900_000, 0, -10_000, 1_000_000))
    assert found.crosses_antimeridian
    assert found.bbox == pytest.approx((178.7647, 0, -172.2521, 8.9466), abs=1e-4)


def test_ways_between_datums_that_differ_by_a_few_metres_are_no_stray(facts_of):
    found = placed(facts_of, "EPSG:27700", (50, 0, 0, 0, -50, 1_300_000), width=14_000, height=26_000)
    assert found.bbox == pytest.approx((-9.496, 49.76, 3.635, 61.5), abs=0.1)


OFF_THE_MAP = {
    "Equal Earth": ("EPSG:8857", (345_000, 0, -17_243_959, 0, -168_000, 8_392_927), 100),
    "a MODIS tile at the edge": ("+proj=sinu +R=6371007.181", (11_119, 0, -20_015_109, 0, -11_119, 1_111_950), 100),
    "Mollweide": ("ESRI:54009", (361_000, 0, -18_040_096, 0, -180_000, 9_020_048), 100),
}


@pytest.mark.parametrize("name", OFF_THE_MAP)
def test_corners_beyond_the_edge_of_the_map_have_no_place(facts_of, name):
    crs, transform, width = OFF_THE_MAP[name]
    with pytest.raises(BadData, match="edge") as caught:
        placed(facts_of, crs, transform, width=width)
    assert caught.value.code == "no-footprint"


#: Where rasters lie in some CRSs: resolution, then the least and largest x, and y, of their corner.
ORDINARY = {
    "EPSG:4326": (0.123456789, (-180, 100), (-10, 88)),
    "EPSG:32633": (30, (2e5, 7e5), (1e5, 9e6)),
    "EPSG:3857": (10, (-2e7, 1.9e7), (-1.9e7, 1.9e7)),
    "EPSG:3413": (500, (0, 1e6), (-1e6, 0)),
    "EPSG:3035": (100, (2.6e6, 6e6), (2e6, 5e6)),
}


@pytest.mark.parametrize("crs", ORDINARY)
def test_wherever_a_raster_lies_its_outline_is_valid(facts_of, crs):
    """Places on the globe are rounded numbers; an outline must not cross itself for that."""
    pixel, xs, ys = ORDINARY[crs]
    chance = random.Random(3)
    for _ in range(80):
        x, y, width, height = chance.uniform(*xs), chance.uniform(*ys), chance.randint(1, 500), chance.randint(1, 500)
        found = placed(facts_of, crs, (pixel, 0, x, 0, -pixel, y), width, height)
        assert shapely.geometry.shape(found.geometry).is_valid
