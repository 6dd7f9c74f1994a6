"""Which rasters fit on one grid, from their headers."""

import datetime as dt

import pytest

from geoetl.gdal.mosaic import MosaicOptions, lay_out, misfits, mosaic_datetime, mosaic_header
from geoetl.models.raster import BandFacts, BlobFacts, RasterFacts
from geoetl.models.refs import BlobRef

UTM = 'PROJCRS["WGS 84 / UTM zone 33N"'
REFS = [BlobRef(f"bronze://raw/{name}.tif") for name in "abc"]


def header(column=0.0, row=0.0, *, side=100, size=10.0, band=None, **fields) -> RasterFacts:
    """A raster whose upper left pixel is at that place of a grid of 10 m."""
    transform = (size, 0.0, 500_000 + column * 10, 0.0, -size, 4_600_000 - row * 10)
    bands = (BandFacts(**{"dtype": "uint16", "nodata": 0} | (band or {})),)
    given = {
        "driver": "GTiff", "width": side, "height": side, "bands": bands,
        "crs": UTM, "epsg": 32633, "transform": transform, "bounds": (0, 0, 1, 1), "block_shape": (512, 512),
        "mask_kind": "nodata", "blob": BlobFacts(size_bytes=10, etag="e"),
    }  # fmt: skip
    return RasterFacts(**given | fields)


def found(*others: RasterFacts, **options):
    """Codes, parameters and messages of what is wrong with these beside a plain one."""
    headers = [header(), *others]
    return [(f.code, f.parameter, f.message) for f in misfits(REFS[: len(headers)], headers, MosaicOptions(**options))]


def test_sources_beside_and_above_each_other_fit():
    assert found(header(100, 0), header(-50.0004, -99.9998)) == []


@pytest.mark.parametrize(
    ("other", "code", "said"),
    [
        (header(100, 0, epsg=32634), "mosaic-crs", "its CRS is EPSG:32634, that of the first source EPSG:32633"),
        (header(100, 0, size=10.1), "mosaic-grid", "its resolution is (10.1, -10.1), that of the first source (10, "),
        (header(100.5, 0.25), "mosaic-grid", "its grid phase is (0.5, 0.25) pixels"),
        (header(100, 0, band={"dtype": "int16"}), "mosaic-bands", "band 1 is 'int16', that of the first source 'uint"),
        (header(100, 0, band={"nodata": 9}), "mosaic-bands", "its nodata of band 1 is 9, that of the first source 0"),
        (header(100, 0, bands=()), "mosaic-bands", "its number of bands is 0, that of the first source 1"),
        (header(100, 0, band={"palette_digest": "a1"}), "mosaic-bands", "its palette digest of band 1 is 'a1'"),
        (header(100, 0, band={"scale": 0.1}), "mosaic-bands", "its scale of band 1 is 0.1"),
        (header(100, 0, mask_kind="alpha"), "mosaic-mask", "by an alpha band and by nodata 0"),
        (header(100, 0, mask_kind="internal"), "mosaic-mask", "by an internal mask and by nodata 0"),
        (header(100, 0, transform=None), "mosaic-grid", "bronze://raw/b.tif has no geotransform"),
    ],
)  # fmt: skip
def test_a_misfit_names_the_source_and_both_values(other, code, said):
    ((found_code, parameter, message),) = found(other)

    assert (found_code, parameter) == (code, "sources[1]")
    assert message.startswith("bronze://raw/b.tif ")
    assert said in message


def test_a_nodata_value_of_the_job_stands_for_those_that_differ():
    assert found(header(100, 0, band={"nodata": 9}), nodata=5) == []


def plain(column, row, dtype="uint16", mask="none"):
    return header(column, row, band={"dtype": dtype, "nodata": None}, mask_kind=mask)


def test_a_nodata_value_of_the_job_does_not_go_with_a_mask():
    headers = [plain(0, 0), plain(100, 0, mask="internal")]

    (finding,) = misfits(REFS[:2], headers, MosaicOptions(nodata=5))

    assert (finding.code, finding.hint) == ("mosaic-mask", "Leave `nodata` out of the job.")


@pytest.mark.parametrize(("dtype", "codes"), [("uint8", []), ("uint16", []), ("float32", ["mosaic-mask"] * 2)])
def test_transparency_is_that_of_the_types_gdal_knows(dtype, codes):
    alpha = {"dtype": dtype, "nodata": None, "color_interpretation": "alpha"}
    headers = [header(column, 0, band=alpha, mask_kind="alpha") for column in (0, 100)]

    assert [finding.code for finding in misfits(REFS[:2], headers, MosaicOptions())] == codes


