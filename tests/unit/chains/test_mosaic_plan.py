"""What a mosaic is planned as."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from geoetl.chains.definition import Progress
from geoetl.chains.mosaic import Mosaic, assemble, compose, outline_assemble
from geoetl.config.raster import RasterSettings
from geoetl.models.bigcog import BandMoments, BandReceipt
from geoetl.models.mosaic import MosaicFacts
from geoetl.models.raster import BandFacts, BlobFacts, RasterFacts
from geoetl.models.refs import BlobRef, JobId, RunId
from geoetl.preflight.mosaic import MOSAIC_SOURCES

SMALL = RasterSettings()
LARGE = RasterSettings(bands_threshold_bytes=1_000_000, gdal_threshold_bytes=1_000_000, band_rows=512)


def spec(**fields) -> Mosaic:
    given = {"sources": ["bronze://raw/a.tif", "bronze://raw/b.tif"], "collection": "c", "item_id": "whole"}
    return Mosaic(**given | fields)


def header(row: int) -> RasterFacts:
    transform = (10.0, 0.0, 500_000.0, 0.0, -10.0, 4_600_000.0 - row * 10)
    return RasterFacts(
        driver="GTiff", width=1000, height=1100, bands=(BandFacts(dtype="uint8"),), crs="x", epsg=32633,
        transform=transform, bounds=(0, 0, 1, 1), block_shape=(512, 512), datetime_tag="2024:05:01 10:00:00",
        blob=BlobFacts(size_bytes=5, etag=f"e{row}"),
    )  # fmt: skip


def progress(limits: RasterSettings, **results) -> Progress:
    facts = MosaicFacts(etag="all", headers=(header(0), header(1100)))
    settings: Any = SimpleNamespace(raster=limits, storage=SimpleNamespace(silver=SimpleNamespace(container="silver")))
    by_check = {MOSAIC_SOURCES: {"sources": facts.model_dump(mode="json")}}
    return Progress(JobId("j"), RunId("r"), by_check, settings, read_results=lambda stage: results[stage])


def receipt(target: str, band: int) -> dict:
    moments = (BandMoments(pixels=1, valid=1, counted=1),)
    part = BlobRef(f"{target}.parts/{band}.part")
    made = BandReceipt(target=BlobRef(target), band=band, part=part, staged_bytes=1, moments=moments)
    return made.model_dump(mode="json")


def test_a_small_mosaic_is_one_task():
    (call,) = compose(spec(), progress(SMALL))

    assert (call.task, call.label) == ("raster.mosaic", "compose whole.tif of 2 sources")
    assert (call.input.facts.height, call.route.queue) == (2200, "standard")
    assert outline_assemble(spec(), progress(SMALL)) == []


def test_a_very_large_one_is_encoded_by_bands_that_know_their_own_sources():
    calls = compose(spec(), progress(LARGE))

    assert [call.label for call in calls] == [f"encode whole.tif, band {n} of 5" for n in range(1, 6)]
    names = [[each.source.name for each in call.input.cog.mosaic.sources] for call in calls]
    assert names == [["a.tif"], ["a.tif", "b.tif"], ["a.tif", "b.tif"], ["b.tif"], ["b.tif"]]
    assert {call.input.cog.etag for call in calls} == {"e0"}


def test_the_bands_are_assembled_with_all_sources():
    receipts = [receipt("silver://silver/c/whole/r/whole.tif", band) for band in range(5)]

    (call,) = assemble(spec(), progress(LARGE, compose=receipts))

    assert (call.label, len(call.input.receipts), len(call.input.cog.mosaic.sources)) == ("assemble whole.tif", 5, 2)
    assert [outline.label for outline in outline_assemble(spec(), progress(LARGE))] == ["assemble whole.tif"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sources": ["bronze://raw/a.tif"]}, "at least 2"),
        ({"sources": ["bronze://raw/a.tif"] * 2}, "named twice"),
        ({"sources": ["silver://raw/a.tif", "bronze://raw/b.tif"]}, "not in bronze"),
        ({"overlap": "mean"}, "'first', 'last', 'highest' or 'lowest'"),
    ],
)
def test_what_cannot_be_is_refused(wrong, said):
    with pytest.raises(ValidationError, match=said):
        spec(**wrong)
