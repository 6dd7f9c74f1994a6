"""Sample files of other projects: outcomes as their table says. Skipped where the folder is absent."""

import datetime as dt
import os
import shutil
from pathlib import Path

import pytest
import rasterio
from rasterio.transform import from_origin

from geoetl.errors import BadData
from geoetl.models.raster import ConvertInput, InspectInput
from geoetl.models.refs import BlobRef
from geoetl.preflight.raster import check_raster
from geoetl.preflight.raster_rules import RasterOptions
from geoetl.tasks.raster.convert import convert_raster
from geoetl.tasks.raster.inspect import inspect_raster

FOLDER = Path(os.environ.get("TEST_SHARED_DATA") or Path(__file__).parents[3].parent / "shared" / "data")
ACQUIRED = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)

#: File -> what is found at submit when nothing but a time is given.
GOOD = {
    "RGB.byte.tif": set(), "RGBA.byte.tif": set(), "byte_gcp.tif": {"gcps-only"},
    "byte_nogeoref.tif": {"no-crs", "no-geotransform"}, "cfloat32.tif": set(), "cog_band_tags.tif": set(),
    "cog_dateline.tif": set(), "float_nan.tif": {"no-crs"}, "image_colormap.tif": set(), "image_nan.tif": set(),
    "image_rgb_mask.tif": set(), "image_with_offsets.tif": set(), "int16_big_endian.tif": set(), "int64.tif": set(),
    "oddsize1bit.tif": {"no-crs", "no-geotransform"}, "rotated.tif": {"no-crs", "metadata-not-kept"},
    "uint16_nodata_65535_bigtiff.tif": {"no-crs", "no-geotransform", "only-nodata"},
}  # fmt: skip
BAD = ["byte_truncated.tif", "corrupt.tif", "lzw_corrupted.tif", "many_blocks_truncated.tif"]


def present(path: Path) -> Path:
    """The file; other projects' files are not part of this repository."""
    if not path.exists():
        pytest.skip(f"sample file {path.name} is absent; TEST_SHARED_DATA names their folder")
    return path


def sample(path: Path, tmp_path: Path, missing: set[str]) -> Path:
    """The file; where it has no georeference, a copy that has one."""
    copy = tmp_path / path.name
    shutil.copyfile(present(path), copy)
    if missing & {"no-crs", "no-geotransform"}:
        with rasterio.open(copy, "r+") as dst:
            dst.crs = "EPSG:32633"
            if "no-geotransform" in missing:
                dst.transform = from_origin(500_000, 4_600_000, 10, 10)
    return copy


@pytest.mark.parametrize("name", GOOD)
def test_findings_of_a_real_file(name, store):
    source = BlobRef(f"bronze://raw/{name}")
    store.upload(source, present(FOLDER / "raster" / name), content_type="image/tiff")
    options = RasterOptions(datetime=ACQUIRED)
    _, findings = check_raster(store, source, parameter="sources[0]", options=options, max_bytes=10**9)
    assert {finding.code for finding in findings} == GOOD[name] - {"only-nodata"}


@pytest.mark.parametrize("name", GOOD)
def test_a_real_file_becomes_an_equal_cog(name, tmp_path, store, ctx):
    source = BlobRef(f"bronze://raw/{name}")
    etag = store.upload(source, sample(FOLDER / "raster" / name, tmp_path, GOOD[name]), content_type="image/tiff").etag
    task = InspectInput(source=source, etag=etag, item_id="i", datetime=ACQUIRED)
    if "only-nodata" in GOOD[name]:
        with pytest.raises(BadData) as caught:
            inspect_raster(task, ctx)
        assert caught.value.code == "only-nodata"
        return
    facts = inspect_raster(task, ctx).facts
    target = BlobRef(f"silver://cogs/demo/run/{name}")
    product = convert_raster(ConvertInput(source=source, etag=etag, target=target, facts=facts), ctx)
    assert all(product.checks.values())


@pytest.mark.parametrize("name", BAD)
def test_a_broken_real_file_is_refused(name, tmp_path, store, ctx):
    source = BlobRef(f"bronze://raw/{name}")
    missing = {"no-geotransform"} if name == "lzw_corrupted.tif" else set()
    etag = store.upload(source, sample(FOLDER / "raster_bad" / name, tmp_path, missing), content_type="image/tiff").etag
    with pytest.raises(BadData) as caught:
        inspect_raster(InspectInput(source=source, etag=etag, item_id="i", datetime=ACQUIRED), ctx)
    assert caught.value.code == ("corrupt-block" if name == "lzw_corrupted.tif" else "truncated")
