"""Input that must be refused: by preflight, from the header, or by inspect, from the pixels. Codes are the contract."""

import datetime as dt
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.transform import from_origin

from geoetl.errors import BadData
from geoetl.models.raster import InspectInput
from geoetl.models.refs import BlobRef
from geoetl.preflight.raster import check_raster
from geoetl.preflight.raster_rules import RasterOptions
from geoetl.tasks.raster.inspect import inspect_raster

SOURCE = BlobRef("bronze://raw/scene.tif")
ACQUIRED = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
DATED = RasterOptions(datetime=ACQUIRED)
UTM = from_origin(500_000, 4_600_000, 10, 10)


def geotiff(path: Path, *, dtype="uint8", fill=None, **options) -> bytes:
    settings = {"crs": "EPSG:32633", "transform": UTM, "height": 200, "width": 300, "count": 1, **options}
    with rasterio.open(path, "w", driver="GTiff", dtype=dtype, **settings) as dst:
        shape = (settings["count"], settings["height"], settings["width"])
        dst.write(
            np.arange(np.prod(shape)).reshape(shape).astype(dtype) if fill is None else np.full(shape, fill, dtype)
        )
    return path.read_bytes()


def codes(store, content: bytes | None, options=DATED, max_bytes=10**9) -> set[str]:
    if content is not None:
        store.upload(SOURCE, content, content_type="image/tiff")
    _, findings = check_raster(store, SOURCE, parameter="sources[0]", options=options, max_bytes=max_bytes)
    for finding in findings:
        assert finding.parameter == "sources[0]"
        assert SOURCE in finding.message or "source_crs" in finding.message
        assert finding.hint or finding.severity == "warning"
    return {finding.code for finding in findings}


def inspected(store, ctx, content: bytes, **options):
    etag = store.upload(SOURCE, content, content_type="image/tiff").etag
    return inspect_raster(InspectInput(source=SOURCE, etag=etag, item_id="i", datetime=ACQUIRED, **options), ctx)


def test_missing_blob_is_found(store):
    assert codes(store, None) == {"blob-missing"}


def test_empty_blob_is_found(store):
    assert codes(store, b"") == {"blob-empty"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"id,name\n1,not a raster\n", "not-a-raster"),
        (b"\0\1\2\3" * 100, "not-a-raster"),
        (b"<html><body>403 Forbidden</body></html>", "not-a-raster"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "unsupported-format"),
        (b"CDF\x01" + b"\0" * 100, "unsupported-format"),
        (b"II*\0", "truncated"),
        (b"II*\0\x08\0\0\0", "truncated"),
        (b"II+\0\x08\0\0\0", "truncated"),
        (b"MM\0+\0\x08\0\0" + b"\0" * 7, "truncated"),
        (b"II*\0\x08\0\0\0" + b"\xff" * 200, "truncated"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 100, "unreadable-raster"),
    ],
)
def test_what_only_its_name_calls_a_tiff_is_found(store, content, code):
    assert codes(store, content) == {code}


VRT = (
    '<VRTDataset rasterXSize="2" rasterYSize="2"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    "<SourceFilename>{}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
)


@pytest.mark.parametrize(
    "content",
    [
        VRT.format("/etc/passwd").encode(),
        b"\xef\xbb\xbf  \n" + VRT.format("/vsicurl/http://example.net/x.tif").encode(),
        b'<?xml version="1.0"?><!-- x -->' + VRT.format("other.tif").encode(),
        ("\ufeff" + VRT.format("other.tif")).encode("utf-16-le"),
        b'<GDAL_WMS><Service name="TMS"><ServerUrl>http://example.net</ServerUrl></Service></GDAL_WMS>',
        b'{"type": "gdal_streamed_alg", "command_line": "gdal raster read /etc/passwd"}',
    ],
)
def test_a_file_that_points_elsewhere_is_refused_whatever_its_name(store, content):
    assert codes(store, content) == {"points-elsewhere"}


def test_a_vrt_behind_a_long_comment_is_no_raster(store):
    assert codes(store, b"<!--" + b"x" * 5000 + b"-->" + VRT.format("other.tif").encode()) == {"not-a-raster"}


