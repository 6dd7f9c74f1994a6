"""How a very large source is split, and when it is not."""

from types import SimpleNamespace
from typing import Any

import pytest

from geoetl.chains.definition import Progress
from geoetl.chains.large_rasters import converted, route_source
from geoetl.chains.process_raster import ProcessRaster, convert, inspect, outline_assemble, outline_convert
from geoetl.config.raster import RasterSettings
from geoetl.gdal.bands import bands_problem
from geoetl.models.bigcog import BandMoments, BandReceipt
from geoetl.models.raster import BandFacts, BlobFacts, CogProduct, RasterFacts
from geoetl.models.refs import BlobRef, JobId, RunId
from geoetl.preflight.raster_headers import RASTER_HEADERS

LIMITS = RasterSettings(gdal_threshold_bytes=1_000_000, bands_threshold_bytes=10_000_000, band_rows=1024)


def raster(width=5000, height=5000, *bands: BandFacts, **changes) -> RasterFacts:
    return RasterFacts(
        driver=changes.pop("driver", "GTiff"), width=width, height=height,
        bands=bands or (BandFacts(dtype="uint16"),), crs=None, transform=None, bounds=None,
        block_shape=changes.pop("block_shape", (256, 256)), blob=BlobFacts(size_bytes=1, etag="e"), **changes,
    )  # fmt: skip


def routed(facts, **wanted):
    options = {"profile": "auto", "resampling": None, "target_crs": None, "nodata": None}
    return route_source(facts, LIMITS, **{**options, **wanted})


def test_what_is_over_the_limit_is_split_into_bands_of_rows():
    route, bands = routed(raster())

    assert (route.queue, bands) == ("gdal", 5)
    assert route.reason == (
        "5000 x 5000 x 1 uint16 = 47.7 MiB decoded, over the limit of 9.54 MiB: 5 bands of 1,024 rows"
    )


def test_what_is_within_the_limit_is_one_task():
    assert routed(raster(1000, 1000)) == (routed(raster(1000, 1000))[0], 0)
    assert routed(raster(1000, 1000))[0].queue == "gdal"


@pytest.mark.parametrize(
    ("facts", "wanted", "problem"),
    [
        (raster(), {"target_crs": "EPSG:3857"}, "it is reprojected"),
        (raster(), {"profile": "jpeg"}, "jpeg is lossy"),
        (raster(), {"resampling": "cubic"}, "overviews by cubic are GDAL's"),
        (raster(driver="JP2OpenJPEG"), {}, "JP2OpenJPEG files are decoded as a whole"),
        (raster(5000, 5000, BandFacts(dtype="complex64")), {}, "its values are complex"),
        (raster(5000, 5000, BandFacts(dtype="float16")), {}, "overviews of float16 are GDAL's"),
        (raster(5000, 5000, BandFacts(dtype="float32", bits=16)), {}, "overviews of floats of fewer bits are GDAL's"),
        (
            raster(5000, 5000, BandFacts(dtype="uint8", has_palette=True)),
            {"resampling": "average"},
            "averages of a palette are GDAL's",
        ),
        (raster(mask_kind="internal"), {"nodata": 0.0}, "it has a nodata value and a mask"),
        (raster(mask_kind="alpha"), {"profile": "lerc"}, "LERC with alpha is GDAL's"),
        (raster(3, 5_000_000), {}, "it is very narrow"),
        (raster(200_000, 1000, block_shape=(1, 200_000)), {}, "its blocks are whole rows, and too wide"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_only_gdal_can_do_is_one_task_and_the_reason_says_why(facts, wanted, problem):
    route, bands = routed(facts, **wanted)

    assert (route.queue, bands) == ("gdal", 0)
    assert route.reason.endswith(f"over the limit of 9.54 MiB, but not to be split: {problem}")


def test_a_striped_raster_of_bearable_width_is_split():
    facts = raster(20_000, 1000, block_shape=(1, 20_000))

    assert bands_problem(facts, profile="auto", resampling=None, target_crs=None, nodata=None) is None


SPEC = ProcessRaster(sources=("bronze://inbox/small.tif", "bronze://inbox/large.tif"), collection="demo")  # type: ignore[arg-type]


def progress(**results) -> Progress:
    headers = [raster(100, 100), raster()]
    facts = {RASTER_HEADERS: {f"sources[{n}]": header.model_dump(mode="json") for n, header in enumerate(headers)}}
    settings: Any = SimpleNamespace(raster=LIMITS, storage=SimpleNamespace(silver=SimpleNamespace(container="silver")))
    return Progress(JobId("j"), RunId("r"), facts, settings, read_results=lambda stage: results[stage])


def test_only_the_header_of_a_very_large_source_is_inspected():
    assert [call.input.header_only for call in inspect(SPEC, progress())] == [False, True]


def test_a_plan_shows_every_band_and_the_assembly():
    labels = [outline.label for outline in outline_convert(SPEC, progress())]

    assert labels[0] == "convert small.tif"
    assert labels[1:] == [f"encode large.tif, band {n} of 5" for n in range(1, 6)]
    assert [outline.label for outline in outline_assemble(SPEC, progress())] == ["assemble large.tif"]


def test_limits_that_were_raised_meanwhile_do_not_leave_pixels_unchecked():
    inspected = [
        {"facts": raster(100, 100).model_dump(mode="json"), "statistics": []},
        {"facts": raster(2000, 1100).model_dump(mode="json"), "statistics": [], "header_only": True},
    ]
    calls = convert(SPEC, progress(inspect=inspected))

    assert [str(call.task) for call in calls] == ["raster.convert", *["raster.encode_band"] * 5]
    assert {call.input.cog.target.name for call in calls[1:]} == {"large.tif"}


def receipt(target: str, band: int) -> dict:
    moments = (BandMoments(pixels=1, valid=1, counted=1),)
    part = BlobRef(f"{target}.parts/{band}.part")
    made = BandReceipt(target=BlobRef(target), band=band, part=part, staged_bytes=1, moments=moments)
    return made.model_dump(mode="json")


def product(cog: str) -> dict:
    made = CogProduct(
        source=BlobRef("bronze://inbox/x.tif"), cog=BlobRef(cog), thumbnail=BlobRef(f"{cog}.png"), etag="e",
        size_bytes=1, sha256="", facts=raster(), footprint={}, bbox=(0, 0, 1, 1), profile="zstd",
        overview_resampling="average", checks={},
    )  # fmt: skip
    return made.model_dump(mode="json")


def test_receipts_are_grouped_by_the_cog_they_belong_to():
    first, second, whole = "silver://cogs/a.tif", "silver://cogs/b.tif", product("silver://cogs/c.tif")
    results = [receipt(first, 0), receipt(first, 1), receipt(second, 0), whole, whole]

    found = converted(progress(convert=results))

    assert [len(made) if isinstance(made, list) else "whole" for made in found] == [2, 1, "whole", "whole"]
    assert [made.band for made in found[0]] == [0, 1]
