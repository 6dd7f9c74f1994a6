"""Which tiles belong to whom, and what a header says: numbers alone."""

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoetl.config.raster import RasterSettings
from geoetl.errors import SystemFault
from geoetl.models.refs import BlobRef
from geoetl.storage.base import StagedBlock
from geoetl.tasks.raster.cog.blocks import BlockStager, TileRun, block_bytes, block_id
from geoetl.tasks.raster.cog.contents import Contents
from geoetl.tasks.raster.cog.layout import CogLayout, made_of, needed_below
from geoetl.tasks.raster.cog.template import CogTemplate
from geoetl.tasks.raster.cog.tiff import (
    TILE_OFFSETS,
    TILE_SIZES,
    Field,
    Image,
    read_directories,
    read_ghost_area,
    record,
    tile_ranges,
    write_header,
)
from geoetl.tasks.raster.cog.tiles import Tile

TARGET = BlobRef("silver://cogs/a.tif")
SIZES = st.integers(min_value=1, max_value=3000)


def layout(width, height, *, band_rows=256, blocksize=64, bytes_per_pixel=1, chunk_bytes=1, **options):
    return CogLayout(width, height, bytes_per_pixel, band_rows, blocksize=blocksize, chunk_bytes=chunk_bytes, **options)


def test_levels_halve_rounded_down_until_one_tile_holds_them():
    made = layout(601, 530, blocksize=128)

    assert list(zip(made.widths, made.heights, strict=True)) == [(601, 530), (300, 265), (150, 132), (75, 66)]


@given(width=SIZES, height=SIZES, k=st.integers(min_value=0, max_value=4))
def test_every_row_and_column_of_every_level_has_one_owner(width, height, k):
    made = layout(width, height, band_rows=64 << k)
    bands = [made.band(index) for index in range(made.band_count)]
    last = made.last_level if made.strip_level is None else made.strip_level
    for owners, sizes in ((bands, made.heights), (list(made.panels()), made.widths)):
        for level in range(last + 1):
            spans = [owner[level].own for owner in owners]
            assert [span.start for span in spans] == [0, *(span.stop for span in spans[:-1])]
            assert spans[-1].stop == sizes[level]
            if level <= made.last_band_level:
                assert all(span.start % 64 == 0 for span in spans), "tiles have one owner"


@given(width=SIZES, height=SIZES, k=st.integers(min_value=0, max_value=4))
def test_what_is_needed_of_a_level_is_enough_for_the_next_and_little_more(width, height, k):
    made = layout(width, height, band_rows=64 << k)
    for index in range(made.band_count):
        spans = made.band(index)
        for level, (span, above) in enumerate(itertools.pairwise(spans)):
            size, next_size = made.heights[level : level + 2]
            assert made_of(span.needed_stop, size, next_size) >= above.needed_stop
            assert span.needed_stop - span.own.stop <= 2 ** (len(spans) - level)