def test_truncated_geotiff_is_found_from_its_header(store, tmp_path):
    whole = geotiff(tmp_path / "a.tif", compress="deflate")
    assert codes(store, whole) == set()
    store.delete(SOURCE)
    assert codes(store, whole[: len(whole) // 2]) == {"truncated"}


def test_one_missing_byte_is_found(store, tmp_path):
    assert codes(store, geotiff(tmp_path / "a.tif")[:-1]) == {"truncated"}


def test_a_block_of_an_overview_beyond_the_end_is_found(store, tmp_path):
    path = tmp_path / "a.tif"
    geotiff(path)
    with rasterio.open(path, "r+") as dst:
        dst.build_overviews([2])
    assert codes(store, path.read_bytes()[:-1]) == {"truncated"}


def test_no_crs_and_none_given_is_found(store, tmp_path):
    content = geotiff(tmp_path / "a.tif", crs=None)
    assert codes(store, content) == {"no-crs"}
    store.delete(SOURCE)
    assert codes(store, content, RasterOptions(datetime=ACQUIRED, source_crs="EPSG:32633")) == set()


def test_a_crs_that_contradicts_the_file_is_found(store, tmp_path):
    content = geotiff(tmp_path / "a.tif")
    assert codes(store, content, RasterOptions(datetime=ACQUIRED, source_crs="EPSG:32634")) == {"crs-contradiction"}
    store.delete(SOURCE)
    assert codes(store, content, RasterOptions(datetime=ACQUIRED, source_crs="EPSG:32633")) == set()


def test_a_crs_that_is_no_map_gives_way_to_the_jobs(store, ctx, tmp_path):
    site = CRS.from_wkt('LOCAL_CS["site grid",UNIT["metre",1]]')
    content = geotiff(tmp_path / "a.tif", crs=site)
    assert codes(store, content) == {"no-footprint"}
    store.delete(SOURCE)
    assert codes(store, content, RasterOptions(datetime=ACQUIRED, source_crs="EPSG:32633")) == set()
    store.delete(SOURCE)
    assert inspected(store, ctx, content, source_crs="EPSG:32633").facts.epsg == 32633


def test_all_findings_come_at_once(store, tmp_path):
    content = geotiff(tmp_path / "a.tif", crs=None, transform=None)
    options = RasterOptions(nodata=-1, profile="webp")
    assert codes(store, content, options, max_bytes=100) == {
        "blob-too-large", "no-crs", "no-geotransform", "profile-unsuitable", "nodata-out-of-range", "no-datetime",
    }  # fmt: skip


def test_a_place_outside_the_crs_is_found(store, tmp_path):
    content = geotiff(tmp_path / "a.tif", crs="EPSG:4326")
    assert codes(store, content) == {"no-footprint"}


def test_several_images_in_one_file_are_refused(store, tmp_path):
    path = tmp_path / "a.tif"
    geotiff(path)
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=1, height=20, width=20, crs="EPSG:32633",
                       transform=UTM, APPEND_SUBDATASET="YES") as dst:  # fmt: skip
        dst.write(np.ones((1, 20, 20), "uint8"))
    assert codes(store, path.read_bytes()) == {"several-subdatasets"}


def test_sidecar_files_are_not_read(store, tmp_path):
    content = geotiff(tmp_path / "a.tif", crs=None, transform=None)
    codes(store, content)
    beside = store.path(SOURCE)
    beside.with_suffix(".tfw").write_text("10\n0\n0\n-10\n500000\n4600000\n")
    beside.with_name("scene.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:32633</SRS></PAMDataset>")
    _, findings = check_raster(store, SOURCE, parameter="sources[0]", options=DATED, max_bytes=10**9)
    assert {finding.code for finding in findings} == {"no-crs", "no-geotransform"}


@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd", "jpeg", "lerc"])
def test_a_corrupt_block_is_named(store, ctx, tmp_path, compress):
    path = tmp_path / "a.tif"
    geotiff(path, compress=compress, tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path) as src:
        offset = int(src.get_tag_item("BLOCK_OFFSET_2_1", "TIFF", bidx=1))
        size = int(src.get_tag_item("BLOCK_SIZE_2_1", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + size] = b"\xa5" * size
    assert codes(store, bytes(content)) == set()
    store.delete(SOURCE)
    with pytest.raises(BadData, match=r"band 1, block \(1, 2\), columns 128 to 192, rows 64 to 128") as caught:
        inspected(store, ctx, bytes(content))
    assert caught.value.code == "corrupt-block"
    assert str(tmp_path) not in str(caught.value)


def test_a_corrupt_block_of_a_later_band_is_named(store, ctx, tmp_path):
    path = tmp_path / "a.tif"
    geotiff(path, count=3, interleave="band", compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    with rasterio.open(path) as src:
        offset = int(src.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=3))
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = b"\xa5" * 20
    with pytest.raises(BadData, match=r"band 3, block \(0, 0\)"):
        inspected(store, ctx, bytes(content))


@pytest.mark.parametrize(
    "options",
    [
        {"fill": 7, "nodata": 7},
        {"dtype": "float32", "fill": np.nan},
        {"dtype": "float64", "fill": np.nan, "nodata": np.nan},
    ],
)
def test_only_nodata_is_refused(store, ctx, tmp_path, options):
    with pytest.raises(BadData) as caught:
        inspected(store, ctx, geotiff(tmp_path / "a.tif", **options))
    assert caught.value.code == "only-nodata"


def test_only_nodata_by_the_jobs_own_value_is_refused(store, ctx, tmp_path):
    with pytest.raises(BadData) as caught:
        inspected(store, ctx, geotiff(tmp_path / "a.tif", fill=7), nodata=7)
    assert caught.value.code == "only-nodata"


def test_a_fully_transparent_image_is_only_nodata(store, ctx, tmp_path):
    content = geotiff(tmp_path / "a.tif", count=4, fill=0, photometric="RGB", alpha="YES")
    with pytest.raises(BadData) as caught:
        inspected(store, ctx, content)
    assert caught.value.code == "only-nodata"


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_source_replaced_since_submit_is_refused(store, ctx, tmp_path, is_deleted):
    etag = store.upload(SOURCE, geotiff(tmp_path / "a.tif"), content_type="image/tiff").etag
    store.delete(SOURCE)
    if not is_deleted:
        store.upload(SOURCE, geotiff(tmp_path / "b.tif", fill=9), content_type="image/tiff")
    with pytest.raises(BadData, match="after the job was submitted") as caught:
        inspect_raster(InspectInput(source=SOURCE, etag=etag, item_id="i", datetime=ACQUIRED), ctx)
    assert caught.value.code == "source-changed"


def test_a_loop_of_directories_ends(store):
    one_tag = struct.pack("<HHHLLL", 1, 256, 3, 1, 100, 8)
    assert codes(store, b"II*\0\x08\0\0\0" + one_tag) == {"truncated"}


def test_statistics_are_of_the_valid_pixels(store, ctx, tmp_path):
    found = inspected(store, ctx, geotiff(tmp_path / "a.tif", dtype="float64", nodata=0.0))
    expected = np.arange(1.0, 60_000)
    [statistics] = found.statistics
    assert statistics.minimum == 1.0
    assert statistics.maximum == 59_999.0
    assert statistics.mean == pytest.approx(expected.mean(), rel=1e-12)
    assert statistics.stddev == pytest.approx(expected.std(), rel=1e-12)
    assert statistics.valid_percent == pytest.approx(100 * 59_999 / 60_000)


def test_checks_may_run_in_many_threads_at_once(store, tmp_path):
    contents = [geotiff(tmp_path / "a.tif"), geotiff(tmp_path / "b.tif", crs=None, transform=None), b"text", b""]
    expected = [set(), {"no-crs", "no-geotransform"}, {"not-a-raster"}, {"blob-empty"}]
    refs = [BlobRef(f"bronze://raw/{number}.tif") for number in range(len(contents))]
    for ref, content in zip(refs, contents, strict=True):
        store.upload(ref, content, content_type="image/tiff")

    def check(number: int) -> set[str]:
        ref = refs[number % len(refs)]
        _, findings = check_raster(store, ref, parameter="sources[0]", options=DATED, max_bytes=10**9)
        return {finding.code for finding in findings}

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(check, range(400)))
    assert found == expected * 100


def test_control_points_on_one_line_are_no_georeference(store, tmp_path):
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=1, height=20, width=20) as dst:
        points = [GroundControlPoint(row=at, col=at, x=15 + at / 100, y=42 + at / 100) for at in (0, 10, 20)]
        dst.gcps = (points, CRS.from_epsg(4326))
        dst.write(np.ones((1, 20, 20), "uint8"))
    assert codes(store, path.read_bytes()) == {"no-footprint", "gcps-only"}