@pytest.mark.parametrize(
    ("masks", "mask"),
    [(("none", "none"), "none"), (("none", "internal"), "internal"), (("internal", "none"), "internal"),
     (("alpha", "alpha"), "alpha")],
)  # fmt: skip
def test_a_mosaic_has_a_mask_where_a_source_has_one(masks, mask):
    headers = [plain(column, 0, mask=one) for column, one in zip((0, 100), masks, strict=True)]

    mosaic = lay_out(REFS[:2], headers, MosaicOptions())

    assert (mosaic.mask, mosaic_header(headers, mosaic).mask_kind) == (mask, mask)


@pytest.mark.parametrize(
    ("headers", "options", "code"),
    [
        ([plain(0, 0), plain(100, 1)], {}, "mosaic-gaps"),
        ([plain(0, 0), plain(100, 1)], {"nodata": 0}, None),
        ([plain(0, 0), plain(100, 0)], {}, None),
        ([header(), header(2000, 2000)], {}, "mosaic-sparse"),
        ([plain(0, 0, mask="internal"), plain(100, 1)], {}, None),
        ([plain(0, 0, mask="alpha"), plain(100, 1, mask="alpha")], {}, None),
        ([plain(0, 0, "int64", "internal"), plain(50, 0, "int64")], {}, "mosaic-int64"),
        ([plain(0, 0, "int64", "internal"), plain(100, 0, "int64")], {}, None),
        ([plain(0, 0, "int64"), plain(50, 0, "int64")], {}, None),
        ([plain(0, 0, "int64"), plain(50, 0, "int64")], {"overlap": "highest"}, "mosaic-int64"),
        ([plain(0, 0, "int64"), plain(50, 0, "int64")], {"nodata": 1}, "mosaic-int64"),
        ([plain(0, 0, "int64"), plain(100, 0, "int64")], {"nodata": 1}, None),
        # What rasterio says of a nodata value of 2**63 - 1.
        ([plain(0, 0, "int64", "nodata"), plain(50, 0, "int64", "nodata")], {}, "mosaic-int64"),
        ([plain(0, 0, "int64", "nodata"), plain(100, 1, "int64", "nodata")], {}, None),
        ([plain(0, 0, "complex64"), plain(50, 0, "complex64")], {"overlap": "lowest"}, "mosaic-complex"),
        ([plain(0, 0, "cint16"), plain(50, 0, "cint16")], {"overlap": "highest"}, "mosaic-complex"),
        ([plain(0, 0, "complex64"), plain(50, 0, "complex64")], {"overlap": "first"}, None),
        ([plain(0, 0, "complex64"), plain(100, 0, "complex64")], {"overlap": "highest"}, None),
    ],
)
def test_the_whole_is_judged_where_every_source_fits(headers, options, code):
    codes = [finding.code for finding in misfits(REFS[:2], headers, MosaicOptions(**options))]

    assert codes == ([code] if code else [])


def test_the_grid_holds_all_sources():
    headers = [header(0, 0, tags={"A": "1", "B": "2"}), header(-50, 200, tags={"A": "1", "B": "3"})]

    mosaic = lay_out(REFS[:2], headers, MosaicOptions())
    whole = mosaic_header(headers, mosaic)

    assert (mosaic.width, mosaic.height, mosaic.has_overlap) == (150, 300, False)
    assert [(each.column, each.row) for each in mosaic.sources] == [(50, 0), (0, 200)]
    assert mosaic.transform[2::3] == (499_500.0, 4_600_000.0)
    assert whole.bounds == (499_500.0, 4_597_000.0, 501_000.0, 4_600_000.0)
    assert (whole.tags, whole.blob.size_bytes) == ({"A": "1"}, 20)
    assert [each.source for each in mosaic.between(100, 200).sources] == []
    assert [each.source for each in mosaic.between(99, 201).sources] == REFS[:2]


def test_the_time_is_one_instant_or_from_the_first_to_the_last():
    may, june = "2024:05:01 10:00:00", "2024:06:01 10:00:00"
    nothing = {"instant": None, "start": None, "end": None}

    same = mosaic_datetime(REFS[:2], [header(datetime_tag=may)] * 2, **nothing)
    both = mosaic_datetime(REFS[:2], [header(datetime_tag=june), header(datetime_tag=may)], **nothing)

    assert (same.instant, same.start) == (dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC), None)
    assert (both.instant, both.start.month, both.end.month) == (None, 5, 6)
