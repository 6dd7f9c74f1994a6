"""What one task writes with the code of many is the file of GDAL's COG driver, too."""

import errno

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

from geoetl.errors import LeaseLost, SystemFault, TransientError
from geoetl.gdal.env import gdal_env
from geoetl.models.raster import ConvertInput
from geoetl.models.refs import BlobRef
from geoetl.tasks.raster.cog import whole
from geoetl.tasks.raster.cog.tiles import TileEncoder
from geoetl.tasks.raster.convert import convert_raster
from geoetl.tasks.raster.profiles import choose_profile
from tests.integration.raster.conftest import PlainContext
from tests.integration.raster.rasters import CASES, facts_at, write

SOURCE = BlobRef("bronze://raw/original.tif")
TARGET = BlobRef("silver://cogs/demo/5f0c3d9e/original.tif")


def convert(ctx, path, **options):
    etag = ctx.store.upload(SOURCE, path, content_type="image/tiff", overwrite=True).etag
    task = ConvertInput(source=SOURCE, etag=etag, target=TARGET, facts=facts_at(path), **options)
    return convert_raster(task, ctx)


def by_driver(path, folder) -> bytes:
    facts = facts_at(path)
    chosen = choose_profile("auto", facts, "x", threads=1, has_nodata=facts.mask_kind == "nodata")
    with gdal_env(), rasterio.open(path) as src:
        rasterio.shutil.copy(src, str(folder / "driver.tif"), driver="COG", **chosen.options)
    return (folder / "driver.tif").read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_one_task_writes_the_drivers_file(name, tmp_path, ctx):
    original = tmp_path / "original.tif"
    CASES[name](original)
    product = convert(ctx, original)

    assert ctx.store.path(TARGET).read_bytes() == by_driver(original, tmp_path)
    assert all(product.checks.values())
    assert product.sha256
    assert list(ctx.scratch.iterdir()) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_bands_and_threads_do_not_show_in_the_file(threads, tmp_path, store):
    original = tmp_path / "original.tif"
    write(original, "uint8", height=whole.WHOLE_BAND_ROWS + 905, width=1301, nodata=5)
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    convert(PlainContext(store=store, scratch=scratch, threads=threads), original)

    assert store.path(TARGET).read_bytes() == by_driver(original, tmp_path)


def test_an_attempt_that_must_stop_does_so_after_a_row_of_tiles(tmp_path, store):
    original = tmp_path / "original.tif"
    write(original, "uint8", height=2000, width=700)
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    class Stopped(PlainContext):
        def checkpoint(self):
            super().checkpoint()
            if self.checkpoints == 3:
                raise LeaseLost("The job was cancelled.")

    ctx = Stopped(store=store, scratch=scratch, threads=2)
    with pytest.raises(LeaseLost):
        convert(ctx, original)

    assert ctx.checkpoints == 3
    assert not (scratch / "cog.tif").exists()


def test_steps_are_counted_to_the_end_of_the_check(tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, "uint8", height=2000, width=700)

    convert(ctx, original)

    # Four rows of tiles, encoded and then compared.
    assert ctx.reports == [(done, 8) for done in range(1, 9)]


def test_a_tile_that_is_not_what_was_encoded_is_seen(tmp_path, ctx, monkeypatch):
    original = tmp_path / "original.tif"
    write(original, "uint8", height=1500, width=700)
    encode = TileEncoder.encode

    def swapped(self, pixels):
        return encode(self, pixels)[::-1]

    monkeypatch.setattr(TileEncoder, "encode", swapped)
    with pytest.raises(SystemFault, match="failed checks: pixels_equal"):
        convert(ctx, original)


def test_other_bits_of_equal_values_are_no_difference(tmp_path, ctx):
    original = tmp_path / "original.tif"
    values = np.zeros((1, 600, 700), dtype="float32")
    values[0, :100] = np.frombuffer(b"\x01\x00\xc0\x7f", dtype="<f4")[0]
    values[0, 100:200] = -0.0
    with rasterio.open(
        original, "w", driver="GTiff", width=700, height=600, count=1, dtype="float32", crs="EPSG:32633", tiled=True,
        transform=from_origin(500_000, 4_600_000, 10, 10),
    ) as dst:  # fmt: skip
        dst.write(values)

    product = convert(ctx, original, profile="lerc")

    assert all(product.checks.values())


def test_a_full_disk_is_tried_again_elsewhere(tmp_path, ctx, monkeypatch):
    original = tmp_path / "original.tif"
    write(original, "uint8")

    def is_full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole._BlockFile, "stage_block", is_full)
    with pytest.raises(TransientError, match="No space left on device") as caught:
        convert(ctx, original)

    assert caught.value.code == "scratch-full"
