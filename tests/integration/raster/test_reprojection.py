"""Reprojected COGs: valid, in their place, marked where there is no data, with the metadata that is still true."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import from_origin
from rasterio.warp import transform as transform_points
from rio_cogeo.cogeo import cog_validate

from geoetl.errors import BadData, InvalidInput
from geoetl.models.raster import ConvertInput, InspectInput
from geoetl.models.refs import BlobRef
from geoetl.preflight.raster import check_raster
from geoetl.preflight.raster_rules import RasterOptions
from geoetl.tasks.raster.convert import convert_raster
from geoetl.tasks.raster.inspect import inspect_raster

SOURCE = BlobRef("bronze://raw/scene.tif")
ACQUIRED = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
# West of the zone's middle, so that north is not up in other CRSs and corners stay empty.
UTM = from_origin(300_000, 4_600_000, 100, 100)


def gradient(dtype: str, count: int = 1) -> np.ndarray:
    rows, columns = np.mgrid[0:300, 0:400]
    return np.stack([(rows / 4 + columns / 4 + 10 * band + 1) for band in range(count)]).astype(dtype)


def reproject(store, ctx, path: Path, target_crs: str, **options):
    etag = store.upload(SOURCE, path, content_type="image/tiff").etag
    given = {key: value for key, value in options.items() if key in {"source_crs", "nodata"}}
    inspected = inspect_raster(InspectInput(source=SOURCE, etag=etag, item_id="i", datetime=ACQUIRED, **given), ctx)
    target = BlobRef("silver://cogs/demo/run/scene.tif")
    product = convert_raster(
        ConvertInput(source=SOURCE, etag=etag, target=target, facts=inspected.facts, target_crs=target_crs, **options),
        ctx,
    )
    cog = store.path(product.cog)
    assert cog_validate(cog, strict=True, quiet=True) == (True, [], [])
    assert product.is_reprojected
    assert list(ctx.scratch.iterdir()) == []
    return product, cog


def write(path: Path, fill: np.ndarray, *, then=None, **options) -> Path:
    settings = {"crs": "EPSG:32633", "transform": UTM, **options}
    count, height, width = fill.shape
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", dtype=fill.dtype, count=count, height=height, width=width, **settings
        ) as dst,
    ):
        if then:
            then(dst)
        dst.write(fill)
    return path


def value_at(cog: Path, x: float, y: float) -> float:
    """The value at a place given in EPSG:32633."""
    with rasterio.open(cog) as src:
        [px], [py] = transform_points(CRS.from_epsg(32633), src.crs, [x], [y])
        return float(next(src.sample([(px, py)], masked=True))[0])


@pytest.mark.parametrize("target", ["EPSG:4326", "EPSG:3857", "EPSG:32632"])
def test_values_stay_in_their_place(store, ctx, tmp_path, target):
    path = write(tmp_path / "a.tif", gradient("float32"), nodata=-1)
    _, cog = reproject(store, ctx, path, target)
    for column, row in ((50, 50), (200, 150), (390, 290)):
        x, y = UTM @ (column + 0.5, row + 0.5)
        assert value_at(cog, x, y) == pytest.approx(row / 4 + column / 4 + 1, abs=0.4)


def test_nodata_fills_the_corners_and_stays_the_sources_own(store, ctx, tmp_path):
    _, cog = reproject(store, ctx, write(tmp_path / "a.tif", gradient("int16"), nodata=-9), "EPSG:4326")
    with rasterio.open(cog) as src:
        assert src.nodata == -9
        assert src.read(1)[0, 0] == -9 or src.read(1)[0, -1] == -9


def test_without_nodata_an_internal_mask_marks_the_corners_and_no_band_is_added(store, ctx, tmp_path):
    product, cog = reproject(
        store, ctx, write(tmp_path / "a.tif", gradient("uint8", 3), photometric="RGB"), "EPSG:4326"
    )
    with rasterio.open(cog) as src:
        assert src.count == 3
        assert src.nodata is None
        assert src.mask_flag_enums == ([MaskFlags.per_dataset],) * 3
        mask = src.dataset_mask()
        assert mask.min() == 0
        assert mask.max() == 255
    assert product.facts.mask_kind == "internal"


def test_a_mask_of_the_source_moves_with_it(store, ctx, tmp_path):
    mask = np.zeros((300, 400), dtype=bool)
    mask[:, :200] = True
    path = write(tmp_path / "a.tif", gradient("uint8"), then=lambda dst: dst.write_mask(mask))
    _, cog = reproject(store, ctx, path, "EPSG:32632")
    with rasterio.open(cog) as src:
        share = (src.dataset_mask() > 0).mean()
    assert 0.3 < share < 0.55


def test_alpha_stays_alpha(store, ctx, tmp_path):
    fill = gradient("uint8", 4)
    fill[3] = 255
    _, cog = reproject(store, ctx, write(tmp_path / "a.tif", fill, photometric="RGB", alpha="YES"), "EPSG:4326")
    with rasterio.open(cog) as src:
        assert src.colorinterp[3] is ColorInterp.alpha
        assert src.count == 4
        assert src.read(4).min() == 0


def test_classes_are_not_blended_and_keep_their_palette(store, ctx, tmp_path):
    colors = {value: (value, 0, 255 - value, 255) for value in range(256)}
    fill = (np.indices((300, 400)).sum(axis=0) % 3 * 100).astype("uint8")[None]
    path = write(
        tmp_path / "a.tif", fill, nodata=255, photometric="PALETTE", then=lambda dst: dst.write_colormap(1, colors)
    )
    product, cog = reproject(store, ctx, path, "EPSG:4326")
    assert product.overview_resampling == "nearest"
    with rasterio.open(cog) as src:
        assert set(np.unique(src.read(1))) <= {0, 100, 200, 255}
        assert src.colormap(1)[100] == (100, 0, 155, 255)


def test_metadata_moves_except_what_is_no_longer_true(store, ctx, tmp_path):
    def describe(dst):
        dst.descriptions, dst.units = ("temperature",), ("K",)
        dst.scales, dst.offsets = (0.1,), (273.15,)
        dst.update_tags(SENSOR="S1")
        dst.update_tags(1, STATISTICS_MEAN="5", WAVELENGTH="11")

    path = write(tmp_path / "a.tif", gradient("int16"), nodata=-9, then=describe)
    _, cog = reproject(store, ctx, path, "EPSG:3857")
    with rasterio.open(cog) as src:
        assert (src.descriptions, src.units, src.scales, src.offsets) == (("temperature",), ("K",), (0.1,), (273.15,))
        assert src.tags()["SENSOR"] == "S1"
        assert src.tags(1) == {"WAVELENGTH": "11"}


def test_ground_control_points_are_used(store, ctx, tmp_path):
    corners = [(0, 0, 15.0, 42.0), (0, 400, 15.4, 42.0), (300, 0, 15.0, 41.7), (300, 400, 15.4, 41.7)]
    points = [GroundControlPoint(row=row, col=col, x=x, y=y) for row, col, x, y in corners]
    path = write(tmp_path / "a.tif", gradient("uint8"), crs=None, transform=None,
                 then=lambda dst: setattr(dst, "gcps", (points, CRS.from_epsg(4326))))  # fmt: skip
    product, cog = reproject(store, ctx, path, "EPSG:4326")
    assert product.bbox == pytest.approx((15.0, 41.7, 15.4, 42.0), abs=0.002)
    with rasterio.open(cog) as src:
        assert src.gcps == ([], None)


def test_a_crs_and_a_nodata_of_the_job_are_applied(store, ctx, tmp_path):
    path = write(tmp_path / "a.tif", gradient("uint8"), crs=None)
    product, cog = reproject(store, ctx, path, "EPSG:3857", source_crs="EPSG:32633", nodata=255)
    assert product.facts.epsg == 3857
    with rasterio.open(cog) as src:
        assert src.nodata == 255


def test_a_nodata_of_the_job_that_cannot_be_is_an_error_of_the_user(store, ctx, tmp_path):
    with pytest.raises(InvalidInput) as caught:
        reproject(store, ctx, write(tmp_path / "a.tif", gradient("uint8")), "EPSG:3857", nodata=-1)
    assert caught.value.code == "nodata-out-of-range"


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", -9999.9), ("float32", 1e20), ("float16", 0.1)])
@pytest.mark.parametrize("target", ["EPSG:4326", None])
def test_a_nodata_of_the_job_is_that_of_the_data_type(store, ctx, tmp_path, dtype, nodata, target):
    fill = gradient(dtype)
    with np.errstate(over="ignore"):
        fill[0, :50] = nodata
    etag = store.upload(SOURCE, write(tmp_path / "a.tif", fill), content_type="image/tiff").etag
    given = {"source": SOURCE, "etag": etag, "nodata": nodata}
    inspected = inspect_raster(InspectInput(item_id="i", datetime=ACQUIRED, **given), ctx)
    cog = BlobRef("silver://cogs/demo/run/scene.tif")
    convert_raster(ConvertInput(target=cog, facts=inspected.facts, target_crs=target, **given), ctx)
    assert inspected.statistics[0].valid_percent == pytest.approx(100 * 250 / 300)
    with rasterio.open(store.path(cog)) as src:
        assert src.nodata == float(fill[0, 0, 0])
        assert (src.read(1)[src.dataset_mask() == 0] == fill[0, 0, 0]).all()
        assert (src.dataset_mask() == 0).mean() > 0.15


def test_a_nodata_of_more_bits_than_the_bands_have_is_not_reprojected(store, ctx, tmp_path):
    path = write(tmp_path / "a.tif", gradient("uint16"), nbits=12, nodata=65535)
    with pytest.raises(BadData, match="uint16 of 12 bits with nodata 65535") as caught:
        reproject(store, ctx, path, "EPSG:4326")
    assert caught.value.code == "nodata-out-of-range"


def test_a_target_crs_that_is_none_is_found(store, ctx, tmp_path):
    path = write(tmp_path / "a.tif", gradient("uint8"))
    with pytest.raises(InvalidInput, match="EPSG:999999"):
        reproject(store, ctx, path, "EPSG:999999")


ACROSS = [("EPSG:4326", True), ("EPSG:3857", True), ("EPSG:3832", False), ("EPSG:3413", False)]


@pytest.mark.parametrize(("target", "is_torn"), ACROSS)
def test_what_crosses_the_antimeridian_is_not_torn_apart(store, ctx, tmp_path, target, is_torn):
    transform = from_origin(690_000, 5_800_000, 100, 100)
    path = write(tmp_path / "a.tif", gradient("uint8"), crs="EPSG:32660", transform=transform)
    if not is_torn:
        product, _ = reproject(store, ctx, path, target)
        assert product.bbox[0] > product.bbox[2]
        return
    with pytest.raises(BadData) as caught:
        reproject(store, ctx, path, target)
    assert caught.value.code == "torn-at-antimeridian"
    options = RasterOptions(datetime=ACQUIRED, target_crs=target)
    _, findings = check_raster(store, SOURCE, parameter="sources[0]", options=options, max_bytes=10**9)
    assert [finding.code for finding in findings] == ["torn-at-antimeridian"]


def test_a_raster_that_the_target_has_no_place_for_is_not_ruined(store, ctx, tmp_path):
    globe = {"crs": "EPSG:4326", "transform": from_origin(-180, 90, 0.9, 0.6)}
    path = write(tmp_path / "a.tif", gradient("uint8"), **globe)
    with pytest.raises(BadData, match="-projwin") as caught:
        reproject(store, ctx, path, "EPSG:3857")
    assert caught.value.code == "outside-target-crs"
    options = RasterOptions(datetime=ACQUIRED, target_crs="EPSG:3857")
    _, findings = check_raster(store, SOURCE, parameter="sources[0]", options=options, max_bytes=10**9)
    assert [(finding.code, finding.message) for finding in findings] == [(caught.value.code, caught.value.message)]


@pytest.mark.parametrize(("west", "width"), [(-180, 0.9), (0, 0.9), (160, 0.05)])
def test_what_ends_where_web_mercator_does_keeps_its_pixels(store, ctx, tmp_path, west, width):
    path = write(
        tmp_path / "a.tif", gradient("uint8"), crs="EPSG:4326", transform=from_origin(west, 85.06, width, 0.567)
    )
    product, cog = reproject(store, ctx, path, "EPSG:3857")
    assert product.bbox[2] == pytest.approx(180, abs=1)
    assert product.bbox[0] < product.bbox[2]
    with rasterio.open(cog) as src:
        assert (src.dataset_mask() > 0).mean() > 0.98
        assert src.width * src.height > 10_000
