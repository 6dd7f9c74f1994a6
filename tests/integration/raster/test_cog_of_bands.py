"""COGs encoded band by band are the files that GDAL's COG driver writes of the same source."""

import dataclasses
import hashlib

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from geoetl.errors import BadData
from geoetl.models.bigcog import AssembleInput, BandInput
from geoetl.models.raster import InspectInput
from geoetl.tasks.raster.cog.assemble import assemble_cog
from geoetl.tasks.raster.cog.bands import encode_band
from geoetl.tasks.raster.inspect import inspect_raster
from tests.integration.raster.bands import (
    NARROW,
    SOURCE,
    TARGET,
    by_driver,
    encode_all,
    make,
    problem_of,
    put,
    written,
)
from tests.integration.raster.conftest import PlainContext
from tests.integration.raster.rasters import CASES, facts_at, write

#: Left to the driver, and why.
WHOLE = {
    "float16": "overviews of float16 are GDAL's", "complex_int16": "its values are complex",
    "complex64": "its values are complex", "complex128": "its values are complex",
    "alpha before all others": "overviews of an alpha band before all others are GDAL's",
    "int64 with the largest nodata": "64-bit nodata beyond 2**53 is GDAL's",
    "1500 x 1": "it is very narrow", "JPEG 2000": "JP2OpenJPEG files are decoded as a whole",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_raster_encoded_in_bands_is_the_drivers_file(name, tmp_path, ctx):
    original = tmp_path / "original.tif"
    CASES[name](original)
    assert problem_of(original) == WHOLE.get(name)
    if name in WHOLE:
        return

    made = make(ctx, original)

    assert written(ctx) == by_driver(original, tmp_path)
    assert cog_validate(ctx.store.path(TARGET), strict=True, quiet=True) == (True, [], [])
    assert all(made.product.checks.values())
    assert list(ctx.scratch.iterdir()) == []
    assert [blob.ref for blob in ctx.store.list("silver", "cogs")] == [made.product.thumbnail, TARGET]


@pytest.mark.parametrize("size", [(1025, 1023), (900, 770), (513, 129), (1024, 1024), (130, 1500)])
def test_neither_bands_nor_panels_show_in_the_file(size, tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, "uint16", count=2, height=size[0], width=size[1])
    expected = by_driver(original, tmp_path)

    for band_rows, chunk_bytes in ((128, NARROW), (256, 10**9), (1024, NARROW)):
        make(ctx, original, band_rows=band_rows, chunk_bytes=chunk_bytes)
        assert written(ctx) == expected, (band_rows, chunk_bytes)
        ctx.store.delete(TARGET)


@pytest.mark.parametrize("chunk_bytes", [NARROW, 10**9])
def test_a_band_reports_every_step_and_ends_with_the_last(chunk_bytes, tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, "uint16", height=1023, width=1101)
    cog = put(ctx, original, chunk_bytes=chunk_bytes)

    encode_band(BandInput(cog=cog, band=1), ctx)

    total = ctx.reports[-1][1]
    assert total >= 2
    assert ctx.reports == [(done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize("name", ["rgba", "grey and alpha", "internal mask", "NaN nodata", "all metadata", "palette"])
def test_overviews_by_nearest_and_narrow_panels_are_the_drivers(name, tmp_path, ctx):
    original = tmp_path / "original.tif"
    CASES[name](original)

    make(ctx, original, resampling="nearest", chunk_bytes=NARROW, band_rows=128)

    assert written(ctx) == by_driver(original, tmp_path, resampling="nearest")


def test_bands_that_are_encoded_twice_and_by_two_at_once_change_nothing(tmp_path, ctx):
    original = tmp_path / "original.tif"
    CASES["internal mask"](original)
    cog = put(ctx, original)
    first = encode_all(ctx, cog, 530)
    again = encode_all(ctx, cog, 530, seed=8)
    assert [receipt.part for receipt in first] == [receipt.part for receipt in again]

    assemble_cog(AssembleInput(cog=cog, facts=facts_at(original), receipts=again), ctx)

    assert written(ctx) == by_driver(original, tmp_path)


@pytest.mark.parametrize("lost", ["blocks", "part"])
def test_what_is_gone_is_encoded_again(lost, tmp_path, ctx):
    original = tmp_path / "original.tif"
    CASES["all metadata"](original)
    cog = put(ctx, original, band_rows=128)
    receipts = encode_all(ctx, cog, 530)
    if lost == "blocks":
        staged = sorted(ctx.store.staged_blocks(TARGET), key=lambda block: block.id)
        for block in staged[::2]:
            (ctx.store.path(TARGET).with_name("original.tif.blocks") / block.id).unlink()
    else:
        ctx.store.delete(receipts[1].part)

    made = assemble_cog(AssembleInput(cog=cog, facts=facts_at(original), receipts=receipts), ctx)

    assert made.encoded_again >= 1
    assert written(ctx) == by_driver(original, tmp_path)


def test_an_assembly_that_was_cut_off_after_its_commit_is_finished_by_the_next(tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, "int16", height=900, width=700)
    cog = put(ctx, original)
    task = AssembleInput(cog=cog, facts=facts_at(original), receipts=encode_all(ctx, cog, 900))
    first = assemble_cog(task, ctx)
    before = hashlib.sha256(written(ctx)).hexdigest()

    second = assemble_cog(task, dataclasses.replace(ctx, token=dataclasses.replace(ctx.token, attempt=2)))

    assert second.product.etag == first.product.etag
    assert hashlib.sha256(written(ctx)).hexdigest() == before


def test_statistics_are_those_of_an_inspection_of_every_pixel(tmp_path, ctx):
    original = tmp_path / "original.tif"
    CASES["rgba"](original)
    made = make(ctx, original, chunk_bytes=NARROW)
    source = InspectInput(
        source=SOURCE, etag=ctx.store.properties(SOURCE).etag, item_id="i", datetime="2024-05-01T00:00:00Z"
    )

    inspected = inspect_raster(source, ctx)
    header = inspect_raster(source.model_copy(update={"header_only": True}), ctx)

    for ours, theirs in zip(made.statistics, inspected.statistics, strict=True):
        assert ours.model_dump() == pytest.approx(theirs.model_dump(), rel=1e-12)
    assert (header.facts, header.statistics, header.header_only) == (inspected.facts, (), True)


def test_a_crs_and_a_nodata_value_from_the_job_are_in_the_cog(tmp_path, ctx):
    original, described = tmp_path / "original.tif", tmp_path / "described.tif"
    write(original, "int16", crs=None)
    with rasterio.open(original) as src:
        profile = {**src.profile, "crs": "EPSG:32633", "nodata": 7}
        with rasterio.open(described, "w", **profile) as dst:
            dst.write(src.read())

    make(ctx, original, source_crs="EPSG:32633", nodata=7.0)

    assert written(ctx) == by_driver(described, tmp_path)


def test_a_source_that_was_replaced_is_refused(tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, "uint8")
    cog = put(ctx, original)
    put(ctx, original)

    with pytest.raises(BadData, match="replaced after the job was submitted") as caught:
        encode_band(BandInput(cog=cog, band=0), ctx)

    assert caught.value.code == "source-changed"


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_source_that_is_replaced_while_it_is_read_is_not_called_damaged(is_deleted, tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, "uint8", height=900, tiled=True, blockxsize=128, blockysize=128, compress="deflate")
    noise = np.random.default_rng(1).bytes(original.stat().st_size)
    cog = put(ctx, original)

    class Replacing(PlainContext):
        def report(self, *, done, total):
            super().report(done=done, total=total)
            self.store.upload(SOURCE, noise, content_type="image/tiff", overwrite=True)
            if is_deleted:
                self.store.delete(SOURCE)

    replacing = Replacing(store=ctx.store, scratch=ctx.scratch)
    with pytest.raises(BadData, match="after the job was submitted") as caught:
        encode_band(BandInput(cog=cog, band=0), replacing)

    assert caught.value.code == "source-changed"
    assert len(replacing.reports) == 1


def test_a_damaged_block_is_found_by_the_band_that_reads_it(tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, "uint8", height=900, tiled=True, blockxsize=256, blockysize=256, compress="deflate")
    with rasterio.open(original) as src:
        at = int(src.get_tag_item("BLOCK_OFFSET_0_2", "TIFF", bidx=1))
    content = bytearray(original.read_bytes())
    content[at : at + 64] = hashlib.sha512(b"noise").digest()
    original.write_bytes(content)
    cog = put(ctx, original)

    encode_band(BandInput(cog=cog, band=0), ctx)
    with pytest.raises(BadData, match="Decoding rows 512 to 640") as caught:
        encode_band(BandInput(cog=cog, band=2), ctx)

    assert caught.value.code == "corrupt-block"


def test_a_raster_without_a_valid_pixel_is_refused_before_anything_is_written(tmp_path, ctx):
    original = tmp_path / "original.tif"
    write(original, "uint8", nodata=0, fill=np.zeros((1, 530, 601), dtype="uint8"))

    with pytest.raises(BadData, match="no valid pixel"):
        make(ctx, original)

    assert not ctx.store.path(TARGET).exists()