@given(size=SIZES)
def test_counts_down_and_up_the_levels_agree(size):
    next_size = max(1, size // 2)
    for count in range(next_size + 1):
        needed = needed_below(count, size, next_size)
        assert made_of(needed, size, next_size) >= count
        assert count == 0 or made_of(needed - 1, size, next_size) < count


def test_even_sizes_need_nothing_beyond_their_own():
    made = layout(4096, 4096)

    assert all(span.needed_stop == span.own.stop for index in range(made.band_count) for span in made.band(index))


def test_a_band_is_whole_tiles_of_all_its_levels():
    with pytest.raises(ValueError, match="64 times a power of two"):
        layout(100, 100, band_rows=192)
    with pytest.raises(ValueError, match="512 times a power of two"):
        RasterSettings(band_rows=512 * 3)


def test_panels_bound_what_is_held_and_striped_sources_have_one():
    wide = layout(500_000, 50_000, blocksize=512, band_rows=4096, bytes_per_pixel=6, chunk_bytes=24 * 2**20)

    assert wide.panel_columns * 512 * 6 <= 24 * 2**20
    assert sum(1 for _ in wide.panels()) == -(-500_000 // wide.panel_columns) == 62
    striped = layout(500_000, 100_000, blocksize=512, band_rows=4096, bytes_per_pixel=6, is_striped=True)
    assert striped.is_one_panel


@pytest.mark.parametrize(("side", "bytes_per_pixel"), [(400_000, 1), (1_000_000, 1), (200_000, 16), (1_000_000, 8)])
def test_no_raster_needs_more_blocks_than_a_blob_has(side, bytes_per_pixel):
    made = layout(side, side, blocksize=512, band_rows=4096, bytes_per_pixel=bytes_per_pixel, chunk_bytes=24 * 2**20)
    panels = sum(1 for _ in made.panels())
    runs = sum(made.tiles_down(level) * panels for level in range(4))
    data = side * side * bytes_per_pixel * 4 / 3

    assert runs + data / block_bytes(made) + made.band_count * 4 < 49_900


def test_block_ids_have_one_length_and_sort_in_the_order_of_the_file():
    ids = [block_id(level, row, column, bytes([row])) for level in (0, 7) for row in (0, 9, 130) for column in (0, 70)]

    assert {len(name) for name in ids} == {30}
    assert ids == sorted(ids)
    assert block_id(1, 2, 3, b"a") != block_id(1, 2, 3, b"b")


class ListStore:
    """A ``BlockStore`` in memory."""

    def __init__(self):
        self.blocks: dict[str, bytes] = {}

    def stage_block(self, ref, block_id, data):
        self.blocks[block_id] = data

    def staged_blocks(self, ref):
        raise AssertionError

    def commit_blocks(self, ref, block_ids, **options):
        raise AssertionError


def stage(tiles_of_rows, *, is_one_panel, target_bytes=100):
    store = ListStore()
    with BlockStager(store, TARGET, target_bytes, is_one_panel) as stager:
        for row, tiles in enumerate(tiles_of_rows):
            stager.add(0, row, 0, [Tile(tile, None) for tile in tiles])
    return stager, store


def test_blocks_are_cut_at_tiles_and_may_hold_several_rows_of_one_panel():
    rows = [[b"a" * 40, b"b" * 30], [b"c" * 10, b"d" * 200]]
    stager, store = stage(rows, is_one_panel=True)

    content = b"".join(store.blocks[block.id] for block in stager.blocks)
    assert content == b"".join(record(tile) for row in rows for tile in row)
    assert [block.size_bytes for block in stager.blocks] == [48 + 38 + 18, 208]
    assert [run.sizes for run in stager.runs] == [(40, 30), (10, 200)]


def test_blocks_end_with_a_row_where_there_are_several_panels():
    stager, _ = stage([[b"a" * 4], [b"b" * 4], [b"c" * 4]], is_one_panel=False)

    assert [block.size_bytes for block in stager.blocks] == [12, 12, 12]


def test_a_failed_upload_fails_the_band():
    class Away(ListStore):
        def stage_block(self, ref, block_id, data):
            raise ConnectionError("away")

    with (
        pytest.raises(ConnectionError, match="away"),
        BlockStager(Away(), TARGET, 10, is_one_panel=True) as stager,
    ):
        stager.add(0, 0, 0, [Tile(b"x" * 20, None)])


def test_a_record_says_its_size_and_repeats_its_end():
    assert record(b"abcdef") == b"\x06\0\0\0abcdefcdef"
    assert record(b"ab") == b"\x02\0\0\0abab\0\0"


DIRECTORY = {259: Field(3, 1, b"\x08\0"), 42112: Field(2, 7, b"<Meta/>", 10), 33550: Field(12, 3, bytes(24), 20)}
GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE=000012 bytes\nLAYOUT=COG\n "


def image(count, size, *, first=0):
    sizes = np.full(count, size, dtype=np.uint64)
    offsets = np.arange(count, dtype=np.uint64) * np.uint64(size) + np.uint64(first)
    return Image(DIRECTORY, count * 512, 512, offsets, sizes)


def test_a_header_reads_back():
    header = write_header(GHOST, [image(3, 100), image(1, 50, first=300)], [0, 1], data_bytes=350)

    first, second = read_directories(header)
    assert read_ghost_area(header)[:40] == GHOST[:40]
    assert (first[42112].raw, first[256].raw, len(first[33550].raw)) == (b"<Meta/>", struct.pack("<H", 1536), 24)
    assert tile_ranges(first) == [(len(header) + at, 100) for at in (0, 100, 200)]
    assert tile_ranges(second) == [(len(header) + 300, 50)]


def test_beyond_four_gigabytes_the_header_is_that_of_a_bigtiff():
    header = write_header(GHOST, [image(3, 2**31)], [0], data_bytes=3 * 2**31)

    assert header[:8] == b"II+\0\x08\0\0\0"
    (at,) = struct.unpack_from("<Q", header, 8)
    (count,) = struct.unpack_from("<Q", header, at)
    fields = (struct.unpack_from("<HHQQ", header, at + 8 + 20 * n) for n in range(count))
    entries = {tag: (kind, values, where) for tag, kind, values, where in fields}
    kind, values, where = entries[TILE_OFFSETS]
    assert (kind, values) == (16, 3)
    assert struct.unpack_from("<3Q", header, where) == tuple(len(header) + n * 2**31 for n in range(3))
    assert entries[TILE_SIZES][:2] == (4, 3)


def contents(missing: int | None = None):
    made = Contents(layout(600, 100, blocksize=512, band_rows=512), has_mask=False)
    template = {**DIRECTORY, TILE_SIZES: Field(4, 4, bytes(16))}
    made.add([TileRun(1, 0, 0, (30,), None)], [StagedBlock(block_id(1, 0, 0, b"u"), 38)])
    for column in range(2):
        if column != missing:
            made.add([TileRun(0, 0, column, (10,), None)], [StagedBlock(block_id(0, 0, column, b"x"), 18)])
    return made, CogTemplate(GHOST, template, None, template, None)


def test_the_smallest_level_comes_first_and_full_resolution_last():
    made, template = contents()
    header = made.header(template)

    full, overview = read_directories(header)
    assert tile_ranges(overview) == [(len(header) + 4, 30)]
    assert tile_ranges(full) == [(len(header) + 38 + 4, 10), (len(header) + 38 + 18 + 4, 10)]
    assert [name[:2] for name in made.block_ids(header)] == ["99", "01", "00", "00"]


def test_a_missing_tile_is_noticed_before_the_commit():
    made, template = contents(missing=1)

    with pytest.raises(SystemFault, match="Level 0 misses 1 of 2 tiles") as caught:
        made.header(template)

    assert caught.value.code == "cog-incomplete"
